//! From one version of a program's keyspaces to the next, one step at a time.

use super::{Batch, META, OpenError, Options, Store, StoreError};

/// What makes a store of version `from` one of version `from + 1`.
///
/// What a step puts into its batch becomes durable together with the new version: a step that was
/// killed has changed nothing, and the next start takes it again. A step with more to write than
/// one batch holds commits parts itself, and must come to the same end when it begins anew.
#[derive(Debug, Clone, Copy)]
pub struct Migration {
    /// The version that it starts from.
    pub from: u32,
    /// The change.
    pub change: fn(&Store, &mut Batch) -> Result<(), StoreError>,
}

impl Store {
    /// Brings the keyspaces to the version of `options`; a new store has it at once.
    pub(super) fn migrate(&self, options: Options<'_>, migrations: &[Migration]) -> Result<(), OpenError> {
        let mut found = match self.schema()? {
            Some(found) => found,
            None => {
                let mut batch = Batch::default();
                META.put(&mut batch, &"kind".to_owned(), &options.kind.to_owned())?;
                self.enter(batch, options.schema)?;
                return Ok(());
            }
        };
        if found > options.schema {
            return Err(OpenError::Newer { dir: self.dir.clone(), found, known: options.schema });
        }
        while found < options.schema {
            let Some(step) = migrations.iter().find(|step| step.from == found) else {
                return Err(OpenError::NoWay { dir: self.dir.clone(), found, known: options.schema });
            };
            let mut batch = Batch::default();
            (step.change)(self, &mut batch)?;
            found += 1;
            self.enter(batch, found)?;
            tracing::info!(dir = %self.dir.display(), version = found, "the store was brought to a newer version");
        }
        Ok(())
    }

    fn schema(&self) -> Result<Option<u32>, StoreError> {
        let Some(text) = META.get(self, &"schema".to_owned())? else { return Ok(None) };
        let unreadable =
            || StoreError::Record { keyspace: "meta", reason: "its version is no number".to_owned() };
        text.parse().map(Some).map_err(|_| unreadable())
    }

    fn enter(&self, mut batch: Batch, schema: u32) -> Result<(), StoreError> {
        META.put(&mut batch, &"schema".to_owned(), &schema.to_string())?;
        self.commit(batch)?;
        self.durable_blocking()
    }
}

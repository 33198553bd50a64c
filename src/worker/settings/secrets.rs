//! Secrets, and the seed that is paid to; the keys are in `v0`, with what they are for.

use nano_currency::Seed;

use super::Resolver;
use crate::config::{Field, Secret, SecretRef, secret};

impl Resolver<'_> {
    pub(super) fn seed(
        &mut self,
        field: Option<Field<String>>,
        passphrase: Option<Field<String>>,
    ) -> Option<Seed> {
        let passphrase = match self.problems.take("nano.seed_passphrase", passphrase) {
            None => None,
            Some(text) => {
                let reference = SecretRef::parse_passphrase(&text, self.base);
                Some(self.problems.check("nano.seed_passphrase", reference)?)
            }
        };
        let hint = "seed = \"file:seed\"";
        let secret = self.secret("nano.seed", "NANO_SEED", field, hint, passphrase.as_ref())?;
        self.problems.check("nano.seed", Seed::parse(secret.expose()))
    }

    pub(super) fn secret(
        &mut self,
        path: &str,
        name: &str,
        field: Option<Field<String>>,
        hint: &str,
        passphrase: Option<&SecretRef>,
    ) -> Option<Secret> {
        if let Some(value) = self.env.get(name) {
            let value = secret::from_env_value(&value, self.base, self.env, passphrase);
            return self.problems.check(path, value);
        }
        if field.is_none() {
            self.problems.add(path, format!("is missing; write {hint}"));
        }
        self.problems.sealed(path, field, self.base, self.env, passphrase)
    }
}

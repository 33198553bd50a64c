//! The spending policy as it is written, and the person who is asked.
//!
//! A policy stands in the configuration, or beside the seed, where no flag and no other configuration
//! leads around it: whoever pays with the file `seed` keeps to `seed.policy.toml`, also through a
//! link of another name, and cannot have the seed copied to where no policy is. Each names the
//! journal in which is counted, so that no flag leads to an empty one.

use std::fs;
use std::io::{self, IsTerminal as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nano_currency::Amount;
use serde::Deserialize;

use crate::buyer::Person;
use crate::buyer::policy::{Policy, Spend};
use crate::config::{Document, Field, Problems, Secret};

/// What the name of a seed's file becomes that of its policy by.
const BESIDE: &str = ".policy.toml";

/// Bytes of a policy that are read: a thousand sellers have seventy thousand.
const BYTES_MAX: u64 = 1 << 20;

#[derive(Debug, Default, Deserialize)]
pub(super) struct RawPolicy {
    journal: Option<Field<PathBuf>>,
    max_per_job_xno: Option<Field<String>>,
    max_per_seller_per_day_xno: Option<Field<String>>,
    max_per_day_xno: Option<Field<String>>,
    sellers: Option<Field<Vec<String>>>,
    confirm_above_xno: Option<Field<String>>,
    withdraw_to: Option<Field<Vec<String>>>,
}

/// The policies in force.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) policies: Vec<Policy>,
    /// Where they count.
    pub(super) journal: Option<PathBuf>,
}

/// All policies: that of the configuration, and that beside the seed, under each of its `seeds`
/// names. `wanted` is the journal that somebody asked for.
pub(super) fn collect(
    problems: &mut Problems,
    configured: Option<RawPolicy>,
    base: &Path,
    seeds: &[&Path],
    wanted: Option<&Path>,
) -> Found {
    let mut found = Found::default();
    if let Some(raw) = configured {
        found.add(problems, raw, "policy", "[policy] of the configuration", base, wanted);
    }
    let mut files: Vec<PathBuf> = Vec::new();
    for file in seeds.iter().map(|seed| beside(seed)) {
        if !files.iter().any(|other| same(&file, other)) {
            files.push(file);
        }
    }
    for file in files {
        found.add_file(problems, &file, wanted);
    }
    found
}

/// Where the policy of a seed is, if it has one.
fn beside(seed: &Path) -> PathBuf {
    let mut name = seed.as_os_str().to_owned();
    name.push(BESIDE);
    PathBuf::from(name)
}

/// Whether a policy binds whoever has this secret from its file. What cannot be told counts as one.
pub(super) fn binds(secret: &Secret) -> bool {
    secret.file().is_some_and(|file| beside(file).try_exists().unwrap_or(true))
}

/// The policy in a file. One that others may write is nobody's.
fn read(file: &Path) -> Result<Option<String>, String> {
    use std::io::Read as _;
    let unreadable = |error: io::Error| format!("cannot be read, so nothing is paid: {error}");
    let opened = match fs::File::open(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(unreadable)?,
    };
    let mode = opened.metadata().map_err(unreadable)?.permissions().mode() & 0o777;
    if mode & 0o022 != 0 {
        return Err(format!("others may write it (mode {mode:03o}): run `chmod go-w {}`", file.display()));
    }
    let mut text = String::new();
    opened.take(BYTES_MAX).read_to_string(&mut text).map_err(unreadable)?;
    Ok(Some(text))
}

impl Found {
    fn add_file(&mut self, problems: &mut Problems, file: &Path, wanted: Option<&Path>) {
        let place = file.display().to_string();
        match read(file) {
            Ok(None) => {}
            Ok(Some(text)) => match Document::<RawPolicy>::parse(&text) {
                Ok(Document { raw, problems: unknown }) => {
                    for problem in unknown.list() {
                        problems.add(format!("{place}: {}", problem.path), &problem.message);
                    }
                    let base = file.parent().unwrap_or(Path::new("")).to_owned();
                    self.add(problems, raw, &place, &place, &base, wanted);
                }
                Err(wrong) => {
                    for problem in wrong.list() {
                        problems.add(format!("{place}: {}", problem.path), &problem.message);
                    }
                }
            },
            Err(why) => problems.add(place, why),
        }
    }

    fn add(
        &mut self,
        problems: &mut Problems,
        raw: RawPolicy,
        path: &str,
        place: &str,
        base: &Path,
        wanted: Option<&Path>,
    ) {
        let at = |name: &str| format!("{path}.{name}");
        let journal = problems.require(&at("journal"), raw.journal, "journal = \"DIRECTORY\", which counts");
        if let Some(journal) = journal.map(|journal| base.join(journal)) {
            for other in wanted.iter().copied().chain(self.journal.as_deref()) {
                if !same(&journal, other) {
                    problems.add(
                        at("journal"),
                        format_args!(
                            "counts in {}, and {} was named too",
                            journal.display(),
                            other.display()
                        ),
                    );
                }
            }
            self.journal = Some(journal);
        }
        let mut amount = |name: &str, field| {
            let text: String = problems.take(&at(name), field)?;
            problems.check(&at(name), Amount::parse_xno(&text))
        };
        let per_job = amount("max_per_job_xno", raw.max_per_job_xno);
        let per_seller = amount("max_per_seller_per_day_xno", raw.max_per_seller_per_day_xno);
        let per_day = amount("max_per_day_xno", raw.max_per_day_xno);
        let confirm_above = amount("confirm_above_xno", raw.confirm_above_xno);
        let sellers = list(problems, &at("sellers"), raw.sellers);
        let withdraw_to = list(problems, &at("withdraw_to"), raw.withdraw_to).unwrap_or_default();
        self.policies.push(Policy {
            place: place.to_owned(),
            per_job,
            per_seller,
            per_day,
            sellers,
            confirm_above,
            withdraw_to,
        });
    }
}

fn list<T: std::str::FromStr<Err: std::fmt::Display>>(
    problems: &mut Problems,
    path: &str,
    field: Option<Field<Vec<String>>>,
) -> Option<Vec<T>> {
    let texts = problems.take(path, field)?;
    let entries = texts.iter().enumerate();
    let read = entries.map(|(index, text)| problems.check(&format!("{path}[{index}]"), text.parse()));
    Some(read.collect::<Vec<Option<T>>>().into_iter().flatten().collect())
}

/// Whether two names are one directory, which may not be there yet.
fn same(one: &Path, other: &Path) -> bool {
    let whole = |path: &Path| fs::canonicalize(path).or_else(|_| std::path::absolute(path)).ok();
    whole(one).is_some_and(|one| Some(one) == whole(other))
}

/// The person at the terminal, if one is there. No flag takes their place.
pub(super) fn person() -> Option<Person> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return None;
    }
    Some(Arc::new(|spend: &Spend| {
        let price = spend.amount.to_xno();
        let mut terminal = io::stderr();
        let _ = writeln!(terminal, "pay {price} XNO to the seller {}?", spend.seller);
        let _ = write!(terminal, "type the price to confirm: ");
        let _ = terminal.flush();
        let mut line = String::new();
        io::stdin().read_line(&mut line).is_ok() && line.trim() == price
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(configured: &str, wanted: Option<&str>) -> (Found, Vec<String>) {
        let Document { raw, mut problems } = Document::<RawPolicy>::parse(configured).unwrap();
        let found = collect(&mut problems, Some(raw), Path::new("/b"), &[], wanted.map(Path::new));
        let told = |problem: &crate::config::Problem| format!("{}: {}", problem.path, problem.message);
        (found, problems.list().iter().map(told).collect())
    }

    #[test]
    fn a_policy_counts_in_one_journal_and_no_flag_leads_to_another() {
        let (found, problems) = read_all("journal = 'j'\nmax_per_day_xno = '0.5'", None);
        assert_eq!((found.journal.as_deref(), problems.len()), (Some(Path::new("/b/j")), 0));
        assert_eq!(found.policies[0].per_day, Some(Amount::parse_xno("0.5").unwrap()));
        assert!(read_all("journal = 'j'", Some("/b/j")).1.is_empty());
        assert!(read_all("journal = 'j'", Some("/b/k")).1[0].contains("/b/k was named too"));
        assert!(read_all("max_per_day_xno = '1'", None).1[0].starts_with("policy.journal: is missing"));
    }

    #[test]
    fn what_cannot_be_read_is_no_limit_less() {
        let text =
            "journal = 'j'\nmax_per_job_xno = 'much'\nsellers = ['x']\nwithdraw_to = ['nano_1']\nspeed = 1";
        let (_, problems) = read_all(text, None);
        let paths: Vec<&str> = problems.iter().map(|problem| problem.split(": ").next().unwrap()).collect();
        assert_eq!(paths, ["speed", "policy.max_per_job_xno", "policy.sellers[0]", "policy.withdraw_to[0]"]);
    }

    #[test]
    fn the_policy_beside_the_seed_is_found_and_must_be_its_owners() {
        let dir = tempfile::tempdir().unwrap();
        let seed = dir.path().join("seed");
        let look = || {
            let mut problems = Problems::default();
            let found = collect(&mut problems, None, Path::new(""), &[&seed], None);
            (found, problems)
        };
        assert!(look().0.policies.is_empty());
        let file = dir.path().join("seed.policy.toml");
        fs::write(&file, "journal = 'j'\nmax_per_job_xno = '1'").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        let (found, problems) = look();
        assert_eq!((found.policies.len(), found.journal), (1, Some(dir.path().join("j"))));
        assert!(problems.is_empty());
        fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
        assert!(look().1.to_string().contains("chmod go-w"));
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        fs::write(&file, "journal = ").unwrap();
        assert!(!look().1.is_empty());
    }
}

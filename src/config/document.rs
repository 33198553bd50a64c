//! Reading a TOML document so that a person sees every problem at once, each with its path.

use std::fmt;
use std::path::Path;

use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer};

use super::secret::{Secret, SecretRef, looks_secret};
use super::{Env, SecretError};

/// Problems that are listed at most: whoever has more has the wrong file.
const PROBLEMS_MAX: usize = 100;

/// One thing that is wrong with a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where: `offers[1].price_xno`, or the line of text that is no TOML.
    pub path: String,
    /// What is wrong, and what would be right.
    pub message: String,
}

/// All that is wrong with a document; never empty where it is an error.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

/// One line each.
impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            let end = if index + 1 == self.0.len() { "" } else { "\n" };
            write!(f, "{}: {}{end}", problem.path, problem.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

impl Problems {
    /// Notes one.
    pub fn add(&mut self, path: impl Into<String>, message: impl fmt::Display) {
        if self.0.len() < PROBLEMS_MAX {
            self.0.push(Problem { path: path.into(), message: message.to_string() });
        }
    }

    /// All of them, in the order in which they were found.
    #[must_use]
    pub fn list(&self) -> &[Problem] {
        &self.0
    }

    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value, or what was noted as a problem of `path`.
    pub fn check<T, E: fmt::Display>(&mut self, path: &str, value: Result<T, E>) -> Option<T> {
        value.map_err(|error| self.add(path, error)).ok()
    }

    /// What a field holds, if it is there and of its kind.
    pub fn take<T>(&mut self, path: &str, field: Option<Field<T>>) -> Option<T> {
        field.and_then(|field| self.check(path, field.0))
    }

    /// What a field holds, which must be there; `hint` says what to write.
    pub fn require<T>(&mut self, path: &str, field: Option<Field<T>>, hint: &str) -> Option<T> {
        if field.is_none() {
            self.add(path, format!("is missing; write {hint}"));
        }
        self.take(path, field)
    }

    /// The number in a field, within `range`, or `default` without the field.
    pub fn number(
        &mut self,
        path: &str,
        field: Option<Field<u64>>,
        default: u64,
        range: std::ops::RangeInclusive<u64>,
    ) -> u64 {
        let Some(number) = self.take(path, field) else { return default };
        if !range.contains(&number) {
            self.add(path, format!("{number} is not between {} and {}", range.start(), range.end()));
            return default;
        }
        number
    }

    /// The secret that a field refers to.
    pub fn secret(
        &mut self,
        path: &str,
        field: Option<Field<String>>,
        base: &Path,
        env: &Env,
    ) -> Option<Secret> {
        self.sealed(path, field, base, env, None)
    }

    /// The secret that a field refers to, which may be encrypted with a passphrase.
    pub fn sealed(
        &mut self,
        path: &str,
        field: Option<Field<String>>,
        base: &Path,
        env: &Env,
        passphrase: Option<&SecretRef>,
    ) -> Option<Secret> {
        let text = self.take(path, field)?;
        let secret = SecretRef::parse(&text, base).and_then(|reference| reference.unseal(env, passphrase));
        self.check(path, secret.map_err(with_cause))
    }

    /// The value, unless something is wrong.
    ///
    /// # Errors
    /// All problems.
    pub fn finish<T>(self, value: Option<T>) -> Result<T, Self> {
        match value {
            Some(value) if self.0.is_empty() => Ok(value),
            _ => Err(self),
        }
    }
}

fn with_cause(error: SecretError) -> String {
    match std::error::Error::source(&error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

/// A leaf of a document: a value of the right kind, or why it is not, so that one wrong leaf does
/// not hide the others.
#[derive(Debug, Clone)]
pub struct Field<T>(Result<T, String>);

impl<T> Field<T> {
    /// The value, or why there is none.
    ///
    /// # Errors
    /// In words for whoever wrote the document.
    pub fn into_result(self) -> Result<T, String> {
        self.0
    }

    /// A leaf that came from elsewhere than the document.
    #[must_use]
    pub const fn of(value: T) -> Self {
        Self(Ok(value))
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Field<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = toml::Value::deserialize(deserializer)?;
        Ok(Self(T::deserialize(value).map_err(|error| plain(error.message()))))
    }
}

/// A document as it was written, and what is wrong with it so far.
#[derive(Debug)]
pub struct Document<T> {
    /// What it says.
    pub raw: T,
    /// Unknown keys; whoever resolves the document adds what else is wrong.
    pub problems: Problems,
}

impl<T: DeserializeOwned> Document<T> {
    /// Reads a document. Leaves of `T` should be [`Field`]s, tables `Option`s or defaults.
    ///
    /// # Errors
    /// If it is no TOML, or a table or list stands where there should be none.
    pub fn parse(text: &str) -> Result<Self, Problems> {
        let mut problems = Problems::default();
        let deserializer = match toml::Deserializer::parse(text) {
            Ok(deserializer) => deserializer,
            Err(error) => {
                // Not the error's own text: that shows the line, which may hold a secret.
                problems.add(place(text, error.span()), plain(error.message()));
                return Err(problems);
            }
        };
        let mut unknown = Vec::new();
        let mut note = |path: serde_ignored::Path<'_>| unknown.push(readable(&path.to_string()));
        let mut track = serde_path_to_error::Track::new();
        let deserializer = serde_path_to_error::Deserializer::new(deserializer, &mut track);
        let raw = serde_ignored::deserialize(deserializer, &mut note);
        for path in unknown {
            problems.add(path, "no such setting");
        }
        match raw {
            Ok(raw) => Ok(Self { raw, problems }),
            Err(error) => {
                problems.add(track.path().to_string(), plain(error.message()));
                Err(problems)
            }
        }
    }
}

/// `offers.0.title` as `offers[0].title`, and without the marks of optional fields. A key that looks
/// like a secret is not repeated.
pub(crate) fn readable(path: &str) -> String {
    let mut text = String::new();
    for part in path.split('.').filter(|part| *part != "?") {
        if part.bytes().all(|byte| byte.is_ascii_digit()) {
            text.push_str(&format!("[{part}]"));
        } else {
            text.push_str(if text.is_empty() { "" } else { "." });
            text.push_str(part);
        }
    }
    if looks_secret(&text) { "(a key that looks like a secret)".to_owned() } else { text }
}

fn place(text: &str, span: Option<std::ops::Range<usize>>) -> String {
    let before = text.get(..span.map_or(0, |span| span.start)).unwrap_or_default();
    format!("line {}", before.matches('\n').count() + 1)
}

/// A message in one line, without the text that it quotes if that could be a secret.
fn plain(message: &str) -> String {
    let line = message.split_whitespace().collect::<Vec<_>>().join(" ");
    // Serde's words for what people call otherwise.
    let line = line
        .replace("expected a string", "expected a text in \"quotes\"")
        .replace("expected a sequence", "expected a list in [brackets]");
    if !looks_secret(&line) {
        return line;
    }
    match line.rsplit_once("expected ") {
        Some((_, expected)) if !looks_secret(expected) => format!("wrong kind of value, expected {expected}"),
        _ => "not a value of the right kind".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEX: &str = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";

    #[derive(Debug, Deserialize)]
    struct Raw {
        #[serde(default)]
        relay: Relay,
        #[serde(default)]
        offers: Vec<Offer>,
    }

    #[derive(Debug, Default, Deserialize)]
    struct Relay {
        url: Option<Field<String>>,
        tries: Option<Field<u64>>,
        key: Option<Field<String>>,
    }

    #[derive(Debug, Deserialize)]
    struct Offer {
        title: Option<Field<String>>,
    }

    fn read(text: &str) -> Vec<String> {
        let problems = match Document::<Raw>::parse(text) {
            Ok(Document { raw, mut problems }) => {
                problems.require("relay.url", raw.relay.url, "url = \"https://…\"");
                problems.number("relay.tries", raw.relay.tries, 3, 1..=9);
                problems.secret("relay.key", raw.relay.key, Path::new("."), &Env::from_fn(|_| None));
                for (index, offer) in raw.offers.into_iter().enumerate() {
                    problems.take(&format!("offers[{index}].title"), offer.title);
                }
                problems
            }
            Err(problems) => problems,
        };
        problems.list().iter().map(|problem| format!("{}: {}", problem.path, problem.message)).collect()
    }

    #[test]
    fn a_right_document_has_no_problems() {
        assert_eq!(read("[relay]\nurl = 'x'\ntries = 9\n[[offers]]\ntitle = 't'"), [""; 0]);
    }

    #[test]
    fn every_problem_is_listed_with_its_path() {
        let text = "color = 1\n[relay]\nurl = 5\ntries = 10\nkey = 'env:NOPE'\nspeed = 1\n\
                    [[offers]]\ntitle = 't'\n[[offers]]\ntitle = false\nprise = 1";
        assert_eq!(
            read(text),
            [
                "color: no such setting",
                "offers[1].prise: no such setting",
                "relay.speed: no such setting",
                "relay.url: invalid type: integer `5`, expected a text in \"quotes\"",
                "relay.tries: 10 is not between 1 and 9",
                "relay.key: the environment has no NOPE",
                "offers[1].title: invalid type: boolean `false`, expected a text in \"quotes\"",
            ]
        );
    }

    #[test]
    fn what_is_missing_is_said_with_what_to_write() {
        assert_eq!(read(""), ["relay.url: is missing; write url = \"https://…\""]);
    }

    #[test]
    fn what_is_no_document_is_said_with_its_line() {
        let problems = read("[relay]\nurl = 'x'\nurl = 'y'\n");
        assert!(problems[0].starts_with("line 3: "), "{problems:?}");
        let problems = read("relay = 5");
        assert!(problems[0].starts_with("relay: "), "{problems:?}");
    }

    #[test]
    fn a_secret_in_the_wrong_place_is_not_repeated() {
        for text in [
            format!("[relay]\nkey = {HEX}"),
            format!("[relay]\nkey = '{HEX}'"),
            format!("[relay]\ntries = '{HEX}'"),
            format!("[relay]\nurl = 'x'\n{HEX} = 1"),
            format!("offers = '{HEX}'"),
            format!("'{HEX}"),
        ] {
            let problems = read(&text);
            assert!(!problems.is_empty() && !format!("{problems:?}").contains(HEX), "{problems:?}");
        }
    }

    proptest! {
        #[test]
        fn garbage_never_panics(text in "[a-z\\[\\]='\"\n. 0-9]{0,80}") {
            let _ = read(&text);
        }
    }
}

//! `check`: every dependency with what to do about it. Works while the daemon runs.

mod disk;

mod wire;

use std::path::Path;

use serde_json::{Value, json};

use super::ask::{self, Answer};
use super::exit::{Exit, Failure};
use super::output::Output;
use super::{block_on, files};
use crate::config::Problems;
use crate::worker::executor::HandlerKind;
use crate::worker::report::Question;
use crate::worker::settings::Dialect;
use crate::worker::{Settings, settings};

/// How it is with one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Ok,
    Warn,
    Fail,
}

impl Level {
    const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// What was found out about one thing.
#[derive(Debug)]
struct Finding {
    what: String,
    level: Level,
    text: String,
    todo: Option<String>,
}

impl Finding {
    fn ok(what: impl Into<String>, text: impl Into<String>) -> Self {
        Self { what: what.into(), level: Level::Ok, text: text.into(), todo: None }
    }

    fn warn(what: impl Into<String>, text: impl Into<String>, todo: impl Into<String>) -> Self {
        Self { what: what.into(), level: Level::Warn, text: text.into(), todo: Some(todo.into()) }
    }

    fn fail(what: impl Into<String>, text: impl Into<String>, todo: impl Into<String>) -> Self {
        Self { what: what.into(), level: Level::Fail, text: text.into(), todo: Some(todo.into()) }
    }

    fn to_json(&self) -> Value {
        json!({ "what": self.what, "level": self.level.name(), "text": self.text, "todo": self.todo })
    }

    fn to_text(&self) -> String {
        let todo = self.todo.as_ref().map(|todo| format!("\n{:17}-> {todo}", "")).unwrap_or_default();
        format!("{:<5}{:<12}{}{todo}", self.level.name(), self.what, self.text)
    }
}

pub(super) fn run(config: &Path, out: Output) -> Result<Exit, Failure> {
    let findings = block_on(look(config))??;
    let failed = findings.iter().any(|finding| finding.level == Level::Fail);
    let list: Vec<Value> = findings.iter().map(Finding::to_json).collect();
    let lines: Vec<String> = findings.iter().map(Finding::to_text).collect();
    out.answer(&json!({ "ok": !failed, "checks": list }), lines.join("\n"));
    Ok(if failed { Exit::CheckFailed } else { Exit::Done })
}

async fn look(config: &Path) -> Result<Vec<Finding>, Failure> {
    let files::Written { text, base } = files::read(config)?;
    let mut findings = Vec::new();
    match settings::parse(&text, &base, &crate::cli::vault::env()) {
        Err(problems) => {
            findings.extend(problem_findings(&problems));
            let dir = files::state_dir(config)?;
            findings.extend(disk::state(&dir));
        }
        Ok(settings) => {
            findings.push(Finding::ok("config", config.display().to_string()));
            // Before the store is opened, which closes its directory to others.
            let disk = disk::state(&settings.state_dir);
            findings.extend(belonging(&settings).await);
            findings.extend(disk);
            findings.extend(wire::relay(&settings).await);
            findings.extend(wire::nodes(&settings).await);
            findings.extend(handlers(&settings).await);
        }
    }
    Ok(findings)
}

/// A configuration that cannot be used names its problems where people look for them.
fn problem_findings(problems: &Problems) -> Vec<Finding> {
    let list = problems.list().iter().map(|problem| {
        let what = match problem.path.as_str() {
            "relay.key" | "relay.sealing_key" => "key",
            "nano.seed" => "seed",
            path if path.contains(".handler") => "handler",
            _ => "config",
        };
        // Where there is a secret, another one would be another seller's, or another wallet's.
        let missing = problem.message.starts_with("cannot read");
        let todo = match what {
            "key" if missing && problem.path == "relay.sealing_key" => {
                "`worker keys new` makes one where relay.sealing_key says"
            }
            "key" if missing => "`worker key new` makes one where relay.key says",
            "seed" if missing => "`worker wallet new` makes one where nano.seed says",
            "key" => "correct what relay.key names",
            "seed" => "correct what nano.seed names",
            _ => "correct it; the relay, the node and the handlers are checked once the configuration can be used",
        };
        Finding::fail(what, format!("{}: {}", problem.path, problem.message), todo)
    });
    list.collect()
}

/// Whether the state was made with this key and this seed.
async fn belonging(settings: &Settings) -> Vec<Finding> {
    let key = match &settings.dialect {
        Dialect::V1 => settings.signer.public_key().to_string(),
        Dialect::V0(bot) => bot.keys.bot_id().to_string(),
    };
    let Ok(account) = settings.accounts.get(0) else {
        return vec![Finding::fail(
            "seed",
            "it has no first account",
            "make another with `worker wallet new`",
        )];
    };
    let account = account.to_string();
    let known = match ask::ask(&settings.state_dir, &Question::Status).await {
        Ok(Answer { value, .. }) => value,
        Err(failure) if failure.exit == Exit::State && !ask::is_store(&settings.state_dir) => Value::Null,
        Err(failure) => {
            let todo = "until it can be read, nobody knows whose it is";
            return vec![
                Finding::ok("key", key),
                Finding::ok("seed", format!("first account {account}")),
                Finding::fail("state", failure.to_string(), todo),
            ];
        }
    };
    vec![
        same("key", "relay.key", &known["seller_pubkey"], key),
        same("seed", "nano.seed", &known["first_account"], account),
    ]
}

fn same(what: &str, setting: &str, known: &Value, ours: String) -> Finding {
    match known.as_str() {
        Some(known) if known != ours => Finding::fail(
            what,
            format!("the state belongs to {known}, this is {ours}"),
            format!("name the right one in {setting}, or another [state] dir"),
        ),
        _ => Finding::ok(what, ours),
    }
}

/// Programs were looked up when the configuration was read.
async fn handlers(settings: &Settings) -> Vec<Finding> {
    let mut findings = Vec::new();
    for offer in &settings.offers {
        findings.push(match &offer.handler.kind {
            HandlerKind::Command { program, .. } => {
                Finding::ok("handler", format!("{}: {}", offer.name, program.display()))
            }
            HandlerKind::Url(url) => wire::service(&offer.name, url).await,
            HandlerKind::Function(_) => Finding::ok("handler", format!("{}: built in", offer.name)),
        });
    }
    findings
}

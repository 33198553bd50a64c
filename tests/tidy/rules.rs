//! The rules: each is a function from the text of one file to what is wrong with it.

use crate::source::{self, Path, Token, paths, production, spells};

/// One broken rule.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) place: String,
    pub(crate) message: String,
}

/// What the modules under one path may not name.
struct Layer {
    /// A module path; a row for `worker` covers `worker::machine` too.
    of: &'static str,
    never: &'static [&'static str],
}

/// What the tables of moves know nothing of: they are about names alone.
const SHAPES: &[&str] = &[
    "nano",
    "protocol::apply",
    "protocol::event",
    "protocol::ids",
    "protocol::job",
    "protocol::limits",
    "protocol::offer",
    "protocol::refusal",
    "protocol::signing",
    "protocol::time",
];

/// Ways to reach a machine outside; a decision uses none of them.
const IO: &[&str] = &[
    "axum",
    "mock_nano_rpc",
    "nano::Rpc",
    "nano::quorum",
    "nano::rpc",
    "nano::stream",
    "reqwest",
    "std::env",
    "std::fs",
    "std::net",
    "std::process",
    "std::thread",
    "tokio",
    "tokio_tungstenite",
    "tracing",
];

/// The import graph of ARCHITECTURE.md. Every folder and file directly in `src/` has a row.
const LAYERS: &[Layer] = &[
    Layer {
        of: "nano",
        never: &[
            "buyer",
            "cli",
            "client",
            "config",
            "edge",
            "mock_nano_rpc",
            "protocol",
            "relay",
            "store",
            "worker",
        ],
    },
    Layer { of: "protocol", never: IO },
    Layer {
        of: "protocol",
        never: &["buyer", "cli", "client", "config", "edge", "points", "relay", "store", "worker"],
    },
    Layer { of: "protocol::lifecycle", never: SHAPES },
    Layer { of: "protocol::v0", never: &["getrandom", "rand"] },
    Layer { of: "protocol::v0::lifecycle", never: SHAPES },
    Layer { of: "protocol::table", never: SHAPES },
    Layer {
        of: "store",
        never: &["buyer", "cli", "client", "config", "nano", "protocol", "relay", "worker"],
    },
    Layer { of: "client", never: &["buyer", "cli", "config", "relay", "store", "worker"] },
    Layer { of: "worker", never: &["buyer", "cli", "mock_nano_rpc", "relay"] },
    Layer { of: "worker::machine", never: IO },
    Layer { of: "worker::machine", never: &["client", "edge", "points", "store"] },
    Layer { of: "worker::payment", never: IO },
    Layer { of: "worker::payment", never: &["client", "edge", "points", "store"] },
    Layer { of: "worker::lease", never: IO },
    Layer { of: "worker::lease", never: &["client", "edge", "points", "store"] },
    Layer {
        of: "relay",
        never: &[
            "buyer",
            "cli",
            "client",
            "mock_nano_rpc",
            "nano::Rpc",
            "nano::quorum",
            "nano::rpc",
            "nano::stream",
            "worker",
        ],
    },
    Layer { of: "relay::service", never: &["axum"] },
    Layer { of: "relay::http", never: &["relay::storage"] },
    Layer { of: "relay::storage", never: &["axum"] },
    Layer { of: "relay::storage::embedded", never: &["relay::storage::postgres"] },
    Layer { of: "relay::storage::postgres", never: &["relay::storage::embedded", "store"] },
    Layer { of: "buyer", never: &["cli", "mock_nano_rpc", "relay", "worker"] },
    Layer { of: "edge", never: &["buyer", "cli", "client", "config", "relay", "store", "worker"] },
    Layer {
        of: "points",
        never: &[
            "buyer",
            "cli",
            "client",
            "config",
            "edge",
            "mock_nano_rpc",
            "nano",
            "protocol",
            "relay",
            "store",
            "worker",
        ],
    },
    Layer { of: "config", never: &["cli", "client", "mock_nano_rpc", "store"] },
    Layer { of: "cli", never: &[] },
    Layer { of: "fuzzing", never: &[] },
    Layer {
        of: "bin",
        never: &["buyer", "client", "config", "edge", "nano", "protocol", "relay", "store", "worker"],
    },
    Layer {
        of: "mock_nano_rpc",
        never: &["buyer", "cli", "client", "config", "edge", "protocol", "relay", "store", "worker"],
    },
];

/// Modules that may name what their layer may not, and why.
const EXCEPTIONS: &[(&str, &str, &str)] = &[
    ("store::key", "nano", "a block's hash is a key, and only the key's own folder says how it sorts"),
    ("store::key", "protocol", "so are the ids"),
];

/// A file this long says several things; it is split before it grows further.
const LINES_MAX: usize = 600;
/// Above this a file is on the list that tidy prints, so that the tail stays in sight.
pub(crate) const LINES_NOTED: usize = 400;
/// A binary parses, dispatches and ends.
const BIN_LINES_MAX: usize = 40;
/// Fewer words than this name a constant; they do not say why it has its value.
const REASON_WORDS_MIN: usize = 4;

/// Where the program may print: the command line, and programs that no user pipes.
const MAY_PRINT: &[&str] = &["src/bin/", "src/cli/", "mock-nano-rpc/src/main.rs"];

/// Tests and benches of the crate that lives inside `src/`: no program holds them.
const NOT_SHIPPED: &[&str] = &["src/nano/tests/", "src/nano/benches/"];

/// What is wrong with the Rust file at `path`, relative to the root of the repository.
pub(crate) fn rust(path: &str, text: &str) -> Vec<Finding> {
    let all = source::tokens(text);
    let shipped = production(&all);
    let module = module_of(path);
    let mut found = Vec::new();
    found.extend(layers(path, &module, &paths(&all, &module)));
    found.extend(silenced(path, &all));
    found.extend(shape(path, text, &all));
    if NOT_SHIPPED.iter().any(|folder| path.starts_with(folder)) {
        return found;
    }
    if path.starts_with("src/") || path.starts_with("mock-nano-rpc/src/") {
        found.extend(prints(path, &shipped, &module));
    }
    if path.starts_with("src/") {
        found.extend(clock(path, &paths(&shipped, &module)));
        found.extend(awaits(path, &shipped, &module));
    }
    if matches!(path, "src/protocol/limits.rs" | "src/protocol/v0/limits.rs") {
        found.extend(reasons(path, text));
    }
    found
}

/// What is wrong with any text file, Rust or not.
pub(crate) fn any(path: &str, text: &str) -> Vec<Finding> {
    let fixture = path.contains("/fixtures/");
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if line.contains('\t') && !fixture {
            found.push(at(path, index + 1, "a tab; indent with spaces"));
        }
        if let Some(place) = machine_path(line) {
            found.push(at(path, index + 1, &format!("names a place on one machine: {place}")));
        }
    }
    found
}

/// The module that a file is, as a path from the root of the main crate.
fn module_of(path: &str) -> Vec<String> {
    let inside = path.strip_suffix(".rs").unwrap_or(path);
    let (root, inside) = match inside.split_once('/') {
        Some(("src", inside)) => (None, inside),
        Some(("mock-nano-rpc", inside)) => {
            (Some("mock_nano_rpc"), inside.strip_prefix("src/").unwrap_or(inside))
        }
        _ => (Some("outside"), inside),
    };
    let names = inside.split('/').filter(|name| !matches!(*name, "lib" | "mod" | "main"));
    root.into_iter().chain(names).map(str::to_owned).collect()
}

/// Who may name whom; sled and backoff, which have one home each; folders without a row.
fn layers(path: &str, module: &[String], paths: &[Path]) -> Vec<Finding> {
    let mut found = Vec::new();
    if path.starts_with("src/") && !module.is_empty() && !LAYERS.iter().any(|layer| layer.of == module[0]) {
        found.push(at(path, 1, &format!("`{}` has no row in the layers of tests/tidy/rules.rs", module[0])));
    }
    for used in paths {
        for layer in LAYERS.iter().filter(|layer| leads_into(module, layer.of)) {
            for never in layer.never.iter().filter(|never| forbids(layer, never, used, module)) {
                found.push(at(path, used.line, &format!("`{}` must not name `{never}`", layer.of)));
            }
        }
        if names_crate(used, "sled") && !path.starts_with("src/store/") {
            found.push(at(path, used.line, "only src/store names sled"));
        }
        if names_crate(used, "backoff") && !path.starts_with("src/client/") {
            found.push(at(path, used.line, "only one module of src/client names backoff"));
        }
    }
    found
}

/// Whether `never` of `layer` stands against this use in `module`.
fn forbids(layer: &Layer, never: &str, used: &Path, module: &[String]) -> bool {
    let first = never.split("::").next().unwrap_or_default();
    let ours = first != "mock_nano_rpc" && LAYERS.iter().any(|layer| layer.of == first);
    let itself = used.local && leads_into(&used.segments, layer.of);
    let excepted =
        EXCEPTIONS.iter().any(|(of, may, _)| leads_into(module, of) && leads_into(&used.segments, may));
    leads_into(&used.segments, never) && used.local == ours && !itself && !excepted
}

fn leads_into(path: &[String], place: &str) -> bool {
    let mut wanted = place.split("::");
    path.iter().zip(&mut wanted).all(|(have, want)| have == want) && path.len() >= place.split("::").count()
}

fn names_crate(path: &Path, name: &str) -> bool {
    !path.local && path.segments.first().is_some_and(|first| first == name)
}

/// Whether the file names the crate `backoff`; tidy allows one such file.
pub(crate) fn names_backoff(path: &str, text: &str) -> bool {
    paths(&source::tokens(text), &module_of(path)).iter().any(|used| names_crate(used, "backoff"))
}

/// Lints that are switched off rather than expected, tests that never run, work left undone.
fn silenced(path: &str, tokens: &[Token<'_>]) -> Vec<Finding> {
    let mut found = Vec::new();
    for (index, token) in tokens.iter().enumerate() {
        let rest = &tokens[index..];
        let before = index.checked_sub(1).map_or("", |index| tokens[index].text);
        let in_attribute = matches!(before, "[" | ",");
        let message = match token.text {
            "todo" | "unimplemented" | "dbg" if follows(rest, "!") => "unfinished work",
            "allow" if in_attribute && follows(rest, "(") => {
                "`allow` hides a lint; use `expect` with a reason"
            }
            "ignore" if in_attribute && attribute_opens(tokens, index) => {
                "a test that never runs proves nothing"
            }
            "expect" if in_attribute && follows(rest, "(") && !gives_reason(rest) => {
                "`expect` without a reason"
            }
            _ => continue,
        };
        found.push(at(path, token.line, message));
    }
    found
}

fn follows(rest: &[Token<'_>], sign: &str) -> bool {
    rest.get(1).is_some_and(|token| token.text == sign)
}

/// Whether the bracket or list that holds the word at `index` is an attribute's.
fn attribute_opens(tokens: &[Token<'_>], index: usize) -> bool {
    let open = tokens[..index].iter().rposition(|token| token.text == "[").unwrap_or(0);
    let closed = tokens[open..index].iter().any(|token| token.text == "]");
    open > 0 && !closed && matches!(tokens[open - 1].text, "#" | "!")
}

fn gives_reason(rest: &[Token<'_>]) -> bool {
    let end = rest.iter().position(|token| token.text == "]").unwrap_or(rest.len());
    rest[..end].windows(3).any(|window| spells(window, &["reason", "=", "\"\""]))
}

/// Length, the module's own sentence, binaries and the crate root without logic.
fn shape(path: &str, text: &str, tokens: &[Token<'_>]) -> Vec<Finding> {
    let mut found = Vec::new();
    let lines = text.lines().count();
    if lines > LINES_MAX {
        found.push(at(path, lines, &format!("{lines} lines; split it before {LINES_MAX}")));
    }
    let begins = text.lines().find(|line| !line.trim().is_empty());
    if begins.is_some_and(|line| !line.starts_with("//!")) {
        found.push(at(path, 1, "begins without a `//!` that says what it is for"));
    }
    if path.starts_with("src/bin/") && lines > BIN_LINES_MAX {
        found.push(at(path, lines, "a binary parses, dispatches and ends; its logic belongs to src/cli"));
    }
    if let Some(logic) = tokens.iter().find(|token| token.text == "fn" && path == "src/lib.rs") {
        found.push(at(path, logic.line, "the crate's root is a map and holds no logic"));
    }
    found
}

/// Output from anywhere but the command line.
fn prints(path: &str, tokens: &[Token<'_>], module: &[String]) -> Vec<Finding> {
    if MAY_PRINT.iter().any(|allowed| path.starts_with(allowed)) {
        return Vec::new();
    }
    let macros = tokens.iter().enumerate().filter(|(index, token)| {
        matches!(token.text, "print" | "println" | "eprint" | "eprintln") && follows(&tokens[*index..], "!")
    });
    let streams = paths(tokens, module)
        .into_iter()
        .filter(|used| ends_with(used, &["io", "stdout"]))
        .map(|used| at(path, used.line, "only src/cli and the binaries write to stdout"));
    macros
        .map(|(_, token)| at(path, token.line, "only src/cli and the binaries print"))
        .chain(streams)
        .collect()
}

/// Clock and randomness outside the edge. Clippy's ban can be lifted in place, this one cannot.
fn clock(path: &str, paths: &[Path]) -> Vec<Finding> {
    if path == "src/edge.rs" || path.starts_with("src/edge/") {
        return Vec::new();
    }
    let sources: &[&[&str]] =
        &[&["Instant", "now"], &["SystemTime", "now"], &["OffsetDateTime", "now_utc"], &["Uuid", "new_v4"]];
    paths
        .iter()
        .filter(|used| names_crate(used, "getrandom") || sources.iter().any(|source| ends_with(used, source)))
        .map(|used| at(path, used.line, "clock and randomness come from src/edge.rs, as arguments"))
        .collect()
}

fn ends_with(path: &Path, words: &[&str]) -> bool {
    path.segments.len() >= words.len()
        && path.segments.iter().rev().zip(words.iter().rev()).all(|(a, b)| a == b)
}

/// The currency computes; only the files that speak to a node wait.
fn awaits(path: &str, tokens: &[Token<'_>], module: &[String]) -> Vec<Finding> {
    let speaks = module.get(1).is_some_and(|name| name.starts_with("rpc") || name == "stream");
    if module.first().is_none_or(|first| first != "nano") || speaks {
        return Vec::new();
    }
    let waits = tokens.windows(2).filter(|window| spells(window, &[".", "await"]));
    waits.map(|window| at(path, window[0].line, "only rpc*.rs and stream.rs of src/nano await")).collect()
}

/// Constants that do not say why they have their value.
fn reasons(path: &str, text: &str) -> Vec<Finding> {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let declares =
        |line: &str| line.split_whitespace().take(2).any(|word| word == "const") && line.contains('=');
    let mut found = Vec::new();
    for (index, line) in lines.iter().enumerate().filter(|(_, line)| declares(line)) {
        let above = lines[..index].iter().rev().skip_while(|line| line.starts_with("#["));
        let words: usize =
            above.map_while(|line| line.strip_prefix("///")).map(|doc| doc.split_whitespace().count()).sum();
        if words < REASON_WORDS_MIN {
            found.push(at(path, index + 1, &format!("a limit without its reason: {line}")));
        }
    }
    found
}

/// A path that exists on one machine only, if the line has one.
fn machine_path(line: &str) -> Option<&'static str> {
    // Written in pieces, so that this file does not break its own rule.
    const PLACES: &[&str] =
        &[concat!("/", "work/"), concat!("/", "root/"), concat!("/", "Users/"), concat!("../", "shared")];
    PLACES.iter().copied().find(|place| {
        line.match_indices(place).any(|(start, _)| {
            let before = line[..start].chars().next_back().unwrap_or(' ');
            !before.is_alphanumeric() && !matches!(before, '_' | '-' | '.' | '}' | '*')
        })
    })
}

fn at(path: &str, line: usize, message: &str) -> Finding {
    Finding { place: format!("{path}:{line}"), message: message.to_owned() }
}

//! A Rust source as tidy sees it: tokens without comments and literals, and the paths they spell.

use std::collections::BTreeMap;

/// A word, a `::`, a single sign, or `""` in place of any literal text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token<'a> {
    pub(crate) text: &'a str,
    pub(crate) line: usize,
}

/// A path as written, resolved to where it leads: `["worker", "machine"]` or `["sled", "Db"]`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Path {
    pub(crate) segments: Vec<String>,
    /// It began with `crate`, `self`, `super` or the crate's own name, so it names no other crate.
    pub(crate) local: bool,
    pub(crate) line: usize,
}

/// Splits `text`. Never fails: a source that does not compile is the compiler's affair.
pub(crate) fn tokens(text: &str) -> Vec<Token<'_>> {
    let bytes = text.as_bytes();
    let (mut found, mut at, mut line) = (Vec::new(), 0, 1);
    while at < bytes.len() {
        let rest = &text[at..];
        let (length, token) = next(rest);
        if let Some(text) = token {
            found.push(Token { text, line });
        }
        line += bytes[at..at + length].iter().filter(|byte| **byte == b'\n').count();
        at += length;
    }
    found
}

/// How many bytes the next piece has, and what it means.
fn next(rest: &str) -> (usize, Option<&str>) {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let first = rest.chars().next().unwrap_or(' ');
    if rest.starts_with("//") {
        return (rest.find('\n').unwrap_or(rest.len()), None);
    }
    if rest.starts_with("/*") {
        return (block_comment(rest), None);
    }
    if let Some(length) = text_literal(rest) {
        return (length, Some("\"\""));
    }
    if first == '\'' {
        return (quote(rest), None);
    }
    if rest.starts_with("::") {
        return (2, Some("::"));
    }
    if is_word(first) {
        let length = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        return (length, Some(&rest[..length]));
    }
    let length = first.len_utf8();
    (length, (!first.is_whitespace()).then(|| &rest[..length]))
}

fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < rest.len() {
        let tail = &rest.as_bytes()[at..];
        if tail.starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if tail.starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

/// The length of a string literal of any kind that begins here.
fn text_literal(rest: &str) -> Option<usize> {
    let prefix = rest.find(|c| !matches!(c, 'b' | 'c' | 'r'))?;
    let raw = rest[..prefix].ends_with('r');
    let hashes = if raw { rest[prefix..].chars().take_while(|c| *c == '#').count() } else { 0 };
    let open = prefix + hashes;
    if prefix > 2 || !rest[open..].starts_with('"') {
        return None;
    }
    let body = open + 1;
    if raw {
        let close = format!("\"{}", "#".repeat(hashes));
        return Some(rest[body..].find(&close).map_or(rest.len(), |at| body + at + close.len()));
    }
    let mut escaped = false;
    for (at, byte) in rest.bytes().enumerate().skip(body) {
        match byte {
            b'"' if !escaped => return Some(at + 1),
            b'\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    Some(rest.len())
}

/// The length of a character literal, or of the tick of a lifetime.
fn quote(rest: &str) -> usize {
    let mut chars = rest.char_indices().skip(1);
    match (chars.next(), chars.next()) {
        (Some((_, '\\')), Some((escaped, _))) => {
            rest[escaped + 1..].find('\'').map_or(rest.len(), |at| escaped + at + 2)
        }
        (Some(_), Some((at, '\''))) => at + 1,
        _ => 1,
    }
}

/// The tokens without what `#[cfg(test)]` keeps out of the program.
pub(crate) fn production<'a>(tokens: &[Token<'a>]) -> Vec<Token<'a>> {
    let mut kept = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if spells(&tokens[at..], &["#", "[", "cfg", "(", "test", ")", "]"]) {
            at = item_end(tokens, at);
        } else {
            kept.push(tokens[at]);
            at += 1;
        }
    }
    kept
}

/// Whether `tokens` begins with `words`.
pub(crate) fn spells(tokens: &[Token<'_>], words: &[&str]) -> bool {
    tokens.len() >= words.len() && tokens.iter().zip(words).all(|(token, word)| token.text == *word)
}

/// One past the item that begins at `at` with its attributes.
fn item_end(tokens: &[Token<'_>], mut at: usize) -> usize {
    let mut depth = 0_usize;
    while at < tokens.len() {
        match tokens[at].text {
            "{" | "(" | "[" => depth += 1,
            "}" | ")" | "]" => {
                depth = depth.saturating_sub(1);
                if depth == 0 && tokens[at].text == "}" {
                    return at + 1;
                }
            }
            ";" if depth == 0 => return at + 1,
            _ => {}
        }
        at += 1;
    }
    at
}

/// Every path in the source of `module`. Groups are spelled out; `super`, `crate` and the names that the
/// file's own `use` lines introduce are followed.
pub(crate) fn paths(tokens: &[Token<'_>], module: &[String]) -> Vec<Path> {
    let mut found = Vec::new();
    let mut imported: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let mut inline: Vec<(String, usize)> = Vec::new();
    let (mut at, mut depth) = (0, 0_usize);
    while at < tokens.len() {
        match tokens[at].text {
            "{" => depth += 1,
            "}" => {
                depth = depth.saturating_sub(1);
                inline.retain(|(_, inside)| *inside <= depth);
            }
            "mod" if spells(&tokens[(at + 2).min(tokens.len())..], &["{"]) => {
                inline.push((tokens[at + 1].text.to_owned(), depth + 1));
            }
            _ if begins_path(tokens, at) => {
                let (line, imports) = (tokens[at].line, at > 0 && tokens[at - 1].text == "use");
                let mut written = Vec::new();
                at = tree(tokens, at, &[], &mut written);
                let here: Vec<String> =
                    module.iter().cloned().chain(inline.iter().map(|(name, _)| name.clone())).collect();
                for Written { segments, name } in written {
                    let path = resolve(&segments, &here, line);
                    if imports && path.local {
                        imported.insert(name, path.segments.clone());
                    }
                    found.push(path);
                }
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    for path in found.iter_mut().filter(|path| !path.local && path.segments.len() > 1) {
        if let Some(origin) = imported.get(path.segments[0].as_str()) {
            path.segments.splice(..1, origin.iter().cloned());
            path.local = true;
        }
    }
    found
}

/// A path as written, and the name by which a `use` of it is known.
struct Written<'a> {
    segments: Vec<&'a str>,
    name: &'a str,
}

fn begins_path(tokens: &[Token<'_>], at: usize) -> bool {
    let text =
        |index: Option<usize>| index.and_then(|index| tokens.get(index)).map_or("", |token| token.text);
    let before = text(at.checked_sub(1));
    let absolute = before == "::" && !is_word(text(at.checked_sub(2))) && text(at.checked_sub(2)) != ">";
    is_word(tokens[at].text)
        && (before != "::" || absolute)
        && (text(Some(at + 1)) == "::" || matches!(before, "use" | "crate"))
}

fn is_word(text: &str) -> bool {
    text.chars().next().is_some_and(|c| c.is_alphanumeric() || c == '_')
}

/// Reads one path or group of paths, and returns where it ends.
fn tree<'a>(tokens: &[Token<'a>], mut at: usize, prefix: &[&'a str], out: &mut Vec<Written<'a>>) -> usize {
    let mut segments = prefix.to_vec();
    while let Some(token) = tokens.get(at) {
        if token.text == "{" && !segments.is_empty() {
            return group(tokens, at + 1, &segments, out);
        }
        if !is_word(token.text) && token.text != "*" {
            break;
        }
        segments.push(token.text);
        at += 1;
        if tokens.get(at).is_none_or(|token| token.text != "::") {
            break;
        }
        at += 1;
    }
    if segments.len() > 1 && segments.last() == Some(&"self") {
        segments.pop();
    }
    let renamed = spells(&tokens[at.min(tokens.len())..], &["as"]);
    let name = if renamed { tokens.get(at + 1).map(|token| token.text) } else { segments.last().copied() };
    out.push(Written { segments, name: name.unwrap_or_default() });
    at
}

fn group<'a>(tokens: &[Token<'a>], mut at: usize, prefix: &[&'a str], out: &mut Vec<Written<'a>>) -> usize {
    while let Some(token) = tokens.get(at) {
        match token.text {
            "}" => return at + 1,
            "," => at += 1,
            "as" => at += 2,
            _ => at = tree(tokens, at, prefix, out).max(at + 1),
        }
    }
    at
}

fn resolve(written: &[&str], here: &[String], line: usize) -> Path {
    let owned = |segments: &[&str]| segments.iter().map(|segment| (*segment).to_owned()).collect::<Vec<_>>();
    let supers = written.iter().take_while(|segment| **segment == "super").count();
    let own_crate = match here.first().map(String::as_str) {
        Some(root @ ("nano" | "mock_nano_rpc")) => vec![root.to_owned()],
        _ => Vec::new(),
    };
    let (start, taken, local) = match written {
        ["crate", ..] => (own_crate, 1, true),
        ["nano_worker", ..] => (Vec::new(), 1, true),
        ["nano_currency", ..] => (vec!["nano".to_owned()], 1, true),
        ["self", "super", ..] => return resolve(&written[1..], here, line),
        ["self", ..] => (here.to_vec(), 1, true),
        ["super", ..] => (here[..here.len().saturating_sub(supers)].to_vec(), supers, true),
        _ => (Vec::new(), 0, false),
    };
    Path { segments: start.into_iter().chain(owned(&written[taken..])).collect(), local, line }
}

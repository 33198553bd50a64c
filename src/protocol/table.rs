//! Tables of moves, as both dialects have one: who may do what to a thing, and where it leaves it.

use std::fmt::Display;

/// One row: who may do what, and where it leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Move<Status, Actor, Verb> {
    /// Where the thing is.
    pub from: Status,
    /// Who moves it.
    pub actor: Actor,
    /// What is done.
    pub verb: Verb,
    /// Where it is afterwards.
    pub to: Status,
    /// What must hold besides, in words; `""` for nothing.
    pub guard: &'static str,
}

/// Writes a row as a line.
pub const fn row<Status, Actor, Verb>(
    from: Status,
    actor: Actor,
    verb: Verb,
    to: Status,
    guard: &'static str,
) -> Move<Status, Actor, Verb> {
    Move { from, actor, verb, to, guard }
}

/// The row that says where `verb` by `actor` leads from `from`, if anywhere.
pub fn find<S: Copy + PartialEq, A: Copy + PartialEq, V: Copy + PartialEq>(
    table: &'static [Move<S, A, V>],
    from: S,
    actor: A,
    verb: V,
) -> Option<&'static Move<S, A, V>> {
    table.iter().find(|row| row.from == from && row.actor == actor && row.verb == verb)
}

/// Whether `table` leads from `from` to `later`, in any number of moves or none.
pub fn reaches<S: Copy + PartialEq, A, V>(table: &[Move<S, A, V>], from: S, later: S) -> bool {
    let mut reached = vec![from];
    let mut next = 0;
    while let Some(&here) = reached.get(next) {
        for row in table.iter().filter(|row| row.from == here) {
            if !reached.contains(&row.to) {
                reached.push(row.to);
            }
        }
        next += 1;
    }
    reached.contains(&later)
}

/// `table` as a Mermaid state diagram that begins with `first` and ends in each of `ends`.
pub fn mermaid<S: Display, A: Display, V: Display>(
    table: &[Move<S, A, V>],
    first: S,
    ends: impl Iterator<Item = S>,
) -> String {
    let mut text = format!("stateDiagram-v2\n    [*] --> {first}: buyer request\n");
    for Move { from, actor, verb, to, .. } in table {
        text.push_str(&format!("    {from} --> {to}: {actor} {verb}\n"));
    }
    for end in ends {
        text.push_str(&format!("    {end} --> [*]\n"));
    }
    text
}

/// `table` as a table in Markdown.
pub fn markdown<S: Display, A: Display, V: Display>(table: &[Move<S, A, V>]) -> String {
    let mut text = String::from("| from | who | does | to | guard |\n|---|---|---|---|---|\n");
    for Move { from, actor, verb, to, guard } in table {
        text.push_str(&format!("| {from} | {actor} | {verb} | {to} | {guard} |\n"));
    }
    text
}

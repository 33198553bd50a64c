//! Agreement of several nodes, decided without asking anybody.
//!
//! A block proves what it says, but not that the network confirmed it: that is a node's word, and
//! one node may lie, lag or be cut off. So a word counts when `quorum` nodes say it and no other
//! word has as many behind it. Everything else is *unknown*, and says who said what. Whoever wants
//! certainty against liars sets the quorum above half of the nodes; then two words never both
//! have it.
//!
//! The asking is in [`crate::rpc::panel`].

use std::collections::{BTreeMap, BTreeSet};

use crate::rpc::{Receivable, Receivables};
use crate::{Account, Amount, BlockHash};

/// What one node says about one block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Word {
    /// It is a payment.
    Sent {
        /// Who paid.
        from: Account,
        /// Who was paid.
        to: Account,
        /// How much.
        amount: Amount,
        /// Whether the network has decided for it.
        confirmed: bool,
    },
    /// It is a block, and pays nobody.
    NoPayment {
        /// Whether the network has decided for it.
        confirmed: bool,
    },
    /// The node does not know it: not yet, or not any more.
    NotFound,
}

/// A node, and what it said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Testimony<W> {
    /// The node's name, as logs show it. Two addresses of one host are one node.
    pub node: String,
    /// Its word, or why there is none: it was not asked, did not answer, or gave nothing usable.
    pub said: Result<W, String>,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict<W> {
    /// Enough nodes say this.
    Agreed {
        /// What they say.
        word: W,
        /// Those that say something else, or nothing.
        dissent: Vec<Testimony<W>>,
    },
    /// Too few say the same.
    Unknown {
        /// Who says what.
        said: Vec<Testimony<W>>,
    },
}

impl<W> Verdict<W> {
    /// The word, if there is one.
    pub const fn agreed(&self) -> Option<&W> {
        match self {
            Self::Agreed { word, .. } => Some(word),
            Self::Unknown { .. } => None,
        }
    }
}

/// Counts the nodes behind each word.
///
/// A node that says two things, under two addresses of the same host, counts for neither. A
/// quorum of zero is one: nobody's word is no word.
#[must_use]
pub fn agree<W: Clone + PartialEq>(said: &[Testimony<W>], quorum: usize) -> Verdict<W> {
    let quorum = quorum.max(1);
    let words = consistent(said);
    let mut agreed: Vec<&W> = Vec::new();
    for word in words.values() {
        let behind = words.values().filter(|other| *other == word).count();
        if behind >= quorum && !agreed.contains(word) {
            agreed.push(word);
        }
    }
    match agreed[..] {
        [word] => {
            let differs = |testimony: &&Testimony<W>| testimony.said.as_ref() != Ok(word);
            Verdict::Agreed { word: word.clone(), dissent: said.iter().filter(differs).cloned().collect() }
        }
        _ => Verdict::Unknown { said: said.to_vec() },
    }
}

/// One word for each node that said one thing.
fn consistent<W: PartialEq>(said: &[Testimony<W>]) -> BTreeMap<&str, &W> {
    let mut words = BTreeMap::new();
    let mut fickle = BTreeSet::new();
    for testimony in said {
        let Ok(word) = &testimony.said else { continue };
        let node = testimony.node.as_str();
        if words.insert(node, word).is_some_and(|before| before != word) {
            fickle.insert(node);
        }
    }
    words.retain(|node, _| !fickle.contains(node));
    words
}

/// Everything that any of the nodes says waits for an account.
///
/// A list is only where to look: each block on it is then asked for and proven. So one node is
/// enough to name a block, and one that hides or lacks it changes nothing; but that there is
/// *nothing more* takes a quorum of complete lists.
#[must_use]
pub fn merge(lists: &[Testimony<Receivables>], quorum: usize) -> Receivables {
    let mut blocks: BTreeMap<BlockHash, Receivable> = BTreeMap::new();
    let mut complete = BTreeSet::new();
    for testimony in lists {
        let Ok(list) = &testimony.said else { continue };
        if list.complete {
            complete.insert(testimony.node.as_str());
        }
        for block in &list.blocks {
            let known = blocks.entry(block.hash).or_insert(*block);
            // The larger: an amount decides only which blocks are looked at first.
            known.amount = known.amount.max(block.amount);
        }
    }
    Receivables { blocks: blocks.into_values().collect(), complete: complete.len() >= quorum.max(1) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn said(words: &str) -> Vec<Testimony<char>> {
        let silent = |word| if word == '-' { Err("silent".to_owned()) } else { Ok(word) };
        words
            .chars()
            .enumerate()
            .map(|(node, word)| Testimony { node: node.to_string(), said: silent(word) })
            .collect()
    }

    fn check(words: &str, quorum: usize, expected: Option<char>) {
        let verdict = agree(&said(words), quorum);
        assert_eq!(verdict.agreed().copied(), expected, "{words} {quorum}");
        match verdict {
            Verdict::Agreed { word, dissent } => {
                assert_eq!(dissent.len(), words.chars().filter(|other| *other != word).count(), "{words}");
            }
            Verdict::Unknown { said } => assert_eq!(said.len(), words.len(), "{words}"),
        }
    }

    #[test]
    fn a_word_counts_when_enough_say_it() {
        check("y", 1, Some('y'));
        check("", 1, None);
        check("", 0, None);
        check("-", 0, None);
        check("y", 2, None);
        check("yy", 2, Some('y'));
        check("yn", 2, None);
        check("yyn", 2, Some('y'));
        check("y-y", 2, Some('y'));
        check("y--", 2, None);
        check("ynx", 2, None);
        check("nyn", 2, Some('n'));
    }

    #[test]
    fn two_words_with_a_quorum_are_none() {
        check("yn", 1, None);
        check("yynn", 2, None);
        check("yyynn", 3, Some('y'));
    }

    #[test]
    fn one_host_is_one_node() {
        let twice = |first: char, second: char| {
            let word = |said| Testimony { node: "one".to_owned(), said: Ok(said) };
            [word(first), word(second)]
        };
        assert_eq!(agree(&twice('y', 'y'), 2).agreed(), None);
        assert_eq!(agree(&twice('y', 'y'), 1).agreed(), Some(&'y'));
        assert_eq!(agree(&twice('y', 'n'), 1).agreed(), None);
    }

    fn listed(node: &str, complete: bool, hashes: &[u8]) -> Testimony<Receivables> {
        let block = |number: &u8| Receivable {
            hash: BlockHash::from_bytes([*number; 32]),
            amount: Some(Amount::from_raw(u128::from(*number))),
            source: None,
        };
        let list = Receivables { blocks: hashes.iter().map(block).collect(), complete };
        Testimony { node: node.to_owned(), said: Ok(list) }
    }

    #[test]
    fn one_node_is_enough_to_name_a_block_and_a_quorum_to_deny_more() {
        let silent = Testimony { node: "c".to_owned(), said: Err("timeout".to_owned()) };
        let lists = [listed("a", true, &[1]), listed("b", false, &[1, 2]), silent];
        let merged = merge(&lists, 2);
        assert_eq!((merged.blocks.len(), merged.complete), (2, false));
        assert!(merge(&lists, 1).complete);
        let lists = [listed("a", true, &[]), listed("a", true, &[])];
        assert!(!merge(&lists, 2).complete, "one host is one node");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// With a quorum above half, nobody below it changes what an honest quorum says.
        #[test]
        fn a_minority_of_liars_changes_nothing(honest in 2usize..8, lies in proptest::collection::vec("[a-z-]", 0..7)) {
            prop_assume!(lies.len() < honest);
            let words = "Y".repeat(honest) + &lies.concat();
            let quorum = words.len() / 2 + 1;
            prop_assume!(honest >= quorum);
            prop_assert_eq!(agree(&said(&words), quorum).agreed().copied(), Some('Y'));
        }

        /// Who is asked first does not matter.
        #[test]
        fn order_does_not_matter(words in "[abc-]{0,8}", quorum in 0usize..5) {
            let reversed: String = words.chars().rev().collect();
            let word = |words: &str| agree(&said(words), quorum).agreed().copied();
            prop_assert_eq!(word(&words), word(&reversed));
        }
    }
}

//! Confirmations as they happen: which accounts the nodes' WebSockets are asked to tell about.
//!
//! What comes is a hint, which makes the watch look at once. Without it, or when it is lost, the
//! watch looks when it would have looked anyway: nothing but speed depends on a stream.

use std::collections::BTreeMap;

use nano_currency::Account;
use nano_currency::stream::{self, Event, StreamConfig, Wish, full_jitter};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::edge::{Entropy, Tasks};

/// Hints that may wait for the watch; when it is behind that far, it looks at everything anyway.
const HINTS_MAX: usize = 256;

/// Changes that may wait for a stream; what does not fit is kept, and told with the next.
const WISHES_MAX: usize = 16;

/// What one stream tells that may wait.
const EVENTS_MAX: usize = 64;

/// The watch's end of all streams.
#[derive(Debug)]
pub struct Ears {
    ears: Vec<Ear>,
    hints: mpsc::Receiver<Account>,
    /// Keeps the hints open, also where no stream is.
    _open: mpsc::Sender<Account>,
}

/// One stream, and what it was not yet told.
#[derive(Debug)]
struct Ear {
    wishes: mpsc::Sender<Wish>,
    /// True to listen, false no longer; at most one entry for each watched account.
    pending: BTreeMap<Account, bool>,
}

impl Ears {
    /// No stream: the watch only asks.
    #[must_use]
    pub fn deaf() -> Self {
        let (open, hints) = mpsc::channel(1);
        Self { ears: Vec::new(), hints, _open: open }
    }

    /// Listens to every address until `stop`, or until this is dropped.
    #[must_use]
    pub fn open(urls: &[String], tasks: &Tasks, entropy: &Entropy, stop: &CancellationToken) -> Self {
        let (open, hints) = mpsc::channel(HINTS_MAX);
        let ear = |url: &String| {
            let (wishes, wished) = mpsc::channel(WISHES_MAX);
            let (events, told) = mpsc::channel(EVENTS_MAX);
            let entropy = entropy.clone();
            let delay = move |attempt| full_jitter(attempt, entropy.number());
            let (config, stop) = (StreamConfig::new(url.clone()), stop.clone());
            let listening = async move {
                tokio::select! {
                    biased;
                    () = stream::run(config, delay, wished, events) => {}
                    () = stop.cancelled() => {}
                }
            };
            tasks.spawn(listening);
            tasks.spawn(pass_on(told, open.clone()));
            Ear { wishes, pending: BTreeMap::new() }
        };
        Self { ears: urls.iter().map(ear).collect(), hints, _open: open }
    }

    /// An account to listen for, or no longer.
    pub(super) fn want(&mut self, account: Account, listen: bool) {
        for ear in &mut self.ears {
            ear.pending.insert(account, listen);
        }
    }

    /// Tells the streams what they can take now; never waits.
    pub(super) fn flush(&mut self) {
        for ear in &mut self.ears {
            for listen in [false, true] {
                let Ok(slot) = ear.wishes.try_reserve() else { break };
                let accounts: Vec<Account> = ear
                    .pending
                    .iter()
                    .filter(|(_, wanted)| **wanted == listen)
                    .map(|(account, _)| *account)
                    .collect();
                if accounts.is_empty() {
                    continue;
                }
                ear.pending.retain(|_, wanted| *wanted != listen);
                slot.send(if listen { Wish::Add(accounts) } else { Wish::Remove(accounts) });
            }
        }
    }

    /// The next account to look at.
    pub(super) async fn hint(&mut self) -> Account {
        match self.hints.recv().await {
            Some(account) => account,
            None => std::future::pending().await,
        }
    }
}

/// Hints to the watch; the rest to the log. A stream never waits for the watch.
async fn pass_on(mut told: mpsc::Receiver<Event>, hints: mpsc::Sender<Account>) {
    let mut is_up = None;
    while let Some(event) = told.recv().await {
        match event {
            Event::Hint { account, hash } => {
                tracing::debug!(%account, %hash, "a node tells of a confirmation");
                if hints.try_send(account).is_err() {
                    tracing::debug!("a hint was dropped");
                }
            }
            Event::Listening => {
                is_up = Some(true);
                tracing::info!("listening for confirmations");
            }
            Event::Lost { error, retry_in } if is_up != Some(false) => {
                is_up = Some(false);
                let retry_ms = u64::try_from(retry_in.as_millis()).unwrap_or(u64::MAX);
                tracing::warn!(%error, retry_ms, "no confirmations are heard: payments are found by asking");
            }
            Event::Lost { error, .. } => tracing::debug!(%error, "still no confirmations are heard"),
            Event::Full(account) => {
                tracing::warn!(%account, "too many accounts to listen for: this one is asked about");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(number: u8) -> Account {
        Account::from_bytes([number; 32])
    }

    fn ears(room: usize) -> (Ears, mpsc::Receiver<Wish>) {
        let (wishes, wished) = mpsc::channel(room);
        let mut ears = Ears::deaf();
        ears.ears.push(Ear { wishes, pending: BTreeMap::new() });
        (ears, wished)
    }

    #[test]
    fn what_a_stream_cannot_take_yet_is_kept_and_only_the_last_word_counts() {
        let (mut ears, mut wished) = ears(1);
        ears.want(account(1), true);
        ears.flush();
        ears.want(account(2), true);
        ears.want(account(3), true);
        ears.want(account(2), false);
        ears.flush();
        assert_eq!(wished.try_recv().unwrap(), Wish::Add(vec![account(1)]));
        assert!(wished.try_recv().is_err());
        ears.flush();
        assert_eq!(wished.try_recv().unwrap(), Wish::Remove(vec![account(2)]));
        ears.flush();
        assert_eq!(wished.try_recv().unwrap(), Wish::Add(vec![account(3)]));
        ears.flush();
        assert!(wished.try_recv().is_err());
    }
}

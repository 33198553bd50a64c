//! How the news sleeps: for a time, or until somebody says that there is something to see.

use std::time::Duration;

use tokio::sync::mpsc;

use crate::client::Hint;

/// The hints of one relay, and whether they flow.
#[derive(Debug)]
pub(super) struct Hints {
    receiver: mpsc::Receiver<Hint>,
    /// Between [`Hint::Connected`] and [`Hint::Lost`].
    pub(super) flow: bool,
}

impl Hints {
    /// None has come yet.
    pub(super) const fn new(receiver: mpsc::Receiver<Hint>) -> Self {
        Self { receiver, flow: false }
    }

    /// Waits that long, or until a hint; `false` when nobody gives hints any more.
    pub(super) async fn wait(&mut self, most: Duration) -> bool {
        let deadline = tokio::time::sleep(most);
        tokio::pin!(deadline);
        loop {
            tokio::select! {
                biased;
                () = &mut deadline => return true,
                hint = self.receiver.recv() => {
                    let Some(hint) = hint else { return false };
                    let mut wakes = self.note(&hint);
                    // Many hints, one look.
                    while let Ok(hint) = self.receiver.try_recv() {
                        wakes |= self.note(&hint);
                    }
                    if wakes {
                        return true;
                    }
                }
            }
        }
    }

    /// Whether it is a reason to look.
    fn note(&mut self, hint: &Hint) -> bool {
        match hint {
            Hint::Lost => self.flow = false,
            Hint::Connected => self.flow = true,
            Hint::NewJob { .. } | Hint::JobUpdated { .. } => {}
        }
        *hint != Hint::Lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::monotonic;

    const LONG: Duration = Duration::from_secs(600);

    #[tokio::test(start_paused = true)]
    async fn many_hints_are_one_look_and_a_lost_line_is_none() {
        let (sender, receiver) = mpsc::channel(8);
        let mut hints = Hints::new(receiver);
        let began = monotonic();
        for hint in [Hint::Connected, Hint::NewJob { job_id: None, event_id: None }, Hint::Connected] {
            sender.try_send(hint).unwrap();
        }
        assert!(hints.wait(LONG).await && hints.flow);
        assert_eq!(monotonic().duration_since(began), Duration::ZERO);
        sender.try_send(Hint::Lost).unwrap();
        assert!(hints.wait(LONG).await && !hints.flow);
        assert_eq!(
            monotonic().duration_since(began),
            LONG,
            "a lost line is no reason to look, nor are hints that were heard"
        );
        drop(sender);
        assert!(!hints.wait(LONG).await, "nobody gives hints any more");
    }
}

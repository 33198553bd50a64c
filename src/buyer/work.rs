//! Work for a block of the account's: whoever can do it first, our own cores last.

use nano_currency::block::StateFields;
use nano_currency::rpc::{Subtype, WorkSources};
use nano_currency::work::{Work, estimate};

use super::Buyer;
use super::error::BuyError;
use super::progress::{Progress, Watch};
use crate::edge;

/// Work that takes fewer tries than this is done here at once: a dozen milliseconds, about as long
/// as a node's answer. Only private development networks ask for so little.
const EASY_TRIES: u64 = 1 << 16;

impl Buyer {
    /// Work for a block: easy work here, hard work by the nodes, the work servers or our own cores,
    /// in this order. How long our own cores will take is said before they begin.
    pub(super) async fn work(
        &self,
        fields: &StateFields,
        subtype: Subtype,
        watch: Watch<'_>,
    ) -> Result<Work, BuyError> {
        let thresholds = self.inner.parts.network.work();
        let threshold = match subtype {
            Subtype::Receive | Subtype::Open | Subtype::Epoch => thresholds.receive,
            Subtype::Send | Subtype::Change => thresholds.send,
        };
        let (root, start) = (*fields.work_root(), self.entropy().number());
        if threshold.expected_tries() <= EASY_TRIES {
            let here = WorkSources { nodes: None, servers: None, cpu: true };
            return Ok(here.find(&root, threshold, start, || {}).await?.work);
        }
        watch(&Progress::Working);
        let begun = edge::monotonic();
        let announce = || {
            let passed = || edge::monotonic().saturating_duration_since(begun);
            if let Some(expected) = estimate(&root, threshold, start, passed) {
                watch(&Progress::WorkingHere { expected });
            }
        };
        Ok(self.inner.parts.work.find(&root, threshold, start, announce).await?.work)
    }
}

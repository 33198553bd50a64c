//! How a purchase can stop.

use nano_currency::rpc::RpcError;
use nano_currency::rpc::work::WorkError;
use nano_currency::seed::SeedError;
use nano_currency::{Account, Amount, BlockHash, Network};

use super::memory::OwnerError;
use super::plan::QuoteError;
use super::policy::Forbidden;
use super::v0::DealFault;
use crate::client::CallError;
use crate::protocol::{JobId, Status};
use crate::store::StoreError;

/// Why a purchase stopped. What was begun stays in the journal, so `resume` can go on.
#[derive(Debug, thiserror::Error)]
pub enum BuyError {
    /// The relay refused, or did not answer for too long.
    #[error("cannot {doing}: {source}")]
    Relay {
        /// What was tried.
        doing: &'static str,
        /// Why it failed.
        #[source]
        source: CallError,
    },
    /// The nodes do not answer: whether something is paid is unknown.
    #[error("cannot {doing}: {source}")]
    Node {
        /// What was tried.
        doing: &'static str,
        /// Why it failed.
        #[source]
        source: RpcError,
    },
    /// The journal failed: nothing more may be done without it.
    #[error("the journal failed")]
    Journal(#[from] StoreError),
    /// The seed has no such account.
    #[error(transparent)]
    Seed(#[from] SeedError),
    /// The quote is not one to pay.
    #[error(transparent)]
    Quote(#[from] QuoteError),
    /// The spending policy is against it.
    #[error("the spending policy forbids it: {0}")]
    Policy(#[from] Forbidden),
    /// The journal is another seed's or network's.
    #[error(transparent)]
    Owner(#[from] OwnerError),
    /// What is confirmed there is worth nothing here.
    #[error("a node is on the network {found:?}, and nano.network is {ours}: nothing is signed")]
    OtherNetwork {
        /// The node's own name for its network.
        found: String,
        /// What is configured.
        ours: Network,
    },
    /// Nobody gave work, so no block can be published; nothing was signed.
    #[error("nothing was signed: {0}")]
    Work(#[from] WorkError),
    /// The job has ended without a result.
    #[error("the job is {status}{}", reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default())]
    Over {
        /// How.
        status: Status,
        /// Why, if somebody said so.
        reason: Option<String>,
        /// The block that was signed for it, if one was.
        paid: Option<BlockHash>,
    },
    /// The job is not where this could be done.
    #[error("the job is {status}: {wanted}")]
    NotNow {
        /// Where it is.
        status: Status,
        /// Where it would have to be.
        wanted: &'static str,
    },
    /// Too little money.
    #[error(
        "account {account} holds {} XNO, with what can be received, and {} XNO are needed: send it {} XNO more",
        .holds.to_xno(), .needs.to_xno(), .needs.checked_sub(*.holds).unwrap_or_default().to_xno()
    )]
    Underfunded {
        /// Which account.
        account: Account,
        /// What it has.
        holds: Amount,
        /// What it needs.
        needs: Amount,
    },
    /// The payment may or may not be made.
    #[error(
        "whether the payment is made is unknown ({reason}); block {hash} is kept, and resume goes on with it"
    )]
    Unknown {
        /// The block.
        hash: BlockHash,
        /// Why.
        reason: String,
    },
    /// The network refuses a block that was rightly made.
    #[error("the node refuses block {hash}: {reason}")]
    BlockRefused {
        /// The block.
        hash: BlockHash,
        /// Why.
        reason: String,
    },
    /// Money came to the invoice that this journal knows nothing of.
    #[error(
        "the invoice {invoice} has already received something that this journal did not send: not paying again"
    )]
    PaidElsewhere {
        /// The invoice.
        invoice: Account,
    },
    /// Somebody else took too long.
    #[error("nothing after {seconds} s: {waiting_for}")]
    TimedOut {
        /// What was waited for.
        waiting_for: &'static str,
        /// How long.
        seconds: u64,
    },
    /// A purchase over /v0 stopped.
    #[error(transparent)]
    Deal(#[from] DealFault),
    /// The relay made another job of it.
    #[error("the relay answered with another job than {0}")]
    OtherJob(JobId),
}

impl BuyError {
    pub(super) fn relay(doing: &'static str) -> impl FnOnce(CallError) -> Self {
        move |source| Self::Relay { doing, source }
    }

    pub(super) fn node(doing: &'static str) -> impl FnOnce(RpcError) -> Self {
        move |source| Self::Node { doing, source }
    }
}

//! `POST /_control`: the script's side of the mock, in the same manner as the node's own calls.

use nano_currency::{Account, Amount, BlockHash};

use crate::block::Block;
use crate::faults::{Fault, FaultKind, Lie, Mode};
use crate::host::Host;
use crate::http::Request;
use crate::node::Node;
use crate::proxy::ProxyRules;
use crate::tree::{Style, Tree};

/// Where the control calls go.
pub const PATH: &str = "/_control";

/// Why a control call does nothing; what a test's author reads.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// Not a POST.
    #[error("control calls are POSTed")]
    Method,
    /// Not a JSON object.
    #[error("a control call is a JSON object with an action")]
    NotJson,
    /// No such action.
    #[error(
        "unknown control action {0:?}; known are fund, dust, confirm, hold_confirmations, \
         confirmation_delay, fork, rollback, forget, lie, slow, fault, unsynced, mode, \
         proxy, control_enabled, stats and clear"
    )]
    UnknownAction(String),
    /// An argument is missing.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// An argument cannot be read.
    #[error("{argument} {why}")]
    Bad {
        /// Which.
        argument: &'static str,
        /// What it must be.
        why: String,
    },
    /// The ledger refused.
    #[error("{0}")]
    Refused(String),
}

/// The answer's body.
pub(crate) fn answer(host: &Host, request: &Request) -> String {
    let result = if request.method == "POST" {
        let call = Tree::parse(&request.body).map_err(|_| ControlError::NotJson);
        call.and_then(|call| host.with(|node, now_ms| perform(node, &Call(&call), now_ms)))
    } else {
        Err(ControlError::Method)
    };
    result.unwrap_or_else(|error| Tree::object().with("error", error.to_string())).write(Style::Pretty)
}

/// Does what a script asks.
///
/// # Errors
/// What is wrong with the call, or why the ledger refuses.
pub fn perform(node: &mut Node, call: &Call<'_>, now_ms: u64) -> Result<Tree, ControlError> {
    match call.0.text_of("action").ok_or(ControlError::NotJson)? {
        "fund" => fund(node, call, now_ms),
        "dust" => dust(node, call, now_ms),
        "confirm" => confirm(node, call, now_ms),
        "hold_confirmations" => {
            node.settings.hold_confirmations = call.flag("hold", true)?;
            Ok(done())
        }
        "confirmation_delay" => {
            node.settings.confirm_delay_ms = call.number("delay_ms")?;
            Ok(done())
        }
        "fork" => fork(node, call, now_ms),
        "rollback" => rollback(node, call),
        "forget" => {
            node.lies.forget(call.hash()?);
            Ok(done())
        }
        "lie" => lie(node, call),
        "slow" => {
            let delay_ms = call.number("delay_ms")?;
            add_fault(node, call, FaultKind::Slow { delay_ms })
        }
        "fault" => {
            let kind = call.fault_kind()?;
            add_fault(node, call, kind)
        }
        "unsynced" => {
            node.set_unsynced(call.flag("unsynced", true)?);
            Ok(done())
        }
        "mode" => {
            node.settings.mode = call.parsed("mode")?.parse::<Mode>().map_err(bad("mode"))?;
            Ok(done())
        }
        "proxy" => proxy(node, call),
        "control_enabled" => {
            node.settings.control_enabled = call.flag("enabled", true)?;
            Ok(done())
        }
        "stats" => Ok(stats(node)),
        "clear" => {
            node.faults.clear();
            node.lies.clear();
            node.stats.clear();
            Ok(done())
        }
        other => Err(ControlError::UnknownAction(other.to_owned())),
    }
}

fn fund(node: &mut Node, call: &Call<'_>, now_ms: u64) -> Result<Tree, ControlError> {
    let hashes =
        node.pay(&call.account("account")?, call.amount("amount_raw")?, 1, now_ms).map_err(refused)?;
    let hash = hashes.first().ok_or_else(|| ControlError::Refused("the payment was refused".to_owned()))?;
    Ok(Tree::object().with("hash", Tree::text(hash)))
}

fn dust(node: &mut Node, call: &Call<'_>, now_ms: u64) -> Result<Tree, ControlError> {
    let count = usize::try_from(call.number("count")?).unwrap_or(usize::MAX);
    let amount = match call.0.get("amount_raw") {
        Some(_) => call.amount("amount_raw")?,
        None => Amount::from_raw(1),
    };
    let hashes = node.pay(&call.account("account")?, amount, count, now_ms).map_err(refused)?;
    Ok(Tree::object().with("hashes", hashes.iter().map(Tree::text).collect::<Vec<_>>()))
}

fn confirm(node: &mut Node, call: &Call<'_>, now_ms: u64) -> Result<Tree, ControlError> {
    if node.confirm(&call.hash()?, now_ms) {
        return Ok(done());
    }
    Err(ControlError::Refused("the block is not on the ledger".to_owned()))
}

/// Puts a block in the place of an unconfirmed one: `block` if given, else the payment `hash`
/// once more, but to `account`.
fn fork(node: &mut Node, call: &Call<'_>, now_ms: u64) -> Result<Tree, ControlError> {
    let block = match call.0.get("block") {
        Some(block) => Block::read(block).ok_or_else(|| ControlError::Bad {
            argument: "block",
            why: "must be a block's JSON object".to_owned(),
        })?,
        None => node.redirected(&call.hash()?, &call.account("account")?).map_err(refused)?,
    };
    let hash = node.replace(block, now_ms).map_err(refused)?;
    Ok(Tree::object().with("hash", Tree::text(hash)))
}

fn rollback(node: &mut Node, call: &Call<'_>) -> Result<Tree, ControlError> {
    let gone = node.ledger.rollback(&call.hash()?, call.flag("confirmed_too", true)?).map_err(refused)?;
    let hashes = gone.iter().map(|stored| Tree::text(stored.block.hash())).collect::<Vec<_>>();
    Ok(Tree::object().with("rolled_back", hashes))
}

fn lie(node: &mut Node, call: &Call<'_>) -> Result<Tree, ControlError> {
    let lie = Lie {
        amount: call.0.get("amount_raw").map(|_| call.amount("amount_raw")).transpose()?,
        destination: call.0.get("destination").map(|_| call.account("destination")).transpose()?,
        subtype: call.0.text_of("subtype").map(str::to_owned),
        confirmed: call.0.get("confirmed").map(|_| call.flag("confirmed", true)).transpose()?,
        account: call.0.get("account").map(|_| call.account("account")).transpose()?,
        balance: call.0.get("balance_raw").map(|_| call.amount("balance_raw")).transpose()?,
        head_balance: call.0.get("head_balance_raw").map(|_| call.amount("head_balance_raw")).transpose()?,
    };
    node.lies.tell(call.hash()?, lie);
    Ok(done())
}

/// Sets the rules of proxy mode; those not named stay.
fn proxy(node: &mut Node, call: &Call<'_>) -> Result<Tree, ControlError> {
    let number = |key, old| if call.0.get(key).is_some() { call.number(key) } else { Ok(old) };
    let old = node.proxy.rules;
    node.proxy.rules = ProxyRules {
        count_max: number("count_max", old.count_max)?,
        accounts_max: usize::try_from(number("accounts_max", old.accounts_max as u64)?).unwrap_or(usize::MAX),
        cache_ms: number("cache_ms", old.cache_ms)?,
        requests_max: number("requests_max", old.requests_max)?,
        window_ms: number("window_ms", old.window_ms)?,
    };
    Ok(done())
}

fn add_fault(node: &mut Node, call: &Call<'_>, kind: FaultKind) -> Result<Tree, ControlError> {
    let count = call.0.get("count").map(|_| call.number("count")).transpose()?;
    let action = call.0.text_of("for_action").map(str::to_owned);
    if node.faults.add(Fault { kind, action, count }) {
        return Ok(done());
    }
    Err(ControlError::Refused("too many faults are set; clear some".to_owned()))
}

fn stats(node: &Node) -> Tree {
    let calls = node
        .stats
        .iter()
        .fold(Tree::object(), |calls, (action, count)| calls.with(action, Tree::text(count)));
    Tree::object().with("total", Tree::text(node.stats.total())).with("calls", calls)
}

fn done() -> Tree {
    Tree::object().with("ok", "1")
}

fn refused(error: impl std::fmt::Display) -> ControlError {
    ControlError::Refused(error.to_string())
}

fn bad<E: std::fmt::Display>(argument: &'static str) -> impl FnOnce(E) -> ControlError {
    move |error| ControlError::Bad { argument, why: format!("cannot be read: {error}") }
}

/// The arguments of a control call: read strictly, unlike the node's.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a>(pub &'a Tree);

impl Call<'_> {
    fn parsed(&self, key: &'static str) -> Result<&str, ControlError> {
        self.0.text_of(key).ok_or(ControlError::Missing(key))
    }

    fn account(&self, key: &'static str) -> Result<Account, ControlError> {
        self.parsed(key)?.parse().map_err(bad(key))
    }

    fn amount(&self, key: &'static str) -> Result<Amount, ControlError> {
        self.parsed(key)?.parse().map_err(bad(key))
    }

    fn hash(&self) -> Result<BlockHash, ControlError> {
        self.parsed("hash")?.parse().map_err(bad("hash"))
    }

    fn number(&self, key: &'static str) -> Result<u64, ControlError> {
        self.parsed(key)?.parse().map_err(bad(key))
    }

    fn flag(&self, key: &'static str, default: bool) -> Result<bool, ControlError> {
        match self.0.text_of(key) {
            None => Ok(default),
            Some("true" | "1") => Ok(true),
            Some("false" | "0") => Ok(false),
            Some(_) => Err(ControlError::Bad { argument: key, why: "must be true or false".to_owned() }),
        }
    }

    fn fault_kind(&self) -> Result<FaultKind, ControlError> {
        let retry_after = self.0.get("retry_after").map(|_| self.number("retry_after")).transpose()?;
        match self.parsed("kind")? {
            "429" => Ok(FaultKind::RateLimited { retry_after }),
            "500" => Ok(FaultKind::ServerError),
            "not_allowed" => Ok(FaultKind::NotAllowed),
            "502" => Ok(FaultKind::BadGateway),
            "garbage" => Ok(FaultKind::Garbage),
            "empty" => Ok(FaultKind::EmptyBody),
            "half" => Ok(FaultKind::HalfBody),
            "drop" => Ok(FaultKind::Drop),
            "hang" => Ok(FaultKind::Hang),
            _ => Err(ControlError::Bad {
                argument: "kind",
                why: "must be one of 429, 500, 502, not_allowed, garbage, empty, half, drop and hang"
                    .to_owned(),
            }),
        }
    }
}

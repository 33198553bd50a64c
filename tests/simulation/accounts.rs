//! The accounts of the workers. Their seeds are the same in every schedule, so each is derived once:
//! otherwise a quarter of the time would go there.

use std::sync::LazyLock;

use nano_worker::nano::Seed;
use nano_worker::worker::accounts::Accounts;

static WORKERS: LazyLock<Accounts> = LazyLock::new(|| Seed::Hex([0x5e; 32]).into());
static BOTS: LazyLock<Accounts> = LazyLock::new(|| Seed::Hex([0x6e; 32]).into());

pub(crate) fn workers() -> Accounts {
    WORKERS.clone()
}

pub(crate) fn bots() -> Accounts {
    BOTS.clone()
}

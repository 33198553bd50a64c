//! The worker's configuration: as it was written, then resolved, with every problem named.

mod nano;

mod payment;

mod raw;

mod secrets;

mod v0;

mod wallet;

use std::path::{Path, PathBuf};
use std::time::Duration;

use nano_currency::{Amount, Network};

use self::raw::{Raw, RawBackup, RawHandler, RawOffer};
pub use self::v0::{BazaarSettings, Dialect, KeyShape, bot_keys};
use super::accounts::Accounts;
use super::backups::BackupSettings;
use super::coins::WalletSettings;
use super::executor::{Handler, HandlerKind, Limits};
use super::input::Pricing;
use super::nodes::Certainty;
use super::oddity::Policy;
use super::terms::Terms;
use crate::config::{Document, Env, Field, Problems};
use crate::protocol::limits::{
    ACCEPT_TTL, LOCK_TTL_MAX, LOCK_TTL_MIN, QUOTE_TTL_MAX, REQUEST_PAYLOAD_BYTES_MAX,
};
use crate::protocol::offer::{OfferTerms, PricingMode};
use crate::protocol::signing::Signer;
use crate::protocol::v0::OfferDraft;

/// The commented configuration with every default.
pub const DEFAULT: &str = include_str!("../../config/worker.toml");

/// The longest that a handler may run: a day.
const HANDLER_SECONDS_MAX: u64 = 86_400;

/// Handlers of one offer at the same time at most: more than any one machine runs well.
const PARALLEL_MAX: u64 = 1_024;

/// The largest limit of a handler's memory: 16 TiB, more than a machine has.
const MEMORY_MIB_MAX: u64 = 16 << 20;

/// The most processors that a handler may be given, as many as a kernel is built for.
const PROCESSORS_MAX: u64 = 8_192;

/// The largest limit of a handler's processes: the kernel's own for the whole machine.
const TASKS_MAX: u64 = 4_194_304;
/// How far a lost address may be looked for: under a hundred could be one morning's unpaid quotes,
/// and each thousand is three calls to a node.
const INDEX_GAPS: std::ops::RangeInclusive<u64> = 100..=1_000_000;

/// The longest time between two backups: a year.
const BACKUP_HOURS_MAX: u64 = 8_760;

/// Backups that are kept at most: each is as large as the state.
const BACKUPS_MAX: u64 = 1_000;

/// Offers of one worker at most: each costs a request at every start.
const OFFERS_MAX: usize = 100;

/// Everything that the worker was told.
#[derive(Debug)]
pub struct Settings {
    /// The relay's address.
    pub relay_url: String,
    /// Who signs.
    pub signer: Signer,
    /// How the relay is spoken to.
    pub dialect: Dialect,
    /// Which network the money is on.
    pub network: Network,
    /// Where invoices come from.
    pub accounts: Accounts,
    /// The nodes to ask, in order.
    pub rpc: Vec<String>,
    /// How sure of a payment the worker wants to be.
    pub certainty: Certainty,
    /// Where nodes tell of confirmations as they happen.
    pub websocket: Vec<String>,
    /// The first index to use.
    pub account_index_start: u32,
    /// Where state is kept.
    pub state_dir: PathBuf,
    /// The shortest delay between polls.
    pub poll_min: Duration,
    /// The longest.
    pub poll_max: Duration,
    /// How long a lock lives unless it is renewed.
    pub lock_ttl: Duration,
    /// How long a quote may be accepted; the relay's default if absent.
    pub quote_ttl: Option<Duration>,
    /// How long running jobs may go on once the worker is told to stop.
    pub drain: Duration,
    /// How far beyond the last address that was used a lost one is looked for.
    pub index_gap: u32,
    /// Backups of the state.
    pub backup: BackupSettings,
    /// What is done with the coins.
    pub wallet: WalletSettings,
    /// What is offered.
    pub offers: Vec<OfferSettings>,
    /// This very program, if it can be the launcher of handlers; not a setting, so absent here.
    pub launcher: Option<PathBuf>,
}

/// One offer.
#[derive(Debug, Clone)]
pub struct OfferSettings {
    /// What it is remembered by in the state: its `name`, or its title.
    pub name: String,
    /// What the relay is told.
    pub public: OfferTerms,
    /// What a relay of /v0 is told; only then.
    pub draft: Option<OfferDraft>,
    /// What decides about its jobs.
    pub terms: Terms,
    /// What runs.
    pub handler: Handler,
    /// How many run at the same time.
    pub max_parallel: usize,
}

/// Reads a configuration. `base` is the directory that relative paths start from.
///
/// # Errors
/// Every problem at once, each with its path and what would be right. No secret is repeated.
pub fn parse(text: &str, base: &Path, env: &Env) -> Result<Settings, Problems> {
    let Document { raw, problems } = Document::<Raw>::parse(text)?;
    Resolver { base, env, problems }.resolve(raw)
}

struct Resolver<'a> {
    base: &'a Path,
    env: &'a Env,
    problems: Problems,
}

impl Resolver<'_> {
    fn resolve(mut self, raw: Raw) -> Result<Settings, Problems> {
        let relay_url = self.relay_url(raw.relay.url);
        let signing = self.signing(raw.relay.key);
        let seed_of_key = signing.as_ref().map(|(_, seed)| &**seed);
        let links = self.links(raw.results);
        let (name, sealing, pace) = (raw.relay.dialect, raw.relay.sealing_key, raw.relay.pace);
        let dialect = self.dialect(seed_of_key, v0::Spoken { name, sealing, pace }, links);
        let signer = signing.map(|(signer, _)| signer);
        let network = self.network(raw.nano.network);
        let seed = self.seed(raw.nano.seed, raw.nano.seed_passphrase);
        let rpc = self.rpc(raw.nano.rpc);
        let certainty = self.certainty(
            raw.nano.verify,
            raw.nano.quorum,
            raw.nano.requests_per_second,
            raw.nano.policy,
            &rpc,
        );
        let websocket = self.websocket(raw.nano.websocket);
        self.min_confirmations(raw.nano.min_confirmations);
        let index_start = self.env_number("NANO_ACCOUNT_INDEX_START", raw.nano.account_index_start);
        let index_start =
            self.problems.number("nano.account_index_start", index_start, 0, 0..=u64::from(u32::MAX));
        let index_gap = self.problems.number("nano.index_gap", raw.nano.index_gap, 1_000, INDEX_GAPS);
        let state_dir = self.problems.take("state.dir", raw.state.dir);
        let state_dir = self.base.join(state_dir.unwrap_or_else(|| "state".to_owned()));
        let backup = self.backup(raw.backup, &state_dir);
        let mut wallet = self.wallet(raw.wallet);
        let min_ms = self.env_number("POLL_INTERVAL_MS", raw.polling.min_ms);
        let min_ms = self.problems.number("polling.min_ms", min_ms, 500, 10..=3_600_000);
        let max_ms =
            self.problems.number("polling.max_ms", raw.polling.max_ms, 60_000.max(min_ms), 10..=3_600_000);
        if max_ms < min_ms {
            self.problems
                .add("polling.max_ms", format!("{max_ms} is less than polling.min_ms, which is {min_ms}"));
        }
        let lock = LOCK_TTL_MIN.as_secs()..=LOCK_TTL_MAX.as_secs();
        let lock_ttl = self.problems.number("lock.ttl_seconds", raw.lock.ttl_seconds, 300, lock);
        let in_v0 = matches!(dialect, Some(Dialect::V0(_)));
        let longest = if in_v0 { v0::CHARGE_TTL_MAX } else { QUOTE_TTL_MAX };
        let quote_ttl = raw
            .quote
            .ttl_seconds
            .map(|field| self.problems.number("quote.ttl_seconds", Some(field), 900, 5..=longest.as_secs()));
        let window = self.problems.number(
            "quote.payment_window_seconds",
            raw.quote.payment_window_seconds,
            ACCEPT_TTL.as_secs(),
            1..=86_400,
        );
        let drain = self.problems.number("shutdown.drain_seconds", raw.shutdown.drain_seconds, 60, 0..=3_600);
        let window = Duration::from_secs(window);
        let (policy, refunds) = self.payment(raw.payment, window);
        wallet.refunds = refunds;
        let offers = self.offers(raw.offers, window, policy, in_v0);
        let settings = (|| {
            Some(Settings {
                relay_url: relay_url?,
                signer: signer?,
                dialect: dialect?,
                network: network?,
                accounts: seed?.into(),
                rpc: rpc?,
                certainty: certainty?,
                websocket: websocket?,
                account_index_start: u32::try_from(index_start).ok()?,
                state_dir,
                poll_min: Duration::from_millis(min_ms),
                poll_max: Duration::from_millis(max_ms),
                lock_ttl: Duration::from_secs(lock_ttl),
                quote_ttl: quote_ttl.map(Duration::from_secs),
                drain: Duration::from_secs(drain),
                index_gap: u32::try_from(index_gap).ok()?,
                backup,
                wallet,
                offers: offers?,
                launcher: None,
            })
        })();
        self.problems.finish(settings)
    }

    fn backup(&mut self, raw: RawBackup, state_dir: &Path) -> BackupSettings {
        let dir = self.problems.take("backup.dir", raw.dir);
        let hours = self.problems.number("backup.every_hours", raw.every_hours, 24, 0..=BACKUP_HOURS_MAX);
        let keep = self.problems.number("backup.keep", raw.keep, 7, 1..=BACKUPS_MAX);
        BackupSettings {
            dir: dir.map_or_else(|| state_dir.join("backups"), |dir| self.base.join(dir)),
            every: (hours > 0).then(|| Duration::from_secs(hours * 3_600)),
            keep: usize::try_from(keep).unwrap_or(1),
        }
    }

    fn relay_url(&mut self, field: Option<Field<String>>) -> Option<String> {
        let url = match self.env.get("RELAY_URL") {
            Some(url) => Some(url),
            None => self.problems.require("relay.url", field, "url = \"https://relay.example.org\""),
        }?;
        self.http_url("relay.url", url)
    }

    fn http_url(&mut self, path: &str, url: String) -> Option<String> {
        if url.starts_with("http://") || url.starts_with("https://") {
            return Some(url);
        }
        self.problems.add(path, "must begin with http:// or https://");
        None
    }

    /// The environment's value is the secret itself or a reference; the file's is a reference.
    fn network(&mut self, field: Option<Field<String>>) -> Option<Network> {
        let text = match self.env.get("NANO_NETWORK") {
            Some(text) => text,
            None => match field {
                None => return Some(Network::Live),
                some => self.problems.take("nano.network", some)?,
            },
        };
        self.problems.check("nano.network", text.parse())
    }

    fn rpc(&mut self, field: Option<Field<Vec<String>>>) -> Option<Vec<String>> {
        let urls = match self.env.get("NANO_RPC_URL") {
            Some(url) => vec![url],
            None => self.problems.require("nano.rpc", field, "rpc = [\"http://127.0.0.1:7076\"]")?,
        };
        if urls.is_empty() {
            self.problems.add("nano.rpc", "names no node; write rpc = [\"http://127.0.0.1:7076\"]");
            return None;
        }
        urls.into_iter()
            .enumerate()
            .map(|(place, url)| self.http_url(&format!("nano.rpc[{place}]"), url))
            .collect()
    }

    /// In Nano a block is settled or not; a number above one changes nothing, and none at all would
    /// mean working for money that can still vanish.
    fn min_confirmations(&mut self, field: Option<Field<u64>>) {
        let field = self.env_number("NANO_MIN_CONFIRMATIONS", field);
        self.problems.number("nano.min_confirmations", field, 1, 1..=u64::MAX);
    }

    fn env_number(&mut self, name: &str, field: Option<Field<u64>>) -> Option<Field<u64>> {
        let Some(text) = self.env.get(name) else { return field };
        match text.parse::<u64>() {
            Ok(number) => Some(Field::of(number)),
            Err(_) => {
                self.problems.add(name, "must be a whole number");
                None
            }
        }
    }

    /// `SELLER_OFFERS_JSON` holds the same fields as `[[offers]]`, `SELLER_OFFERS_PATH` names a file
    /// of them.
    fn offers(
        &mut self,
        raw: Vec<RawOffer>,
        window: Duration,
        policy: Policy,
        in_v0: bool,
    ) -> Option<Vec<OfferSettings>> {
        let raw = match (self.env.get("SELLER_OFFERS_JSON"), self.env.get("SELLER_OFFERS_PATH")) {
            (Some(text), _) => self.json_offers("SELLER_OFFERS_JSON", &text)?,
            (None, Some(path)) => {
                let text = std::fs::read_to_string(self.base.join(path));
                let text = self.problems.check("SELLER_OFFERS_PATH", text)?;
                self.json_offers("SELLER_OFFERS_PATH", &text)?
            }
            (None, None) => raw,
        };
        if raw.is_empty() {
            self.problems.add("offers", "nothing is offered; write at least one [[offers]] table");
        }
        if raw.len() > OFFERS_MAX {
            self.problems.add("offers", format!("at most {OFFERS_MAX} offers"));
        }
        let count = raw.len();
        let offers: Vec<OfferSettings> = raw
            .into_iter()
            .enumerate()
            .filter_map(|(place, raw)| self.offer(&format!("offers[{place}]"), raw, window, policy, in_v0))
            .collect();
        for (place, offer) in offers.iter().enumerate() {
            if offers[..place].iter().any(|other| other.name == offer.name) {
                self.problems
                    .add(format!("offers[{place}].name"), "another offer has this name; give each its own");
            }
        }
        (offers.len() == count).then_some(offers)
    }

    fn json_offers(&mut self, path: &str, text: &str) -> Option<Vec<RawOffer>> {
        let mut unknown = Vec::new();
        let mut json = serde_json::Deserializer::from_str(text);
        let offers = serde_ignored::deserialize(&mut json, |key| unknown.push(key.to_string()))
            .and_then(|offers| json.end().map(|()| offers));
        for key in unknown {
            self.problems.add(format!("{path}[{key}]"), "no such setting");
        }
        self.problems.check(path, offers)
    }

    fn offer(
        &mut self,
        path: &str,
        raw: RawOffer,
        window: Duration,
        policy: Policy,
        in_v0: bool,
    ) -> Option<OfferSettings> {
        let at = |name: &str| format!("{path}.{name}");
        let title = self.problems.require(&at("title"), raw.title, "title = \"Word count\"");
        let description = self.problems.take(&at("description"), raw.description);
        let tags = self.problems.take(&at("tags"), raw.tags).unwrap_or_default();
        let mode = self.problems.take(&at("pricing_mode"), raw.pricing_mode).unwrap_or(PricingMode::Fixed);
        let price = self.price(path, mode, raw.price_xno, raw.price_raw);
        let active = self.problems.take(&at("active"), raw.active).unwrap_or(true);
        let accepts = self.problems.take(&at("accepts"), raw.accepts).unwrap_or_default();
        let largest = REQUEST_PAYLOAD_BYTES_MAX as u64;
        let bytes =
            self.problems.number(&at("max_request_bytes"), raw.max_request_bytes, largest, 1..=largest);
        let name = self.problems.take(&at("name"), raw.name);
        let parallel = self.problems.number(
            &at("handler.max_parallel"),
            raw.handler.max_parallel.clone(),
            4,
            1..=PARALLEL_MAX,
        );
        let idempotent = self.problems.take(&at("handler.idempotent"), raw.handler.idempotent.clone());
        let payment = self.odd_rules(&at("payment"), raw.payment, policy);
        let handler = self.handler(path, raw.handler);
        let promise = v0::Promise::of(raw.turnaround_seconds, raw.request_hint);
        let (title, price, handler) = (title?, price?, handler?);
        let public = OfferTerms {
            description: description.unwrap_or_else(|| title.clone()),
            title: title.clone(),
            tags,
            pricing_mode: mode,
            fixed_price_raw: match price {
                Pricing::Fixed(price) => Some(price.to_string()),
                Pricing::Ask => None,
            },
            active,
        };
        if let Err(refusal) = public.check() {
            self.problems.add(path, refusal.message);
        }
        let draft = self.draft(path, &public, promise, in_v0);
        let terms = Terms {
            pricing: price,
            idempotent: idempotent.unwrap_or(false),
            accepts,
            request_bytes_max: usize::try_from(bytes).unwrap_or(REQUEST_PAYLOAD_BYTES_MAX),
            payment_window: window,
            payment,
            revives: in_v0,
        };
        let max_parallel = usize::try_from(parallel).unwrap_or(1);
        Some(OfferSettings { name: name.unwrap_or(title), public, draft, terms, handler, max_parallel })
    }

    fn price(
        &mut self,
        path: &str,
        mode: PricingMode,
        xno: Option<Field<String>>,
        raw: Option<Field<String>>,
    ) -> Option<Pricing> {
        let hint = "price_xno = \"0.001\"";
        match (mode, xno, raw) {
            (PricingMode::Quote, None, None) => Some(Pricing::Ask),
            (PricingMode::Quote, ..) => {
                self.problems
                    .add(path, "pricing_mode = \"quote\" asks the handler, so there is no price here");
                None
            }
            (PricingMode::Fixed, Some(_), Some(_)) => {
                self.problems.add(path, "has both price_xno and price_raw; keep one");
                None
            }
            (PricingMode::Fixed, None, raw) => {
                let path = format!("{path}.price_raw");
                let text = self.problems.require(&path, raw, hint)?;
                let amount = self.problems.check(&path, Amount::parse_raw(&text))?;
                self.above_zero(&path, amount)
            }
            (PricingMode::Fixed, xno, None) => {
                let path = format!("{path}.price_xno");
                let text = self.problems.take(&path, xno)?;
                let amount = self.problems.check(&path, Amount::parse_xno(&text))?;
                self.above_zero(&path, amount)
            }
        }
    }

    fn above_zero(&mut self, path: &str, amount: Amount) -> Option<Pricing> {
        if amount.is_zero() {
            self.problems.add(path, "must be above zero: a job that costs nothing is never paid");
            return None;
        }
        Some(Pricing::Fixed(amount))
    }

    fn handler(&mut self, path: &str, raw: RawHandler) -> Option<Handler> {
        let at = |name: &str| format!("{path}.handler.{name}");
        let limits = self.limits(path, &raw);
        let seconds =
            self.problems.number(&at("timeout_seconds"), raw.timeout_seconds, 600, 1..=HANDLER_SECONDS_MAX);
        let kind = match (raw.command, raw.url) {
            (Some(command), None) => {
                let command = self.problems.take(&at("command"), Some(command))?;
                self.command(&at("command"), command)?
            }
            (None, Some(url)) => {
                let url = self.problems.take(&at("url"), Some(url))?;
                HandlerKind::Url(self.http_url(&at("url"), url)?)
            }
            (None, None) => {
                self.problems.add(
                    format!("{path}.handler"),
                    "is missing; write command = [\"wc\", \"-w\"] or url = \"http://127.0.0.1:9000/run\"",
                );
                return None;
            }
            (Some(_), Some(_)) => {
                self.problems.add(format!("{path}.handler"), "has both command and url; keep one");
                return None;
            }
        };
        Some(Handler { kind, timeout: Duration::from_secs(seconds), limits })
    }

    fn limits(&mut self, path: &str, raw: &RawHandler) -> Limits {
        let fields = [
            ("nice", &raw.nice, 0..=19),
            ("memory_max_mib", &raw.memory_max_mib, 1..=MEMORY_MIB_MAX),
            ("cpu_percent", &raw.cpu_percent, 1..=100 * PROCESSORS_MAX),
            ("tasks_max", &raw.tasks_max, 1..=TASKS_MAX),
        ];
        let [nice, memory, cpu_percent, tasks_max] = fields.map(|(name, field, range)| {
            let path = format!("{path}.handler.{name}");
            if field.is_some() && raw.url.is_some() {
                self.problems.add(path, "limits a program that is started here; a url has none");
                return None;
            }
            let least = *range.start();
            field.clone().map(|field| self.problems.number(&path, Some(field), least, range))
        });
        let usual = Limits::default();
        Limits {
            nice: nice.and_then(|nice| u8::try_from(nice).ok()).unwrap_or(usual.nice),
            memory_max: memory.map(|mib| mib << 20),
            cpu_percent,
            tasks_max,
        }
    }

    /// The program is looked up now, because the handler's own environment has no `PATH`.
    fn command(&mut self, path: &str, command: Vec<String>) -> Option<HandlerKind> {
        let Some((name, arguments)) = command.split_first() else {
            self.problems.add(path, "names no program; write command = [\"wc\", \"-w\"]");
            return None;
        };
        let Some(program) = find_program(name, self.base, self.env) else {
            self.problems
                .add(path, format!("there is no executable {name:?}; check the name, or chmod +x it"));
            return None;
        };
        Some(HandlerKind::Command { program, arguments: arguments.to_vec(), directory: self.base.to_owned() })
    }
}

fn find_program(name: &str, base: &Path, env: &Env) -> Option<PathBuf> {
    if name.contains('/') {
        return Some(base.join(name)).filter(|path| is_executable(path));
    }
    let path = env.get("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".to_owned());
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|path| is_executable(path))
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests;

//! The sale: a relay and a worker on this machine, a buyer, and a node that may be anywhere.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nano_worker::edge::{Entropy, monotonic};
use nano_worker::nano::draft::AccountState;
use nano_worker::nano::rpc::{Processed, Rpc, RpcConfig, WorkSources};
use nano_worker::nano::{Account, Amount, Network, PrivateKey, Seed};
use serde_json::Value;

use crate::given::{Given, Money};

/// What is sold: the words of this are counted.
const WORDS: &str = "\"five words for one sale\"";

/// Invoices begin here or after it: far from accounts that people use.
const INDEX_MIN: u32 = 100_000;

/// How often something is looked at again.
const LOOK: Duration = Duration::from_millis(500);

type Step<T> = Result<T, String>;

/// Plays the sale. What was paid is back on the buyer's account at its end.
pub(crate) async fn play(given: &Given) -> Step<()> {
    let started = Instant::now();
    let node = Node::find(given).await?;
    println!("testnet: {} on the network {}", node.vendor, node.network);
    let (seed, text, giver) = match &given.money {
        Money::Seed(seed, text) => (seed.clone(), text.clone(), None),
        Money::Genesis(key) => {
            let text = hex::encode(Entropy::system().bytes::<32>());
            let seed = Seed::parse(&text).unwrap();
            let account = seed.account(0).unwrap();
            let giver = (key.account(), node.holds(key.account()).await?);
            node.give(key, account, Amount::from_raw(given.price.raw() * 10)).await?;
            node.await_at_least(account, Amount::from_raw(1), given.patience).await?;
            (seed, text, Some(giver))
        }
    };
    let buyer = seed.account(0).unwrap();
    let held = node.holds(buyer).await?;
    if held < given.price {
        let missing = given.price.checked_sub(held).unwrap_or_default().to_xno();
        return Err(format!("the test's account is too poor: send {buyer} at least {missing} XNO"));
    }
    println!("testnet: {buyer} holds {} XNO and buys for {} XNO", held.to_xno(), given.price.to_xno());
    let stage = Stage::set(given, node.network, &text)?;
    let played = stage.played(given, &node, buyer, held, giver).await;
    let job = played.map_err(|problem| stage.keep(&problem))?;
    stage.clear();
    println!("testnet: job {job}: paid, delivered, and the coins are back");
    println!("testnet: the whole sale took {} s", started.elapsed().as_secs());
    Ok(())
}

/// The node, and what a test asks it by itself.
struct Node {
    rpc: Rpc,
    network: Network,
    vendor: String,
}

impl Node {
    async fn find(given: &Given) -> Step<Self> {
        let began = monotonic();
        let urls = [given.rpc.clone()];
        let rpc = Rpc::new(&RpcConfig::new(urls, move || monotonic().saturating_duration_since(began)));
        let rpc = rpc.map_err(|error| format!("NANO_RPC_URL: {error}"))?;
        let version = rpc.version().await.map_err(|error| format!("the node does not answer: {error}"))?;
        let network =
            version.network.parse().map_err(|_| format!("no known network: {}", version.network))?;
        Ok(Self { rpc, network, vendor: version.vendor })
    }

    /// Received and waiting.
    async fn holds(&self, account: Account) -> Step<Amount> {
        let failed = |error| format!("the node does not tell what {account} holds: {error}");
        let info = self.rpc.account_info(&account).await.map_err(failed)?;
        let waiting = self.rpc.receivable_of(&[account]).await.map_err(failed)?;
        let waiting: Amount =
            waiting.into_values().flat_map(|list| list.blocks).filter_map(|send| send.amount).sum();
        Ok(info.map_or(Amount::ZERO, |info| info.balance).saturating_add(waiting))
    }

    /// Sends some of a private network's money.
    async fn give(&self, key: &PrivateKey, to: Account, amount: Amount) -> Step<()> {
        let from = key.account();
        let info = self.rpc.account_info(&from).await.map_err(|error| error.to_string())?;
        let info = info.ok_or_else(|| format!("NANO_GENESIS_KEY opens {from}, which this network lacks"))?;
        let state: AccountState = info.state(from, from);
        let send = state.send(to, amount).map_err(|error| error.to_string())?;
        let sources = WorkSources { nodes: Some(self.rpc.clone()), servers: None, cpu: true };
        let threshold = send.threshold(&self.network.work());
        let start = Entropy::system().number();
        let work = sources.find(send.fields.work_root(), threshold, start, || {}).await;
        let block = send.sign(key, work.map_err(|error| error.to_string())?.work);
        match self.rpc.process(&block, send.subtype).await.map_err(|error| error.to_string())? {
            Processed::Accepted(_) => Ok(()),
            refused => Err(format!("the node refuses the gift: {refused:?}")),
        }
    }

    /// Waits for what was sent to be confirmed.
    async fn await_at_least(&self, account: Account, amount: Amount, patience: u64) -> Step<()> {
        let started = Instant::now();
        while self.holds(account).await? < amount {
            if started.elapsed().as_secs() > patience {
                return Err(format!("what was sent to {account} is never confirmed: who votes here?"));
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }
}

/// A directory, and the programs that run in it.
struct Stage {
    dir: PathBuf,
    _relay: Running,
    _worker: Running,
}

/// A program that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Stage {
    fn set(given: &Given, network: Network, seed: &str) -> Step<Self> {
        let dir = tempfile::Builder::new().prefix("testnet-").tempdir().unwrap().keep();
        secret(&dir, "seed", seed);
        for name in ["seller.key", "buyer.key"] {
            secret(&dir, name, &hex::encode(Entropy::system().bytes::<32>()));
        }
        let mut relay = Command::new(env!("CARGO_BIN_EXE_relay"));
        relay.args(["serve", "--listen", "127.0.0.1:0", "--data", "relay"]).stdout(Stdio::piped());
        let mut relay = run(relay, &dir, "relay");
        let mut line = String::new();
        BufReader::new(relay.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.split_whitespace().last().ok_or("the relay does not start")?.to_owned();
        let index = INDEX_MIN + Entropy::system().number() as u32 % (1 << 30);
        let websocket = given.websocket.as_ref().map(|url| format!("websocket = [\"{url}\"]\n"));
        let common = |key: &str| {
            format!(
                "[relay]\nurl = \"{url}\"\nkey = \"file:{key}\"\n\
                 [nano]\nnetwork = \"{network}\"\nseed = \"file:seed\"\nrpc = [\"{}\"]\n",
                given.rpc
            )
        };
        let worker = format!(
            "{}account_index_start = {index}\n{}[wallet]\nreceive_min_xno = \"{price}\"\n\
             [[offers]]\ntitle = \"Word count\"\nprice_xno = \"{price}\"\n\
             [offers.handler]\ncommand = [\"wc\", \"-w\"]\n",
            common("seller.key"),
            websocket.unwrap_or_default(),
            price = given.price.to_xno(),
        );
        let patience = given.patience;
        let buyer = format!(
            "{}[state]\ndir = \"journal\"\n\
             [patience]\nstep_seconds = {}\nquote_seconds = {patience}\nresult_seconds = {patience}\n",
            common("buyer.key"),
            patience.min(3_600),
        );
        fs::write(dir.join("worker.toml"), worker).unwrap();
        fs::write(dir.join("buyer.toml"), buyer).unwrap();
        let mut worker = Command::new(env!("CARGO_BIN_EXE_worker"));
        worker.args(["run"]).stdout(Stdio::null());
        let worker = run(worker, &dir, "worker");
        Ok(Self { dir, _relay: relay, _worker: worker })
    }

    /// The sale, and all coins back where they were: a gift, too, with the account that gave it.
    async fn played(
        &self,
        given: &Given,
        node: &Node,
        buyer: Account,
        held: Amount,
        giver: Option<(Account, Amount)>,
    ) -> Step<String> {
        let job = self.sell(given, buyer)?;
        self.bring_home(given, buyer)?;
        let left = node.holds(buyer).await?;
        if left != held {
            return Err(format!("{} XNO came back of {}", left.to_xno(), held.to_xno()));
        }
        if let Some((giver, had)) = giver {
            let all_to = ["wallet", "sweep", "--to", &giver.to_string(), "--json"];
            self.ask(env!("CARGO_BIN_EXE_buyer"), &all_to)?;
            // There it waits to be received, which takes no block of ours.
            node.await_at_least(giver, had, given.patience).await?;
        }
        Ok(job)
    }

    /// Buys, and returns the job.
    fn sell(&self, given: &Given, buyer: Account) -> Step<String> {
        let offer = self.until(given, "an offer", || {
            let page = self.ask(env!("CARGO_BIN_EXE_buyer"), &["offers", "--json"]).ok()?;
            Some(page["offers"][0]["offer_id"].as_str()?.to_owned())
        })?;
        let (price, begun) = (given.price.to_xno(), Instant::now());
        let arguments = ["buy", &offer, "--payload", WORDS, "--max-price-xno", &price, "--json"];
        let bought = self.ask(env!("CARGO_BIN_EXE_buyer"), &arguments)?;
        let (status, result) = (&bought["job"]["status"], &bought["job"]["result_payload"]);
        if status != "delivered" || *result != 5 {
            return Err(format!("{buyer} got {status} with {result} instead of five words counted"));
        }
        println!("testnet: asked, quoted, paid and delivered in {} s", begun.elapsed().as_secs());
        let job = bought["job"]["job_id"].as_str().unwrap_or_default().to_owned();
        let explained = self.ask(env!("CARGO_BIN_EXE_worker"), &["check-payment", &job, "--json"])?;
        println!("testnet: the worker believes: {}", explained["belief"].as_str().unwrap_or("it was paid"));
        Ok(job)
    }

    /// Sends the worker's coins back to where they came from.
    fn bring_home(&self, given: &Given, buyer: Account) -> Step<()> {
        let (home, wanted) = (buyer.to_string(), Value::from(given.price.to_string()));
        let sweep = ["wallet", "sweep", "--to", &home, "--json"];
        self.until(given, "the end of the sweep", || {
            let swept = self.ask(env!("CARGO_BIN_EXE_worker"), &sweep).ok()?;
            (swept["swept_raw"] == wanted).then_some(())
        })?;
        self.until(given, "the coins on the buyer's account", || {
            let taken = self.ask(env!("CARGO_BIN_EXE_buyer"), &["wallet", "receive", "--json"]).ok()?;
            let taken = taken["received"].as_array()?;
            taken.iter().any(|one| one["amount_raw"] == wanted).then_some(())
        })
    }

    fn until<T>(&self, given: &Given, what: &str, mut look: impl FnMut() -> Option<T>) -> Step<T> {
        let started = Instant::now();
        loop {
            if let Some(found) = look() {
                return Ok(found);
            }
            if started.elapsed().as_secs() > given.patience {
                return Err(format!("there is never {what}"));
            }
            std::thread::sleep(LOOK);
        }
    }

    /// One command and its answer.
    fn ask(&self, program: &str, arguments: &[&str]) -> Step<Value> {
        let mut command = Command::new(program);
        command.args(arguments);
        let ended = prepared(command, &self.dir, "commands").output().unwrap();
        let answer: Value = serde_json::from_slice(&ended.stdout).unwrap_or_default();
        if ended.status.success() {
            return Ok(answer);
        }
        let why = answer["error"]["message"].as_str().unwrap_or("see its log");
        Err(format!("{:?} ended with {}: {why}", arguments.first(), ended.status))
    }

    /// Removes the directory; the programs may write a last line into what is gone.
    fn clear(&self) {
        let _ = fs::remove_dir_all(&self.dir);
    }

    /// What to do with what is left. The directory holds the seed, so it is kept only then.
    fn keep(&self, problem: &str) -> String {
        let dir = self.dir.display();
        format!(
            "{problem}\nlogs, seed and states are in {dir}; coins on invoices are brought home by\n  \
             cd {dir} && worker wallet sweep --to ACCOUNT"
        )
    }
}

/// A program in the directory, with nothing of the tester's environment but what programs need.
fn prepared(mut command: Command, dir: &Path, log: &str) -> Command {
    let file = OpenOptions::new().create(true).append(true).open(dir.join(format!("{log}.log"))).unwrap();
    command.current_dir(dir).env_clear().stdin(Stdio::null()).stderr(file).env("RUST_LOG", "info");
    for name in ["PATH", "HOME", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR"] {
        command.envs(std::env::var_os(name).map(|value| (name, value)));
    }
    command
}

fn run(command: Command, dir: &Path, log: &str) -> Running {
    Running(prepared(command, dir, log).spawn().unwrap())
}

fn secret(dir: &Path, name: &str, text: &str) {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(dir.join(name));
    let mut file: File = file.unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

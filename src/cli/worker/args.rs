//! What may be written on the command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};

use crate::cli::vault::Sealing;
use crate::nano::Account;
use crate::protocol::JobId;
use crate::protocol::v0::JobId as Name;
use crate::worker::v0;

/// The seller's daemon: takes jobs, is paid in Nano, runs once, delivers.
#[derive(Debug, Parser)]
#[command(name = "worker", version, arg_required_else_help = true, after_help = super::exit::HELP)]
pub(super) struct Args {
    /// The configuration; relative paths in it start from its own directory.
    #[arg(long, global = true, value_name = "FILE", default_value = "worker.toml")]
    pub(super) config: PathBuf,
    /// Print one JSON document instead of text.
    #[arg(long, global = true)]
    pub(super) json: bool,
    /// How the log on standard error is written; RUST_LOG says how much of it.
    #[arg(long, global = true, value_name = "FORMAT", value_enum, default_value_t)]
    pub(super) log_format: LogFormat,
    #[command(subcommand)]
    pub(super) command: Command,
}

/// How the log is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum LogFormat {
    /// For people.
    #[default]
    Human,
    /// One JSON object a line.
    Json,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run the daemon until SIGTERM or Ctrl-C.
    Run,
    /// Go on once with what an earlier life left open, and explain every decision.
    Recover {
        /// Decide and explain, without acting.
        #[arg(long)]
        dry_run: bool,
        /// How long to wait for handlers and deliveries to end.
        #[arg(long, value_name = "SECONDS", default_value_t = 600)]
        patience: u64,
    },
    /// Ask the relay once and print what is new, without a daemon; `recover` then acts on it.
    Poll {
        /// Leave it to `ack`: until then the relay tells the same again.
        #[arg(long)]
        no_ack: bool,
    },
    /// Tell the relay up to which event it may forget; only what is durable here.
    Ack {
        /// The last event, as `poll` printed it.
        #[arg(long, value_name = "N")]
        up_to_event_id: u64,
    },
    /// Go on where the log of a /v0 relay begins now, once it has dropped what was not read.
    Resync {
        /// Look at no old jobs: what happened before the log begins is missed.
        #[arg(long, required_unless_present = "careful", conflicts_with = "careful")]
        fast: bool,
        /// Look at all jobs first, so that nothing is missed; the daemon does this by itself.
        #[arg(long)]
        careful: bool,
    },
    /// Wait for the relay's wake-ups, for ever, and print each or run a command; polls nothing itself.
    Watch {
        /// How long the command may take.
        #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..=86_400))]
        timeout: u64,
        /// What to run, say `worker poll`; wakes that come meanwhile are one more run.
        #[arg(last = true, value_name = "COMMAND")]
        command: Vec<OsString>,
    },
    /// Make a bot known to its /v0 relay, without a daemon.
    Register {
        /// Under this name for people; an empty one takes the name away.
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
    },
    /// Write the state as text, without stopping the daemon.
    Backup {
        /// Where to; `-` is standard output. Unless given, a new file in [backup] dir.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Take a state back from a backup; the daemon must not run.
    Restore {
        /// The backup.
        file: PathBuf,
        /// Move a state that is there aside; nothing is deleted.
        #[arg(long)]
        replace: bool,
    },
    /// Test everything the daemon needs and say what to do.
    Check,
    /// Say how it goes.
    Status,
    /// Say it in the text format that Prometheus reads.
    Metrics,
    /// Look at jobs.
    #[command(subcommand)]
    Jobs(Jobs),
    /// Explain, rule by rule, what is believed of a payment and why.
    CheckPayment {
        /// A block's hash, an invoice address or a job's id.
        #[arg(value_name = "HASH|ADDRESS|JOB")]
        subject: String,
    },
    /// The seed and its addresses.
    #[command(subcommand)]
    Wallet(Wallet),
    /// Send back what was paid for a job that came to nothing.
    Refund {
        /// Which.
        #[arg(value_parser = job)]
        job: JobId,
        #[command(flatten)]
        to: Destination,
    },
    /// The key that signs what the relay is told.
    #[command(subcommand)]
    Key(Key),
    /// The two keys of a bot of /v0: the one that signs and the one that is sealed for.
    #[command(subcommand)]
    Keys(Keys),
    /// The configuration.
    #[command(subcommand)]
    Config(Config),
    /// Show a whole sale on this machine: relay, ledger, worker and buyer, with play money.
    Demo,
    /// Print completions for a shell.
    Completions {
        /// For which.
        shell: clap_complete::Shell,
    },
    /// Print the manual page.
    Man,
}

#[derive(Debug, Subcommand)]
pub(super) enum Jobs {
    /// List them, newest first.
    List {
        /// Only jobs to which something is still owed.
        #[arg(long)]
        open: bool,
        /// How many at most.
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1_000))]
        limit: u16,
    },
    /// Show one with its whole history.
    Show {
        /// Which.
        #[arg(value_parser = job)]
        id: JobId,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum Wallet {
    /// Make a seed where the configuration expects it.
    New {
        /// As a BIP-39 phrase of this many words (12 or 24) instead of 64 hex digits.
        #[arg(long, value_name = "COUNT", value_parser = ["12", "24"])]
        words: Option<String>,
        #[command(flatten)]
        new: NewSecret,
        #[command(flatten)]
        sealing: Sealing,
    },
    /// Take a seed that you have: 64 hex digits or a BIP-39 phrase, encrypted or not.
    Import {
        /// The file it is in; - is standard input, or the terminal, which does not show it.
        #[arg(default_value = "-")]
        from: String,
        #[command(flatten)]
        new: NewSecret,
        #[command(flatten)]
        sealing: Sealing,
    },
    /// Print the address of an index.
    Address {
        /// Which; addresses of invoices begin at account_index_start.
        #[arg(default_value_t = 0)]
        index: u32,
    },
    /// List the addresses that invoices have used.
    List,
    /// Say what is on the invoices, and for whom.
    Balance,
    /// Take in what was sent to invoices whose jobs have ended.
    Receive {
        /// Say what would be done, without doing it.
        #[arg(long)]
        dry_run: bool,
    },
    /// Take it in and send all of it to one account.
    Sweep {
        #[command(flatten)]
        to: Destination,
        /// Send on as well what buyers got nothing for, instead of keeping it for `refund`, and what came
        /// for jobs that another worker of the seed may do.
        #[arg(long)]
        owed: bool,
    },
    /// List the blocks that were made for this.
    History,
    /// Write them as a table for bookkeepers, or write the seed to another file.
    Export {
        /// The blocks, as comma-separated values.
        #[arg(long, required_unless_present = "seed", conflicts_with = "seed")]
        csv: bool,
        /// The seed, encrypted or not.
        #[arg(long, requires = "out")]
        seed: bool,
        /// Where to; the table goes to standard output unless given.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        #[command(flatten)]
        sealing: Sealing,
    },
    /// Show an address as a QR code.
    Qr {
        /// The index of an address, or the job whose invoice it is.
        of: IndexOrJob,
    },
    /// Find the addresses that this seed has used, from relay and chain; the daemon must not run.
    Rescan {
        /// How many unused addresses in a row end the search; [nano] index_gap unless given.
        #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(100..=1_000_000))]
        gap: Option<u32>,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum Key {
    /// Make a key where the configuration expects it.
    New {
        #[command(flatten)]
        new: NewSecret,
    },
    /// Print the public half.
    Show,
}

#[derive(Debug, Subcommand)]
pub(super) enum Keys {
    /// Make those of the two that are not there yet, where the configuration expects them.
    New,
    /// Print the bot's name and the public halves.
    Show,
}

/// A job as its relay or its buyer calls it.
pub(super) fn job(text: &str) -> Result<JobId, String> {
    if text.starts_with(v0::NAME_PREFIX) {
        return Ok(v0::job_id(&Name::new(text)));
    }
    text.parse().map_err(|error| format!("{error}, nor a name that begins with {}", v0::NAME_PREFIX))
}

/// Where coins go.
#[derive(Debug, ClapArgs)]
pub(super) struct Destination {
    /// To this account, instead of where they belong.
    #[arg(long, value_name = "ACCOUNT")]
    pub(super) to: Option<Account>,
    /// Say what would be done, without doing it.
    #[arg(long)]
    pub(super) dry_run: bool,
}

/// An address of the seed.
#[derive(Debug, Clone, Copy)]
pub(super) enum IndexOrJob {
    Index(u32),
    Job(JobId),
}

impl FromStr for IndexOrJob {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let index = text.parse().map(Self::Index);
        index.or_else(|_| job(text).map(Self::Job)).map_err(|_| "neither an index nor a job")
    }
}

/// Where a new secret goes.
#[derive(Debug, ClapArgs)]
pub(super) struct NewSecret {
    /// Where to write it, instead of where the configuration says.
    #[arg(long, value_name = "FILE")]
    pub(super) out: Option<PathBuf>,
    /// Print the secret too, to write it down.
    #[arg(long)]
    pub(super) show: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum Config {
    /// Write the commented default.
    Init,
    /// Name everything that is wrong, at once.
    Check,
    /// Print what it comes to, without secrets.
    Show,
}

//! What may be written on the command line.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};

use crate::protocol::JobId;

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
    Poll,
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
    /// The key that signs what the relay is told.
    #[command(subcommand)]
    Key(Key),
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
    },
    /// Print the address of an index.
    Address {
        /// Which; addresses of invoices begin at account_index_start.
        #[arg(default_value_t = 0)]
        index: u32,
    },
    /// List the addresses that invoices have used.
    List,
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

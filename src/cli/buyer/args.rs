//! The buyer's arguments, and what they may hold.

use std::io::{self, Read as _};
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use nano_currency::{Account, Amount};
use serde_json::Value;

use crate::cli::CliError;
use crate::cli::vault::Sealing;
use crate::protocol::limits::REQUEST_PAYLOAD_BYTES_MAX;

/// Numbers that `--help` explains.
const EXIT_CODES: &str = "\
Exit codes:
   0  done; the job, if there was one to wait for, was delivered
   1  something else failed
   2  the command or the configuration is wrong
   3  the job was tried and failed
   4  the job was refused or canceled, or has expired; nothing was paid
   5  the quote is not paid: too expensive, expired, or not what was agreed to
   6  a payment may have been made and is not settled: run `buyer resume`, or look
   7  the account has too little money
   8  the relay refused, or cannot be reached
   9  no node answers; nothing was paid
  10  somebody took too long: run `buyer resume` or `buyer wait`
  11  the spending policy forbids it; nothing was paid";

/// Buys from sellers on a relay, and pays in Nano.
#[derive(Debug, Parser)]
#[command(name = "buyer", version, after_help = EXIT_CODES, disable_help_subcommand = true)]
pub(super) struct Cli {
    #[command(flatten)]
    pub(super) flags: Flags,
    #[command(subcommand)]
    pub(super) command: Command,
}

/// Flags of every command.
#[derive(Debug, Args)]
pub(super) struct Flags {
    /// The configuration [default: ./buyer.toml, if it is there]
    #[arg(long, global = true, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// The relay's address
    #[arg(long, global = true, value_name = "URL")]
    pub(super) relay: Option<String>,
    /// v1, or v0 for relays of the deployed kind
    #[arg(long, global = true, value_name = "DIALECT")]
    pub(super) dialect: Option<String>,
    /// Where your key is: file:PATH, env:NAME or credential:NAME
    #[arg(long, global = true, value_name = "REF")]
    pub(super) key: Option<String>,
    /// In v0, where the key is that your payloads are sealed for, as --key
    #[arg(long, global = true, value_name = "REF")]
    pub(super) sealing_key: Option<String>,
    /// Where your seed is: file:PATH, env:NAME or credential:NAME
    #[arg(long, global = true, value_name = "REF")]
    pub(super) seed: Option<String>,
    /// A node's address; may be repeated
    #[arg(long, global = true, value_name = "URL")]
    pub(super) rpc: Vec<String>,
    /// live, beta, test or dev
    #[arg(long, global = true)]
    pub(super) network: Option<String>,
    /// The journal's directory
    #[arg(long, global = true, value_name = "DIR")]
    pub(super) state: Option<PathBuf>,
    /// Which of the seed's accounts pays
    #[arg(long, global = true, value_name = "N")]
    pub(super) account_index: Option<u32>,
    /// Print one JSON value
    #[arg(long, global = true)]
    pub(super) json: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Makes keys
    #[command(subcommand)]
    Key(KeyCommand),
    /// Shows the account that pays: its address, its balance, what it can receive
    Account,
    /// The account that pays, apart from its purchases
    #[command(subcommand)]
    Wallet(WalletCommand),
    /// Lists offers
    Offers {
        /// Part of the title or the description
        query: Option<String>,
        /// A tag that must be there; may be repeated
        #[arg(long = "tag", value_name = "TAG")]
        tags: Vec<String>,
        /// How many at most
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u8).range(1..=100))]
        limit: u8,
    },
    /// Asks a seller for a job
    Request {
        /// The offer
        offer: Name,
        #[command(flatten)]
        payload: Payload,
    },
    /// Shows a job and what the journal knows of it
    Show {
        /// The job
        job: Name,
    },
    /// Agrees to a job's quote
    Accept {
        /// The job
        job: Name,
        #[command(flatten)]
        limit: Limit,
    },
    /// Pays an accepted job and tells the relay
    Pay {
        /// The job
        job: Name,
        #[command(flatten)]
        limit: Limit,
    },
    /// Tells the relay of a payment that was made elsewhere
    Submit {
        /// The job
        job: Name,
        /// The hash of the block that pays
        #[arg(long)]
        hash: String,
    },
    /// Waits for a job's end and prints its result
    Wait {
        /// The job
        job: Name,
    },
    /// Fetches the file that a result of /v0 names, and holds it against the seller's hash
    Fetch {
        /// The job
        job: Name,
        /// The file, which must not be there yet
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// The longest file that is fetched, in MiB
        #[arg(long, value_name = "N", default_value_t = 256)]
        max_mib: u32,
    },
    /// Gives a job up that is not yet paid
    Cancel {
        /// The job
        job: Name,
        /// Why, for the seller to read
        #[arg(long)]
        reason: Option<String>,
    },
    /// Does it all: asks, agrees, pays, waits, prints the result
    Buy {
        /// The offer
        offer: Name,
        #[command(flatten)]
        payload: Payload,
        /// The most that may be paid
        #[arg(long, value_name = "XNO")]
        max_price_xno: String,
    },
    /// Goes on with everything that was interrupted
    Resume,
    /// Prints a script that completes commands in a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Prints the manual page
    Man,
}

#[derive(Debug, Subcommand)]
pub(super) enum KeyCommand {
    /// Makes a key and prints its public half
    New {
        /// The file, which must not be there yet
        #[arg(long, default_value = "buyer.key")]
        out: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum WalletCommand {
    /// Makes a seed
    New {
        /// The file, which must not be there yet
        #[arg(long, default_value = "seed")]
        out: PathBuf,
        /// As a BIP-39 phrase of this many words instead of 64 hex digits
        #[arg(long, value_name = "COUNT", value_parser = ["12", "24"])]
        words: Option<String>,
        #[command(flatten)]
        sealing: Sealing,
    },
    /// Takes a seed that you have: 64 hex digits or a BIP-39 phrase, encrypted or not
    Import {
        /// The file it is in; - is standard input, or the terminal, which does not show it
        #[arg(default_value = "-")]
        from: String,
        /// The file, which must not be there yet
        #[arg(long, default_value = "seed")]
        out: PathBuf,
        #[command(flatten)]
        sealing: Sealing,
    },
    /// Prints the account's address
    Address,
    /// Shows what the account holds and what waits for it
    Balance,
    /// Takes in what was sent to it
    Receive,
    /// Sends a part of it away
    Send {
        /// Where to
        to: Account,
        /// How much
        #[arg(long, value_name = "XNO")]
        xno: String,
    },
    /// Takes in what waits and sends all of it away
    Sweep {
        /// Where to
        #[arg(long, value_name = "ACCOUNT")]
        to: Account,
    },
    /// Lists the blocks that were signed here
    History,
    /// Writes them as a table for bookkeepers, or writes the seed to another file
    Export {
        /// The blocks, as comma-separated values
        #[arg(long, required_unless_present = "seed_itself", conflicts_with = "seed_itself")]
        csv: bool,
        /// The seed, encrypted or not
        #[arg(long = "secret", id = "seed_itself", requires = "out")]
        secret: bool,
        /// Where to; the table goes to standard output unless given
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        #[command(flatten)]
        sealing: Sealing,
    },
    /// Shows the address as a QR code
    Qr,
}

impl WalletCommand {
    /// Whether it needs no account, no journal and no relay.
    pub(super) const fn is_about_seeds(&self) -> bool {
        matches!(self, Self::New { .. } | Self::Import { .. } | Self::Export { secret: true, .. })
    }
}

/// The name of an offer or a job, in either dialect.
#[derive(Debug, Clone)]
pub(super) struct Name(String);

impl From<String> for Name {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl Name {
    /// What it names in /v1.
    pub(super) fn id<T: std::str::FromStr<Err: std::fmt::Display>>(&self) -> Result<T, CliError> {
        self.0.parse().map_err(|error| CliError::usage(format_args!("{}: {error}", self.0)))
    }

    /// What it names in /v0.
    pub(super) fn text(&self) -> &str {
        &self.0
    }
}

#[derive(Debug, Args)]
pub(super) struct Payload {
    /// What the seller is to work on: JSON, @FILE, or - for standard input
    #[arg(long, value_name = "JSON|@FILE|-")]
    pub(super) payload: String,
}

#[derive(Debug, Args)]
pub(super) struct Limit {
    /// The most that may be paid
    #[arg(long, value_name = "XNO")]
    pub(super) max_price_xno: Option<String>,
}

impl Limit {
    pub(super) fn read(&self) -> Result<Option<Amount>, CliError> {
        self.max_price_xno.as_deref().map(|text| read_xno("--max-price-xno", text)).transpose()
    }
}

pub(super) fn read_xno(flag: &str, text: &str) -> Result<Amount, CliError> {
    Amount::parse_xno(text).map_err(|error| CliError::usage(format_args!("{flag}: {error}")))
}

/// The payload that an argument names. A text that is no JSON is not guessed at.
pub(super) fn read_payload(argument: &str) -> Result<Value, CliError> {
    let bound = REQUEST_PAYLOAD_BYTES_MAX as u64 + 1;
    let mut text = String::new();
    let read = match argument.strip_prefix('@') {
        Some(path) => std::fs::File::open(path).and_then(|file| file.take(bound).read_to_string(&mut text)),
        None if argument == "-" => io::stdin().take(bound).read_to_string(&mut text),
        None => {
            text.push_str(argument);
            Ok(text.len())
        }
    };
    read.map_err(|error| CliError::usage(format_args!("--payload {argument}: {error}")))?;
    if text.len() > REQUEST_PAYLOAD_BYTES_MAX {
        return Err(CliError::usage(format_args!("--payload: more than {REQUEST_PAYLOAD_BYTES_MAX} bytes")));
    }
    serde_json::from_str(&text).map_err(|error| {
        CliError::usage(format_args!("--payload is not JSON ({error}); a text is written '\"like this\"'"))
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;
    use serde_json::json;

    use super::*;

    #[test]
    fn the_document_has_the_exit_codes() {
        let table = EXIT_CODES.trim_start_matches("Exit codes:\n");
        assert!(
            include_str!("../../../docs/exit-codes.md").contains(table),
            "docs/exit-codes.md is out of date"
        );
    }
    use crate::cli::Exit;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn payloads_are_json_and_bounded() {
        assert_eq!(read_payload("{\"a\":1}").unwrap(), json!({"a": 1}));
        assert_eq!(read_payload("plain words").unwrap_err().exit, Exit::Usage);
        assert_eq!(read_payload("@/nowhere/at/all").unwrap_err().exit, Exit::Usage);
        let large = format!("\"{}\"", "x".repeat(REQUEST_PAYLOAD_BYTES_MAX));
        assert_eq!(read_payload(&large).unwrap_err().exit, Exit::Usage);
    }
}

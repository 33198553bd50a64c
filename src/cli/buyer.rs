//! The `buyer` program: its commands and what they print.

mod args;
mod fetch;
mod policy;
mod progress;
mod secrets;
mod settings;
mod text;
mod v0;
mod wallet;

#[cfg(any(test, fuzzing))]
pub(super) use settings::fuzzing;

use std::io;

use clap::{CommandFactory as _, Parser as _};
use serde_json::{Value, json};

use self::args::{Cli, Command, KeyCommand, Name, read_payload, read_xno};
use self::progress::Display;
use self::settings::Settings;
use super::{CliError, Exit, Output, vault};
use crate::buyer::memory::OwnerError;
use crate::buyer::order::Order;
use crate::buyer::plan::QuoteError;
use crate::buyer::{BuyError, Buyer};
use crate::client::{OffersQuery, RelayClient};
use crate::edge::{Clock, Entropy};
use crate::protocol::signing::Signer;
use crate::protocol::{Job, JobId, Status};

/// Runs the program of this process.
#[must_use]
pub fn main() -> Exit {
    crate::points::arm();
    if let Err(error) = super::shield::raise() {
        super::remark(format_args!("warning: the memory of this process can be read by others: {error}"));
    }
    let cli = Cli::parse();
    super::init_log("warn");
    let output = Output { json: cli.flags.json };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let ended = match runtime {
        Ok(runtime) => runtime.block_on(run(cli, output)),
        Err(error) => Err(CliError::new(Exit::Failed, "runtime", error)),
    };
    ended.unwrap_or_else(|error| output.failure(&error))
}

async fn run(cli: Cli, output: Output) -> Result<Exit, CliError> {
    let (flags, env) = (&cli.flags, vault::env());
    match cli.command {
        Command::Wallet(verb) if verb.is_about_seeds() => secrets::run(verb, flags, &env, output),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "buyer", &mut io::stdout());
            Ok(Exit::Ok)
        }
        Command::Man => {
            let page = clap_mangen::Man::new(Cli::command());
            page.render(&mut io::stdout()).map_err(|error| CliError::new(Exit::Failed, "io", error))?;
            Ok(Exit::Ok)
        }
        Command::Key(KeyCommand::New { out }) => secrets::new_key(&out, output),
        Command::Offers { query, tags, limit } => {
            let settings = Settings::load(flags, &env)?;
            if settings.is_v0 {
                return v0::offers(&settings, query, tags, limit, output).await;
            }
            let query =
                OffersQuery { text: query, tags, limit: Some(limit.into()), ..OffersQuery::default() };
            offers(&settings, &query, output).await
        }
        command => {
            let settings = Settings::load(flags, &env)?;
            if let Some(warning) = vault::warning(&env) {
                super::remark(warning);
            }
            let buyer = settings.buyer()?;
            let ended = if settings.is_v0 {
                v0::purchase(&buyer, &settings, command, output).await
            } else {
                purchase(&buyer, &settings, command, output).await
            };
            // What was printed must not be forgotten by the journal.
            buyer.memory().durable().await.map_err(|error| failure(error.into()))?;
            ended
        }
    }
}

async fn purchase(
    buyer: &Buyer,
    settings: &Settings,
    command: Command,
    output: Output,
) -> Result<Exit, CliError> {
    let index = settings.account_index;
    let display = Display::new(output);
    let watch = |progress: &crate::buyer::Progress| display.show(progress);
    let take_up = async |job: Name| buyer.take_up(&job.id::<JobId>()?, index).await.map_err(failure);
    match command {
        Command::Account => wallet::balance(buyer, settings, output).await,
        Command::Wallet(verb) => wallet::run(buyer, settings, verb, &display, output).await,
        Command::Request { offer, payload } => {
            let payload = read_payload(&payload.payload)?;
            let (order, job) = buyer.request(offer.id()?, &payload, None, index).await.map_err(failure)?;
            buyer.memory().durable().await.map_err(|error| failure(error.into()))?;
            Ok(show(&order, &job, output))
        }
        Command::Show { job } => {
            let (order, job) = take_up(job).await?;
            Ok(show(&order, &job, output))
        }
        Command::Accept { job, limit } => {
            let (mut order, job) = take_up(job).await?;
            let job = buyer.accept(&mut order, &job, limit.read()?).await.map_err(failure)?;
            Ok(show(&order, &job, output))
        }
        Command::Pay { job, limit } => {
            let (mut order, job) = take_up(job).await?;
            let paid = buyer.pay(&mut order, &job, limit.read()?, &watch).await;
            let job = paid.map_err(|error| unsettled(&order, error))?;
            display.finish();
            Ok(show(&order, &job, output))
        }
        Command::Submit { job, hash } => {
            let (mut order, _) = take_up(job).await?;
            let job = buyer.submit(&mut order, hash, &watch).await.map_err(failure)?;
            display.finish();
            Ok(show(&order, &job, output))
        }
        Command::Wait { job } => {
            let (mut order, _) = take_up(job).await?;
            let job = buyer.wait(&mut order, &watch).await.map_err(failure)?;
            display.finish();
            Ok(result(&job, output))
        }
        Command::Cancel { job, reason } => {
            let (mut order, _) = take_up(job).await?;
            let job = buyer.cancel(&mut order, reason.as_deref()).await.map_err(failure)?;
            Ok(show(&order, &job, output))
        }
        Command::Buy { offer, payload, max_price_xno } => {
            let max = read_xno("--max-price-xno", &max_price_xno)?;
            let payload = read_payload(&payload.payload)?;
            let (mut order, job) =
                buyer.request(offer.id()?, &payload, Some(max), index).await.map_err(failure)?;
            display.show(&crate::buyer::Progress::Requested { job_id: job.job_id });
            let ended = buyer.pursue(&mut order, job, &watch).await;
            display.finish();
            Ok(result(&ended.map_err(|error| unsettled(&order, error))?, output))
        }
        Command::Resume => {
            let ended = resume(buyer, output, &display).await;
            display.finish();
            ended
        }
        Command::Fetch { .. } => {
            Err(CliError::usage("only a result of /v0 names a file with its hash: --dialect v0"))
        }
        Command::Key(_) | Command::Offers { .. } | Command::Completions { .. } | Command::Man => {
            Err(CliError::usage("this command needs no journal"))
        }
    }
}

/// Goes on with each interrupted purchase; the exit is the worst of theirs.
async fn resume(buyer: &Buyer, output: Output, display: &Display) -> Result<Exit, CliError> {
    let mut orders = buyer.memory().interrupted().map_err(|error| failure(error.into()))?;
    // Those of the other dialect are for a run in that.
    orders.retain(|order| order.deal.is_none());
    let mut resumed = Resumed::new();
    for mut order in orders {
        let name = order.job_id.map_or_else(|| order.id.to_string(), |job| job.to_string());
        let ended = buyer.resume(&mut order, &|progress| display.show(progress)).await;
        resumed.add(&name, &order, ended, |job| {
            let job = job.map(|job| (exit_of(&job), json!(job), text::outcome(&job)));
            let (exit, job, line) = job.unwrap_or((Exit::Ok, Value::Null, "nothing to do".to_owned()));
            (exit, json!({ "order": order, "job": job }), line)
        });
    }
    Ok(resumed.say(output))
}

/// What came of the orders that were interrupted.
struct Resumed {
    worst: Exit,
    values: Vec<Value>,
    lines: Vec<String>,
}

impl Resumed {
    const fn new() -> Self {
        Self { worst: Exit::Ok, values: Vec::new(), lines: Vec::new() }
    }

    /// `shown` is how one that has ended is told: to the caller, as JSON and as a line.
    fn add<T>(
        &mut self,
        name: &str,
        order: &Order,
        ended: Result<T, BuyError>,
        shown: impl FnOnce(T) -> (Exit, Value, String),
    ) {
        let (exit, value, line) = ended.map_or_else(
            |error| {
                let error = unsettled(order, error);
                let told = json!({ "code": error.code, "message": error.message });
                (error.exit, json!({ "order": order, "error": told }), error.message)
            },
            shown,
        );
        self.worst = self.worst.max(exit);
        self.values.push(value);
        self.lines.push(format!("{name}: {line}"));
    }

    fn say(self, output: Output) -> Exit {
        let Self { worst, values, lines } = self;
        let lines = if lines.is_empty() { "nothing was interrupted".to_owned() } else { lines.join("\n") };
        output.answer(lines, || json!({ "resumed": values }));
        worst
    }
}

async fn offers(settings: &Settings, query: &OffersQuery, output: Output) -> Result<Exit, CliError> {
    let entropy = Entropy::system();
    // Offers are public: the name of whoever asks does not leave this process.
    let nobody = Signer::from_seed(&entropy.bytes());
    let relay = RelayClient::new(&settings.relay_url, nobody, Clock::system(), entropy);
    let relay = relay.map_err(CliError::usage)?;
    let page = relay
        .offers(query)
        .await
        .map_err(|error| failure(BuyError::Relay { doing: "list offers", source: error }))?;
    output.answer(text::offers(&page.offers), || json!({ "offers": page.offers, "total": page.total }));
    Ok(Exit::Ok)
}

fn show(order: &Order, job: &Job, output: Output) -> Exit {
    output.answer(text::job(order, job), || json!({ "job": job, "order": order }));
    Exit::Ok
}

/// The result alone, so that it can be piped; with `--json` the whole job.
fn result(job: &Job, output: Output) -> Exit {
    if job.status == Status::Delivered {
        output.answer(text::result(job), || json!({ "job": job }));
        return Exit::Ok;
    }
    if output.json {
        output.answer("", || json!({ "job": job }));
    } else {
        super::remark(text::outcome(job));
    }
    exit_of(job)
}

const fn exit_of(job: &Job) -> Exit {
    match job.status {
        Status::Failed => Exit::JobFailed,
        Status::Canceled | Status::Expired => Exit::JobOver,
        _ => Exit::Ok,
    }
}

/// The number and the name of a failure.
fn failure(error: BuyError) -> CliError {
    let (exit, code) = match &error {
        BuyError::Relay { .. } | BuyError::OtherJob(_) => (Exit::Relay, "relay"),
        BuyError::Node { .. } => (Exit::Node, "node"),
        BuyError::Journal(_) => (Exit::Failed, "journal"),
        BuyError::Seed(_) => (Exit::Usage, "seed"),
        BuyError::Quote(QuoteError::TooExpensive { .. }) => (Exit::Quote, "quote.too_expensive"),
        BuyError::Quote(QuoteError::Expired) => (Exit::Quote, "quote.expired"),
        BuyError::Quote(QuoteError::Changed { .. }) => (Exit::Quote, "quote.changed"),
        BuyError::Quote(QuoteError::OtherSeller { .. }) => (Exit::Quote, "quote.other_seller"),
        BuyError::Quote(_) => (Exit::Quote, "quote.invalid"),
        BuyError::Policy(rule) => (Exit::Policy, rule.code()),
        BuyError::Owner(OwnerError::Store(_)) => (Exit::Failed, "journal"),
        BuyError::Owner(OwnerError::OtherSeed { .. }) => (Exit::Usage, "journal.other_seed"),
        BuyError::Owner(OwnerError::OtherNetwork { .. }) => (Exit::Usage, "journal.other_network"),
        BuyError::OtherNetwork { .. } => (Exit::Usage, "node.other_network"),
        BuyError::Work(_) => (Exit::Node, "work"),
        BuyError::Over { paid: Some(_), .. } => (Exit::Unsettled, "paid_but_over"),
        BuyError::Over { .. } => (Exit::JobOver, "job_over"),
        BuyError::NotNow { .. } => (Exit::Relay, "not_now"),
        BuyError::Underfunded { .. } => (Exit::Underfunded, "underfunded"),
        BuyError::Unknown { .. } => (Exit::Unsettled, "payment_unknown"),
        BuyError::BlockRefused { .. } => (Exit::Unsettled, "block_refused"),
        BuyError::PaidElsewhere { .. } => (Exit::Unsettled, "paid_elsewhere"),
        BuyError::Deal(fault) => v0::failure(fault),
        BuyError::TimedOut { .. } => (Exit::TimedOut, "timed_out"),
    };
    let message = match &error {
        BuyError::Over { paid: Some(hash), .. } => {
            format!("{error}; block {hash} has paid for it all the same: ask the seller, naming the block")
        }
        BuyError::Underfunded { .. } => format!("{error}, then run `buyer resume`"),
        BuyError::Journal(cause) => match std::error::Error::source(cause) {
            Some(source) => format!("{error}: {cause}: {source}"),
            None => format!("{error}: {cause}"),
        },
        _ => error.to_string(),
    };
    CliError::new(exit, code, message)
}

/// A failure after a block was signed is another one than before.
fn unsettled(order: &Order, error: BuyError) -> CliError {
    let mut failure = failure(error);
    let settled = order.submission.as_ref().is_some_and(|submission| submission.done);
    if order.may_be_paid() && !settled && matches!(failure.exit, Exit::Node | Exit::Relay | Exit::TimedOut) {
        failure.exit = Exit::Unsettled;
        failure.message.push_str("; a payment was signed: run `buyer resume`");
    }
    failure
}

//! A market that loses answers and refuses, and what becomes of offers and of those who ask for them.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, pending, ready};
use reqwest::Method;
use serde_json::{Value, json};

use super::super::fixture::{bazaar, job, kept, offers, seller, settings};
use super::super::news::News;
use super::*;
use crate::client::wire::{Request, Response, Wire};
use crate::worker::engine::Heard;
use crate::worker::failure::StartError;
use crate::worker::hints::Hints;
use crate::worker::ingest::Page;
use crate::worker::memory::OPEN;
use crate::worker::parts::{Parts, Wires};
use crate::worker::stage::{Plan, Stage};

fn placed(number: usize) -> Placed {
    Placed { offer_id: v0::OfferId::new(format!("offer_{number}")), price_raw: number.to_string() }
}

#[test]
fn earlier_offers_are_kept_newest_first_and_up_to_a_bound() {
    let stall = (0..50).fold(Stall::empty(), |stall, number| stall.with(placed(number)));
    assert_eq!(stall.current, Some(placed(49)));
    assert_eq!((stall.former.len(), &stall.former[0]), (FORMER_MAX, &placed(48)));
    // One that is found again is no former one of itself.
    let again = stall.with(placed(48));
    assert_eq!((again.current.as_ref(), &again.former[0]), (Some(&placed(48)), &placed(49)));
    assert!(again.former.iter().all(|former| *former != placed(48)));
}

/// A relay with offers and jobs; each offer has its title for a name.
#[derive(Debug, Default)]
struct Market {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    offers: BTreeMap<String, Value>,
    jobs: Vec<Value>,
    acked: usize,
    /// What creations of an offer are answered with; 0 is no answer, though the offer is made.
    instead: BTreeMap<&'static str, u16>,
    /// How often jobs that wait were listed.
    listed: usize,
}

impl Market {
    fn new(instead: &[(&'static str, u16)]) -> Arc<Self> {
        let state = State { instead: instead.iter().copied().collect(), ..State::default() };
        Arc::new(Self { state: Mutex::new(state) })
    }

    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A buyer asks for an offer that is on the market.
    fn ask(&self, name: &str, offer: &str) {
        self.with(|state| {
            assert!(state.offers.contains_key(offer), "{offer}");
            let mut job = job(name, "REQUESTED", "..");
            job["offer_id"] = json!(offer);
            state.jobs.push(job);
        });
    }
}

impl State {
    fn answer(&mut self, request: &Request) -> Result<(u16, Value), String> {
        let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
        let parts: Vec<&str> = path.trim_start_matches("/v0/").split('/').collect();
        let missing = (404, json!({ "error": "not found" }));
        Ok(match (&request.method, parts.as_slice()) {
            (&Method::POST, ["bots"]) => {
                let mut bot: Value = serde_json::from_slice(&request.body).unwrap();
                bot["bot_id"] = json!(bot_id(&bot));
                bot["created_at"] = json!("2026-02-01T12:00:00Z");
                bot["revoked"] = json!(false);
                (200, bot)
            }
            (&Method::POST, ["offers"]) => {
                let draft: OfferDraft = serde_json::from_slice(&request.body).unwrap();
                let name = draft.title.clone();
                let id = v0::OfferId::new(name.clone());
                let now = crate::edge::Clock::system().now().into();
                let offer = json!(draft.offer(id, seller().bot_id(), now).unwrap().offer);
                let instead = self.instead.get(name.as_str()).copied();
                if instead.is_none_or(|status| status == 0) {
                    self.offers.insert(name, offer.clone());
                }
                match instead {
                    None => (200, offer),
                    Some(0) => return Err("the answer is lost".to_owned()),
                    Some(status) => (status, json!({ "error": "not allowed" })),
                }
            }
            (_, ["offers"]) => (200, json!({ "offers": self.offers.values().collect::<Vec<_>>() })),
            (_, ["offers", name]) => self.offers.get(*name).map_or(missing, |offer| (200, offer.clone())),
            (_, ["poll"]) => {
                let events: Vec<Value> = (1..).zip(&self.jobs).skip(self.acked).map(|(id, job)| {
                    json!({ "event_id": id, "event_type": "job.requested", "data": { "job_id": job["job_id"] } })
                }).collect();
                let acked = self.acked;
                (200, json!({ "events": events, "last_acked_event_id": acked, "min_event_id_retained": 1 }))
            }
            (_, ["poll", "ack"]) => {
                self.acked = self.jobs.len();
                (200, json!({ "last_acked_event_id": self.acked }))
            }
            (_, ["jobs"]) => {
                self.listed += usize::from(query.to_lowercase().contains("requested"));
                (200, json!({ "jobs": self.jobs }))
            }
            (_, ["jobs", name]) => {
                let found = self.jobs.iter().find(|job| job["job_id"] == json!(name));
                found.map_or((503, json!({})), |job| (200, job.clone()))
            }
            _ => (503, json!({})),
        })
    }
}

fn bot_id(bot: &Value) -> v0::BotId {
    v0::BotId::of(&serde_json::from_value(bot["signing_pubkey_ed25519"].clone()).unwrap())
}

impl Wire for Market {
    fn call(&self, request: Request) -> BoxFuture<'static, Result<Response, String>> {
        let answer = self.with(|state| state.answer(&request));
        ready(answer.map(|(status, body): (u16, Value)| Response::json(status, &body))).boxed()
    }
}

/// A seller that has looked at all jobs before, and in place of its loop the test.
struct Seller {
    registrar: Registrar,
    news: News,
    told: mpsc::Receiver<Registered>,
    pages: Option<mpsc::Receiver<Page>>,
    _dir: tempfile::TempDir,
}

impl Seller {
    fn new(market: &Arc<Market>, titles: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(memory::open(dir.path()).unwrap());
        let mut batch = Batch::default();
        memory::put_fact(&mut batch, fact::SYNCED, "yes").unwrap();
        store.commit(batch).unwrap();
        let bazaar = Arc::new(bazaar(Arc::clone(market) as _, Arc::clone(&store)));
        let ((registered, told), (pages, handed)) = (mpsc::channel(8), mpsc::channel(1));
        let registrar = Registrar {
            bazaar: Arc::clone(&bazaar),
            store,
            offers: offers(titles),
            entropy: Entropy::system(),
            registered,
        };
        let hints = Hints::new(mpsc::channel(1).1);
        let (min, max) = (Duration::from_millis(1), Duration::from_millis(1));
        let news = News { bazaar, pages, hints, watch: None, min, max, entropy: Entropy::system() };
        Self { registrar, news, told, pages: Some(handed), _dir: dir }
    }

    /// The jobs of one round of news.
    async fn round(&mut self) -> Vec<String> {
        let mut handed = self.pages.take().unwrap();
        let mut names = Vec::new();
        let hearing = async {
            while let Some(page) = handed.recv().await {
                names.extend(page.heard.iter().filter_map(|heard| match heard {
                    Heard::Shown(shown) => Some(shown.ticket.job_id.to_string()),
                    _ => None,
                }));
                page.durable.send(0).unwrap();
            }
        };
        tokio::select! {
            round = within(self.news.round(true)) => drop(round.unwrap_or_else(|error| panic!("{error:?}"))),
            () = hearing => {}
        }
        self.pages = Some(handed);
        names
    }

    /// Whose terms the loop has been told last.
    fn terms(&mut self) -> Option<Vec<String>> {
        let mut last = None;
        while let Ok(told) = self.told.try_recv() {
            let mut names: Vec<String> = told.unwrap().into_values().map(|offer| offer.name).collect();
            names.sort();
            last = Some(names);
        }
        last
    }

    fn unheard(&self) -> Option<String> {
        memory::fact(&self.registrar.store, fact::UNHEARD).unwrap()
    }
}

/// The offer is on the market, and its name is not known here: what asks for it is acknowledged.
#[tokio::test]
async fn what_came_before_an_offer_had_a_name_is_heard() {
    let market = Market::new(&[("Count", 0)]);
    let mut seller = Seller::new(&market, &["Count"]);
    let registrar = twin(&seller.registrar);
    let registering = tokio::spawn(async move { registrar.register().await });
    until(|| market.with(|state| !state.offers.is_empty()).then_some(())).await;
    market.ask("job_1", "Count");
    assert!(seller.round().await.is_empty(), "the offer has a name already");
    assert_eq!((market.with(|state| state.acked), seller.terms()), (1, None));
    assert!(within(registering).await.unwrap());
    assert_eq!(seller.terms(), Some(vec!["Count".to_owned()]));
    assert_eq!(seller.round().await, ["job_1"]);
    // They are looked for once.
    let listed = market.with(|state| state.listed);
    assert!(seller.round().await.is_empty() && seller.unheard().is_none());
    assert_eq!((listed, market.with(|state| state.listed)), (1, 1));
}

async fn within<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), what).await.unwrap()
}

async fn until<T>(mut there: impl FnMut() -> Option<T>) -> T {
    within(async {
        loop {
            match there() {
                Some(found) => return found,
                None => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    })
    .await
}

fn twin(registrar: &Registrar) -> Registrar {
    let Registrar { bazaar, store, offers, entropy, registered } = registrar;
    Registrar {
        bazaar: Arc::clone(bazaar),
        store: Arc::clone(store),
        offers: offers.clone(),
        entropy: entropy.clone(),
        registered: registered.clone(),
    }
}

/// The relay does not answer for one offer. The others are made, before and after it; their terms are
/// told, and what asks for them is heard.
#[tokio::test]
async fn no_offer_waits_for_one_that_gets_no_answer() {
    let market = Market::new(&[("Sum", 503)]);
    let mut seller = Seller::new(&market, &["Count", "Sum", "Weigh"]);
    let registrar = twin(&seller.registrar);
    let registering = tokio::spawn(async move { registrar.register().await });
    let both = Some(vec!["Count".to_owned(), "Weigh".to_owned()]);
    until(|| (seller.terms() == both).then_some(())).await;
    assert!(!registering.is_finished());
    market.ask("job_1", "Count");
    market.ask("job_2", "Weigh");
    // Whoever heard of them before the terms were told has acknowledged them.
    market.with(|state| state.acked = 2);
    assert_eq!(seller.round().await, ["job_1", "job_2"]);
    market.with(|state| state.instead.clear());
    assert!(within(registering).await.unwrap());
    assert_eq!(seller.terms().map(|terms| terms.len()), Some(3));
    market.ask("job_3", "Sum");
    market.with(|state| state.acked = 3);
    assert!(seller.round().await.contains(&"job_3".to_owned()));
}

#[tokio::test]
async fn a_list_that_cannot_be_had_or_another_offer_meanwhile_leaves_the_jobs_unheard() {
    let market = Market::new(&[]);
    let mut seller = Seller::new(&market, &["Count"]);
    assert!(within(seller.registrar.register()).await);
    assert_eq!(seller.unheard().as_deref(), Some("Count"));
    seller.news.are_heard(Some("Sum".to_owned())).await.unwrap();
    assert_eq!(seller.unheard().as_deref(), Some("Count"));
    seller.news.are_heard(None).await.unwrap();
    assert_eq!(seller.unheard().as_deref(), Some("Count"));
    seller.round().await;
    assert_eq!(seller.unheard(), None);
    // What is known already is no new name.
    assert!(within(seller.registrar.register()).await);
    assert_eq!(seller.unheard(), None);
}

/// At runtime one offer that is refused for good is left out until the next look.
#[tokio::test]
async fn a_refused_offer_leaves_the_others_alone() {
    let market = Market::new(&[("Sum", 400)]);
    let mut seller = Seller::new(&market, &["Sum", "Count"]);
    assert!(within(seller.registrar.register()).await);
    assert_eq!(seller.terms(), Some(vec!["Count".to_owned()]));
    let refused = memory::fact(&seller.registrar.store, fact::REFUSED).unwrap();
    assert!(refused.is_some_and(|refused| refused.contains("\"name\":\"Sum\"")));
    let registrar = twin(&seller.registrar);
    let shutdown = CancellationToken::new();
    let stop = shutdown.clone();
    let keeping = tokio::spawn(async move { registrar.keep(stop).await });
    seller.registrar.bazaar.renewed.notify_one();
    assert_eq!(until(|| seller.terms()).await, ["Count"]);
    market.with(|state| state.instead.clear());
    seller.registrar.bazaar.renewed.notify_one();
    let both = Some(vec!["Count".to_owned(), "Sum".to_owned()]);
    until(|| (seller.terms() == both).then_some(())).await;
    until(|| memory::fact(&seller.registrar.store, fact::REFUSED).unwrap().is_none().then_some(())).await;
    shutdown.cancel();
    within(keeping).await.unwrap();
}

/// At the start it is told first; whoever is told and stays is told of the others then.
#[tokio::test]
async fn a_first_registration_says_what_was_refused() {
    let market = Market::new(&[("Sum", 400)]);
    let mut seller = Seller::new(&market, &["Sum", "Count"]);
    assert!(within(seller.registrar.begin()).await);
    let Ok(Err(OfferError::Call { name, .. })) = seller.told.try_recv() else { panic!("not told") };
    assert_eq!(name, "Sum");
    assert_eq!(seller.terms(), Some(vec!["Count".to_owned()]));
    let Seller { registrar, told, .. } = Seller::new(&market, &["Sum"]);
    drop(told);
    assert!(!within(registrar.begin()).await, "goes on for nobody");
}

/// Nodes that do not answer.
#[derive(Debug)]
struct Silent;

impl nano_currency::rpc::Wire for Silent {
    fn call(&self, _: &str, _: String) -> BoxFuture<'static, Option<(u16, Vec<u8>)>> {
        pending().boxed()
    }
}

/// How a worker ends at the start whose relay refuses an offer, if it does before another one is made.
async fn first_life(stage: Option<Stage>) -> Option<Result<(), StartError>> {
    let (dir, market) = (tempfile::tempdir().unwrap(), Market::new(&[("Sum", 400)]));
    let store = Arc::new(memory::open(dir.path()).unwrap());
    if let Some(stage) = stage {
        let job = kept(&bazaar(Arc::clone(&market) as _, Arc::clone(&store)), "job_1", stage);
        let mut batch = Batch::default();
        OPEN.put(&mut batch, &job, &()).unwrap();
        store.commit(batch).unwrap();
    }
    let wires = Wires { relay: Arc::clone(&market) as _, nodes: Arc::new(Silent) };
    let parts = Parts { wires: Some(wires), ..Parts::system() };
    let shutdown = CancellationToken::new();
    let life = crate::worker::daemon::run_on(store, None, settings(&["Sum", "Count"]), parts, shutdown);
    tokio::select! {
        biased;
        ended = within(life) => Some(ended),
        () = until(|| market.with(|state| state.offers.contains_key("Count")).then_some(())) => None,
    }
}

/// A mistake in the configuration is told at once, unless somebody who has paid would pay for it.
#[tokio::test]
async fn a_start_with_a_paid_job_goes_on_without_the_refused_offer() {
    let paid = Stage::Locking { plan: Plan::Deliver { round: 1, failed: false } };
    assert!(matches!(first_life(None).await, Some(Err(StartError::Offer(_)))));
    assert!(matches!(first_life(Some(Stage::Fresh)).await, Some(Err(StartError::Offer(_)))));
    assert!(first_life(Some(paid)).await.is_none());
}

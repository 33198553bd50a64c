//! One offer that is refused, and the others.

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};
use reqwest::Method;

use super::*;
use crate::client::RelayClient;
use crate::client::wire::{Request, Response, Wire};
use crate::edge::Clock;
use crate::protocol::signing::Signer;
use crate::worker::report::{self, Question};
use crate::worker::v0::fixture;

/// Takes all offers but one.
#[derive(Debug, Default)]
struct Choosy {
    takes_all: Mutex<bool>,
    offers: Mutex<HashMap<String, serde_json::Value>>,
}

impl Wire for Choosy {
    fn call(&self, request: Request) -> BoxFuture<'static, Result<Response, String>> {
        let seller = Signer::from_seed(&[1; 32]).public_key();
        let sent = String::from_utf8(request.body).unwrap();
        let takes_all = *self.takes_all.lock().unwrap();
        let (status, body) = match request.method {
            Method::POST if sent.contains("Sum") && !takes_all => {
                let error = json!({ "code": "validation_error", "message": "no sums here", "details": {} });
                (400, json!({ "error": error }))
            }
            Method::POST => {
                let id = format!("0000000{}-0000-4000-8000-000000000000", u8::from(sent.contains("Sum")));
                let mut offer: serde_json::Value = serde_json::from_str(&sent).unwrap();
                offer["offer_id"] = json!(id);
                offer["seller_pubkey"] = json!(seller);
                offer["created_at"] = json!("2026-02-01T12:00:00.000000Z");
                self.offers.lock().unwrap().insert(format!("/v1/offers/{id}"), offer.clone());
                (201, json!({ "offer": offer }))
            }
            _ if request.target.starts_with("/v1/offers?") => {
                (200, json!({ "offers": [], "total": 0, "limit": 100, "offset": 0 }))
            }
            _ => (200, json!({ "offer": self.offers.lock().unwrap()[&request.target] })),
        };
        ready(Ok(Response::json(status, &body))).boxed()
    }
}

#[tokio::test]
async fn a_refused_offer_is_told_at_the_start_and_left_out_afterwards() {
    let (dir, relay) = (tempfile::tempdir().unwrap(), Arc::new(Choosy::default()));
    let entropy = Entropy::system();
    let (wire, signer) = (Arc::clone(&relay) as _, Signer::from_seed(&[1; 32]));
    let client =
        RelayClient::over(wire, "http://127.0.0.1:9", signer, Clock::system(), entropy.clone()).unwrap();
    let (registered, mut told) = mpsc::channel(8);
    let registrar = Registrar {
        line: Arc::new(Line::new(client, entropy.clone())),
        store: Arc::new(memory::open(dir.path()).unwrap()),
        offers: fixture::offers(&["Sum", "Count"]),
        entropy,
        registered,
        again: Mutex::default(),
    };
    let within = |what| tokio::time::timeout(Duration::from_secs(30), what);
    assert!(within(registrar.begin().boxed()).await.unwrap());
    let Ok(Err(OfferError::Call { name, .. })) = told.try_recv() else { panic!("not told") };
    assert_eq!(name, "Sum");
    // Whoever is told and stays is told of the others.
    let names =
        |told: Registered| -> Vec<String> { told.unwrap().into_values().map(|offer| offer.name).collect() };
    assert_eq!(names(told.try_recv().unwrap()), ["Count"]);
    assert!(registrar.again.lock().unwrap().is_some() && !registrar.is_due());
    // What was asked for before an offer had a name here is to be looked for, with each new name.
    let unheard = || memory::fact(&registrar.store, fact::UNHEARD).unwrap();
    assert_eq!(unheard().as_deref(), Some("00000000-0000-4000-8000-000000000000"));
    memory::are_heard(&registrar.store).unwrap();
    assert!(within(registrar.register().boxed()).await.unwrap() && told.try_recv().is_ok());
    assert_eq!(unheard(), None, "nothing is new");
    let refused = || report::answer(&registrar.store, &Question::Status).unwrap()["offers_refused"].clone();
    assert_eq!(refused().as_array().map(Vec::len), Some(1));
    assert_eq!(refused()[0]["name"], "Sum");
    assert!(refused()[0]["why"].as_str().is_some_and(|why| !why.is_empty()));
    *registrar.again.lock().unwrap() = Some(edge::monotonic());
    assert!(registrar.is_due());
    *relay.takes_all.lock().unwrap() = true;
    assert!(within(registrar.try_again().boxed()).await.unwrap());
    assert_eq!(names(told.try_recv().unwrap()).len(), 2);
    assert_eq!(unheard().as_deref(), Some("00000001-0000-4000-8000-000000000000"));
    assert!(registrar.again.lock().unwrap().is_none());
    assert!(refused().is_null());
}

//! A relay that says what a test wants, and a seller in front of it.

use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};
use serde_json::{Value, json};

use super::bazaar::Bazaar;
use crate::client::v0::{BotClient, Rates};
use crate::client::wire::{Request, Response, Wire};
use crate::config::Env;
use crate::edge::{Clock, Entropy};
use crate::protocol::v0::BotKeys;
use crate::protocol::{JobId, Status, Timestamp};
use crate::store::{Batch, Store};
use crate::worker::memory::{JOBS, Record, TICKETS};
use crate::worker::settings::{self, OfferSettings, Settings};
use crate::worker::stage::Stage;

/// Status and body for a target.
type Says = fn(&str) -> (u16, Value);

/// Answers each target the same, whatever else is sent.
#[derive(Debug)]
pub(super) struct Scripted {
    says: Says,
    asked: Mutex<Vec<Request>>,
}

impl Scripted {
    pub(super) fn new(says: Says) -> Arc<Self> {
        Arc::new(Self { says, asked: Mutex::default() })
    }

    /// How often a target that begins so was asked for.
    pub(super) fn asked(&self, start: &str) -> usize {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.iter().filter(|request| request.target.starts_with(start)).count()
    }

    /// What was sent last to a target that begins so.
    pub(super) fn sent(&self, start: &str) -> Value {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let last = asked.iter().rfind(|request| request.target.starts_with(start)).unwrap();
        serde_json::from_slice(&last.body).unwrap()
    }
}

impl Wire for Scripted {
    fn call(&self, request: Request) -> BoxFuture<'static, Result<Response, String>> {
        let (status, body) = (self.says)(&request.target);
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).push(request);
        ready(Ok(Response::json(status, &body))).boxed()
    }
}

/// The bot that sells.
pub(super) fn seller() -> BotKeys {
    BotKeys::from_seeds(&[1; 32], &[1; 32])
}

/// The bot that buys.
pub(super) fn buyer() -> BotKeys {
    BotKeys::from_seeds(&[2; 32], &[2; 32])
}

pub(super) fn bazaar(relay: Arc<dyn Wire>, store: Arc<Store>) -> Bazaar {
    let url = "http://127.0.0.1:9";
    let (clock, entropy) = (Clock::system(), Entropy::system());
    let client = BotClient::over(relay, url, seller(), Rates::UNLIMITED, clock, entropy.clone()).unwrap();
    Bazaar::new(client, store, "me".to_owned(), None, None, entropy)
}

/// A job of a state, for which this is owed.
pub(super) fn kept(bazaar: &Bazaar, name: &str, stage: Stage) -> JobId {
    let mut batch = Batch::default();
    let shown = bazaar.shown(&serde_json::from_value(job(name, "CHARGE_CREATED", "pay_1")).unwrap());
    let (id, now) = (shown.job.job_id, Timestamp::from_seconds(1_770_000_000));
    let record = Record {
        offer_id: shown.job.offer_id,
        buyer_pubkey: shown.job.buyer_pubkey,
        status: Status::Accepted,
        stage,
        first_seen_at: now,
        changed_at: now,
        lines: 0,
        outcomes: 0,
        invoice: None,
        unquoted: false,
        unpaid: false,
        oddities: Vec::new(),
    };
    JOBS.put(&mut batch, &id, &record).unwrap();
    TICKETS.put(&mut batch, &id, &shown.ticket).unwrap();
    bazaar.store.commit(batch).unwrap();
    id
}

/// A bot, as a relay shows it.
pub(super) fn bot(keys: &BotKeys) -> Value {
    json!({
        "bot_id": keys.bot_id(), "signing_pubkey_ed25519": keys.signing_key(),
        "encryption_pubkey_x25519": keys.sealing_key(), "signing_kid": keys.signing_key().kid(),
        "encryption_kid": keys.sealing_key().kid(), "created_at": "2026-02-01T12:00:00Z", "revoked": false
    })
}

/// A job for the offer `offer_1`.
pub(super) fn job(name: &str, status: &str, request: &str) -> Value {
    json!({
        "job_id": name, "offer_id": "offer_1", "buyer_bot_id": buyer().bot_id(),
        "seller_bot_id": seller().bot_id(), "status": status, "price_raw": "1000",
        "turnaround_seconds": 3600, "created_at": "2026-02-01T12:00:00Z",
        "job_expires_at": "2026-02-08T12:00:00Z", "request_payload_id": request
    })
}

/// What a seller offers: a row of words, at one price.
pub(in crate::worker) fn offers(titles: &[&str]) -> Vec<OfferSettings> {
    settings(titles).offers
}

/// Such a seller.
pub(in crate::worker) fn settings(titles: &[&str]) -> Settings {
    let mut text = r#"
[relay]
url = "https://relay.example.org"
key = "env:KEY"
sealing_key = "env:KEY"
dialect = "v0"
pace = "unlimited"
[nano]
network = "dev"
seed = "env:KEY"
rpc = ["http://127.0.0.1:7076"]
"#
    .to_owned();
    for title in titles {
        text.push_str(&format!(
            r#"
[[offers]]
title = "{title}"
description = "some words"
tags = ["text"]
price_raw = "6"
[offers.handler]
command = ["sh"]
"#
        ));
    }
    let env = Env::from_fn(|name| match name {
        "KEY" => Some("ab".repeat(32)),
        "PATH" => Some("/usr/bin:/bin".to_owned()),
        _ => None,
    });
    settings::parse(&text, std::path::Path::new("/etc/worker"), &env).unwrap()
}

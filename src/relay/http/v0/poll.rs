//! `/v0/poll`, `/v0/poll/ack` and `/v0/stream`: a bot's part of the log, and a reason to look at it.

use std::convert::Infallible;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::HeaderValue;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::Response;
use futures_util::stream::unfold;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::watch;

use super::super::super::events;
use super::super::super::ratelimit::Bucket;
use super::super::super::server::App;
use super::super::super::v0::model::party;
use super::answer::Handled;
use super::once::once;
use super::request::{Signed, parse};
use crate::protocol::EventId;
use crate::protocol::v0::limits::{KEEPALIVE_INTERVAL, QUERY_TAGS_MAX, WAKE_INTERVAL};
use crate::protocol::v0::lists::PollQuery;
use crate::protocol::v0::refusal::Code;
use crate::protocol::v0::{JobId, Refusal, SigningPublicKey};

#[derive(Deserialize)]
struct Ack {
    up_to_event_id: i64,
}

pub(in super::super) async fn poll(State(app): State<App>, signed: Signed) -> Handled {
    let page = async { app.bazaar.poll(signed.bot, &PollQuery::parse(signed.params())?).await };
    signed.read(&app, Some(Bucket::Poll), page).await
}

pub(in super::super) async fn ack(State(app): State<App>, signed: Signed) -> Handled {
    once(&app, &signed, Bucket::Poll, async |receipt| {
        let Ack { up_to_event_id } = parse(&signed.body)?;
        let up_to = u64::try_from(up_to_event_id).map_err(|_| Refusal::invalid("invalid up_to_event_id"))?;
        let acked =
            events::acknowledge(&*app.storage, party(&signed.bot), EventId(up_to), Some(&receipt)).await;
        acked.map(self::acked).map_err(|refusal| match refusal.code.status() {
            400 => Refusal::invalid("up_to_event_id is beyond the newest event"),
            _ => Refusal::new(Code::Unavailable, refusal.message),
        })
    })
    .await
}

/// The answer of an acknowledgement, now or again.
pub(super) fn acked(id: EventId) -> String {
    json!({ "last_acked_event_id": id }).to_string()
}

pub(in super::super) async fn stream(State(app): State<App>, signed: Signed) -> Handled {
    // Before the first frame, so that what is committed in between wakes the stream.
    let news = app.tail.subscribe(party(&signed.bot));
    signed.count(&app, Bucket::Poll)?;
    let streams = streams(&app, &signed).await?;
    let wake = json!({ "hint": "poll", "streams": streams });
    let state = Waker { app, news, wake: format!("event: wake\ndata: {wake}\n\n"), greeted: false };
    let body = Body::from_stream(unfold(state, async |mut waker| {
        waker.next().await.map(|frame| (Ok::<_, Infallible>(Bytes::from(frame)), waker))
    }));
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // Proxies that collect an answer before passing it on would hold the stream back.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

/// The names of what the caller listens to. Wakes are for the whole bot, whatever it names.
async fn streams(app: &App, signed: &Signed) -> Result<Vec<String>, Refusal> {
    let own = app.bazaar.known(signed.bot).await?.map(|bot| bot.signing_pubkey_ed25519);
    let named = signed.params().get("streams").unwrap_or_default();
    let named: Vec<&str> = named.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
    if named.is_empty() {
        return Ok(own.map(|key| format!("seller:ed25519:{key}")).into_iter().collect());
    }
    if named.len() > QUERY_TAGS_MAX {
        return Err(Refusal::invalid("too many streams"));
    }
    for name in &named {
        if let Some(key) = name.strip_prefix("seller:ed25519:") {
            let key: SigningPublicKey = key.parse().map_err(|_| Refusal::invalid("invalid seller stream"))?;
            if Some(key) != own {
                return Err(Refusal::forbidden("not your own stream"));
            }
        } else if let Some(job_id) = name.strip_prefix("job:") {
            app.bazaar.job(signed.bot, &JobId::new(job_id)).await?;
        } else {
            return Err(Refusal::invalid("unknown stream"));
        }
    }
    Ok(named.into_iter().map(str::to_owned).collect())
}

struct Waker {
    app: App,
    news: watch::Receiver<EventId>,
    wake: String,
    greeted: bool,
}

impl Waker {
    async fn next(&mut self) -> Option<String> {
        if !self.greeted {
            self.greeted = true;
            return Some(": connected\n\n".to_owned());
        }
        tokio::select! {
            () = self.app.shutdown.cancelled() => return None,
            changed = self.news.changed() => changed.ok()?,
            () = tokio::time::sleep(KEEPALIVE_INTERVAL) => {
                return Some(format!(": keepalive {}\n\n", self.app.clock.now().seconds()));
            }
        }
        tokio::time::sleep(WAKE_INTERVAL).await;
        self.news.mark_unchanged();
        Some(self.wake.clone())
    }
}

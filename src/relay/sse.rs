//! The event log as Server-Sent Events: read when the client takes it, never buffered.

use std::collections::VecDeque;
use std::convert::Infallible;

use axum::body::{Body, Bytes};
use axum::http::HeaderValue;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::Response;
use futures_util::stream::unfold;
use serde_json::json;
use tokio::sync::watch;

use super::events::{self, Request};
use super::server::App;
use crate::protocol::event::EventPage;
use crate::protocol::limits::KEEPALIVE_INTERVAL;
use crate::protocol::{EventId, Refusal};

/// Starts a stream after a cursor.
///
/// # Errors
/// If the cursor cannot be continued from.
pub(super) async fn stream(app: App, mut request: Request) -> Result<Response, Refusal> {
    // Before the first read, so that what is committed in between wakes the stream.
    let news = app.tail.subscribe(request.party);
    let page = events::page(&*app.storage, &request).await?;
    request.since = Some(request.since.unwrap_or(page.last_acked_event_id));
    // Later pages are of the same storage; should it be replaced, the process ends with it.
    request.epoch = None;
    let mut reader = Reader { app, request, news, ready: false, more: false, frames: VecDeque::new() };
    reader.take(page);
    let body = Body::from_stream(unfold(reader, async |mut reader| {
        reader.next().await.map(|frame| (Ok::<_, Infallible>(Bytes::from(frame)), reader))
    }));
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Proxies that collect an answer before passing it on would hold the stream back.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

/// One client's place in the log. Holds one page at most.
struct Reader {
    app: App,
    request: Request,
    news: watch::Receiver<EventId>,
    ready: bool,
    /// The last page was full: what follows it is read without waiting for news.
    more: bool,
    frames: VecDeque<String>,
}

impl Reader {
    async fn next(&mut self) -> Option<String> {
        loop {
            if let Some(frame) = self.frames.pop_front() {
                return Some(frame);
            }
            if self.ready && !self.more {
                tokio::select! {
                    () = self.app.shutdown.cancelled() => return None,
                    changed = self.news.changed() => changed.ok()?,
                    () = tokio::time::sleep(KEEPALIVE_INTERVAL) => return Some(": keep-alive\n\n".to_owned()),
                }
            }
            // A cursor that retention has overtaken ends the stream; the next one is told 410.
            let page = events::page(&*self.app.storage, &self.request).await.ok()?;
            self.app.storage.durable().await.ok()?;
            self.take(page);
        }
    }

    fn take(&mut self, page: EventPage) {
        self.more = page.events.len() >= self.request.limit;
        for event in page.events {
            self.request.since = Some(event.event_id);
            let data = json!(event);
            self.frames.push_back(format!("id: {}\nevent: {}\ndata: {data}\n\n", event.event_id, event.kind));
        }
        if !self.more && !self.ready {
            self.ready = true;
            let data = json!({"head_event_id": page.head_event_id, "epoch": page.epoch});
            self.frames.push_back(format!("event: ready\ndata: {data}\n\n"));
        }
    }
}

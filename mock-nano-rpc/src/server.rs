//! One HTTP connection after the other: requests in, answers or accidents out.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task;

use crate::control;
use crate::faults::{FaultKind, Mode};
use crate::host::Host;
use crate::http::{Dialect, ReadError, Reply, Request, Wire};
use crate::rpc::{self, Args, RpcError, work};
use crate::tree::{Style, Tree};

/// Brackets in a whole body, strings included, that the node still reads.
const BRACKETS_MAX: usize = 20;

/// How long a connection hangs at most that was told to hang.
const HANG_MAX: Duration = Duration::from_secs(600);

/// Accepts connections until shutdown.
pub(crate) async fn run(listener: TcpListener, host: Arc<Host>) {
    loop {
        let slots = Arc::clone(&host.slots);
        let accepted = tokio::select! {
            () = host.shutdown.cancelled() => return,
            accepted = async {
                let slot = slots.acquire_owned().await.ok()?;
                Some((listener.accept().await.ok()?.0, slot))
            } => accepted,
        };
        let Some((stream, slot)) = accepted else { continue };
        let host = Arc::clone(&host);
        tokio::spawn(async move {
            let shutdown = host.shutdown.clone();
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = serve(stream, &host) => {}
            }
            drop(slot);
        });
    }
}

async fn serve(stream: TcpStream, host: &Arc<Host>) {
    // Without it, an answer in two segments would wait for an acknowledgement.
    let _: std::io::Result<()> = stream.set_nodelay(true);
    let mut wire = Wire::new(stream);
    loop {
        let request = match wire.read().await {
            Ok(request) => request,
            Err(ReadError::Invalid(why)) => {
                let error = RpcError::from_text(format_args!("Invalid header: {why}"));
                wire.write(&node_reply(error.to_tree().write(Style::Pretty)), None).await;
                break;
            }
            Err(ReadError::Ended) => return,
        };
        let Some(reply) = answer(host, &request).await else { return };
        if !wire.write(&reply, Some(&request)).await {
            break;
        }
    }
    wire.close().await;
}

/// The answer to a request; nothing if the connection is to break.
async fn answer(host: &Arc<Host>, request: &Request) -> Option<Reply> {
    if request.path == control::PATH {
        return Some(node_reply(control::answer(host, request)));
    }
    if request.method == "OPTIONS" {
        return Some(node_reply(String::new()));
    }
    if request.method != "POST" {
        return Some(node_reply(RpcError::new("Can only POST requests").to_tree().write(Style::Pretty)));
    }
    if request.path.starts_with("/api/v2") {
        return Some(node_reply(IPC_ERROR.to_owned()));
    }
    let body = &request.body;
    if body.iter().filter(|byte| matches!(byte, b'[' | b'{')).count() > BRACKETS_MAX {
        return Some(node_reply(RpcError::new("Max JSON depth exceeded").to_tree().write(Style::Pretty)));
    }
    let call = Tree::parse(body).ok();
    let action = call.as_ref().and_then(|call| call.text_of("action"));
    let fault = host.with(|node, _| {
        node.stats.count(action.unwrap_or(""));
        node.faults.strike(action.unwrap_or(""))
    });
    let (Some(call), Some(action)) = (&call, action) else {
        return Some(node_reply(RpcError::PARSE.to_tree().write(Style::Pretty)));
    };
    match fault {
        None => Some(node_reply(perform(host, action, call).await)),
        Some(FaultKind::Slow { delay_ms }) => {
            tokio::time::sleep(Duration::from_millis(delay_ms)).await;
            Some(node_reply(perform(host, action, call).await))
        }
        Some(FaultKind::HalfBody) => {
            let reply = node_reply(perform(host, action, call).await);
            Some(Reply { cut_at: Some(reply.body.len() / 2), ..reply })
        }
        Some(FaultKind::Hang) => {
            tokio::time::sleep(HANG_MAX).await;
            None
        }
        Some(FaultKind::Drop) => None,
        Some(other) => Some(accident(&other, action)),
    }
}

const IPC_ERROR: &str = r#"{"message_type": "Error", "message": {"code": 1, "message": "Internal IPC error: unable to find api path"}}"#;

async fn perform(host: &Arc<Host>, action: &str, call: &Tree) -> String {
    let result = if action == "work_generate" {
        generate_work(host, call).await
    } else {
        host.with(|node, now_ms| rpc::answer(node, action, &Args(call), now_ms))
    };
    result.unwrap_or_else(|error| error.to_tree()).write(Style::Pretty)
}

/// Work is searched for beside the ledger, so that other calls do not wait for it.
async fn generate_work(host: &Arc<Host>, call: &Tree) -> rpc::Answer {
    let (control_enabled, network) =
        host.with(|node, _| (node.settings.control_enabled, node.ledger.network()));
    let call = call.clone();
    let search = task::spawn_blocking(move || work::generate(&Args(&call), control_enabled, network));
    search.await.unwrap_or(Err(RpcError::new("Work generation cancelled")))
}

/// The headers of every answer of the C++ node, in its order.
fn node_reply(body: String) -> Reply {
    let headers = vec![
        ("Allow", "POST, OPTIONS".to_owned()),
        ("Content-Type", "application/json".to_owned()),
        ("Access-Control-Allow-Origin", "*".to_owned()),
        ("Access-Control-Allow-Methods", "POST, OPTIONS".to_owned()),
        (
            "Access-Control-Allow-Headers",
            "Accept, Accept-Language, Content-Language, Content-Type".to_owned(),
        ),
        ("Connection", "close".to_owned()),
    ];
    Reply { status: 200, headers, body: body.into_bytes(), dialect: Dialect::Beast, cut_at: None }
}

/// What comes instead of an answer.
fn accident(kind: &FaultKind, action: &str) -> Reply {
    let (status, content_type, body) = match kind {
        FaultKind::RateLimited { .. } => (
            429,
            "text/html; charset=utf-8",
            "You are making requests too fast, please slow down!".to_owned(),
        ),
        FaultKind::ServerError => {
            (500, "application/json; charset=utf-8", r#"{"error":"Internal server error"}"#.to_owned())
        }
        FaultKind::NotAllowed => {
            let error = Tree::object().with("error", format_args!("Action {action} not allowed").to_string());
            (500, "application/json; charset=utf-8", error.write(Style::Compact))
        }
        FaultKind::BadGateway => (502, "text/html", BAD_GATEWAY.to_owned()),
        FaultKind::Garbage => (200, "application/json", "\u{1}\u{2}not json at all{{{".to_owned()),
        _ => (200, "application/json", String::new()),
    };
    let mut headers = vec![("Content-Type", content_type.to_owned())];
    if let FaultKind::RateLimited { retry_after } = kind {
        headers.push(("X-RateLimit-Limit", "60".to_owned()));
        headers.push(("X-RateLimit-Remaining", "0".to_owned()));
        if let Some(seconds) = retry_after {
            headers.push(("Retry-After", seconds.to_string()));
        }
    }
    headers.push(("Connection", "close".to_owned()));
    Reply { status, headers, body: body.into_bytes(), dialect: Dialect::Beast, cut_at: None }
}

const BAD_GATEWAY: &str = "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n\
    <center><h1>502 Bad Gateway</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n";

#[expect(dead_code, reason = "the other modes follow")]
const MODES: [Mode; 4] = [Mode::Cpp, Mode::RsNano, Mode::Proxy, Mode::V22];

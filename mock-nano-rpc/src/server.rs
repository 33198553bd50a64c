//! One HTTP connection after the other: requests in, answers or accidents out.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task;

use crate::accept::accept;
use crate::control;
use crate::faults::{FaultKind, Mode};
use crate::host::Host;
use crate::http::{Dialect, ReadError, Reply, Request, Wire, http_date};
use crate::proxy::{Allowance, Proxy};
use crate::rpc::{self, Args, RpcError, work};
use crate::rsnano;
use crate::tree::{Style, Tree};

/// Brackets in a whole body, strings included, that the node still reads.
const BRACKETS_MAX: usize = 20;

/// How long a connection hangs at most that was told to hang.
const HANG_MAX: Duration = Duration::from_secs(600);

/// Accepts connections until shutdown.
pub(crate) async fn run(listener: TcpListener, host: Arc<Host>) {
    accept(listener, host, |stream, host| async move { serve(stream, &host).await }).await;
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
    let mode = host.with(|node, _| node.settings.mode);
    let call = match mode {
        Mode::RsNano => read_for_rsnano(host, request),
        Mode::Proxy => read_for_proxy(host, request),
        Mode::Cpp | Mode::V22 => read_for_node(request),
    };
    let action = call.as_ref().ok().and_then(|call| call.text_of("action")).unwrap_or_default();
    let fault = host.with(|node, _| {
        node.stats.count(action);
        node.faults.strike(action)
    });
    match fault {
        None => Some(reply(host, mode, call).await),
        Some(FaultKind::Slow { delay_ms }) => {
            tokio::time::sleep(Duration::from_millis(delay_ms)).await;
            Some(reply(host, mode, call).await)
        }
        Some(FaultKind::HalfBody) => {
            let reply = reply(host, mode, call).await;
            Some(Reply { cut_at: Some(reply.body.len() / 2), ..reply })
        }
        Some(FaultKind::Hang) => {
            tokio::time::sleep(HANG_MAX).await;
            None
        }
        Some(FaultKind::Drop) => None,
        Some(other) => Some(accident(&other, action, host.now_ms())),
    }
}

/// A call that was understood, answered in the manners of the mode.
async fn reply(host: &Arc<Host>, mode: Mode, call: Result<Tree, Reply>) -> Reply {
    let call = match call {
        Ok(call) => call,
        Err(refused) => return refused,
    };
    let action = call.text_of("action").unwrap_or_default();
    match mode {
        Mode::Cpp | Mode::V22 => node_reply(written(perform(host, mode, action, &call).await, Style::Pretty)),
        Mode::RsNano => match perform(host, mode, action, &call).await {
            Err(error) if error == RpcError::UNKNOWN_COMMAND => {
                rsnano_rejection(&rsnano::unknown_action(action), host.now_ms())
            }
            answer => plain_reply(200, "application/json", written(answer, Style::Compact), host.now_ms()),
        },
        Mode::Proxy => relay(host, action, &call).await,
    }
}

fn written(answer: rpc::Answer, style: Style) -> String {
    answer.unwrap_or_else(|error| error.to_tree()).write(style)
}

/// What the reference node makes of a request.
fn read_for_node(request: &Request) -> Result<Tree, Reply> {
    let refuse = |error: RpcError| node_reply(error.to_tree().write(Style::Pretty));
    if request.method == "OPTIONS" {
        return Err(node_reply(String::new()));
    }
    if request.method != "POST" {
        return Err(refuse(RpcError::new("Can only POST requests")));
    }
    if request.path.starts_with("/api/v2") {
        return Err(node_reply(IPC_ERROR.to_owned()));
    }
    if request.body.iter().filter(|byte| matches!(byte, b'[' | b'{')).count() > BRACKETS_MAX {
        return Err(refuse(RpcError::new("Max JSON depth exceeded")));
    }
    let call = Tree::parse(&request.body).ok().filter(|call| call.get("action").is_some());
    call.ok_or_else(|| refuse(RpcError::PARSE))
}

/// What the port makes of a request.
fn read_for_rsnano(host: &Host, request: &Request) -> Result<Tree, Reply> {
    let now_ms = host.now_ms();
    if request.path != "/" {
        return Err(Reply { headers: Vec::new(), ..plain_reply(404, "", String::new(), now_ms) });
    }
    if request.method != "POST" {
        let headers = vec![("Allow", "POST".to_owned())];
        return Err(Reply { headers, ..plain_reply(405, "", String::new(), now_ms) });
    }
    rsnano::read(&request.body).map_err(|rejection| rsnano_rejection(&rejection, now_ms))
}

/// What a proxy makes of a request.
fn read_for_proxy(host: &Host, request: &Request) -> Result<Tree, Reply> {
    let call = Tree::parse(&request.body).ok().filter(|call| call.get("action").is_some());
    let now_ms = host.now_ms();
    let (allowance, admitted) = host.with(|node, now_ms| node.proxy.admit(now_ms));
    if !admitted {
        let seconds = allowance.reset_ms.saturating_sub(now_ms) / 1_000;
        let why = format!("Max allowed requests of {} reached. Time left: {seconds}sec", allowance.limit);
        let mut refused = plain_reply(429, "text/html; charset=utf-8", why, now_ms);
        refused.headers.extend(allowance_headers(&allowance));
        return Err(refused);
    }
    let refuse = |status, why: String| {
        let body = Tree::object().with("error", why).write(Style::Relayed);
        Err(plain_reply(status, "application/json; charset=utf-8", body, now_ms))
    };
    let Some(call) = call else { return refuse(400, "Unable to parse JSON".to_owned()) };
    let action = call.text_of("action").unwrap_or_default();
    if !Proxy::allows(action) {
        return refuse(500, format!("Action {action} not allowed"));
    }
    Ok(call)
}

/// The proxy's answer: the node's, perhaps an old one, with the proxy's own keys at its end.
async fn relay(host: &Arc<Host>, action: &str, call: &Tree) -> Reply {
    let (clamped, cached) = host.with(|node, now_ms| {
        let clamped = node.proxy.clamp(call.clone());
        let cached = node.proxy.cached(&clamped.write(Style::Compact), now_ms);
        (clamped, cached)
    });
    let mut answer = match cached {
        Some(answer) => answer,
        None => {
            let result = perform(host, Mode::Proxy, action, &clamped).await;
            let answer = result.unwrap_or_else(|error| error.to_tree());
            let key = clamped.write(Style::Compact);
            host.with(|node, now_ms| node.proxy.remember(key, action, &answer, now_ms));
            answer
        }
    };
    let allowance = host.with(|node, _| node.proxy.allowance());
    answer.push("requestsLimit", Tree::text(allowance.limit));
    answer.push("requestsRemaining", Tree::text(allowance.remaining));
    answer.push("requestLimitReset", http_date(allowance.reset_ms));
    let body = answer.write(Style::Relayed);
    let mut reply = plain_reply(200, "application/json; charset=utf-8", body, host.now_ms());
    reply.headers.extend(allowance_headers(&allowance));
    reply
}

fn allowance_headers(allowance: &Allowance) -> [(&'static str, String); 3] {
    [
        ("X-RateLimit-Limit", allowance.limit.to_string()),
        ("X-RateLimit-Remaining", allowance.remaining.to_string()),
        ("X-RateLimit-Reset", http_date(allowance.reset_ms)),
    ]
}

fn rsnano_rejection(rejection: &rsnano::Rejection, now_ms: u64) -> Reply {
    plain_reply(rejection.status, "text/plain; charset=utf-8", rejection.why.clone(), now_ms)
}

/// An answer as most web servers give it.
fn plain_reply(status: u16, content_type: &str, body: String, now_ms: u64) -> Reply {
    let headers = vec![("Content-Type", content_type.to_owned())];
    Reply { status, headers, body: body.into_bytes(), dialect: Dialect::Hyper, cut_at: None, date_ms: now_ms }
}

const IPC_ERROR: &str = r#"{"message_type": "Error", "message": {"code": 1, "message": "Internal IPC error: unable to find api path"}}"#;

async fn perform(host: &Arc<Host>, mode: Mode, action: &str, call: &Tree) -> rpc::Answer {
    let answer = if action == "work_generate" {
        generate_work(host, call).await
    } else {
        host.with(|node, now_ms| rpc::answer(node, action, &Args(call), now_ms))
    };
    if mode == Mode::RsNano { rsnano::rearrange(action, answer?) } else { answer }
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
    Reply { status: 200, headers, body: body.into_bytes(), dialect: Dialect::Beast, cut_at: None, date_ms: 0 }
}

/// What comes instead of an answer.
fn accident(kind: &FaultKind, action: &str, now_ms: u64) -> Reply {
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
    Reply { headers, ..plain_reply(status, "", body, now_ms) }
}

const BAD_GATEWAY: &str = "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n\
    <center><h1>502 Bad Gateway</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n";

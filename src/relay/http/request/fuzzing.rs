//! Requests as strangers may send them: a line with method and target, headers, an empty line, a body.

use axum::http::request::Parts;
use axum::http::{HeaderValue, Request, Uri};
use serde_json::{Value, json};

use super::super::body::{Fields, Params};
use super::super::{jobs, moves, offers, poll};
use super::{Signed, check_signature};
use crate::protocol::apply::{Caller, Context, Rules, apply};
use crate::protocol::limits::{IDEMPOTENCY_KEY_CHARS_MAX, JOBS_PER_PAGE_MAX};
use crate::protocol::signing::{
    NONCE_HEADER, PUBKEY_HEADER, SIGNATURE_HEADER, Signer, TIMESTAMP_HEADER, canonical, is_nonce, verifies,
};
use crate::protocol::{Code, Job, JobId, OfferId, PublicKey, Refusal, Status, Timestamp};

/// Bytes of a refusal's message: some of a stranger's words, escaped, and our own around them.
const MESSAGE_BYTES_MAX: usize = 2_000;

const NOW: Timestamp = Timestamp::from_seconds(1_700_000_000);

/// Requests: a signature covers all of one; an idempotency key stands for all of one; bodies and
/// queries are read as strictly as the contract says, and what is read can be decided about.
pub(crate) fn requests(data: &[u8]) {
    let Some((parts, body)) = read(data) else { return };
    let target = parts.uri.path_and_query().map_or("/", |target| target.as_str()).to_owned();
    if let Ok((key, nonce)) = check_signature(&parts, &target, body, NOW) {
        let header = |name: &str| parts.headers[name].to_str().expect("it was just read");
        let text = canonical(parts.method.as_str(), &target, header(TIMESTAMP_HEADER), &nonce, body);
        assert!(is_nonce(&nonce) && verifies(&key, text.as_bytes(), header(SIGNATURE_HEADER)));
    }
    signed_by_us(&parts, &target, body);
    claims(&parts, &target, body);
    bodies(body);
    queries(parts.uri.query());
}

fn read(data: &[u8]) -> Option<(Parts, &[u8])> {
    let end = data.windows(2).position(|window| window == b"\n\n")?;
    let (head, body) = (&data[..end], &data[end + 2..]);
    let mut lines = head.split(|byte| *byte == b'\n');
    let mut words = lines.next()?.splitn(2, |byte| *byte == b' ');
    let mut request = Request::builder().method(words.next()?).uri(words.next()?);
    for line in lines {
        let colon = line.iter().position(|byte| *byte == b':')?;
        request = request.header(&line[..colon], line[colon + 1..].trim_ascii());
    }
    let (parts, ()) = request.body(()).ok()?.into_parts();
    Some((parts, body))
}

/// Whatever it is, signed it is taken; changed afterwards it is not.
fn signed_by_us(parts: &Parts, target: &str, body: &[u8]) {
    let signer = Signer::from_seed(&[7; 32]);
    let (timestamp, nonce) = (NOW.seconds().to_string(), "ab".repeat(16));
    let text = canonical(parts.method.as_str(), target, &timestamp, &nonce, body);
    let mut signed = parts.clone();
    for (name, value) in [
        (PUBKEY_HEADER, signer.public_key().to_string()),
        (TIMESTAMP_HEADER, timestamp),
        (NONCE_HEADER, nonce.clone()),
        (SIGNATURE_HEADER, signer.sign(text.as_bytes())),
    ] {
        signed.headers.insert(name, HeaderValue::from_str(&value).expect("digits"));
    }
    let check = |target: &str, body: &[u8], seconds| {
        check_signature(&signed, target, body, Timestamp::from_seconds(NOW.seconds() + seconds))
            .map_err(|refusal| refusal.code)
    };
    for seconds in [-60, 0, 60] {
        assert_eq!(check(target, body, seconds), Ok((signer.public_key(), nonce.clone())));
    }
    for seconds in [-61, 61] {
        assert_eq!(check(target, body, seconds), Err(Code::TimestampSkew));
    }
    assert_eq!(check(&format!("{target}x"), body, 0), Err(Code::InvalidSignature));
    assert_eq!(check(target, &[body, b"x"].concat(), 0), Err(Code::InvalidSignature));
}

fn claims(parts: &Parts, target: &str, body: &[u8]) {
    let signed = |target: &str, body: &[u8]| Signed {
        party: PublicKey::from_bytes([1; 32]),
        body: body.to_vec().into(),
        query: None,
        headers: parts.headers.clone(),
        target: target.to_owned(),
        method: parts.method.clone(),
        id: Some(target.to_owned()),
    };
    let hash =
        |target: &str, body: &[u8]| signed(target, body).claim().map(|claim| claim.map(|c| c.request_hash));
    match signed(target, body).claim() {
        Ok(Some(claim)) => {
            assert!((1..=IDEMPOTENCY_KEY_CHARS_MAX).contains(&claim.key.len()));
            let same = Ok(Some(claim.request_hash));
            assert_eq!(hash(target, body), same);
            assert_ne!(hash(&format!("{target}x"), body), same);
            assert_ne!(hash(target, &[body, b"x"].concat()), same);
        }
        Ok(None) => assert!(!parts.headers.contains_key("idempotency-key")),
        Err(refusal) => is_fit_to_say(&refusal),
    }
    if let Ok(id) = signed(parts.uri.path().trim_start_matches('/'), body).job_id() {
        assert_eq!(id.to_string().parse(), Ok(id));
    }
}

fn is_fit_to_say(refusal: &Refusal) {
    assert!(matches!(refusal.code, Code::Validation | Code::PayloadTooLarge), "{refusal:?}");
    assert!(refusal.message.len() <= MESSAGE_BYTES_MAX, "{} bytes", refusal.message.len());
}

fn bodies(body: &[u8]) {
    match Fields::parse(body) {
        Ok(Fields(fields)) if body.iter().all(u8::is_ascii_whitespace) => assert!(fields.is_empty()),
        Ok(Fields(fields)) => {
            // Strict is never looser than the rest of the world, and never reads something else.
            let loose: Value = serde_json::from_slice(body).expect("strict JSON is JSON");
            assert_eq!(loose, Value::Object(fields.clone()));
            let Fields(again) = Fields::parse(loose.to_string().as_bytes()).expect("it was just read");
            assert_eq!(again, fields);
        }
        Err(refusal) => return is_fit_to_say(&refusal),
    }
    let fields = || Fields::parse(body).expect("it was just read");
    for read in moves::READERS {
        match read(&mut fields()) {
            Ok(command) => decide(&command),
            Err(refusal) => is_fit_to_say(&refusal),
        }
    }
    match offers::new_terms(&mut fields()) {
        Ok(terms) => {
            let body = json!(terms).to_string();
            let mut again = Fields::parse(body.as_bytes()).expect("our own JSON");
            assert_eq!(offers::new_terms(&mut again).as_ref(), Ok(&terms));
            let _ = terms.check().inspect_err(is_fit_to_say);
            let mut changed = terms.clone();
            let changes = offers::Changes::parse(&mut Fields::parse(body.as_bytes()).expect("our own JSON"));
            changes.expect("terms are changes, too").make(&mut changed);
            assert_eq!(changed, terms);
        }
        Err(refusal) => is_fit_to_say(&refusal),
    }
}

/// Every command can be decided about, in every status, by everybody.
fn decide(command: &crate::protocol::Command) {
    let [seller, buyer, stranger] = [1, 2, 3].map(|byte| PublicKey::from_bytes([byte; 32]));
    let rules = Rules::default();
    for status in Status::ALL {
        let job = Job { status, ..job(seller, buyer) };
        for caller in [Caller::Party(seller), Caller::Party(buyer), Caller::Party(stranger), Caller::Clock] {
            let context = Context { now: NOW, rules: &rules, fixed_price_raw: None };
            let Ok(change) = apply(&job, caller, command, &context) else { continue };
            assert!(matches!(caller, Caller::Party(key) if key != stranger));
            let same =
                |job: &Job| (job.job_id, job.offer_id, job.seller_pubkey, job.buyer_pubkey, job.created_at);
            assert_eq!(same(&change.job), same(&job));
            assert!(!status.is_final() || change.job.status == status);
        }
    }
}

fn job(seller_pubkey: PublicKey, buyer_pubkey: PublicKey) -> Job {
    let (job_id, offer_id) = (JobId::from_bytes([4; 16]), OfferId::from_bytes([5; 16]));
    Job::requested(job_id, offer_id, seller_pubkey, buyer_pubkey, Value::Null, NOW)
}

fn queries(query: Option<&str>) {
    let params = match Params::parse(query) {
        Ok(params) => params,
        Err(refusal) => return is_fit_to_say(&refusal),
    };
    let party = PublicKey::from_bytes([1; 32]);
    match jobs::query(party, &params) {
        Ok(query) => assert!((1..=JOBS_PER_PAGE_MAX).contains(&query.limit)),
        Err(refusal) => is_fit_to_say(&refusal),
    }
    let _ = poll::request(party, &params).inspect_err(is_fit_to_say);
    let _ = params.switch("active").inspect_err(is_fit_to_say);
    assert!(params.list("tags").iter().all(|tag| !tag.is_empty() && !tag.contains(',')));
}

/// The cursors of lists and of the event log.
pub(crate) fn cursors(text: &str) {
    if let Ok(at) = jobs::parse_cursor(text) {
        assert_eq!(jobs::parse_cursor(&at.micros().to_string()), Ok(at));
        assert_eq!(at.to_string().parse(), Ok(at));
    }
    if let Ok(id) = poll::parse_text("cursor", text) {
        assert_eq!(poll::parse_text("cursor", &id.to_string()), Ok(id));
    }
    let query: Uri = match format!("/?cursor={text}&since_event_id={text}&updated_after={text}").parse() {
        Ok(uri) => uri,
        Err(_) => return,
    };
    queries(query.query());
}

/// The result in the body of a delivery, as the service would be given it.
pub(crate) fn delivered(body: &[u8]) -> Result<Value, Refusal> {
    let command = moves::read_deliver(&mut Fields::parse(body)?)?;
    match decided(Status::Running, &command)?.result_payload {
        Value::Null => panic!("a delivery without a result"),
        result => Ok(result),
    }
}

/// Whether a refusal with this body would be taken.
pub(crate) fn refused(body: &[u8]) -> Result<(), Refusal> {
    let command = moves::read_refuse(&mut Fields::parse(body)?)?;
    decided(Status::Requested, &command).map(drop)
}

/// The job after its seller's move.
fn decided(status: Status, command: &crate::protocol::Command) -> Result<Job, Refusal> {
    let (seller, rules) = (PublicKey::from_bytes([1; 32]), Rules::default());
    let locked = Job {
        status,
        lock_owner: Some(seller),
        lock_expires_at: Some(Timestamp::from_seconds(NOW.seconds() + 60)),
        lock_token: 1,
        ..job(seller, PublicKey::from_bytes([2; 32]))
    };
    let context = Context { now: NOW, rules: &rules, fixed_price_raw: None };
    apply(&locked, Caller::Party(seller), command, &context).map(|change| change.job)
}

//! A relay's answers, as a fuzzer makes them up: a status, a header's value in the second line, a body.

use super::super::error::{read_http_date, read_retry_after};
use super::super::rest::{Answer, parse_base};
use super::*;

/// Characters of a stranger's words that may reach a log.
const WORDS_CHARS_MAX: usize = 300;

/// Answers with any status: what is said about them is short and printable, only a refusal in the
/// contract's form counts as one, and one unreadable entry does not hide the others.
pub(crate) fn answers(data: &[u8]) {
    let mut lines = data.splitn(3, |byte| *byte == b'\n');
    let text = |line: Option<&[u8]>| String::from_utf8_lossy(line.unwrap_or_default()).into_owned();
    let (status, header) = (text(lines.next()), text(lines.next()));
    let body = lines.next().unwrap_or_default();
    let status = status.trim().parse().unwrap_or(200);
    headers(&header);
    if !(200..300).contains(&status) {
        return refusals(status, body);
    }
    let answer = || Answer { status, date: None, body: body.to_vec() };
    let errors = [
        answer().field::<Job>("job").map(same_again).err(),
        answer().field::<Offer>("offer").map(same_again).err(),
        answer().json::<EventPage>().map(same_again).err(),
        answer().field::<EventId>("last_acked_event_id").map(same_again).err(),
        answer().field::<bool>("ok").err(),
        answer().json::<Page>().map(|_| ()).err(),
    ];
    for error in errors.into_iter().flatten() {
        assert!(matches!(error, CallError::Malformed { .. }) && error.is_retryable());
        is_fit_for_a_log(&error.to_string());
    }
    if let (Some(page), Ok(json)) = (job_page(body), serde_json::from_slice::<Value>(body)) {
        let all = json.get("jobs").or(json.get("offers")).and_then(Value::as_array).map_or(0, Vec::len);
        assert_eq!(page.jobs.len() + page.unreadable, all);
    }
}

fn refusals(status: u16, body: &[u8]) {
    let wait = Some(Duration::from_secs(7));
    let error = CallError::from_answer(status, wait, body);
    is_fit_for_a_log(&error.to_string());
    assert_eq!(error.status(), Some(status));
    if let CallError::Refused(refused) = &error {
        assert!((400..500).contains(&status) && status != 429);
        let body: Value = serde_json::from_slice(body).expect("a refusal is JSON");
        assert!(body["error"]["code"].is_string());
        is_fit_for_a_log(&refused.message);
        is_fit_for_a_log(&refused.code);
    }
    let waits = status == 429 || (500..600).contains(&status);
    assert_eq!(error.retry_after(), wait.filter(|_| waits));
}

fn headers(text: &str) {
    let now = Timestamp::from_seconds(1_700_000_000);
    if let Some(date) = read_http_date(text) {
        assert_eq!(date.to_string().parse(), Ok(date));
        assert_eq!(read_retry_after(text, now), Some(date.since(now)));
    }
    if let Ok(seconds) = text.trim().parse() {
        assert_eq!(read_retry_after(text, now), Some(Duration::from_secs(seconds)));
    }
    if let Ok(base) = parse_base(text) {
        assert!(base.query().is_none() && base.fragment().is_none() && base.host_str().is_some());
        assert_eq!(parse_base(base.as_str()).ok(), Some(base));
    }
}

fn is_fit_for_a_log(text: &str) {
    assert!(text.chars().count() <= WORDS_CHARS_MAX && !text.contains(char::is_control), "{text:?}");
}

fn same_again<T: Serialize + for<'de> Deserialize<'de> + PartialEq + std::fmt::Debug>(value: T) {
    let text = serde_json::to_string(&value).expect("it has a JSON form");
    assert_eq!(serde_json::from_str::<T>(&text).ok(), Some(value));
}

/// A page of jobs, if the body is one.
pub(crate) fn job_page(body: &[u8]) -> Option<JobPage> {
    let page: Page = serde_json::from_slice(body).ok()?;
    let (jobs, unreadable) = readable(page.offers);
    Some(JobPage { jobs, unreadable, total: page.total, next_cursor: page.next_cursor })
}

/// A page of events is read as it was written.
pub(crate) fn events(data: &[u8]) {
    if let Ok(page) = serde_json::from_slice::<EventPage>(data) {
        same_again(page);
    }
}

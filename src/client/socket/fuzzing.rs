//! The client's end of the WebSocket, as a fuzzer speaks to it.

use super::*;

/// Messages of a relay: what is told about them is short and printable, and nothing that is no
/// challenge gets signed.
pub(crate) fn frames(text: &str) {
    let Ok(message) = read(text) else { return };
    let words = match hint(&message) {
        Heard::Error(words) => words,
        Heard::Hint(_) | Heard::Unknown => refusal(&message),
    };
    assert!(words.chars().count() <= 201 && !words.contains(char::is_control), "{words:?}");
    if answer_challenge(&Signer::from_seed(&[7; 32]), &message).is_some() {
        let nonce = message["nonce"].as_str().unwrap_or_default();
        assert!(nonce.bytes().all(|byte| byte.is_ascii_hexdigit()) && nonce.len() >= 16);
    }
}

/// The answer to a challenge, if it is one.
pub(crate) fn answer_challenge(signer: &Signer, message: &Value) -> Option<Value> {
    super::answer_challenge(signer, message).ok()
}

/// What a hint is about.
pub(crate) fn what_is_hinted(message: &Value) -> Option<(JobId, EventId)> {
    match hint(message) {
        Heard::Hint(Hint::NewJob { job_id, event_id } | Hint::JobUpdated { job_id, event_id }) => {
            job_id.zip(event_id)
        }
        _ => None,
    }
}

//! The relay's end of the WebSocket, as a fuzzer speaks to it.

use serde_json::Value;

use super::{End, EventType, LogEntry, check_answer, hint, unexpected};
use crate::protocol::{EventId, JobId, PublicKey, Timestamp};

const NOW: Timestamp = Timestamp::from_seconds(1_700_000_000);
const LATER: Timestamp = Timestamp::from_seconds(1_700_000_030);

/// Messages of a client, before it is let in and after: nobody gets in with words of his own.
pub(crate) fn frames(text: &str, data: &[u8]) {
    assert!(check_answer(text, "ab", LATER, NOW).is_err() || text.contains("auth.response"));
    assert!(check_answer(text, "ab", NOW, NOW).is_err());
    for end in [check_answer(text, "ab", LATER, NOW).err(), Some(unexpected(text))].into_iter().flatten() {
        let End::Refused(code, _) = end else { panic!("{end:?}") };
        let json = serde_json::from_slice::<Value>(data).is_ok();
        assert_eq!(code == "ws.invalid_json", !json);
    }
}

/// Who gave this answer to the challenge with `nonce`.
pub(crate) fn who_answers(text: &str, nonce: &str) -> Option<PublicKey> {
    check_answer(text, nonce, LATER, NOW).ok()
}

/// A hint at an event made of these bytes, if a seller is told of it.
pub(crate) fn a_hint(data: &[u8]) -> Option<(Value, JobId, EventId)> {
    let (job, rest) = data.split_first_chunk::<16>()?;
    let (event, rest) = rest.split_first_chunk::<8>()?;
    let kind = EventType::ALL[usize::from(*rest.first()?) % EventType::ALL.len()];
    let [seller, buyer] = [1, 2].map(|byte| PublicKey::from_bytes([byte; 32]));
    let (job_id, event_id) = (JobId::from_bytes(*job), EventId(u64::from_be_bytes(*event)));
    let entry = LogEntry { event_id, job_id, kind, created_at: NOW, seller, buyer };
    assert!(hint(buyer, &entry).is_none());
    hint(seller, &entry).map(|hint| (hint, job_id, event_id))
}

//! Payloads: the sealed envelope that a relay carries, and the signed text inside of it.

use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::identity::{decode_base64, encode_base64};
use super::limits::SEALED_BYTES_MAX;
use super::sealing::{self, ENC_ALG};
use super::{BotId, BotKeys, JobId, Moment, PayloadId, Refusal, SealingPublicKey, SigningPublicKey};

/// What stands in front of every inner payload and its signed text.
const PREFIX: &str = "NBR1";

/// What a payload is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The order, with the job.
    Request,
    /// The result, which ends the job.
    Deliverable,
    /// Anything else that the seller has to say.
    Message,
}

impl Kind {
    /// Its name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Deliverable => "deliverable",
            Self::Message => "message",
        }
    }

    /// The kind with this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Request, Self::Deliverable, Self::Message].into_iter().find(|kind| kind.name() == name)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A sealed payload, as its sender hands it in. Texts, so that each fault gets its own answer.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Sealed {
    /// Its name, which the sender made.
    pub payload_id: PayloadId,
    /// What it is for: a [`Kind`].
    pub payload_kind: String,
    /// [`ENC_ALG`].
    pub enc_alg: String,
    /// The short name of the key that opens it.
    pub recipient_kid: String,
    /// The sealed box in base64url.
    pub ciphertext_b64: String,
}

impl Sealed {
    /// Checks the form of all fields, and that it is of one of these kinds. A relay sees no more.
    ///
    /// # Errors
    /// The 400 that the sender is to see.
    pub fn check(&self, kinds: &[Kind]) -> Result<Kind, Refusal> {
        let Self { payload_id, payload_kind, enc_alg, recipient_kid, ciphertext_b64 } = self;
        let texts = [payload_id.as_str(), payload_kind, enc_alg, recipient_kid, ciphertext_b64];
        if texts.iter().any(|text| text.is_empty()) {
            return Err(Refusal::invalid("missing fields"));
        }
        if !payload_id.is_valid() {
            return Err(Refusal::invalid("payload_id too long"));
        }
        if enc_alg != ENC_ALG {
            return Err(Refusal::invalid("invalid enc_alg"));
        }
        let kind = Kind::parse(payload_kind).filter(|kind| kinds.contains(kind));
        let kind = kind.ok_or_else(|| Refusal::invalid("invalid payload_kind"))?;
        let sealed =
            decode_base64(ciphertext_b64).ok_or_else(|| Refusal::invalid("invalid ciphertext_b64"))?;
        if sealed.len() > SEALED_BYTES_MAX {
            return Err(Refusal::invalid("ciphertext_b64 too large"));
        }
        Ok(kind)
    }
}

/// A payload, as its recipient fetches it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payload {
    /// Its name.
    pub payload_id: PayloadId,
    /// The job that it belongs to.
    pub job_id: JobId,
    /// Who sealed it.
    pub sender_bot_id: BotId,
    /// Who can open it.
    pub recipient_bot_id: BotId,
    /// What it is for.
    pub payload_kind: Kind,
    /// [`ENC_ALG`].
    pub enc_alg: String,
    /// The short name of the key that opens it.
    pub recipient_kid: String,
    /// The sealed box in base64url.
    pub ciphertext_b64: String,
    /// When the relay got it.
    pub created_at: Moment,
}

/// A payload in a list: enough to fetch it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PayloadHead {
    /// Its name.
    pub payload_id: PayloadId,
    /// The job that it belongs to.
    pub job_id: JobId,
    /// What it is for.
    pub payload_kind: Kind,
    /// When the relay got it.
    pub created_at: Moment,
}

/// A page of payloads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PayloadPage {
    /// Newest first.
    pub payloads: Vec<PayloadHead>,
    /// Where the next page begins, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// What is inside the box. What is missing reads as empty, and is refused as that.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Inner {
    prefix: String,
    payload_id: String,
    job_id: String,
    payload_kind: String,
    sender_bot_id: String,
    recipient_bot_id: String,
    created_at: String,
    body: Option<String>,
    sender_sig_ed25519: String,
}

impl Inner {
    /// The text that the sender signs. `created_at` is taken as it was written.
    fn canonical(&self) -> String {
        let Self { payload_id, job_id, payload_kind, sender_bot_id, recipient_bot_id, created_at, .. } = self;
        let hash = super::signing::body_sha256(self.body.as_deref().unwrap_or_default().as_bytes());
        format!(
            "{PREFIX}|{payload_id}|{job_id}|{payload_kind}|{sender_bot_id}|{recipient_bot_id}|{created_at}|{hash}"
        )
    }
}

/// Who writes to whom about what.
#[derive(Debug, Clone, Copy)]
pub struct Address<'a> {
    /// The payload's name.
    pub payload_id: &'a PayloadId,
    /// The job that it belongs to.
    pub job_id: &'a JobId,
    /// What it is for.
    pub kind: Kind,
    /// Who can open it.
    pub recipient: BotId,
    /// With which key.
    pub recipient_key: &'a SealingPublicKey,
}

/// Signs a text and seals it. `ephemeral` is 32 random bytes that are used for nothing else.
///
/// # Errors
/// If the text is too long for one payload.
pub fn write(
    keys: &BotKeys,
    address: Address<'_>,
    body: &str,
    now: Moment,
    ephemeral: &[u8; 32],
) -> Result<Sealed, sealing::SealError> {
    let mut inner = Inner {
        prefix: PREFIX.to_owned(),
        payload_id: address.payload_id.to_string(),
        job_id: address.job_id.to_string(),
        payload_kind: address.kind.to_string(),
        sender_bot_id: keys.bot_id().to_string(),
        recipient_bot_id: address.recipient.to_string(),
        created_at: now.to_string(),
        body: Some(body.to_owned()),
        sender_sig_ed25519: String::new(),
    };
    inner.sender_sig_ed25519 = keys.sign(&inner.canonical());
    let text = Zeroizing::new(serde_json::to_vec(&inner).map_err(|_| sealing::SealError)?);
    let sealed = sealing::seal(address.recipient_key, &text, ephemeral)?;
    Ok(Sealed {
        payload_id: address.payload_id.clone(),
        payload_kind: address.kind.name().to_owned(),
        enc_alg: ENC_ALG.to_owned(),
        recipient_kid: address.recipient_key.kid(),
        ciphertext_b64: encode_base64(&sealed),
    })
}

/// A text that its sender has signed for this job.
#[derive(Clone, PartialEq, Eq)]
pub struct Letter {
    /// The text.
    pub body: String,
    /// When the sender says that it was written; any text.
    pub written_at: String,
}

impl fmt::Debug for Letter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Letter({} bytes, {})", self.body.len(), self.written_at)
    }
}

/// Why a payload is not believed; one for each rule, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum PayloadFault {
    /// The envelope names another algorithm.
    #[error("the payload is sealed by an unknown algorithm")]
    Algorithm,
    /// The envelope is for another bot, or another key of it.
    #[error("the payload is for another key")]
    Recipient,
    /// The box is not base64url, or too large.
    #[error("the sealed box is not base64url, or too large")]
    Encoding,
    /// The box does not open.
    #[error("the sealed box does not open")]
    Sealed,
    /// What is inside is no JSON object of texts.
    #[error("the payload's inside is no JSON object of texts")]
    Shape,
    /// Another prefix.
    #[error("the payload's inside has another prefix")]
    Prefix,
    /// The inside names another payload.
    #[error("the payload's inside names another payload")]
    PayloadId,
    /// The inside names another job.
    #[error("the payload's inside names another job")]
    JobId,
    /// The inside names another kind.
    #[error("the payload's inside names another kind")]
    Kind,
    /// The inside names another sender.
    #[error("the payload's inside names another sender")]
    Sender,
    /// The inside names another recipient.
    #[error("the payload's inside names another recipient")]
    InnerRecipient,
    /// A field inside is missing or empty.
    #[error("a field of the payload's inside is missing or empty")]
    Missing,
    /// The key is not the sender's.
    #[error("the key is not the sender's")]
    SenderKey,
    /// Another signature.
    #[error("the payload's signature is not the sender's")]
    Signature,
}

/// Opens a payload and checks everything about it. `sender_key` is what the relay, or the reader's
/// memory, says is the sender's.
///
/// # Errors
/// The first rule that is broken.
pub fn read(
    keys: &BotKeys,
    payload: &Payload,
    sender_key: &SigningPublicKey,
) -> Result<Letter, PayloadFault> {
    let me = keys.bot_id();
    ensure(payload.enc_alg == ENC_ALG, PayloadFault::Algorithm)?;
    ensure(
        payload.recipient_bot_id == me && payload.recipient_kid == keys.sealing_key().kid(),
        PayloadFault::Recipient,
    )?;
    let sealed = decode_base64(&payload.ciphertext_b64)
        .filter(|sealed| sealed.len() <= SEALED_BYTES_MAX)
        .ok_or(PayloadFault::Encoding)?;
    let text = sealing::open(keys, &sealed).map_err(|_| PayloadFault::Sealed)?;
    let inner = inside(&text).ok_or(PayloadFault::Shape)?;
    ensure(inner.prefix == PREFIX, PayloadFault::Prefix)?;
    ensure(inner.payload_id == payload.payload_id.as_str(), PayloadFault::PayloadId)?;
    ensure(inner.job_id == payload.job_id.as_str(), PayloadFault::JobId)?;
    ensure(inner.payload_kind == payload.payload_kind.name(), PayloadFault::Kind)?;
    ensure(inner.sender_bot_id == payload.sender_bot_id.to_string(), PayloadFault::Sender)?;
    ensure(inner.recipient_bot_id == me.to_string(), PayloadFault::InnerRecipient)?;
    let named = [&inner.payload_id, &inner.job_id, &inner.created_at, &inner.sender_sig_ed25519];
    ensure(named.iter().all(|text| !text.is_empty()) && inner.body.is_some(), PayloadFault::Missing)?;
    ensure(BotId::of(sender_key) == payload.sender_bot_id, PayloadFault::SenderKey)?;
    ensure(sender_key.verifies(&inner.canonical(), &inner.sender_sig_ed25519), PayloadFault::Signature)?;
    Ok(Letter { body: inner.body.unwrap_or_default(), written_at: inner.created_at })
}

/// An object and nothing else: a list of the same texts in order would pass for one otherwise.
fn inside(text: &[u8]) -> Option<Inner> {
    let object: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(text).ok()?;
    serde_json::from_value(object.into()).ok()
}

fn ensure(holds: bool, fault: PayloadFault) -> Result<(), PayloadFault> {
    if holds { Ok(()) } else { Err(fault) }
}

#[cfg(test)]
mod tests;

//! Payloads that are believed, and one that is not for every rule.

use proptest::prelude::*;

use super::*;

const AT: &str = "2026-02-01T12:05:00Z";

fn bot(number: u8) -> BotKeys {
    BotKeys::from_seeds(&[number; 32], &[number + 100; 32])
}

/// From bot 1 to bot 2.
fn sealed(body: &str) -> Sealed {
    let to = bot(2);
    let (payload_id, job_id) = (PayloadId::new("pay_1"), JobId::new("job_1"));
    let address = Address {
        payload_id: &payload_id,
        job_id: &job_id,
        kind: Kind::Request,
        recipient: to.bot_id(),
        recipient_key: &to.sealing_key(),
    };
    write(&bot(1), address, body, AT.parse().unwrap(), &[5; 32]).unwrap()
}

fn fetched(ciphertext_b64: String) -> Payload {
    Payload {
        payload_id: PayloadId::new("pay_1"),
        job_id: JobId::new("job_1"),
        sender_bot_id: bot(1).bot_id(),
        recipient_bot_id: bot(2).bot_id(),
        payload_kind: Kind::Request,
        enc_alg: ENC_ALG.to_owned(),
        recipient_kid: bot(2).sealing_key().kid(),
        ciphertext_b64,
        created_at: AT.parse().unwrap(),
    }
}

fn good() -> Payload {
    fetched(sealed("do it").ciphertext_b64)
}

fn opened(payload: &Payload) -> Result<Letter, PayloadFault> {
    read(&bot(2), payload, &bot(1).signing_key())
}

/// A payload whose inside is changed, and signed anew, so that only the one rule is broken.
fn with_inside(change: impl Fn(&mut Inner)) -> Payload {
    let mut inner = Inner {
        prefix: PREFIX.to_owned(),
        payload_id: "pay_1".to_owned(),
        job_id: "job_1".to_owned(),
        payload_kind: "request".to_owned(),
        sender_bot_id: bot(1).bot_id().to_string(),
        recipient_bot_id: bot(2).bot_id().to_string(),
        created_at: AT.to_owned(),
        body: Some("do it".to_owned()),
        sender_sig_ed25519: String::new(),
    };
    inner.sender_sig_ed25519 = "to be signed".to_owned();
    change(&mut inner);
    if inner.sender_sig_ed25519 == "to be signed" {
        inner.sender_sig_ed25519 = bot(1).sign(&inner.canonical());
    }
    with_text(&serde_json::to_vec(&inner).unwrap())
}

fn with_text(text: &[u8]) -> Payload {
    fetched(encode_base64(&sealing::seal(&bot(2).sealing_key(), text, &[6; 32]).unwrap()))
}

#[test]
fn the_known_inside() {
    let seed = std::array::from_fn(|index| u8::try_from(index).unwrap());
    let name = |from: u8| BotId::from_bytes(std::array::from_fn(|index| from + u8::try_from(index).unwrap()));
    let inner = Inner {
        payload_id: "pay_01HXABC123".to_owned(),
        job_id: "job_01HXJOB123".to_owned(),
        payload_kind: "request".to_owned(),
        sender_bot_id: name(0).to_string(),
        recipient_bot_id: name(32).to_string(),
        created_at: AT.to_owned(),
        body: Some("Summarize the attached Nano paper in 5 bullets.".to_owned()),
        ..Inner::default()
    };
    assert_eq!(
        inner.canonical(),
        "NBR1|pay_01HXABC123|job_01HXJOB123|request|baaaqeayeaudaocajbifqydiob4ibceqtcqkrmfyydenbwha5dypq|\
         beaqseizeeutcokbjfivsyljof4ydcmrtgq2tmnzyhe5dwpb5hy7q|2026-02-01T12:05:00Z|\
         2b1d8caf1e9c80d72166825fad4a10fa62b0aecd3f5ad99f575883a002e7bceb"
    );
    assert_eq!(
        BotKeys::from_seeds(&seed, &seed).sign(&inner.canonical()),
        "mTxp6tbDEewvT-vl3mtSsUpjMS66HLntAoCSYjZB3M5XmhaFIab6pWlHtj5MM34QG0mNeLHkMAJ5Y2VcGPuvBw"
    );
}

#[test]
fn a_good_payload_is_read() {
    let letter = opened(&good()).unwrap();
    assert_eq!((letter.body.as_str(), letter.written_at.as_str()), ("do it", AT));
    assert_eq!(format!("{letter:?}"), "Letter(5 bytes, 2026-02-01T12:05:00Z)");
    assert_eq!(opened(&with_inside(|inner| inner.body = Some(String::new()))).unwrap().body, "");
    let loose = with_inside(|inner| inner.created_at = "2026-02-01T12:05:00.340Z".to_owned());
    assert_eq!(opened(&loose).unwrap().written_at, "2026-02-01T12:05:00.340Z");
}

#[test]
fn each_rule_is_broken_alone() {
    let other = || bot(3).bot_id();
    let cases = [
        (Payload { enc_alg: "none".to_owned(), ..good() }, PayloadFault::Algorithm),
        (Payload { recipient_bot_id: other(), ..good() }, PayloadFault::Recipient),
        (Payload { recipient_kid: bot(3).sealing_key().kid(), ..good() }, PayloadFault::Recipient),
        (fetched(format!("{}=", good().ciphertext_b64)), PayloadFault::Encoding),
        (fetched("A".repeat(87_384)), PayloadFault::Encoding),
        (fetched("AAAA".to_owned()), PayloadFault::Sealed),
        (with_text(b"[]"), PayloadFault::Shape),
        (with_text(b"{\"prefix\": 1}"), PayloadFault::Shape),
        (with_text(b"{}"), PayloadFault::Prefix),
        (with_inside(|inner| inner.prefix = "NBR2".to_owned()), PayloadFault::Prefix),
        (with_inside(|inner| inner.payload_id = "pay_2".to_owned()), PayloadFault::PayloadId),
        (with_inside(|inner| inner.job_id = "job_2".to_owned()), PayloadFault::JobId),
        (with_inside(|inner| inner.payload_kind = "message".to_owned()), PayloadFault::Kind),
        (with_inside(|inner| inner.sender_bot_id = other().to_string()), PayloadFault::Sender),
        (with_inside(|inner| inner.recipient_bot_id = other().to_string()), PayloadFault::InnerRecipient),
        (with_inside(|inner| inner.created_at = String::new()), PayloadFault::Missing),
        (with_inside(|inner| inner.body = None), PayloadFault::Missing),
        (with_inside(|inner| inner.sender_sig_ed25519 = String::new()), PayloadFault::Missing),
        (with_inside(|inner| inner.sender_sig_ed25519 = bot(1).sign("other")), PayloadFault::Signature),
    ];
    for (payload, fault) in cases {
        assert_eq!(opened(&payload), Err(fault));
    }
    assert_eq!(read(&bot(2), &good(), &bot(3).signing_key()), Err(PayloadFault::SenderKey));
}

#[test]
fn a_relay_checks_the_form() {
    let told = |change: fn(&mut Sealed)| {
        let mut sealed = sealed("x");
        change(&mut sealed);
        sealed
            .check(&[Kind::Request])
            .map_err(|refusal| (refusal.code.status(), refusal.message.into_owned()))
    };
    let refused = |message: &str| Err((400, message.to_owned()));
    assert_eq!(told(|_| ()), Ok(Kind::Request));
    assert_eq!(told(|sealed| sealed.payload_id = PayloadId::default()), refused("missing fields"));
    assert_eq!(told(|sealed| sealed.enc_alg.push('2')), refused("invalid enc_alg"));
    assert_eq!(told(|sealed| sealed.payload_kind = "message".to_owned()), refused("invalid payload_kind"));
    assert_eq!(told(|sealed| sealed.ciphertext_b64.push('=')), refused("invalid ciphertext_b64"));
    assert_eq!(told(|sealed| sealed.payload_id = PayloadId::new("p".repeat(256))), Ok(Kind::Request));
    assert_eq!(
        told(|sealed| sealed.payload_id = PayloadId::new("p".repeat(257))),
        refused("payload_id too long")
    );
    let most = |bytes: usize| encode_base64(&vec![0; bytes]);
    assert_eq!(
        Sealed { ciphertext_b64: most(SEALED_BYTES_MAX), ..sealed("x") }.check(&[Kind::Request]),
        Ok(Kind::Request)
    );
    let larger = Sealed { ciphertext_b64: most(SEALED_BYTES_MAX + 1), ..sealed("x") };
    assert_eq!(larger.check(&[Kind::Request]).unwrap_err().message, "ciphertext_b64 too large");
}

proptest! {
    #[test]
    fn every_text_arrives(body: String) {
        let letter = opened(&fetched(sealed(&body).ciphertext_b64)).unwrap();
        prop_assert_eq!(letter.body, body);
    }

    #[test]
    fn garbage_never_panics(text: Vec<u8>, ciphertext: String) {
        prop_assert!(opened(&with_text(&text)).is_err());
        prop_assert!(opened(&fetched(ciphertext)).is_err());
    }
}

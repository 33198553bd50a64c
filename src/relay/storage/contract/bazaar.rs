//! The /v0 half of the suite: settlements are whole or nothing, and streams are a bot's own.

use std::sync::Arc;
use std::time::Duration;

use crate::protocol::Timestamp;
use crate::protocol::v0::identity::encode_base64;
use crate::protocol::v0::limits::SEALED_BYTES_MAX;
use crate::protocol::v0::lists::{Fetched, JobQuery, Params, PayloadQuery, PollQuery, Role};
use crate::protocol::v0::payload::{Kind, Sealed};
use crate::protocol::v0::poll::{Stream, Window, window};
use crate::protocol::v0::sealing::ENC_ALG;
use crate::protocol::v0::search::OfferQuery;
use crate::protocol::v0::{
    Bot, BotKeys, Caller, Change, Charge, ChargeId, Command, Docket, JobDraft, JobId, Listing, Moment, News,
    Notice, OfferCommand, OfferDraft, OfferId, PayloadId, Registration, Status, apply,
};
use crate::relay::model::{Claim, Claimed, Horizon, Receipt, Reply, ReplyBody};
use crate::relay::storage::Storage;
use crate::relay::v0::model::{Found, Settled, Settlement, Tally, party};

pub(in crate::relay::storage) const NOW: Timestamp = Timestamp::from_seconds(1_000_000);

pub(super) async fn check<Opened: Future<Output = Arc<dyn Storage>>>(open: impl Fn() -> Opened) {
    what_has_changed_is_decided_anew(&*open().await).await;
    names_and_addresses_are_taken_once(&*open().await).await;
    an_answer_is_kept_with_its_settlement_only(&*open().await).await;
    lists_have_what_they_should(&*open().await).await;
    jobs_are_overdue_strictly_after_their_time(&*open().await).await;
    purchases_are_counted_while_they_stand(&*open().await).await;
    a_market_shows_what_stands(&*open().await).await;
    a_stream_is_a_bots_own(&*open().await).await;
    what_is_over_is_removed(&*open().await).await;
}

pub(in crate::relay::storage) fn now() -> Moment {
    NOW.into()
}

pub(in crate::relay::storage) fn bot(number: u8) -> Bot {
    let keys = BotKeys::from_seeds(&[number; 32], &[number; 32]);
    Registration::of(&keys).bot(&keys.bot_id().to_string(), now()).unwrap()
}

pub(in crate::relay::storage) fn listing() -> Listing {
    let draft = OfferDraft {
        title: "t".to_owned(),
        description: "d".to_owned(),
        tags: vec!["a".to_owned()],
        price_raw: "1000".to_owned(),
        turnaround_seconds: 60,
        ..OfferDraft::default()
    };
    draft.offer(OfferId::new("offer_1"), bot(1).bot_id, now()).unwrap()
}

fn sealed(payload: &str, kind: Kind, to: u8) -> Sealed {
    Sealed {
        payload_id: PayloadId::new(payload),
        payload_kind: kind.name().to_owned(),
        enc_alg: ENC_ALG.to_owned(),
        recipient_kid: bot(to).encryption_kid,
        // Each has a text of its own, or nobody would see one come back for another.
        ciphertext_b64: encode_base64(payload.as_bytes()),
    }
}

/// Asked for by bot 2 so many nanoseconds after now.
pub(in crate::relay::storage) fn requested(name: &str, nanos: u64) -> Change {
    let draft = JobDraft {
        job_id: JobId::new(name),
        offer_id: OfferId::new("offer_1"),
        request_payload: sealed(&format!("pay_{name}"), Kind::Request, 1),
        job_expires_at: None,
    };
    let at = now().plus(Duration::from_nanos(nanos));
    draft.job(bot(2).bot_id, Some(&listing().offer), Some(&bot(1)), at).unwrap()
}

fn moved(docket: &Docket, by: u8, command: &Command) -> Change {
    apply(docket, Caller::Bot(bot(by).bot_id), command, now()).unwrap()
}

fn charge(address: &str) -> Command {
    Command::Charge(Charge {
        charge_id: ChargeId::new("chg"),
        address: address.to_owned(),
        amount_raw: "1000".to_owned(),
        charge_expires_at: now().plus(Duration::from_secs(60)).to_string(),
        charge_sig_ed25519: "c2ln".to_owned(),
    })
}

async fn settle(storage: &dyn Storage, jobs: Vec<Change>) -> Settled {
    storage.settle(Settlement { jobs, ..Settlement::at(NOW) }).await.unwrap()
}

async fn put(storage: &dyn Storage, change: Change) -> Docket {
    let docket = change.docket.clone();
    assert_eq!(settle(storage, vec![change]).await, Settled::Done);
    docket
}

async fn what_has_changed_is_decided_anew(storage: &dyn Storage) {
    let docket = put(storage, requested("one", 0)).await;
    assert_eq!(settle(storage, vec![requested("one", 0)]).await, Settled::Lost, "the name is taken");
    let (charged, cancelled) = (moved(&docket, 1, &charge("nano_1")), moved(&docket, 2, &Command::Cancel));
    // Of two moves decided on one state, one counts; with it, or without it, goes everything beside it.
    let fresh = Settlement { bot: Some((None, bot(1))), jobs: vec![charged], ..Settlement::at(NOW) };
    assert_eq!(storage.settle(fresh).await.unwrap(), Settled::Done);
    let late = Settlement { bot: Some((None, bot(2))), jobs: vec![cancelled], ..Settlement::at(NOW) };
    assert_eq!(storage.settle(late).await.unwrap(), Settled::Lost);
    assert_eq!(storage.bot(bot(1).bot_id).await.unwrap(), Some(bot(1)));
    assert_eq!(storage.bot(bot(2).bot_id).await.unwrap(), None);
    let kept = storage.docket(&JobId::new("one")).await.unwrap().unwrap();
    assert_eq!((kept.job.status, kept.revision), (Status::ChargeCreated, 1));
    let offer =
        |before: Option<Listing>| Settlement { offers: vec![(before, listing())], ..Settlement::at(NOW) };
    assert_eq!(storage.settle(offer(None)).await.unwrap(), Settled::Done);
    assert_eq!(storage.settle(offer(None)).await.unwrap(), Settled::Lost);
    assert_eq!(storage.settle(offer(Some(listing()))).await.unwrap(), Settled::Done);
    assert_eq!(storage.listing(&OfferId::new("offer_1")).await.unwrap(), Some(listing()));
}

async fn names_and_addresses_are_taken_once(storage: &dyn Storage) {
    let one = put(storage, requested("one", 0)).await;
    let two = put(storage, requested("two", 0)).await;
    let same = Change { payload: requested("one", 0).payload, ..requested("three", 0) };
    assert_eq!(settle(storage, vec![same]).await, Settled::PayloadTaken);
    let charged = put(storage, moved(&one, 1, &charge("nano_1"))).await;
    assert_eq!(settle(storage, vec![moved(&two, 1, &charge("nano_1"))]).await, Settled::AddressTaken);
    // It is free again when the job that had it is over.
    put(storage, moved(&charged, 2, &Command::Revoke)).await;
    put(storage, moved(&two, 1, &charge("nano_1"))).await;
}

async fn an_answer_is_kept_with_its_settlement_only(storage: &dyn Storage) {
    let claim = Claim { party: party(&bot(2).bot_id), key: "k".to_owned(), request_hash: "h".to_owned() };
    let receipt =
        Receipt { claim: claim.clone(), expires_at: NOW.plus(Duration::from_secs(60)), status: 200 };
    let docket = put(storage, requested("one", 0)).await;
    let lost = Settlement {
        jobs: vec![requested("one", 0)],
        answer: Some((&receipt, "lost".to_owned())),
        ..Settlement::at(NOW)
    };
    assert_eq!(storage.settle(lost).await.unwrap(), Settled::Lost);
    assert_eq!(storage.claim(&claim, NOW, Duration::from_secs(1)).await.unwrap(), Claimed::Fresh);
    let done = Settlement {
        jobs: vec![moved(&docket, 2, &Command::Cancel)],
        answer: Some((&receipt, "done".to_owned())),
        ..Settlement::at(NOW)
    };
    assert_eq!(storage.settle(done).await.unwrap(), Settled::Done);
    storage.release(&claim);
    let answered = Reply { status: 200, body: ReplyBody::Text("done".to_owned()) };
    let told = storage.claim(&claim, NOW, Duration::from_secs(1)).await.unwrap();
    assert_eq!(told, Claimed::Answered(answered));
}

async fn lists_have_what_they_should(storage: &dyn Storage) {
    for (name, nanos) in [("a", 1), ("b", 2), ("c", 2), ("d", 3)] {
        put(storage, requested(name, nanos)).await;
    }
    let query = JobQuery { role: Role::Buyer, statuses: vec![], created_since: None, limit: 2, after: None };
    let more = std::cell::Cell::new(false);
    let names = async |by: u8, query: JobQuery| {
        let found = storage.dockets(bot(by).bot_id, &query).await.unwrap();
        more.set(found.next.is_some());
        found.items.iter().map(|docket| docket.job.job_id.to_string()).collect::<Vec<_>>().join("")
    };
    assert_eq!(names(2, query.clone()).await, "dc");
    assert!(more.get());
    let at = |nanos: u64| now().plus(Duration::from_nanos(nanos));
    let behind_c = JobQuery { after: Some((at(2), JobId::new("c"))), ..query.clone() };
    assert_eq!(names(2, behind_c).await, "ba");
    assert!(!more.get());
    let since = JobQuery { created_since: Some(at(2)), limit: 9, ..query.clone() };
    assert_eq!(names(2, since).await, "dcb");
    assert_eq!(names(1, query.clone()).await, "");
    let sold = JobQuery { role: Role::Seller, statuses: vec![Status::Requested], limit: 9, ..query };
    assert_eq!(names(1, sold.clone()).await, "dcba");
    assert_eq!(names(1, JobQuery { statuses: vec![Status::Paid], ..sold }).await, "");
    assert_eq!(storage.unpaid(bot(1).bot_id).await.unwrap().len(), 4);
    payloads_are_fetched(storage).await;
    the_largest_payload_comes_back(storage).await;
}

async fn the_largest_payload_comes_back(storage: &dyn Storage) {
    let mut change = requested("large", 9);
    let largest = "A".repeat(SEALED_BYTES_MAX / 3 * 4);
    change.payload.iter_mut().for_each(|payload| payload.ciphertext_b64.clone_from(&largest));
    put(storage, change.clone()).await;
    let id = PayloadId::new("pay_large");
    let found = storage.fetch(bot(1).bot_id, &id, now()).await.unwrap();
    assert_eq!(found, Found::Yours(Box::new(change.payload.unwrap())));
}

async fn payloads_are_fetched(storage: &dyn Storage) {
    let all = PayloadQuery { status: Fetched::All, job_id: None, limit: 9, after: None };
    let names = async |query: PayloadQuery| {
        let found = storage.payloads(bot(1).bot_id, &query).await.unwrap();
        found.items.iter().map(|head| head.payload_id.to_string()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(names(all.clone()).await, "pay_d pay_c pay_b pay_a");
    let id = PayloadId::new("pay_b");
    let yours = requested("b", 2).payload.map(Box::new).map(Found::Yours).unwrap();
    assert_eq!(storage.fetch(bot(1).bot_id, &id, now()).await.unwrap(), yours);
    assert_eq!(storage.fetch(bot(2).bot_id, &id, now()).await.unwrap(), Found::Others);
    assert_eq!(storage.fetch(bot(1).bot_id, &PayloadId::new("pay"), now()).await.unwrap(), Found::Nothing);
    assert_eq!(names(PayloadQuery { status: Fetched::Fetched, ..all.clone() }).await, "pay_b");
    assert_eq!(names(PayloadQuery { status: Fetched::Unfetched, ..all.clone() }).await, "pay_d pay_c pay_a");
    assert_eq!(names(PayloadQuery { job_id: Some(JobId::new("c")), ..all }).await, "pay_c");
}

async fn jobs_are_overdue_strictly_after_their_time(storage: &dyn Storage) {
    let docket = put(storage, requested("one", 0)).await;
    let until = docket.job.stands_until().unwrap();
    let later = until.plus(Duration::from_nanos(1));
    assert_eq!(storage.overdue(until, 9).await.unwrap(), []);
    assert_eq!(storage.overdue(later, 9).await.unwrap(), [JobId::new("one")]);
    put(storage, moved(&docket, 2, &Command::Cancel)).await;
    assert_eq!(storage.overdue(later, 9).await.unwrap(), []);
}

async fn purchases_are_counted_while_they_stand(storage: &dyn Storage) {
    let offer = Settlement { offers: vec![(None, listing())], ..Settlement::at(NOW) };
    storage.settle(offer).await.unwrap();
    let id = OfferId::new("offer_1");
    let purchases = async || storage.stall(&id).await.unwrap().unwrap().purchases;
    let docket = put(storage, requested("one", 0)).await;
    let docket = put(storage, moved(&docket, 1, &charge("nano_1"))).await;
    assert_eq!(purchases().await, 0);
    let paid = put(storage, moved(&docket, 1, &Command::MarkPaid(Default::default()))).await;
    assert_eq!(purchases().await, 1);
    assert_eq!(storage.tally(now()).await.unwrap().transferred_raw, 1_000);
    let result = Command::Deliver { sealed: sealed("r", Kind::Deliverable, 2), buyer: Box::new(bot(2)) };
    put(storage, moved(&paid, 1, &result)).await;
    assert_eq!(purchases().await, 1);
    let tally = storage.tally(now()).await.unwrap();
    assert_eq!(tally, Tally { offers: 1, jobs: 1, transferred_raw: 1_000, online: 0 });
}

fn newest(limit: &str, cursor: Option<String>) -> OfferQuery {
    let mut params = vec![("limit".to_owned(), limit.to_owned())];
    params.extend(cursor.map(|cursor| ("cursor".to_owned(), cursor)));
    OfferQuery::parse(Params(&params), None).unwrap()
}

async fn a_market_shows_what_stands(storage: &dyn Storage) {
    let made = |number: u64| {
        let mut listing = listing();
        listing.offer.offer_id = OfferId::new(format!("offer_{number}"));
        listing.offer.created_at = now().plus(Duration::from_nanos(number / 2));
        listing
    };
    let offers = (0..9).map(|number| (None, made(number))).collect();
    storage.settle(Settlement { offers, ..Settlement::at(NOW) }).await.unwrap();
    let gone =
        made(6).offer.apply(made(6).offer.seller_bot_id, OfferCommand::Cancel, now()).unwrap().unwrap();
    let offers = vec![(Some(made(6)), Listing { offer: gone, ..made(6) })];
    storage.settle(Settlement { offers, ..Settlement::at(NOW) }).await.unwrap();
    // Page by page it is what one large page is: newest first, and nothing that was taken back.
    let names = async |at: Moment, limit: &str| {
        let (mut names, mut cursor) = (String::new(), None);
        loop {
            let (page, next) = storage.market(&newest(limit, cursor), at).await.unwrap();
            names.extend(page.iter().map(|stall| stall.listing.offer.offer_id.to_string().pop().unwrap()));
            cursor = next;
            if cursor.is_none() {
                return names;
            }
        }
    };
    assert_eq!(names(now(), "100").await, "87543210");
    assert_eq!(names(now(), "1").await, "87543210");
    assert_eq!(names(now(), "3").await, "87543210");
    let open = storage.open_offers(bot(1).bot_id, now()).await.unwrap();
    assert_eq!(open.len(), 8);
    assert_eq!(storage.tally(now()).await.unwrap().offers, 8);
    let later = now().plus(Duration::from_secs(8 * 86_400));
    assert_eq!(names(later, "3").await, "");
    assert_eq!(storage.open_offers(bot(1).bot_id, later).await.unwrap(), []);
    assert_eq!(storage.tally(later).await.unwrap().offers, 0);
}

/// What others lose makes no cursor too old; what one has lost oneself does.
async fn a_stream_is_a_bots_own(storage: &dyn Storage) {
    let read = async |by: u8, since: Option<u64>| {
        let query = PollQuery { since, limit: 9, types: vec![] };
        let (stream, events) = storage.stream(bot(by).bot_id, &query).await.unwrap();
        (window(since, stream), events.iter().map(|event| event.event_id).collect::<Vec<_>>())
    };
    assert_eq!(read(1, None).await, (Window::Page { after: 0, minimum: 0 }, vec![]));
    let docket = put(storage, requested("one", 0)).await;
    put(storage, requested("two", 0)).await;
    let later = NOW.plus(Duration::from_secs(1));
    let charged = moved(&docket, 1, &charge("nano_1"));
    let settlement = Settlement { jobs: vec![charged], ..Settlement::at(later) };
    assert_eq!(storage.settle(settlement).await.unwrap(), Settled::Done);
    assert_eq!(read(1, None).await, (Window::Page { after: 0, minimum: 1 }, vec![1, 2]));
    assert_eq!(read(2, None).await, (Window::Page { after: 0, minimum: 3 }, vec![3]));
    let query = PollQuery { since: None, limit: 9, types: vec!["job.paid".to_owned()] };
    assert_eq!(storage.stream(bot(1).bot_id, &query).await.unwrap().1, []);
    let horizon = Horizon { nonces: NOW, answers: NOW, events: later };
    storage.forget(horizon, 100).await.unwrap();
    assert_eq!(read(1, Some(0)).await.0, Window::Gone { minimum: 3 });
    assert_eq!(read(1, Some(2)).await, (Window::Page { after: 2, minimum: 3 }, vec![]));
    assert_eq!(read(2, Some(0)).await, (Window::Page { after: 0, minimum: 3 }, vec![3]));
    storage.acknowledge(party(&bot(1).bot_id), crate::protocol::EventId(2), None).await.unwrap();
    let (stream, _) =
        storage.stream(bot(1).bot_id, &PollQuery { since: None, limit: 9, types: vec![] }).await.unwrap();
    assert_eq!(stream, Stream { acked: 2, removed: 2, oldest: None });
    // What is told beside jobs comes after what was told before, each at a place of its own.
    let gone = |name: &str| {
        let news = News::OfferCancelled { offer_id: OfferId::new(name), cancelled_at: now() };
        Notice { to: bot(2).bot_id, news }
    };
    let settlement = Settlement { notices: vec![gone("offer_1"), gone("offer_2")], ..Settlement::at(later) };
    assert_eq!(storage.settle(settlement).await.unwrap(), Settled::Done);
    assert_eq!(read(2, Some(3)).await.1, [4, 5]);
}

async fn what_is_over_is_removed(storage: &dyn Storage) {
    const DAY: u64 = 86_400;
    let after = |days: u64| now().plus(Duration::from_secs(days * DAY + 1));
    let all = PayloadQuery { status: Fetched::All, job_id: None, limit: 9, after: None };
    let payloads = async || storage.payloads(bot(1).bot_id, &all).await.unwrap().items.len();
    let offer = Settlement { offers: vec![(None, listing())], ..Settlement::at(NOW) };
    storage.settle(offer).await.unwrap();
    let one = put(storage, requested("one", 0)).await;
    put(storage, requested("two", 0)).await;
    put(storage, moved(&one, 2, &Command::Cancel)).await;
    storage.fetch(bot(1).bot_id, &PayloadId::new("pay_one"), now()).await.unwrap();
    assert!(!storage.clear(after(6), 9).await.unwrap());
    assert_eq!(payloads().await, 2);
    assert!(storage.clear(after(7), 1).await.unwrap(), "as many as the limit were removed");
    assert_eq!(payloads().await, 1, "what was fetched is kept for a week");
    let other = storage.fetch(bot(1).bot_id, &PayloadId::new("pay_two"), after(28)).await.unwrap();
    assert_eq!(other, requested("two", 0).payload.map(Box::new).map(Found::Yours).unwrap());
    storage.clear(after(29), 9).await.unwrap();
    assert_eq!(payloads().await, 1);
    assert!(storage.docket(&JobId::new("one")).await.unwrap().is_some());
    storage.clear(after(30), 9).await.unwrap();
    assert_eq!(payloads().await, 0);
    assert!(storage.docket(&JobId::new("one")).await.unwrap().is_none());
    assert!(storage.docket(&JobId::new("two")).await.unwrap().is_some(), "it has not ended");
    assert_eq!(storage.tally(after(30)).await.unwrap().jobs, 2, "what was removed still counts");
    assert_eq!(storage.listing(&OfferId::new("offer_1")).await.unwrap(), None);
    let query = JobQuery { role: Role::Buyer, statuses: vec![], created_since: None, limit: 9, after: None };
    assert_eq!(storage.dockets(bot(2).bot_id, &query).await.unwrap().items.len(), 1);
}

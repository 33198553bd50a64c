//! What a look makes of a relay and a chain that move while it looks.

use std::sync::Mutex;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};
use nano_currency::Seed;
use serde_json::{Value, json};

use super::*;
use crate::client::RelayClient;
use crate::client::wire::{Request, Response, Wire};
use crate::edge::Clock;
use crate::protocol::signing::Signer;
use crate::protocol::{Job, OfferId, Timestamp};
use crate::worker::v0::fixture;

#[test]
fn the_next_index_is_beyond_all_that_may_have_been_given_away() {
    for (from, had_some, last, next) in [
        (0, false, None, 0),
        (7, false, None, 7),
        (7, true, None, 507),
        (0, false, Some(0), 501),
        (7, true, Some(1_400), 1_901),
        (7, true, Some(u32::MAX), u32::MAX),
    ] {
        assert_eq!(next_index(from, had_some, last, 1_000), next, "{from} {had_some} {last:?}");
    }
}

fn account(index: u32) -> Account {
    Seed::Hex([7; 32]).account(index).unwrap()
}

/// A relay whose first list is empty; on all others a job has been quoted on the account of index 3.
#[derive(Debug, Default)]
struct Quoting {
    lists: Mutex<usize>,
}

impl Wire for Quoting {
    fn call(&self, request: Request) -> BoxFuture<'static, Result<Response, String>> {
        assert!(request.target.starts_with("/v1/jobs?"), "{}", request.target);
        let mut lists = self.lists.lock().unwrap();
        *lists += 1;
        let (seller, buyer) = (crate::protocol::PublicKey::from_bytes([1; 32]), Signer::from_seed(&[2; 32]));
        let offer = OfferId::from_random([1; 16]);
        let at = Timestamp::from_seconds(0);
        let asked = Job::requested(job(), offer, seller, buyer.public_key(), json!("count me"), at);
        let quoted = Job { quote_invoice_address: Some(account(3).to_string()), ..asked };
        let jobs = if *lists == 1 { vec![] } else { vec![quoted] };
        let page = json!({ "jobs": jobs, "total": jobs.len(), "limit": 100, "offset": 0 });
        ready(Ok(Response::json(200, &page))).boxed()
    }
}

fn job() -> JobId {
    JobId::from_random([9; 16])
}

/// A node on which money waits on the accounts of these indices.
#[derive(Debug)]
struct Paid(Vec<u32>);

impl nano_currency::rpc::Wire for Paid {
    fn call(&self, _: &str, body: String) -> BoxFuture<'static, Option<(u16, Vec<u8>)>> {
        let asked: Value = serde_json::from_str(&body).unwrap();
        let answer = match asked["action"].as_str().unwrap() {
            "accounts_balances" => {
                let paid: Vec<String> = self.0.iter().map(|index| account(*index).to_string()).collect();
                let accounts = asked["accounts"].as_array().unwrap().iter().map(|account| {
                    let text = account.as_str().unwrap().to_owned();
                    let waits = if paid.contains(&text) { "5" } else { "0" };
                    (text, json!({ "balance": "0", "pending": waits, "receivable": waits }))
                });
                json!({ "balances": accounts.collect::<serde_json::Map<_, _>>() })
            }
            "accounts_frontiers" => json!({ "frontiers": {} }),
            _ => json!({ "error": "Unknown command" }),
        };
        ready(Some((200, answer.to_string().into_bytes()))).boxed()
    }
}

/// Another worker of the seed quotes, and its buyer pays, after the list and before the chain is asked.
#[tokio::test]
async fn an_address_that_is_used_while_it_looks_is_not_taken_for_a_forgotten_jobs() {
    for (paid, expected, lists) in [
        (vec![3, 5], vec![(3, Some(job())), (5, None)], 2),
        // Where the chain knows no more, one list is enough.
        (vec![], vec![], 1),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let (relay, entropy) = (Arc::new(Quoting::default()), Entropy::system());
        let (wire, signer) = (Arc::clone(&relay) as _, Signer::from_seed(&[1; 32]));
        let client =
            RelayClient::over(wire, "http://127.0.0.1:9", signer, Clock::system(), entropy.clone()).unwrap();
        let look = Look {
            relay: Counterpart::V1(Arc::new(Line::new(client, entropy.clone()))),
            jury: Jury::open(&fixture::settings(&["Sum"]), || Duration::ZERO, Some(Arc::new(Paid(paid))))
                .unwrap(),
            accounts: Seed::Hex([7; 32]).into(),
            store: Arc::new(memory::open(dir.path()).unwrap()),
            start: 0,
            whole: false,
            gap: 100,
            entropy,
        };
        let (seen, _) = look.once().await.unwrap();
        let seen: Vec<_> = seen.iter().map(|seen| (seen.index, seen.job)).collect();
        assert_eq!((seen, *relay.lists.lock().unwrap()), (expected, lists));
    }
}

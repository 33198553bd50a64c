//! Sales that go well.

use std::os::unix::fs::PermissionsExt as _;

use nano_worker::protocol::Status;
use serde_json::json;

use crate::world::{OfferText, PRICE, World, invoice, text};

#[tokio::test]
async fn a_whole_sale_between_real_processes() {
    let world = World::new().await;
    let _worker = world.start_worker("one", &OfferText::default());
    let job = world.buy(&text("hello")).await;
    assert_eq!(job.result_payload, text("hello"));
    assert_eq!(world.runs_of(&job), 1);
    assert_eq!(job.lock_token, 1);
}

#[tokio::test]
async fn what_is_printed_is_json_if_it_can_be_and_a_text_if_not() {
    let world = World::new().await;
    let wc = OfferText { handler: "command = [\"wc\", \"-w\"]".to_owned(), ..OfferText::default() };
    let mut worker = world.start_worker("one", &wc);
    let job = world.buy(&json!("one two three")).await;
    assert_eq!(job.result_payload, json!(3));
    worker.signal(rustix::process::Signal::TERM);
    assert!(worker.wait().success());
    let wc = OfferText { handler: "command = [\"wc\", \"-w\", \"-l\"]".to_owned(), ..OfferText::default() };
    let _worker = world.start_worker("one", &wc);
    let job = world.buy(&json!("one two three")).await;
    assert_eq!(job.result_payload, json!({ "text": "      0       3\n" }));
}

#[tokio::test]
async fn every_job_has_its_own_address_and_all_are_delivered() {
    let world = World::new().await;
    let _worker = world.start_worker("one", &OfferText::default());
    let mut addresses = Vec::new();
    for number in 0..10 {
        let job = world.buy(&json!({ "number": number })).await;
        assert_eq!(job.result_payload, json!({ "number": number }));
        addresses.push(invoice(&job));
    }
    addresses.sort_unstable();
    addresses.dedup();
    assert_eq!(addresses.len(), 10);
}

#[tokio::test]
async fn the_handler_names_the_price_or_refuses() {
    let world = World::new().await;
    world.handler(&format!(
        "if [ \"$PURPOSE\" = quote ]; then \
           if grep -q forbidden; then echo '{{\"refuse\": \"we do not do that\"}}'; \
           else echo '{{\"price_raw\": \"{PRICE}\"}}'; fi; \
         else echo \"$JOB_ID $ATTEMPT\" >> ran; cat; fi"
    ));
    let asked = OfferText { offer: "pricing_mode = \"quote\"".to_owned(), ..OfferText::default() };
    let _worker = world.start_worker("one", &asked);
    let job = world.buy(&text("fine")).await;
    assert_eq!(job.quote_amount_raw, Some(PRICE.to_string()));
    let refused = world.request(&text("forbidden")).await;
    let refused = world.wait(refused, Status::Canceled).await;
    assert_eq!(refused.cancel_reason.as_deref(), Some("we do not do that"));
    assert_eq!(world.runs_of(&refused), 0);
}

#[tokio::test]
async fn an_invalid_request_is_refused_with_a_reason() {
    let world = World::new().await;
    let texts =
        OfferText { offer: format!("price_raw = \"{PRICE}\"\naccepts = \"text\""), ..OfferText::default() };
    let _worker = world.start_worker("one", &texts);
    let job = world.request(&json!([1, 2])).await;
    let job = world.wait(job, Status::Canceled).await;
    assert_eq!(
        job.cancel_reason.as_deref(),
        Some("the request must be a JSON text, or an object with a \"text\"")
    );
}

#[tokio::test]
async fn an_offer_is_the_same_after_a_restart_and_follows_the_file() {
    let world = World::new().await;
    let mut worker = world.start_worker("one", &OfferText::default());
    let before = world.offer().await;
    worker.signal(rustix::process::Signal::TERM);
    assert!(worker.wait().success());
    let dearer =
        OfferText { offer: "price_xno = \"2\"\ntags = [\"dear\"]".to_owned(), ..OfferText::default() };
    let _worker = world.start_worker("one", &dearer);
    let after = world
        .eventually("the changed offer", async || {
            let offer = world.offer().await;
            (offer.terms.tags == ["dear"]).then_some(offer)
        })
        .await;
    assert_eq!(after.offer_id, before.offer_id);
    assert_eq!(after.terms.fixed_price_raw.as_deref(), Some("2000000000000000000000000000000"));
}

#[tokio::test]
async fn the_state_is_its_owners_and_can_be_asked_while_it_runs() {
    let world = World::new().await;
    let mut worker = world.start_worker("one", &OfferText::default());
    let job = world.buy(&text("hello")).await;
    for entry in std::fs::read_dir(world.path("state-one")).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        let private = if entry.file_type().unwrap().is_dir() { 0o700 } else { 0o600 };
        assert_eq!(mode, private, "{}", entry.path().display());
    }
    let id = job.job_id.to_string();
    // The buyer may hear of it before the worker does.
    let running = world
        .eventually("the end of the job here", async || {
            let (code, running) = world.ask_worker("one", &["jobs", "show", &id, "--json"]);
            assert_eq!(code, Some(0));
            let running: serde_json::Value = serde_json::from_str(&running).unwrap();
            (running["ending"] == "delivered").then_some(running)
        })
        .await;
    assert!(running["history"].as_array().unwrap().len() >= 6, "{running}");
    worker.signal(rustix::process::Signal::TERM);
    assert!(worker.wait().success());
    let (code, resting) = world.ask_worker("one", &["jobs", "show", &id, "--json"]);
    assert_eq!(code, Some(0));
    assert_eq!(serde_json::from_str::<serde_json::Value>(&resting).unwrap(), running);
}

#[tokio::test]
async fn the_service_manager_hears_how_it_goes() {
    let world = World::new().await;
    let config = world.configure("one", &OfferText::default());
    let path = world.path("notify");
    let socket = tokio::net::UnixDatagram::bind(&path).unwrap();
    let notify = path.to_str().unwrap().to_owned();
    let mut worker =
        world.run_worker_with("one", &config, &[("NOTIFY_SOCKET", &notify), ("WATCHDOG_USEC", "3000000")]);
    let hear = async || {
        let mut text = vec![0; 4_096];
        let length =
            tokio::time::timeout(crate::world::PATIENCE, socket.recv(&mut text)).await.unwrap().unwrap();
        String::from_utf8(text[..length].to_vec()).unwrap()
    };
    let first = hear().await;
    assert!(first.contains("READY=1") && first.contains("STATUS=0 open jobs"), "{first}");
    // Also while nothing happens.
    for _ in 0..2 {
        let beat = hear().await;
        assert!(beat.contains("WATCHDOG=1"), "{beat}");
    }
    worker.signal(rustix::process::Signal::TERM);
    while !hear().await.contains("STOPPING=1") {}
    assert!(worker.wait().success());
}

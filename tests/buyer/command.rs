//! The program itself: its verbs, what it prints, its exit codes.

use std::path::Path;
use std::process::{Output, Stdio};

use mock_nano_rpc::FaultKind;
use nano_worker::nano::Amount;
use serde_json::Value;
use tokio::process::Command;

use super::scene::{SEED, Scene};
use super::shop::{Manner, OFFER};

/// The program with a scene's addresses, and nothing of this process's environment.
pub(crate) fn program(scene: &Scene, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_buyer"));
    command
        .args(arguments)
        .env_clear()
        .env("RELAY_URL", &scene.shop.url)
        .env("NANO_RPC_URL", scene.mock.rpc_url())
        .env("NANO_NETWORK", "dev")
        .env("NANO_SEED", hex::encode(SEED))
        .env("BUYER_PRIVKEY", "07".repeat(32))
        .env("HOME", scene.dir.path())
        .current_dir(scene.dir.path())
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

pub(crate) async fn run(scene: &Scene, arguments: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = program(scene, arguments).output().await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

pub(crate) async fn json(scene: &Scene, arguments: &[&str]) -> (i32, Value) {
    let (code, stdout, stderr) = run(scene, &[arguments, &["--json"]].concat()).await;
    (code, serde_json::from_str(&stdout).unwrap_or_else(|_| panic!("{stdout:?} {stderr:?}")))
}

pub(crate) const BUY: [&str; 6] = ["buy", OFFER, "--payload", "\"words\"", "--max-price-xno", "1"];

#[tokio::test]
async fn buy_prints_the_result_and_nothing_else() {
    let scene = Scene::set(10_000).await;
    let (code, stdout, stderr) = run(&scene, &BUY).await;
    assert_eq!((code, stdout.as_str()), (0, "done: \"words\"\n"), "{stderr}");
    assert!(stderr.contains("published payment") && stderr.contains("accepted"), "{stderr}");
    let (code, value) = json(&scene, &BUY).await;
    assert_eq!((code, &value["job"]["status"]), (0, &Value::from("delivered")));
    assert_eq!(scene.paid_jobs(), 2);
    let (code, stdout, _) = run(&scene, &["resume"]).await;
    assert_eq!((code, stdout.as_str()), (0, "nothing was interrupted\n"));
}

#[tokio::test]
async fn a_purchase_over_http_needs_no_certificates_and_one_over_https_says_so() {
    let scene = Scene::set(10_000).await;
    let (file, folder) = (scene.dir.path().join("none.pem"), scene.dir.path().join("none"));
    std::fs::write(&file, "").unwrap();
    std::fs::create_dir(&folder).unwrap();
    let mut http = program(&scene, &BUY);
    let answer = http.env("SSL_CERT_FILE", &file).env("SSL_CERT_DIR", &folder).output().await.unwrap();
    assert!(answer.status.success(), "{answer:?}");
    for (name, url) in [("RELAY_URL", scene.shop.url.clone()), ("NANO_RPC_URL", scene.mock.rpc_url())] {
        let mut https = program(&scene, &BUY);
        https.env(name, url.replacen("http", "https", 1));
        let answer = https.env("SSL_CERT_FILE", &file).env("SSL_CERT_DIR", &folder).output().await.unwrap();
        let said = String::from_utf8_lossy(&answer.stderr);
        assert!(!answer.status.success() && said.contains("CA certificates"), "{said}");
    }
}

#[tokio::test]
async fn step_by_step_it_is_the_same_purchase() {
    let scene = Scene::set(10_000).await;
    let (code, offers) = json(&scene, &["offers", "word"]).await;
    assert_eq!((code, &offers["offers"][0]["offer_id"]), (0, &Value::from(OFFER)));
    let (code, asked) = json(&scene, &["request", OFFER, "--payload", "{\"a\":1}"]).await;
    let job = asked["job"]["job_id"].as_str().unwrap().to_owned();
    assert_eq!(code, 0);
    for (verb, status) in
        [("show", "quoted"), ("accept", "accepted"), ("pay", "accepted"), ("wait", "delivered")]
    {
        let (code, value) = json(&scene, &[verb, &job]).await;
        assert_eq!((code, &value["job"]["status"]), (0, &Value::from(status)), "{verb}: {value}");
    }
    // Again, and again: paid once.
    assert_eq!(json(&scene, &["pay", &job]).await.0, 0);
    assert_eq!(scene.paid_jobs(), 1);
    let (_, asked) = json(&scene, &["request", OFFER, "--payload", "1"]).await;
    let job = asked["job"]["job_id"].as_str().unwrap().to_owned();
    let (code, value) = json(&scene, &["cancel", &job, "--reason", "no need"]).await;
    assert_eq!((code, &value["job"]["cancel_reason"]), (0, &Value::from("no need")));
    assert_eq!(json(&scene, &["pay", &job]).await.0, 4);
}

#[tokio::test]
async fn a_payment_made_elsewhere_is_submitted() {
    let scene = Scene::set(0).await;
    let (_, asked) = json(&scene, &["request", OFFER, "--payload", "1"]).await;
    let job = asked["job"]["job_id"].as_str().unwrap().to_owned();
    assert_eq!(json(&scene, &["accept", &job]).await.0, 0);
    let hash = scene.mock.fund(&super::shop::invoice(0), Amount::from_raw(1_000)).unwrap();
    assert_eq!(json(&scene, &["submit", &job, "--hash", &hash.to_string()]).await.0, 0);
    assert_eq!(run(&scene, &["wait", &job]).await.1, "done: 1\n");
}

#[tokio::test]
async fn every_way_to_fail_has_its_exit_code() {
    let scene = Scene::set(0).await;
    let coded = async |arguments: &[&str]| {
        let (code, value) = json(&scene, arguments).await;
        (code, value["error"]["code"].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(coded(&BUY).await, (7, "underfunded".to_owned()));
    let cheap = ["buy", OFFER, "--payload", "1", "--max-price-xno", "0.0000000000000000000000000001"];
    assert_eq!(coded(&cheap).await, (5, "quote.too_expensive".to_owned()));
    scene.shop.shelf().manner = Manner::Brief;
    assert_eq!(coded(&BUY).await, (5, "quote.expired".to_owned()));
    scene.shop.shelf().manner = Manner::Refusing("no");
    assert_eq!(coded(&BUY).await, (4, "job_over".to_owned()));
    assert_eq!(coded(&["show", OFFER]).await, (8, "relay".to_owned()));
    assert_eq!(coded(&["buy", OFFER, "--payload", "words", "--max-price-xno", "1"]).await.0, 2);
    assert_eq!(coded(&["offers", "--relay", "gopher://x"]).await.0, 2);
    let seed = hex::encode(SEED);
    let (code, stdout, stderr) = run(&scene, &["account", "--seed", &seed]).await;
    assert_eq!(code, 2);
    assert!(!stdout.contains(&seed) && !stderr.contains(&seed), "{stderr}");
}

#[tokio::test]
async fn silence_has_its_exit_codes() {
    let scene = Scene::set(10_000).await;
    let patience = "[patience]\nstep_seconds = 1\nquote_seconds = 1\nresult_seconds = 1\n";
    std::fs::write(scene.dir.path().join("buyer.toml"), patience).unwrap();
    let coded = async |arguments: &[&str]| {
        let (code, value) = json(&scene, arguments).await;
        (code, value["error"]["code"].as_str().unwrap_or_default().to_owned())
    };
    scene.shop.shelf().manner = Manner::Silent;
    assert_eq!(coded(&BUY).await, (10, "timed_out".to_owned()));
    assert_eq!(scene.paid_jobs(), 1);
    scene.node_fails("account_info", FaultKind::Drop, None);
    assert_eq!(coded(&BUY).await, (9, "node".to_owned()));
    scene.mock.clear();
    assert_eq!(scene.paid_jobs(), 1);
    scene.node_fails("process", FaultKind::Drop, None);
    assert_eq!(coded(&BUY).await, (6, "payment_unknown".to_owned()));
    assert_eq!(scene.paid_jobs(), 1);
}

#[tokio::test]
async fn a_failed_job_has_its_own_exit_code() {
    let scene = Scene::set(10_000).await;
    scene.shop.shelf().manner = Manner::Failing;
    let (code, stdout, stderr) = run(&scene, &BUY).await;
    assert_eq!((code, stdout.as_str()), (3, ""));
    assert!(stderr.contains("it broke (handler_failed)"), "{stderr}");
}

#[tokio::test]
async fn a_second_buyer_on_one_journal_is_refused() {
    let scene = Scene::set(0).await;
    let state = scene.dir.path().join("journal");
    let _open = scene.buyer_in(&state);
    let (code, value) = json(&scene, &["resume", "--state", state.to_str().unwrap()]).await;
    assert_eq!((code, &value["error"]["code"]), (1, &Value::from("journal")));
}

#[tokio::test]
async fn keys_are_made_for_their_owner_alone_and_never_overwritten() {
    use std::os::unix::fs::PermissionsExt as _;
    let scene = Scene::set(0).await;
    let (code, value) = json(&scene, &["key", "new", "--out", "k"]).await;
    assert_eq!((code, value["public_key"].as_str().unwrap().len()), (0, 64));
    let path = scene.dir.path().join("k");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(!value.to_string().contains(text.trim()));
    assert_eq!(run(&scene, &["key", "new", "--out", "k"]).await.0, 2);
    assert_eq!(std::fs::read_to_string(Path::new(&path)).unwrap(), text);
    assert_eq!(run(&scene, &["account", "--key", "file:k"]).await.0, 0);
}

#[tokio::test]
async fn the_manual_and_the_completions_are_there() {
    let scene = Scene::set(0).await;
    assert!(
        run(&scene, &["man"]).await.1.contains("max\\-price\\-xno")
            || run(&scene, &["man"]).await.1.contains("Buys")
    );
    assert!(run(&scene, &["completions", "bash"]).await.1.contains("_buyer"));
    assert!(run(&scene, &["--help"]).await.1.contains("Exit codes"));
}

//! Handlers that behave, and those that do not.

use super::*;
use crate::edge::monotonic;

fn shell(script: &str, seconds: u64) -> Handler {
    Handler {
        kind: HandlerKind::Command {
            program: "/bin/sh".into(),
            arguments: vec!["-c".to_owned(), script.to_owned()],
            directory: std::env::temp_dir(),
        },
        timeout: Duration::from_secs(seconds),
        limits: Limits::default(),
    }
}

fn job(request: &str) -> Run {
    Run {
        job_id: JobId::from_random(crate::edge::Entropy::system().bytes()),
        offer_id: OfferId::from_random([2; 16]),
        attempt: 1,
        lock_token: Some(1),
        purpose: Purpose::Execute,
        request: request.as_bytes().to_vec(),
    }
}

async fn check(script: &str, request: &str) -> Outcome {
    run(&Cage::default(), &shell(script, 10), &job(request), &CancellationToken::new()).await
}

fn failure(outcome: Outcome) -> String {
    match outcome {
        Outcome::Error(error) => {
            assert_eq!(error.code, "handler_failed");
            error.message
        }
        Outcome::Result(result) => panic!("a result: {result}"),
    }
}

#[tokio::test]
async fn json_stays_json_and_all_else_becomes_a_text() {
    assert_eq!(check("cat", r#"{"b":1,"a":[]}"#).await, Outcome::Result(json!({"b": 1, "a": []})));
    assert_eq!(check("echo hello", "1").await, Outcome::Result(json!({"text": "hello\n"})));
    assert_eq!(check("echo null", "1").await, Outcome::Result(json!({"text": "null\n"})));
    assert_eq!(check("printf '\\377'", "1").await, Outcome::Result(json!({"text": "\u{fffd}"})));
    assert_eq!(check("exit 0", "1").await, Outcome::Result(json!({"text": ""})));
}

/// A relay refuses such JSON for good, and the paid job would have failed.
#[test]
fn what_no_relay_takes_becomes_a_text() {
    let nested = |levels: usize| format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
    let as_text = |output: &str| to_result(output.as_bytes()).unwrap() == json!({ "text": output });
    assert!(as_text(&nested(64)) && !as_text(&nested(63)));
    for output in [r#""\u0000""#, r#"{"\u0000":1}"#, r#"[{"a":"b\u0000"}]"#] {
        assert!(as_text(output), "{output}");
    }
    assert!(!as_text(r#"{"a":["b",null,1.5,true]}"#));
}

#[tokio::test]
async fn a_failure_tells_the_buyer_nothing_of_the_machine() {
    assert_eq!(failure(check("echo /secret/path >&2; exit 3", "1").await), "the handler failed");
    let missing = Handler {
        kind: HandlerKind::Command {
            program: "/nonexistent/handler".into(),
            arguments: vec![],
            directory: "/".into(),
        },
        timeout: Duration::from_secs(1),
        limits: Limits::default(),
    };
    let outcome = run(&Cage::default(), &missing, &job("1"), &CancellationToken::new()).await;
    assert_eq!(failure(outcome), "the handler could not be started");
}

#[tokio::test]
async fn a_handler_that_is_killed_says_by_what() {
    let Outcome::Error(error) = check("kill -9 $$", "1").await else { panic!("a result") };
    assert_eq!(
        (error.code.as_str(), error.message.as_str()),
        ("handler_failed", "the handler was killed by signal 9")
    );
    assert_eq!(error.details, json!({ "reason": "killed", "signal": 9 }));
}

#[tokio::test]
async fn the_environment_holds_only_what_is_promised() {
    let Outcome::Result(result) = check("/usr/bin/env", "1").await else { panic!("failed") };
    let text = result["text"].as_str().unwrap().to_owned();
    // The shell itself sets these.
    let names: Vec<&str> = text
        .lines()
        .filter_map(|line| line.split('=').next())
        .filter(|name| !["PWD", "SHLVL", "_", "OLDPWD"].contains(name))
        .collect();
    let mut sorted = names.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, ["ATTEMPT", "JOB_ID", "LOCK_TOKEN", "OFFER_ID", "PURPOSE"]);
}

#[tokio::test]
async fn a_handler_that_hangs_is_killed_with_its_children() {
    let started = monotonic();
    let outcome =
        run(&Cage::default(), &shell("sleep 60 & sleep 60", 1), &job("1"), &CancellationToken::new()).await;
    assert_eq!(failure(outcome), "the handler did not finish within 1 seconds");
    assert!(monotonic() - started < Duration::from_secs(10));
}

#[tokio::test]
async fn a_handler_that_floods_is_stopped() {
    let message = failure(check("while :; do echo xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx; done", "1").await);
    assert!(message.contains("larger than"), "{message}");
}

#[tokio::test]
async fn a_handler_that_never_reads_is_no_problem() {
    let large = format!("\"{}\"", "x".repeat(60_000));
    assert_eq!(check("echo done", &large).await, Outcome::Result(json!({"text": "done\n"})));
}

#[tokio::test]
async fn stray_children_do_not_outlive_a_success() {
    adopt_orphans();
    let run_of = job("1");
    let script = "sleep 61 & setsid sleep 62 & setsid sh -c 'sleep 63 & sleep 64' & sleep 0.2; echo ok";
    let outcome = run(&Cage::default(), &shell(script, 20), &run_of, &CancellationToken::new()).await;
    assert!(matches!(outcome, Outcome::Result(_) | Outcome::Error(_)));
    // Killing is immediate, dying takes a moment.
    for _ in 0..100 {
        if living(run_of.job_id) == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{} strays are left", living(run_of.job_id));
}

fn living(job: JobId) -> usize {
    let wanted = format!("JOB_ID={job}");
    std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(Result::ok)
        .filter_map(|entry| std::fs::read(entry.path().join("environ")).ok())
        .filter(|environment| environment.split(|&byte| byte == 0).any(|entry| entry == wanted.as_bytes()))
        .count()
}

#[tokio::test]
async fn a_stop_ends_it_at_once() {
    let stop = CancellationToken::new();
    let (handler, run_of) = (shell("sleep 60", 60), job("1"));
    let cage = Cage::default();
    let (outcome, ()) = tokio::join!(run(&cage, &handler, &run_of, &stop), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        stop.cancel();
    });
    assert_eq!(failure(outcome), "the handler was stopped");
}

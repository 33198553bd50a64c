//! Secrets are made, kept and used without being seen.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use nano_worker::nano::Seed;

use super::bench::{Bench, Daemon, KEY, SEED};

#[test]
fn new_secrets_are_their_owners_and_shown_only_on_demand() {
    let bench = Bench::new();
    assert_eq!(bench.worker(&["config", "init"]).code, 0);
    for (verb, file) in [("wallet", "seed"), ("key", "seller.key")] {
        let made = bench.worker(&[verb, "new", "--json"]);
        assert_eq!(made.code, 0, "{made:?}");
        let secret = fs::read_to_string(bench.path(file)).unwrap();
        assert_eq!(secret.trim().len(), 64);
        assert!(!made.out.contains(secret.trim()) && !made.err.contains(secret.trim()));
        assert_eq!(fs::metadata(bench.path(file)).unwrap().permissions().mode() & 0o777, 0o600);
        let again = bench.worker(&[verb, "new"]);
        assert_eq!(again.code, 10, "{again:?}");
        assert_eq!(fs::read_to_string(bench.path(file)).unwrap(), secret, "a secret was overwritten");
    }
    assert_eq!(fs::metadata(bench.path("worker.toml")).unwrap().permissions().mode() & 0o777, 0o600);
    let text = fs::read_to_string(bench.path("worker.toml")).unwrap();
    assert_eq!(bench.worker(&["config", "init"]).code, 10);
    assert_eq!(fs::read_to_string(bench.path("worker.toml")).unwrap(), text);
    // The default configuration is one that works, once its secrets are there.
    assert_eq!(bench.worker(&["config", "check"]).code, 0);
    let shown = bench.worker(&["wallet", "new", "--out", "other", "--show"]);
    assert!(shown.out.contains(fs::read_to_string(bench.path("other")).unwrap().trim()));
}

#[test]
fn phrases_have_the_words_that_were_asked_for() {
    let bench = Bench::new();
    for count in [12, 24] {
        let file = format!("words-{count}");
        let made = bench.worker(&["wallet", "new", "--words", &count.to_string(), "--out", &file, "--json"]);
        let phrase = fs::read_to_string(bench.path(&file)).unwrap();
        assert_eq!(phrase.split_whitespace().count(), count);
        let account = Seed::parse(&phrase).unwrap().account(0).unwrap();
        assert_eq!(made.json()["first_account"], account.to_string());
    }
}

#[test]
fn a_seed_that_others_may_read_is_refused() {
    let bench = Bench::new();
    bench.set_up("http://127.0.0.1:1", "http://127.0.0.1:1");
    fs::set_permissions(bench.path("seed"), fs::Permissions::from_mode(0o644)).unwrap();
    for verb in ["run", "check"] {
        let ended = bench.worker(&[verb]);
        let said = format!("{}{}", ended.out, ended.err);
        assert!(matches!(ended.code, 3 | 7) && said.contains("chmod 600"), "{ended:?}");
        assert!(!said.contains(SEED));
    }
}

#[test]
fn a_seed_in_the_configuration_is_refused_and_not_repeated() {
    let bench = Bench::new();
    bench.set_up("http://127.0.0.1:1", "http://127.0.0.1:1");
    bench.edit("worker.toml", "file:seed", SEED);
    for verb in [&["run"][..], &["check"], &["config", "show"], &["wallet", "new"]] {
        let ended = bench.worker(verb);
        assert!(matches!(ended.code, 3 | 7), "{ended:?}");
        assert!(!format!("{ended:?}").contains(SEED), "{verb:?}");
    }
}

#[test]
fn no_verb_shows_a_secret_however_much_is_logged() {
    let bench = Bench::new();
    bench.set_up("http://127.0.0.1:1", "http://user:hunter2@127.0.0.1:1/?token=hunter2");
    let daemon = bench.daemon();
    let verbs: [&[&str]; 10] = [
        &["config", "check"],
        &["config", "show"],
        &["check"],
        &["status"],
        &["jobs", "list"],
        &["wallet", "list"],
        &["wallet", "address", "3"],
        &["key", "show"],
        &["recover", "--dry-run"],
        &["poll"],
    ];
    let mut said = String::new();
    for verb in verbs {
        for form in [None, Some("--json")] {
            let mut line = verb.to_vec();
            line.extend(form);
            let ended = super::bench::ended(bench.command(&line).env("RUST_LOG", "trace"));
            said += &format!("{}{}", ended.out, ended.err);
        }
    }
    daemon.stop();
    said += &bench.log();
    assert!(said.contains("worker ready"), "the log is not where it was looked for");
    for secret in [SEED, KEY, "hunter2"] {
        assert!(!said.contains(secret) && !said.contains(&secret.to_uppercase()), "{secret} was shown");
    }
}

const PASSPHRASE: &str = "correct horse battery";

#[test]
fn a_seed_at_rest_is_opened_by_its_passphrase_and_nothing_else() {
    let bench = Bench::new();
    bench.set_up("http://127.0.0.1:1", "http://127.0.0.1:1");
    let first = bench.worker(&["wallet", "address"]).out;
    fs::rename(bench.path("seed"), bench.path("plain")).unwrap();
    bench.secret("pass", PASSPHRASE);
    let import = ["wallet", "import", "plain", "--encrypt", "--passphrase", "file:pass", "--json"];
    let imported = bench.worker(&import);
    assert_eq!((imported.code, &imported.json()["first_account"]), (0, &first.trim().into()), "{imported:?}");
    let text = fs::read_to_string(bench.path("seed")).unwrap();
    assert!(text.starts_with("-----BEGIN AGE ENCRYPTED FILE-----") && !text.contains(SEED));
    assert_eq!(fs::metadata(bench.path("seed")).unwrap().permissions().mode() & 0o777, 0o600);
    // Nobody is there to be asked.
    let asked = bench.worker(&["wallet", "address"]);
    assert!(asked.code == 3 && asked.err.contains("nano.seed_passphrase"), "{asked:?}");
    let edit = |reference: &str| {
        let line = format!("seed = \"file:seed\"\nseed_passphrase = \"{reference}\"");
        bench.edit("worker.toml", "seed = \"file:seed\"", &line);
    };
    edit("file:pass");
    assert_eq!(bench.worker(&["wallet", "address"]).out, first);
    let daemon = bench.daemon();
    daemon.stop();
    bench.secret("pass", "another passphrase");
    let closed = bench.worker(&["wallet", "address"]);
    assert!(closed.code == 3 && closed.err.contains("the passphrase does not open it"), "{closed:?}");
    // systemd puts it where only the service sees it.
    fs::create_dir(bench.path("credentials")).unwrap();
    bench.secret("credentials/passphrase", PASSPHRASE);
    bench.edit("worker.toml", "file:pass", "credential:passphrase");
    let mut command = bench.command(&["wallet", "address"]);
    let opened = super::bench::ended(command.env("CREDENTIALS_DIRECTORY", bench.path("credentials")));
    assert_eq!(opened.out, first, "{opened:?}");
    bench.edit("worker.toml", "credential:passphrase", "env:PASSPHRASE");
    let mut command = bench.command(&["wallet", "address"]);
    let refused = super::bench::ended(command.env("PASSPHRASE", PASSPHRASE));
    assert!(refused.code == 3 && refused.err.contains("never by the environment"), "{refused:?}");
    assert!(!format!("{refused:?}{opened:?}{closed:?}{asked:?}{imported:?}").contains(PASSPHRASE));
}

#[test]
fn a_state_is_not_another_seeds_and_nothing_is_offered_on_it() {
    let bench = Bench::new();
    bench.set_up("http://127.0.0.1:1", "http://127.0.0.1:1");
    bench.daemon().stop();
    fs::rename(bench.path("seed"), bench.path("right")).unwrap();
    bench.secret("seed", &"11".repeat(32));
    let log = fs::File::create(bench.path("refused.log")).unwrap();
    let mut command = bench.command(&["run"]);
    let refused = Daemon(command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap());
    let refused = std::cell::RefCell::new(refused);
    let end = || refused.borrow_mut().0.try_wait().unwrap();
    bench.eventually("an end", || end().is_some());
    let said = fs::read_to_string(bench.path("refused.log")).unwrap();
    let ours = Seed::parse(SEED).unwrap().account(0).unwrap().to_string();
    assert!(
        end().unwrap().code() != Some(0) && said.contains("another seed") && said.contains(&ours),
        "{said}"
    );
    assert!(!said.contains("worker ready") && !said.contains("1111"), "{said}");
    let listed = bench.worker(&["wallet", "sweep", "--dry-run", "--to", &ours]);
    assert!(listed.code != 0 && format!("{listed:?}").contains("another seed"), "{listed:?}");
    fs::rename(bench.path("right"), bench.path("seed")).unwrap();
    bench.daemon().stop();
}

#[test]
fn a_seed_comes_in_and_goes_out_as_it_is() {
    let bench = Bench::new();
    bench.set_up("http://127.0.0.1:1", "http://127.0.0.1:1");
    let phrase = "edge defense waste choose enrich upon flee junk siren film clown finish luggage leader \
                  kid quick brick print evidence swap drill paddle truly occur";
    bench.secret("words", phrase);
    let piped = |file: &str, out: &str| {
        let mut command = bench.command(&["wallet", "import", "--out", out, "--json"]);
        super::bench::ended(command.stdin(fs::File::open(bench.path(file)).unwrap()))
    };
    let taken = piped("words", "taken");
    // The known answer of BIP-39 and SLIP-0010 for Nano.
    let account = "nano_3yyipbgtnd7183k61nkh5mxnt9wpsfhto95mksdqj6s7p45mwj9osai7asad";
    assert_eq!((taken.code, &taken.json()["first_account"]), (0, &account.into()), "{taken:?}");
    bench.secret("wrong", &phrase.replace("occur", "edge"));
    let wrong = piped("wrong", "other");
    assert!(wrong.code == 3 && wrong.err.is_empty() && wrong.out.contains("checksum"), "{wrong:?}");
    assert!(!bench.path("other").exists() && !wrong.out.contains("waste"));
    fs::set_permissions(bench.path("words"), fs::Permissions::from_mode(0o640)).unwrap();
    let open = bench.worker(&["wallet", "import", "words", "--out", "other"]);
    assert!(open.code == 3 && open.err.contains("chmod 600"), "{open:?}");
    let exported = bench.worker(&["wallet", "export", "--seed", "--out", "copy"]);
    assert_eq!(exported.code, 0, "{exported:?}");
    assert!(!format!("{exported:?}").contains(SEED));
    assert_eq!(fs::read_to_string(bench.path("copy")).unwrap().trim(), SEED);
    assert_eq!(bench.worker(&["wallet", "export", "--seed", "--out", "copy"]).code, 10);
    assert_eq!(bench.worker(&["wallet", "export", "--seed"]).code, 2);
}

#[test]
fn a_seed_in_the_environment_works_with_a_warning() {
    let bench = Bench::new();
    bench.set_up("http://127.0.0.1:1", "http://127.0.0.1:1");
    let with = |value: &str| {
        let mut command = bench.command(&["wallet", "address"]);
        super::bench::ended(command.env("NANO_SEED", value))
    };
    let warned = with(&"11".repeat(32));
    let account = Seed::parse(&"11".repeat(32)).unwrap().account(0).unwrap();
    assert_eq!((warned.code, warned.out.trim()), (0, account.to_string().as_str()));
    assert!(warned.err.contains("warning: the seed itself stands in NANO_SEED"), "{warned:?}");
    assert!(!warned.err.contains("1111"));
    assert_eq!(with("file:seed").err, "");
}

#[test]
fn a_daemons_memory_is_not_dumped() {
    let bench = Bench::new();
    bench.set_up("http://127.0.0.1:1", "http://127.0.0.1:1");
    let log = fs::File::create(bench.path("worker.log")).unwrap();
    let mut command = bench.command(&["run"]);
    command.env_remove("UNSHIELDED").stdout(log.try_clone().unwrap()).stderr(log);
    let daemon = super::bench::Daemon(command.spawn().unwrap());
    bench.eventually("a daemon", || bench.path("state/worker.sock").exists());
    let limits = fs::read_to_string(format!("/proc/{}/limits", daemon.0.id())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().collect::<Vec<_>>()[4..6], ["0", "0"], "{core}");
    // What cannot be dumped is root's to look at.
    use std::os::unix::fs::MetadataExt as _;
    assert_eq!(fs::metadata(format!("/proc/{}/environ", daemon.0.id())).unwrap().uid(), 0);
    daemon.stop();
}

//! The buyer's settings: defaults, file, environment, flags, in rising order.

#[cfg(any(test, fuzzing))]
pub(in crate::cli) mod fuzzing;

use std::path::{Path, PathBuf};
use std::time::Duration;

use nano_currency::rpc::{Rpc, RpcConfig, WorkSources};
use nano_currency::{Network, Seed};
use serde::Deserialize;

use super::args::Flags;
use super::policy::{self, RawPolicy};
use super::v0;
use crate::buyer::policy::Policy;
use crate::buyer::{Buyer, Guard, Manners, Memory, Parts};
use crate::cli::{CliError, Exit};
use crate::client::RelayClient;
use crate::config::{Document, Env, Field, Problems, Secret, SecretRef, secret};
use crate::edge::{Clock, Entropy, monotonic};
use crate::protocol::signing::Signer;

/// The defaults, as people read them.
const DEFAULTS: &str = include_str!("../../../config/buyer.toml");

/// Where the configuration is when no flag says so.
const CONFIG: &str = "buyer.toml";

#[derive(Debug, Default, Deserialize)]
struct Raw {
    #[serde(default)]
    relay: RawRelay,
    #[serde(default)]
    nano: RawNano,
    #[serde(default)]
    state: RawState,
    #[serde(default)]
    patience: RawPatience,
    policy: Option<RawPolicy>,
}

#[derive(Debug, Default, Deserialize)]
struct RawRelay {
    url: Option<Field<String>>,
    dialect: Option<Field<String>>,
    key: Option<Field<String>>,
    sealing_key: Option<Field<String>>,
}

#[derive(Debug, Default, Deserialize)]
struct RawNano {
    network: Option<Field<String>>,
    seed: Option<Field<String>>,
    seed_passphrase: Option<Field<String>>,
    rpc: Option<Field<Vec<String>>>,
    account_index: Option<Field<u64>>,
    work_servers: Option<Field<Vec<String>>>,
    work_here: Option<Field<bool>>,
}

#[derive(Debug, Default, Deserialize)]
struct RawState {
    dir: Option<Field<PathBuf>>,
}

#[derive(Debug, Default, Deserialize)]
struct RawPatience {
    step_seconds: Option<Field<u64>>,
    quote_seconds: Option<Field<u64>>,
    result_seconds: Option<Field<u64>>,
}

/// What a command works with. Secrets may be missing: not every command needs them.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) relay_url: String,
    pub(super) account_index: u32,
    /// Whether the relay is of the deployed kind.
    pub(super) is_v0: bool,
    key: Option<Secret>,
    sealing_key: Option<Secret>,
    pub(super) seed: Option<Secret>,
    rpc: Vec<String>,
    network: Network,
    state: PathBuf,
    manners: Manners,
    work_servers: Vec<String>,
    work_here: bool,
    policies: Vec<Policy>,
}

impl Settings {
    pub(super) fn load(flags: &Flags, env: &Env) -> Result<Self, CliError> {
        let path = flags.config.clone().unwrap_or_else(|| PathBuf::from(CONFIG));
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if flags.config.is_none() && error.kind() == std::io::ErrorKind::NotFound => {
                String::new()
            }
            Err(error) => {
                return Err(CliError::usage(format_args!("cannot read {}: {error}", path.display())));
            }
        };
        let base = path.parent().unwrap_or(Path::new("")).to_owned();
        Self::resolve(&text, &base, flags, env).map_err(|problems| {
            CliError::new(Exit::Usage, "config", format_args!("the configuration is wrong:\n{problems}"))
        })
    }

    fn resolve(text: &str, base: &Path, flags: &Flags, env: &Env) -> Result<Self, Problems> {
        let Document { raw: defaults, .. } = Document::<Raw>::parse(DEFAULTS)?;
        let Document { raw, mut problems } = Document::<Raw>::parse(text)?;
        let here = Path::new("");
        let relay_url = first(
            &mut problems,
            [
                ("--relay", flags.relay.clone().map(Ok)),
                ("RELAY_URL", env.get("RELAY_URL").map(Ok)),
                ("relay.url", raw.relay.url.map(Field::into_result)),
                ("relay.url", defaults.relay.url.map(Field::into_result)),
            ],
        );
        let dialect = first(
            &mut problems,
            [
                ("--dialect", flags.dialect.clone().map(Ok)),
                ("BUYER_DIALECT", env.get("BUYER_DIALECT").map(Ok)),
                ("relay.dialect", raw.relay.dialect.map(Field::into_result)),
                ("relay.dialect", defaults.relay.dialect.map(Field::into_result)),
            ],
        );
        let is_v0 = dialect.and_then(|name| problems.check("relay.dialect", v0::is_v0(&name)));
        let network = first(
            &mut problems,
            [
                ("--network", flags.network.clone().map(Ok)),
                ("NANO_NETWORK", env.get("NANO_NETWORK").map(Ok)),
                ("nano.network", raw.nano.network.map(Field::into_result)),
                ("nano.network", defaults.nano.network.map(Field::into_result)),
            ],
        );
        let network = network.and_then(|name| problems.check("nano.network", name.parse::<Network>()));
        let split = |text: String| text.split(',').map(|url| url.trim().to_owned()).collect();
        let rpc: Option<Vec<String>> = first(
            &mut problems,
            [
                ("--rpc", (!flags.rpc.is_empty()).then(|| Ok(flags.rpc.clone()))),
                ("NANO_RPC_URL", env.get("NANO_RPC_URL").map(|text| Ok(split(text)))),
                ("nano.rpc", raw.nano.rpc.map(Field::into_result)),
                ("nano.rpc", defaults.nano.rpc.map(Field::into_result)),
            ],
        );
        let index = problems.number("nano.account_index", raw.nano.account_index, 0, 0..=u32::MAX.into());
        let key = Wanted { path: "relay.key", flag: ("--key", &flags.key), env: "BUYER_PRIVKEY" };
        let key = key.find(&mut problems, raw.relay.key, base, env, None);
        let passphrase = problems.take("nano.seed_passphrase", raw.nano.seed_passphrase);
        let passphrase = passphrase.and_then(|text| {
            problems.check("nano.seed_passphrase", SecretRef::parse_passphrase(&text, base))
        });
        let sealing_key = Wanted {
            path: "relay.sealing_key",
            flag: ("--sealing-key", &flags.sealing_key),
            env: "BUYER_SEALING_PRIVKEY",
        };
        let sealing_key = sealing_key.find(&mut problems, raw.relay.sealing_key, base, env, None);
        let seed = Wanted { path: "nano.seed", flag: ("--seed", &flags.seed), env: "NANO_SEED" };
        let seed_file = seed.file(raw.nano.seed.as_ref(), base, env);
        let seed = seed.find(&mut problems, raw.nano.seed, base, env, passphrase.as_ref());
        let dir = problems.take("state.dir", raw.state.dir).map(|dir| base.join(dir));
        let dir = flags.state.as_ref().map(|dir| here.join(dir)).or(dir);
        let read = seed.as_ref().and_then(Secret::file);
        let seeds: Vec<&Path> = seed_file.as_deref().into_iter().chain(read).collect();
        let found = policy::collect(&mut problems, raw.policy, base, &seeds, dir.as_deref());
        let state = found.journal.or(dir).unwrap_or_else(|| state_dir(env));
        let manners = manners(&mut problems, raw.patience);
        let work_servers = problems.take("nano.work_servers", raw.nano.work_servers).unwrap_or_default();
        let work_here = problems.take("nano.work_here", raw.nano.work_here).unwrap_or(true);
        let settings = match (relay_url, network, rpc) {
            (Some(relay_url), Some(network), Some(rpc)) => Some(Self {
                relay_url,
                account_index: flags.account_index.unwrap_or(u32::try_from(index).unwrap_or_default()),
                is_v0: is_v0.unwrap_or_default(),
                key,
                sealing_key,
                seed,
                rpc,
                network,
                state,
                manners,
                work_servers,
                work_here,
                policies: found.policies,
            }),
            _ => None,
        };
        problems.finish(settings)
    }

    /// Whether a policy limits what may be done with the seed.
    pub(super) fn is_bound(&self) -> bool {
        !self.policies.is_empty() || self.seed.as_ref().is_some_and(policy::binds)
    }

    /// The buyer that these settings describe, with its journal open.
    pub(super) fn buyer(&self) -> Result<Buyer, CliError> {
        let key = self.key.as_ref().ok_or_else(|| {
            CliError::usage("no key: run `buyer key new`, then set relay.key, BUYER_PRIVKEY or --key")
        })?;
        let (signer, bot) = if self.is_v0 {
            let (signer, bot) = v0::names(&self.relay_url, key, self.sealing_key.as_ref())?;
            (signer, Some(bot))
        } else {
            let signer = Signer::parse(key.expose());
            (signer.map_err(|error| CliError::usage(format_args!("relay.key: {error}")))?, None)
        };
        let seed = self
            .seed
            .as_ref()
            .ok_or_else(|| CliError::usage("no seed to pay from: set nano.seed, NANO_SEED or --seed"))?;
        let seed = Seed::parse(seed.expose())
            .map_err(|error| CliError::usage(format_args!("nano.seed: {error}")))?;
        let relay = RelayClient::new(&self.relay_url, signer, Clock::system(), Entropy::system());
        let relay = relay.map_err(|error| CliError::usage(format_args!("relay.url: {error}")))?;
        let rpc = calls(&self.rpc).map_err(|error| CliError::usage(format_args!("nano.rpc: {error}")))?;
        let servers = match self.work_servers.is_empty() {
            true => None,
            false => Some(
                calls(&self.work_servers)
                    .map_err(|error| CliError::usage(format_args!("nano.work_servers: {error}")))?,
            ),
        };
        let work = WorkSources { nodes: Some(rpc.clone()), servers, cpu: self.work_here };
        let memory = Memory::open(&self.state);
        let memory = memory.map_err(|error| CliError::new(Exit::Failed, "journal", error))?;
        let parts = Parts {
            relay,
            rpc,
            work,
            seed,
            network: self.network,
            memory,
            clock: Clock::system(),
            entropy: Entropy::system(),
            manners: self.manners,
            guard: Guard { policies: self.policies.clone(), person: policy::person() },
        };
        Ok(match bot {
            Some(bot) => Buyer::of_bot(parts, bot),
            None => Buyer::new(parts),
        })
    }
}

fn calls(urls: &[String]) -> Result<Rpc, nano_currency::rpc::RpcSetupError> {
    let began = monotonic();
    Rpc::new(&RpcConfig::new(urls, move || monotonic().saturating_duration_since(began)))
}

/// The first source that says something; the others are checked no further.
fn first<T, const N: usize>(
    problems: &mut Problems,
    sources: [(&str, Option<Result<T, String>>); N],
) -> Option<T> {
    let (path, value) = sources.into_iter().find_map(|(path, value)| value.map(|value| (path, value)))?;
    problems.check(path, value)
}

/// A secret and where it may be named.
struct Wanted<'a> {
    path: &'a str,
    flag: (&'a str, &'a Option<String>),
    env: &'a str,
}

impl Wanted<'_> {
    /// The file that is named, if it is a file.
    fn file(&self, field: Option<&Field<String>>, base: &Path, env: &Env) -> Option<PathBuf> {
        let here = Path::new("");
        let reference = match (self.flag.1, env.get(self.env), field) {
            (Some(text), _, _) => SecretRef::parse(text, here),
            (None, Some(text), _) => SecretRef::parse(&text, here),
            (None, None, Some(field)) => SecretRef::parse(&field.clone().into_result().ok()?, base),
            (None, None, None) => return None,
        };
        match reference {
            Ok(SecretRef::File(path)) => Some(path),
            _ => None,
        }
    }

    fn find(
        &self,
        problems: &mut Problems,
        field: Option<Field<String>>,
        base: &Path,
        env: &Env,
        passphrase: Option<&SecretRef>,
    ) -> Option<Secret> {
        let here = Path::new("");
        if let (name, Some(reference)) = self.flag {
            // Arguments can be seen by every user of the machine, so a flag takes references only.
            let found =
                SecretRef::parse(reference, here).and_then(|reference| reference.unseal(env, passphrase));
            return problems.check(name, found);
        }
        if let Some(value) = env.get(self.env) {
            return problems.check(self.env, secret::from_env_value(&value, here, env, passphrase));
        }
        problems.sealed(self.path, field, base, env, passphrase)
    }
}

fn manners(problems: &mut Problems, raw: RawPatience) -> Manners {
    let defaults = Manners::default();
    let mut seconds = |path, field, default: Duration, max| {
        Duration::from_secs(problems.number(path, field, default.as_secs(), 1..=max))
    };
    Manners {
        step_patience: seconds("patience.step_seconds", raw.step_seconds, defaults.step_patience, 3_600),
        quote_patience: seconds("patience.quote_seconds", raw.quote_seconds, defaults.quote_patience, 86_400),
        result_patience: seconds(
            "patience.result_seconds",
            raw.result_seconds,
            defaults.result_patience,
            604_800,
        ),
        ..defaults
    }
}

/// One journal per person, wherever a command is run: it is what keeps them from paying twice.
fn state_dir(env: &Env) -> PathBuf {
    let home = || env.get("HOME").map(|home| Path::new(&home).join(".local/state"));
    let state = env.get("XDG_STATE_HOME").map(PathBuf::from).or_else(home);
    state.map_or_else(|| PathBuf::from("buyer-state"), |dir| dir.join("nano-buyer"))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::buyer::args::Cli;

    const HEX: &str = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";

    fn resolve(text: &str, arguments: &[&str], env: &'static [(&str, &str)]) -> Result<Settings, Problems> {
        let cli = Cli::parse_from(["buyer", "resume"].iter().chain(arguments));
        let env = Env::from_fn(move |name| {
            env.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        });
        Settings::resolve(text, Path::new("/etc/buyer"), &cli.flags, &env)
    }

    #[test]
    fn the_commented_file_is_the_defaults() {
        assert!(Document::<Raw>::parse(DEFAULTS).unwrap().problems.is_empty());
        let shown = |settings: Settings| format!("{settings:?}");
        assert_eq!(shown(resolve(DEFAULTS, &[], &[]).unwrap()), shown(resolve("", &[], &[]).unwrap()));
        // What is commented out can be written, too.
        let uncommented = DEFAULTS.replace("# dir =", "dir =");
        assert_eq!(resolve(&uncommented, &[], &[]).unwrap().state, Path::new("/etc/buyer/buyer-state"));
    }

    #[test]
    fn flags_override_the_environment_and_that_the_file() {
        let file = "[relay]\nurl = 'http://file'";
        let env: &[(&str, &str)] = &[("RELAY_URL", "http://env")];
        let url = |arguments: &[&str], env| resolve(file, arguments, env).unwrap().relay_url;
        assert_eq!(url(&[], &[]), "http://file");
        assert_eq!(url(&[], env), "http://env");
        assert_eq!(url(&["--relay", "http://flag"], env), "http://flag");
        assert_eq!(resolve("", &[], &[("NANO_RPC_URL", "http://a, http://b")]).unwrap().rpc.len(), 2);
    }

    #[test]
    fn secrets_come_by_reference_and_are_never_repeated() {
        assert!(resolve("", &["--key", "env:K"], &[("K", HEX)]).unwrap().key.is_some());
        assert!(resolve("", &[], &[("NANO_SEED", HEX)]).unwrap().seed.is_some());
        for problems in [
            resolve("", &["--seed", HEX], &[]).unwrap_err(),
            resolve(&format!("[nano]\nseed = '{HEX}'"), &[], &[]).unwrap_err(),
        ] {
            assert!(problems.to_string().contains("file:PATH") && !problems.to_string().contains(HEX));
        }
        let settings = resolve("", &[], &[("NANO_SEED", HEX), ("BUYER_PRIVKEY", HEX)]).unwrap();
        assert!(!format!("{settings:?}").contains(HEX));
    }

    #[test]
    fn every_problem_is_named_at_once() {
        let text = "speed = 1\n[nano]\nnetwork = 'moon'\nrpc = 'http://x'\n[patience]\nstep_seconds = 0";
        let problems = resolve(text, &[], &[]).unwrap_err();
        let paths: Vec<&str> = problems.list().iter().map(|problem| problem.path.as_str()).collect();
        assert_eq!(paths, ["speed", "nano.network", "nano.rpc", "patience.step_seconds"]);
    }

    #[test]
    fn the_journal_is_the_persons() {
        let dir = |env| resolve("", &[], env).unwrap().state;
        assert_eq!(dir(&[("XDG_STATE_HOME", "/s"), ("HOME", "/h")]), Path::new("/s/nano-buyer"));
        assert_eq!(dir(&[("HOME", "/h")]), Path::new("/h/.local/state/nano-buyer"));
        assert_eq!(dir(&[]), Path::new("buyer-state"));
    }
}

//! The directory that the demo lives in.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use super::super::exit::Failure;
use super::super::files::write_new;
use crate::edge::Entropy;
use crate::nano::{Account, Seed};

/// Lines of each log that are shown when something went wrong.
const LAST_LINES: usize = 8;

/// A directory of our own, removed when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    dir: PathBuf,
    /// Where the buyer's money goes.
    pub(super) buyer: Account,
}

impl Place {
    /// Makes the directory with fresh secrets for both sides.
    pub(super) fn make(entropy: &Entropy) -> Result<Self, Failure> {
        let name = format!("worker-demo-{}", hex::encode(entropy.bytes::<6>()));
        let dir = std::env::temp_dir().join(name);
        fs::DirBuilder::new().mode(0o700).create(&dir).map_err(Failure::other)?;
        let seed = Seed::Hex(entropy.bytes());
        // Removed from here on, even if a file cannot be written.
        let place = Self { dir, buyer: seed.account(0).map_err(Failure::other)? };
        place.secret("buyer-seed", &seed)?;
        place.secret("seller-seed", &Seed::Hex(entropy.bytes()))?;
        place.secret("buyer.key", &Seed::Hex(entropy.bytes()))?;
        place.secret("seller.key", &Seed::Hex(entropy.bytes()))?;
        Ok(place)
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Writes both sides' configurations, once it is known where relay and node are.
    pub(super) fn configure(&self, relay: &str, node: &str) -> Result<(), Failure> {
        let common = |who: &str| {
            format!(
                "[relay]\nurl = \"{relay}\"\nkey = \"file:{who}.key\"\n\n\
                 [nano]\nnetwork = \"dev\"\nseed = \"file:{who}-seed\"\nrpc = [\"{node}\"]\n\n\
                 [state]\ndir = \"{who}-state\"\n"
            )
        };
        let offer = "\n[[offers]]\ntitle = \"Word count\"\ndescription = \"Counts words.\"\ntags = [\"text\"]\n\
                     price_xno = \"0.001\"\n[offers.handler]\ncommand = [\"wc\", \"-w\"]\n";
        write_new(&self.dir.join("worker.toml"), format!("{}{offer}", common("seller")).as_bytes())?;
        write_new(&self.dir.join("buyer.toml"), common("buyer").as_bytes())
    }

    /// Where the worker's state is.
    pub(super) fn worker_state(&self) -> PathBuf {
        self.dir.join("seller-state")
    }

    /// The end of every log.
    pub(super) fn last_words(&self) -> String {
        let mut words = String::from("the last words of the processes:");
        for part in super::parts::Part::ALL {
            let log = fs::read_to_string(self.dir.join(format!("{}.log", part.name()))).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            for line in &lines[lines.len().saturating_sub(LAST_LINES)..] {
                let _ = write!(words, "\n  {:<7} {line}", part.name());
            }
        }
        words
    }

    fn secret(&self, name: &str, secret: &Seed) -> Result<(), Failure> {
        let Seed::Hex(bytes) = secret else { return Ok(()) };
        write_new(&self.dir.join(name), hex::encode(bytes).as_bytes())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // What cannot be removed lies in the system's directory for what may be removed.
        let _ = fs::remove_dir_all(&self.dir);
    }
}

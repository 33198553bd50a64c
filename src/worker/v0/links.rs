//! Results that are too long for one payload, as files that a web server of the seller's serves.
//!
//! The name of such a file cannot be guessed, and follows from the result, so that a later life
//! writes the same file again. What a sealed payload tells of it is where it is, and its hash.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::protocol::v0::{BotKeys, JobId};

/// Where long results go, and where buyers find them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Links {
    /// The directory that is served.
    pub dir: PathBuf,
    /// Its address.
    pub url: String,
}

impl Links {
    /// The file of a result, by the result's hash.
    pub(super) fn name(keys: &BotKeys, job: &JobId, hash: &str) -> String {
        hex::encode(&keys.ephemeral(&format!("link|{job}|{hash}"))[..16])
    }

    /// Where buyers find a file.
    pub(super) fn url_of(&self, name: &str) -> String {
        format!("{}/{name}", self.url.trim_end_matches('/'))
    }

    /// Writes a file whole and durably, or not at all.
    pub(super) fn publish(&self, name: &str, text: &str) -> io::Result<()> {
        let (file, unfinished) = (self.dir.join(name), self.dir.join(format!(".{name}")));
        write(&unfinished, text)?;
        std::fs::rename(&unfinished, &file)?;
        File::open(&self.dir)?.sync_all()
    }
}

/// For everybody to read: the server is another user, and the name is the secret.
fn write(path: &Path, text: &str) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let mut file = File::create(path)?;
    file.set_permissions(std::fs::Permissions::from_mode(0o644))?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_one_name_that_only_the_seller_can_know() {
        let dir = tempfile::tempdir().unwrap();
        let links = Links { dir: dir.path().to_owned(), url: "https://example.org/r/".to_owned() };
        let name =
            |seed| Links::name(&BotKeys::from_seeds(&[1; 32], &[seed; 32]), &JobId::new("job_1"), "ab");
        assert_eq!((name(2), name(2).len()), (name(2), 32));
        assert_ne!(name(2), name(3));
        assert_eq!(links.url_of("x"), "https://example.org/r/x");
        for text in ["first", "second"] {
            links.publish("x", text).unwrap();
            assert_eq!(std::fs::read_to_string(dir.path().join("x")).unwrap(), text);
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing unfinished is left");
        assert!(Links { dir: dir.path().join("none"), ..links }.publish("x", "y").is_err());
    }
}

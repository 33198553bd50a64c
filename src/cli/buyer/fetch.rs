//! `fetch`: the file that a result of /v0 names, checked before it has its name.

use std::path::Path;
use std::time::Duration;

use serde_json::json;

use crate::buyer::v0::{Goods, Link};
use crate::buyer::{Buyer, Order};
use crate::cli::{CliError, Exit, Output};
use crate::client::download::{Bounds, DownloadError, Wanted, download};
use crate::edge::Entropy;

/// How long one file may take, from the first question to the last byte.
const TIME: Duration = Duration::from_secs(3_600);

pub(super) async fn run(
    buyer: &Buyer,
    order: &Order,
    out: &Path,
    max_mib: u32,
    output: Output,
) -> Result<Exit, CliError> {
    let result = buyer.kept_result(order).map_err(super::failure)?;
    let result = result.ok_or_else(|| {
        CliError::new(Exit::Failed, "result.none", "the result is not here yet: run `buyer wait`")
    })?;
    let link = Link::of(&result).ok_or_else(|| {
        CliError::new(Exit::Usage, "result.no_link", "the result is no link: `buyer wait` prints it")
    })?;
    let wanted = Wanted { url: &link.url, bytes: link.bytes, sha256: &link.sha256 };
    let bounds = Bounds { bytes_max: u64::from(max_mib) << 20, time: TIME };
    download(wanted, bounds, out, Entropy::system().bytes()).await.map_err(|error| failure(&error))?;
    let line = format!("{} bytes, with the seller's hash, in {}", link.bytes, out.display());
    output.answer(line, || json!({ "file": out, "link": link }));
    Ok(Exit::Ok)
}

/// Tells people, beside what was asked for, how to get the rest.
pub(super) fn hint(goods: &Goods, output: Output) {
    if !output.json && Link::of(&goods.result).is_some() {
        crate::cli::remark(format_args!(
            "the result is a link: `buyer fetch {} --out FILE` fetches the file and holds it against its hash",
            super::text::printable(goods.job.job_id.as_str())
        ));
    }
}

fn failure(error: &DownloadError) -> CliError {
    let (exit, code) = match error {
        DownloadError::Address(_) => (Exit::JobFailed, "link.refused"),
        DownloadError::TooLarge { .. } => (Exit::Usage, "link.too_large"),
        DownloadError::Exists(_) => (Exit::Usage, "file.exists"),
        DownloadError::File(..) => (Exit::Failed, "file"),
        DownloadError::Client(_) | DownloadError::Server(_) | DownloadError::Status(_) => {
            (Exit::Failed, "link.unreachable")
        }
        DownloadError::Elsewhere => (Exit::JobFailed, "link.elsewhere"),
        DownloadError::Longer { .. } | DownloadError::Shorter { .. } => (Exit::JobFailed, "link.length"),
        DownloadError::Hash { .. } => (Exit::JobFailed, "link.hash"),
        DownloadError::Time(_) => (Exit::TimedOut, "timed_out"),
    };
    let advice = match error {
        DownloadError::TooLarge { .. } => "; --max-mib allows more",
        _ => "",
    };
    CliError::new(exit, code, format_args!("the result was not fetched: {error}{advice}"))
}

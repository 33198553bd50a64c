//! How sure of a payment the worker wants to be, as it was written.

use std::collections::BTreeSet;
use std::num::NonZeroU32;

use nano_currency::Amount;
use nano_currency::rpc::panel::Trust;

use super::Resolver;
use super::raw::{RawPolicy, Verify};
use crate::config::Field;
use crate::worker::nodes::{Certainty, Demand};

/// The most that a node may be asked in a second: a node of one's own answers more.
const REQUESTS_MAX: u64 = 100_000;

/// Streams at most: each is a connection that is held, and one would do.
const STREAMS_MAX: usize = 16;

/// Rules by price at most: there are fewer different quorums than anybody has nodes.
const POLICIES_MAX: usize = 100;

impl Resolver<'_> {
    pub(super) fn certainty(
        &mut self,
        verify: Option<Field<Verify>>,
        quorum: Option<Field<u64>>,
        requests_per_second: Option<Field<u64>>,
        policy: Vec<RawPolicy>,
        rpc: &Option<Vec<String>>,
    ) -> Option<Certainty> {
        let trust = match self.problems.take("nano.verify", verify) {
            Some(Verify::Rpc) => Trust::Rpc,
            Some(Verify::Proof) | None => Trust::Proof,
        };
        let nodes = rpc.as_deref().map_or(1, count_hosts);
        let quorum = self.quorum("nano.quorum", quorum, nodes);
        let per_second = requests_per_second
            .map(|field| self.problems.number("nano.requests_per_second", Some(field), 1, 1..=REQUESTS_MAX));
        if policy.len() > POLICIES_MAX {
            self.problems.add("nano.policy", format!("at most {POLICIES_MAX} rules"));
        }
        let demands = policy
            .into_iter()
            .enumerate()
            .map(|(place, raw)| self.demand(&format!("nano.policy[{place}]"), raw, nodes))
            .collect::<Vec<_>>();
        Some(Certainty {
            trust,
            quorum,
            demands: demands.into_iter().collect::<Option<_>>()?,
            requests_per_second: per_second.and_then(|number| NonZeroU32::new(u32::try_from(number).ok()?)),
        })
    }

    fn quorum(&mut self, path: &str, field: Option<Field<u64>>, nodes: usize) -> usize {
        let wanted = self.problems.number(path, field, 1, 1..=u64::MAX);
        let wanted = usize::try_from(wanted).unwrap_or(usize::MAX);
        if wanted > nodes {
            let hosts = if nodes == 1 { "one host" } else { &format!("{nodes} different hosts") };
            self.problems.add(path, format!("{wanted} nodes cannot agree where nano.rpc names {hosts}"));
        }
        wanted
    }

    fn demand(&mut self, path: &str, raw: RawPolicy, nodes: usize) -> Option<Demand> {
        let hint = "above_xno = \"1\"";
        if raw.quorum.is_none() {
            self.problems.add(format!("{path}.quorum"), "is missing; write quorum = 2");
        }
        let quorum = self.quorum(&format!("{path}.quorum"), raw.quorum, nodes);
        let above = match (raw.above_xno, raw.above_raw) {
            (Some(_), Some(_)) => {
                self.problems.add(path, "has both above_xno and above_raw; keep one");
                None
            }
            (None, raw) => {
                let path = format!("{path}.above_raw");
                let text = self.problems.require(&path, raw, hint)?;
                self.problems.check(&path, Amount::parse_raw(&text))
            }
            (xno, None) => {
                let path = format!("{path}.above_xno");
                let text = self.problems.take(&path, xno)?;
                self.problems.check(&path, Amount::parse_xno(&text))
            }
        };
        Some(Demand { above: above?, quorum })
    }

    pub(super) fn websocket(&mut self, field: Option<Field<Vec<String>>>) -> Option<Vec<String>> {
        let urls = match self.env.get("NANO_WS_URL") {
            Some(url) => vec![url],
            None => self.problems.take("nano.websocket", field).unwrap_or_default(),
        };
        if urls.len() > STREAMS_MAX {
            self.problems.add("nano.websocket", format!("at most {STREAMS_MAX} addresses"));
        }
        for (place, url) in urls.iter().enumerate() {
            if !url.starts_with("ws://") && !url.starts_with("wss://") {
                self.problems.add(format!("nano.websocket[{place}]"), "must begin with ws:// or wss://");
            }
        }
        Some(urls)
    }
}

/// Two addresses of one host are one node. What is no address was complained about already.
fn count_hosts(urls: &[String]) -> usize {
    let hosts: BTreeSet<String> = urls
        .iter()
        .filter_map(|url| reqwest::Url::parse(url).ok())
        .map(|url| {
            let host = url.host_str().unwrap_or_default().to_owned();
            format!("{}://{host}:{}", url.scheme(), url.port_or_known_default().unwrap_or_default())
        })
        .collect();
    hosts.len().max(1)
}

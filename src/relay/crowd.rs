//! How many connections one network may hold, so that one stranger cannot take them all.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use super::ratelimit::network;

/// The part of all connections that one network may hold: four strangers are harder to come by
/// than one, and a busy office fits.
const SHARE: usize = 4;

/// Counts connections by network.
#[derive(Debug)]
pub(super) struct Crowd {
    each_max: usize,
    networks: Mutex<HashMap<IpAddr, usize>>,
}

/// One connection's place; given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    crowd: Arc<Crowd>,
    network: IpAddr,
}

impl Crowd {
    pub(super) fn new(connections_max: usize) -> Self {
        Self { each_max: (connections_max / SHARE).max(1), networks: Mutex::default() }
    }

    /// A place for a connection; `None` if its network has its share already.
    pub(super) fn enter(self: &Arc<Self>, ip: IpAddr) -> Option<Place> {
        let network = network(ip);
        let mut networks = self.networks.lock().unwrap_or_else(PoisonError::into_inner);
        let count = networks.entry(network).or_default();
        // Whoever comes from this machine is its operator's proxy or program, for many others.
        if *count >= self.each_max && !ip.to_canonical().is_loopback() {
            return None;
        }
        *count += 1;
        Some(Place { crowd: Arc::clone(self), network })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut networks = self.crowd.networks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = networks.get_mut(&self.network) {
            *count -= 1;
            if *count == 0 {
                networks.remove(&self.network);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_has_its_share_and_no_more() {
        let crowd = Arc::new(Crowd::new(8));
        let enter = |ip: &str| crowd.enter(ip.parse().unwrap());
        let places: Vec<_> = ["2001:db8::1", "2001:db8::2"].map(enter).into_iter().flatten().collect();
        assert_eq!(places.len(), 2);
        assert!(enter("2001:db8::3").is_none());
        let other = enter("2001:db8:0:1::1");
        assert!(other.is_some());
        let near: Vec<_> = (0..9).map(|_| enter("127.0.0.1")).collect();
        assert!(near.iter().all(Option::is_some));
        drop(places);
        assert!(enter("2001:db8::3").is_some());
        drop((other, near));
        assert!(crowd.networks.lock().unwrap().is_empty());
    }
}

//! Open connections by address, so that no single one takes them all.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// Counts the open connections of each address.
#[derive(Debug, Clone)]
pub(super) struct Peers {
    max: usize,
    open: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// One open connection; dropped, it counts no more.
#[derive(Debug)]
pub(super) struct PeerSlot {
    peer: IpAddr,
    open: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

impl Peers {
    /// `max` connections of one address at once, at least 1.
    pub fn new(max: usize) -> Peers {
        Peers { max: max.max(1), open: Arc::default() }
    }

    /// `None` where the address has as many as it may.
    pub fn enter(&self, peer: IpAddr) -> Option<PeerSlot> {
        // An IPv4 client of a socket for both is the same one (RFC 4291, 2.5.5.2).
        let peer = peer.to_canonical();
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(peer).or_default();
        if *count >= self.max {
            return None;
        }
        *count += 1;
        Some(PeerSlot { peer, open: self.open.clone() })
    }
}

impl Drop for PeerSlot {
    fn drop(&mut self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_has_its_own_count_and_gives_it_back() {
        let peers = Peers::new(2);
        let (a, b): (IpAddr, IpAddr) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        let first = peers.enter(a).unwrap();
        let second = peers.enter("::ffff:10.0.0.1".parse().unwrap()).unwrap();
        assert!(peers.enter(a).is_none());
        let other = peers.enter(b).unwrap();
        drop(first);
        drop(peers.enter(a).unwrap());
        drop((second, other));
        assert!(peers.open.lock().unwrap().is_empty());
    }
}

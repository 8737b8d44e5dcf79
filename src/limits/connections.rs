//! Simultaneous connections of each network.

use std::{
    iter,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use super::network::{Network, PLACES, Places};

/// Counts the open connections of each network. Networks may share a place in the table, and its connections.
#[derive(Debug)]
pub struct Connections {
    most: u32,
    places: Places,
    open: Box<[AtomicU32]>,
}

/// An open connection. It is counted until it is dropped.
#[derive(Debug)]
pub struct Connection {
    of: Arc<Connections>,
    place: usize,
}

impl Connections {
    /// Returns the table without connections. `most`: of each network.
    pub(super) fn new(most: u32) -> Self {
        let open = iter::repeat_with(|| AtomicU32::new(0)).take(PLACES).collect();
        Self { most, places: Places::default(), open }
    }

    /// Counts a connection; `None`: the network has too many.
    pub(super) fn open(self: &Arc<Self>, network: Network) -> Option<Connection> {
        let place = self.places.of(network);
        let one_more = |open: u32| (open < self.most).then_some(open + 1);
        self.open[place].fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok()?;
        Some(Connection { of: Arc::clone(self), place })
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.of.open[self.place].fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_connection_makes_room_for_another() {
        let connections = Arc::new(Connections::new(2));
        // Networks that share no place.
        let (one, other) = (Network::V4(1), Network::V6(1));
        let other = if connections.places.of(one) == connections.places.of(other) { Network::V6(2) } else { other };
        let first = connections.open(one).unwrap();
        let _second = connections.open(one).unwrap();
        assert!(connections.open(one).is_none());
        assert!(connections.open(other).is_some());
        drop(first);
        let third = connections.open(one);
        assert!(third.is_some() && connections.open(one).is_none());
    }
}

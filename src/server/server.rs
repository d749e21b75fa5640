//! What every connection of a listener, or of several listeners that are one to their clients, goes by.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::Response;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};

use super::accept::Peer;
use super::bind::Sharing;
use super::limits::ConnectionLimits;
use crate::http1::{HeadLimits, MalformedHead};

/// What it means that a client closes its side of the connection while its request is in hand (RFC 9112 section 9.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HalfClose {
    /// It is gone, and its request with it: peers of ours, which never close one side alone.
    IsGone,
    /// It may still wait for its answer. Whether anybody is there is found out: see `exchange`.
    MayListen,
}

/// Says that requests had better go elsewhere: answers tell their clients to close, while connections are accepted still. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Draining(Said);

/// Something that is said once. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Said(Arc<SaidState>);

#[derive(Debug, Default)]
struct SaidState {
    /// Looked at for every answer, which takes no lock.
    is_said: AtomicBool,
    /// The same, for those who wait.
    told: CancellationToken,
}

impl Draining {
    /// From now on.
    pub fn set(&self) {
        self.0.say();
    }

    /// Whether it was set.
    pub fn is_set(&self) -> bool {
        self.0.is_said()
    }

    /// Returns when it is set.
    pub(super) async fn told(&self) {
        self.0.told().await;
    }
}

impl Said {
    /// From now on. Whoever is woken by it finds it said.
    pub(super) fn say(&self) {
        self.0.is_said.store(true, Ordering::Release);
        self.0.told.cancel();
    }

    /// Whether it was said.
    pub(super) fn is_said(&self) -> bool {
        self.0.is_said.load(Ordering::Acquire)
    }

    /// Returns when it is said.
    pub(super) fn told(&self) -> WaitForCancellationFuture<'_> {
        self.0.told.cancelled()
    }
}

/// Makes the answer to a head that cannot be taken.
pub type Refuse = Arc<dyn Fn(Peer, &MalformedHead) -> Response<Bytes> + Send + Sync>;

/// The rules of a listener. Clones share the places for connections, so that several listeners can be one.
#[derive(Clone)]
pub struct Server {
    pub(super) rules: Arc<Rules>,
    /// Who takes over what the listeners leave.
    pub(super) sharing: Sharing,
}

/// See [`Server`].
pub(super) struct Rules {
    pub(super) limits: ConnectionLimits,
    pub(super) head: HeadLimits,
    pub(super) half_close: HalfClose,
    pub(super) draining: Draining,
    pub(super) refuse: Refuse,
    /// A place for each connection.
    pub(super) places: Semaphore,
    clients: Clients,
}

impl Server {
    /// Connections within these limits; heads that cannot be taken are answered by `refuse`.
    pub fn new(limits: ConnectionLimits, half_close: HalfClose, draining: Draining, refuse: Refuse) -> Self {
        let (head, places) = (limits.head(), limits.max_connections.min(Semaphore::MAX_PERMITS));
        let clients = Clients { most: limits.max_connections_per_client, open: Mutex::default() };
        let rules = Rules { limits, head, half_close, draining, refuse, places: Semaphore::new(places), clients };
        Self { rules: Arc::new(rules), sharing: Sharing::Alone }
    }

    /// Who else listens on the address, with sockets of their own, and takes over when this server closes its sockets.
    #[must_use]
    pub const fn with_sharing(mut self, sharing: Sharing) -> Self {
        self.sharing = sharing;
        self
    }
}

impl Rules {
    /// A place for a client's connection beside the others of its address; `None` if it has as many as it may.
    pub(super) fn place_of(self: &Arc<Self>, address: SocketAddr, is_tls: bool, permit: SemaphorePermit<'_>) -> Option<Place> {
        // Clients on this machine are its owner's: proxies, and tests.
        let is_counted = self.clients.most > 0 && !address.ip().is_loopback();
        if is_counted && !self.clients.enter(address.ip()) {
            return None;
        }
        permit.forget();
        Some(Place { rules: Arc::clone(self), address, is_tls, is_counted })
    }
}

/// Connections by the address of their client.
#[derive(Debug)]
struct Clients {
    most: usize,
    /// Protects the counts; held for a look-up, at the beginning and the end of a connection.
    open: Mutex<HashMap<IpAddr, usize>>,
}

impl Clients {
    fn open(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts one more; false if there are as many as there may be.
    fn enter(&self, address: IpAddr) -> bool {
        let mut open = self.open();
        let count = open.entry(address).or_default();
        let has_room = *count < self.most;
        *count += usize::from(has_room);
        has_room
    }

    fn leave(&self, address: IpAddr) {
        let mut open = self.open();
        if let Some(count) = open.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                open.remove(&address);
            }
        }
    }
}

/// The places that a connection takes until this is dropped, by these rules: one of all, and one of those of its client.
pub(super) struct Place {
    pub(super) rules: Arc<Rules>,
    /// Whose it is.
    pub(super) address: SocketAddr,
    /// It came encrypted.
    pub(super) is_tls: bool,
    is_counted: bool,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.rules.places.add_permits(1);
        if self.is_counted {
            self.rules.clients.leave(self.address.ip());
        }
    }
}

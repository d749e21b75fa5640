//! One listening address with what serves it: a task, or worker threads. Its sockets are opened here, or were passed by whoever started the process.

use std::net::{self, SocketAddr};

use anyhow::{Context as _, bail, ensure};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::server::{self, Admitted, Exposure, PassedSockets, Sharing, Workers};
use crate::telemetry::current_worker;

/// A listener that serves. Dropping it closes the sockets and cuts every connection.
#[derive(Debug)]
pub(super) struct Listener {
    address: SocketAddr,
    closing: CancellationToken,
    serving: Serving,
}

/// Who serves.
#[derive(Debug)]
enum Serving {
    /// The one task of it: a set, so that dropping it ends the task.
    Task(JoinSet<()>),
    Workers(Workers),
}

/// What a listener is to be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    /// The section of the configuration that it is in, and the name of sockets that are passed for it.
    pub(super) section: &'static str,
    /// As people call it.
    pub(super) purpose: &'static str,
    /// Where it listens, if no socket was passed for it.
    pub(super) listen: SocketAddr,
    /// What was said of addresses that are not loopback.
    pub(super) expose: Option<Exposure>,
    /// Who comes in there.
    pub(super) admitted: Admitted,
    /// How many sockets it serves.
    pub(super) count: usize,
    /// Who else may listen there.
    pub(super) sharing: Sharing,
}

/// Sockets that listen and are not served yet: clients wait in the kernel's queue.
#[derive(Debug)]
pub(super) struct Bound {
    address: SocketAddr,
    sockets: Vec<net::TcpListener>,
    sharing: Sharing,
}

impl Bound {
    /// Takes the sockets that were passed for it; opens them, if none were.
    ///
    /// # Errors
    /// The address is taken, not ours, or not allowed; or more sockets were passed than are served.
    pub(super) fn open(wanted: &Wanted, passed: &mut PassedSockets) -> anyhow::Result<Self> {
        let Wanted { section, purpose, listen, count, sharing, .. } = *wanted;
        let sockets = passed.take(section);
        let (sockets, sharing) = if sockets.is_empty() {
            (server::bind(listen, count, sharing, purpose)?, sharing)
        } else {
            // Whoever has passed them has them too: what this process leaves in their queues is for the next.
            (shared_out(sockets, wanted)?, Sharing::Alone)
        };
        let first = sockets.first().with_context(|| format!("there is no socket for {purpose}"))?;
        let address = first.local_addr().with_context(|| format!("could not ask where {purpose} listens"))?;
        Ok(Self { address, sockets, sharing })
    }

    /// Who takes over when it closes.
    pub(super) const fn sharing(&self) -> Sharing {
        self.sharing
    }

    /// Serves the first socket with the future that `serve` makes: it is to end when the token is cancelled and every connection has ended.
    ///
    /// # Errors
    /// The runtime cannot wait for the socket.
    pub(super) fn serve<F>(self, serve: impl FnOnce(TcpListener, CancellationToken) -> F) -> anyhow::Result<Listener>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let Self { address, sockets, .. } = self;
        let socket = sockets.into_iter().next().context("there is no socket")?;
        let socket = TcpListener::from_std(socket).context("could not wait for connections")?;
        let closing = CancellationToken::new();
        let mut task = JoinSet::new();
        task.spawn(serve(socket, closing.clone()));
        Ok(Listener { address, closing, serving: Serving::Task(task) })
    }

    /// Serves each socket on a thread of its own, with what `serve` makes there; a single one here, if this thread is a worker.
    ///
    /// # Errors
    /// The system gives no threads.
    pub(super) fn serve_on_workers<F>(
        self,
        serve: impl Fn(TcpListener, CancellationToken) -> F + Send + Sync + 'static,
    ) -> anyhow::Result<Listener>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        if current_worker() != 0 && self.sockets.len() == 1 {
            return self.serve(serve);
        }
        let Self { address, sockets, .. } = self;
        let closing = CancellationToken::new();
        let parts = sockets.into_iter().map(|socket| (socket, closing.clone())).collect();
        let workers = Workers::start(parts, move |(socket, closing): (net::TcpListener, CancellationToken)| {
            // A socket that listens can be waited for, unless the process is out of everything.
            let socket = TcpListener::from_std(socket).inspect_err(|error| tracing::error!(%error, "a worker cannot listen"));
            let serving = socket.ok().map(|socket| serve(socket, closing));
            async move {
                if let Some(serving) = serving {
                    serving.await;
                }
            }
        })
        .context("could not start the workers")?;
        Ok(Listener { address, closing, serving: Serving::Workers(workers) })
    }
}

/// Sockets that were passed, one for each that is served: several share the queue of one.
fn shared_out(mut sockets: Vec<net::TcpListener>, wanted: &Wanted) -> anyhow::Result<Vec<net::TcpListener>> {
    let Wanted { section, purpose, expose, admitted, count, .. } = *wanted;
    let passed = sockets.len();
    ensure!(
        passed <= count,
        "{passed} sockets were passed for {purpose} (LISTEN_FDS): expected at most {count}, one for each that serves"
    );
    for socket in &sockets {
        let address = socket.local_addr().with_context(|| format!("could not ask where {purpose} listens"))?;
        if let Some(invalid) = Exposure::check(expose, address, admitted) {
            bail!(
                "the socket that was passed for {purpose} (LISTEN_FDS) listens on {address}: expected {} in [{section}]",
                invalid.expected
            );
        }
    }
    for number in passed..count {
        let copied = sockets.get(number % passed).map(net::TcpListener::try_clone).transpose();
        sockets.extend(copied.with_context(|| format!("could not share the socket of {purpose}"))?);
    }
    Ok(sockets)
}

impl Listener {
    /// Where it listens: the real port, if 0 was asked for.
    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Closes the sockets and waits until every connection has finished what it has begun. Workers stay until [`Listener::end`]. Dropping the future
    /// changes nothing: drop the listener to cut what is left.
    pub(super) async fn close(&mut self) {
        self.closing.cancel();
        match &mut self.serving {
            Serving::Task(task) => while task.join_next().await.is_some() {},
            Serving::Workers(workers) => workers.through().await,
        }
    }

    /// Ends the workers, and what is left on them.
    pub(super) async fn end(self) {
        if let Serving::Workers(workers) = self.serving {
            workers.end().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(count: usize, expose: Option<Exposure>) -> Wanted {
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let admitted = Admitted::Anybody("a lock");
        Wanted { section: "front", purpose: "the front", listen, expose, admitted, count, sharing: Sharing::WithProcesses }
    }

    #[test]
    fn passed_sockets_are_shared_out_among_those_that_serve() {
        let sockets = vec![net::TcpListener::bind("127.0.0.1:0").unwrap(), net::TcpListener::bind("127.0.0.1:0").unwrap()];
        let addresses: Vec<SocketAddr> = sockets.iter().map(|socket| socket.local_addr().unwrap()).collect();
        let shared = shared_out(sockets, &wanted(5, None)).unwrap();
        let shared: Vec<SocketAddr> = shared.iter().map(|socket| socket.local_addr().unwrap()).collect();
        assert_eq!(shared, [addresses[0], addresses[1], addresses[0], addresses[1], addresses[0]]);
    }

    #[test]
    fn more_passed_sockets_than_serve_are_refused() {
        let sockets = vec![net::TcpListener::bind("127.0.0.1:0").unwrap(), net::TcpListener::bind("127.0.0.1:0").unwrap()];
        let error = shared_out(sockets, &wanted(1, None)).unwrap_err().to_string();
        assert_eq!(error, "2 sockets were passed for the front (LISTEN_FDS): expected at most 1, one for each that serves");
    }

    #[test]
    fn a_passed_socket_beyond_loopback_needs_the_word_too() {
        let open = || vec![net::TcpListener::bind("0.0.0.0:0").unwrap()];
        let error = shared_out(open(), &wanted(1, None)).unwrap_err().to_string();
        assert!(error.starts_with("the socket that was passed for the front (LISTEN_FDS) listens on 0.0.0.0:"), "{error}");
        assert!(error.contains("expose = ") && error.ends_with(" in [front]"), "{error}");
        assert!(shared_out(open(), &wanted(1, Some(Exposure::WithoutAuthentication))).is_ok());
    }
}

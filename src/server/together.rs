//! Answers go out together while many are under way.
//!
//! A write to a socket wakes whoever waits at the other end. Answers that are written one by one, each behind the reading of another request, wake peers that
//! have just gone to sleep, again and again; and the kernel's way out and our way through a request drive each other out of the processor's caches.
//! So where many connections have something to do at once, an answer lets those go first that are ready now, and is written behind them, with the other answers.
//! It waits for nothing but work that is there already; where there are few connections, for nothing at all.

use std::cell::Cell;
use std::task::{Context, Poll};

/// With so many answers in a usual stretch, they go out together. Of busy connections, a third to a half has an answer in a stretch. Of 16 connections, to let each
/// answer wait costs two hundredths of the processor's time; of 32 it saves as much, and of 64 or 256 four times that.
const MANY: u32 = 8;
/// As many make a long stretch, whatever was usual.
const VERY_MANY: u32 = 64;
/// How much of what is usual is left after a stretch: all but this part.
const FORGOTTEN: u32 = 8;

/// What a worker does from one pause to the next.
#[derive(Clone, Copy)]
struct Stretch {
    /// Answers of the stretch that is under way.
    answers: u32,
    /// Answers of a usual stretch, times [`FORGOTTEN`].
    usual: u32,
    /// The thread tells when it pauses. Others may share their tasks, which then wake one another.
    is_told: bool,
}

thread_local! {
    static STRETCH: Cell<Stretch> = const { Cell::new(Stretch { answers: 0, usual: 0, is_told: false }) };
}

/// This thread has nothing to do until something happens. Only for threads that share no task with another.
pub(super) fn pause() {
    let Stretch { answers, usual, .. } = STRETCH.get();
    let usual = usual - usual / FORGOTTEN + answers.min(VERY_MANY);
    STRETCH.set(Stretch { answers: 0, usual, is_told: true });
}

/// Counts an answer.
fn is_one_of_many() -> bool {
    let mut stretch = STRETCH.get();
    stretch.answers = stretch.answers.saturating_add(1);
    STRETCH.set(stretch);
    stretch.is_told && (stretch.usual >= MANY * FORGOTTEN || stretch.answers >= VERY_MANY)
}

/// Whether an answer has let the others go first.
#[derive(Debug, Default)]
pub(super) struct Together {
    has_waited: bool,
}

impl Together {
    /// Ready when the answer may be written: at once if there are few others or if it has waited, else when all that is ready now has had its turn.
    pub(super) fn poll(&mut self, cx: &Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.has_waited, true) || !is_one_of_many() {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::{ConnectionLimits, RequestBody, Workers, serve};
    use bytes::Bytes;
    use http::{Request, Response};
    use http_body_util::Full;
    use hyper::service::service_fn;
    use rustix::net::{RecvFlags, recv};
    use std::cell::RefCell;
    use std::convert::Infallible;
    use std::future::poll_fn;
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};
    use std::rc::Rc;
    use std::sync::{Arc, Mutex, mpsc};
    use tokio_util::sync::CancellationToken;

    /// Lets as many connections as said read a request and write its answer, in stretch after stretch, and returns in what order they did in the last.
    fn order(connections: usize, is_told: bool) -> Vec<(&'static str, usize)> {
        std::thread::spawn(move || {
            let mut builder = tokio::runtime::Builder::new_current_thread();
            if is_told {
                builder.on_thread_park(pause);
            }
            let runtime = builder.build().unwrap();
            let done = Rc::new(RefCell::new(Vec::new()));
            for _ in 0..4 * FORGOTTEN {
                done.borrow_mut().clear();
                let local = tokio::task::LocalSet::new();
                for number in 0..connections {
                    let done = Rc::clone(&done);
                    local.spawn_local(async move {
                        done.borrow_mut().push(("read", number));
                        let mut together = Together::default();
                        poll_fn(|cx| together.poll(cx)).await;
                        done.borrow_mut().push(("written", number));
                    });
                }
                runtime.block_on(local);
                if is_told {
                    // The runtime pauses only if there is something to wait for.
                    pause();
                }
            }
            done.take()
        })
        .join()
        .unwrap()
    }

    #[test]
    fn of_many_all_are_read_before_one_is_written() {
        let many = MANY as usize * 2;
        let order = order(many, true);
        assert!(order[..many].iter().all(|(what, _)| *what == "read"), "{order:?}");
        assert!(order[many..].iter().all(|(what, _)| *what == "written"), "{order:?}");
    }

    fn each_is_written_when_it_was_read(order: &[(&str, usize)]) -> bool {
        order.chunks(2).all(|pair| pair[0].0 == "read" && pair[1] == ("written", pair[0].1))
    }

    #[test]
    fn of_few_each_is_written_when_it_was_read() {
        let order = order(MANY as usize / 2, true);
        assert!(each_is_written_when_it_was_read(&order), "{order:?}");
    }

    #[test]
    fn a_thread_that_does_not_tell_lets_nothing_wait() {
        let order = order(VERY_MANY as usize, false);
        assert!(each_is_written_when_it_was_read(&order), "{order:?}");
    }

    /// What the service of a worker sees of its clients.
    struct Sight {
        clients: Vec<TcpStream>,
        /// Told when the worker stands still, and waited for until it may go on.
        held: mpsc::SyncSender<()>,
        go: Mutex<mpsc::Receiver<()>>,
        /// For each call, how many clients had an answer then.
        answered: Mutex<Vec<usize>>,
    }

    impl Sight {
        fn answer(&self, request: &Request<RequestBody>) -> Response<Full<Bytes>> {
            if request.uri().path() == "/hold" {
                self.held.send(()).unwrap();
                self.go.lock().unwrap().recv().unwrap();
            } else {
                let has_answer =
                    |client: &&TcpStream| recv(client, &mut [0; 1][..], RecvFlags::PEEK | RecvFlags::DONTWAIT).is_ok();
                self.answered.lock().unwrap().push(self.clients.iter().filter(has_answer).count());
            }
            Response::new(Full::new(Bytes::from_static(b"hello")))
        }
    }

    fn ask(mut client: &TcpStream, path: &str) {
        client.write_all(format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes()).unwrap();
    }

    fn read_answer(mut client: &TcpStream) {
        let mut read = Vec::new();
        while !read.ends_with(b"hello") {
            let mut piece = [0; 512];
            let length = client.read(&mut piece).unwrap();
            assert!(length > 0, "{}", String::from_utf8_lossy(&read));
            read.extend_from_slice(&piece[..length]);
        }
    }

    #[test]
    fn a_worker_reads_the_requests_of_many_connections_before_it_writes_an_answer() {
        let (told, held) = mpsc::sync_channel(1);
        let (go, may_go) = mpsc::sync_channel(1);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let connect = || TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (holder, clients): (_, Vec<_>) = (connect(), (0..MANY * 6).map(|_| connect()).collect());
        let seen = clients.iter().map(|client| client.try_clone().unwrap()).collect();
        let sight = Arc::new(Sight { clients: seen, held: told, go: Mutex::new(may_go), answered: Mutex::default() });
        let of_worker = Arc::clone(&sight);
        let workers = Workers::start(vec![Mutex::new(Some(listener))], move |listener| {
            let sight = Arc::clone(&of_worker);
            async move {
                let listener = listener.lock().unwrap().take().unwrap();
                listener.set_nonblocking(true).unwrap();
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                serve(listener, &ConnectionLimits::default(), CancellationToken::new(), move |_| {
                    let sight = Arc::clone(&sight);
                    service_fn(move |request| {
                        let answer = sight.answer(&request);
                        async move { Ok::<_, Infallible>(answer) }
                    })
                })
                .await;
            }
        })
        .unwrap();
        // The worker learns what is usual; it pauses twice a round, and once with an answer or none.
        for _ in 0..2 * FORGOTTEN {
            sight.answered.lock().unwrap().clear();
            ask(&holder, "/hold");
            held.recv().unwrap();
            clients.iter().for_each(|client| ask(client, "/"));
            go.send(()).unwrap();
            read_answer(&holder);
            clients.iter().for_each(read_answer);
        }
        assert_eq!(*sight.answered.lock().unwrap(), vec![0; clients.len()]);
        drop(workers);
    }
}

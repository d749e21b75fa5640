//! The streams of a connection of HTTP/2: they are counted, and can be cut.
//!
//! hyper has a task for each stream, which sees nothing but its client as long as the stream's window is shut: no error of the body, and no end of it. So a stream
//! is cut by dropping what that task drives, by which h2 resets it (RFC 9113 section 5.4.2); the others of the connection go on.

use std::cell::RefCell;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use hyper::rt::Executor;
use pin_project_lite::pin_project;
use tokio::sync::Notify;

/// The streams of a connection.
#[derive(Debug, Default)]
pub(super) struct Streams {
    open: AtomicUsize,
    changed: Notify,
}

/// One of them, until its answer is over.
#[derive(Debug)]
pub(super) struct OneStream(Arc<Streams>);

impl OneStream {
    /// It begins.
    pub(super) fn begin(streams: &Arc<Streams>) -> Self {
        streams.open.fetch_add(1, Ordering::Relaxed);
        streams.changed.notify_one();
        Self(Arc::clone(streams))
    }
}

impl Drop for OneStream {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
        self.0.changed.notify_one();
    }
}

impl Streams {
    /// Returns when no stream was open for so long.
    pub(super) async fn idle_for(&self, time: Duration) {
        loop {
            if self.open.load(Ordering::Relaxed) > 0 {
                self.changed.notified().await;
            } else if tokio::time::timeout(time, self.changed.notified()).await.is_err() {
                return;
            }
        }
    }
}

/// Cuts a stream. Clones cut the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Cut(Arc<State>);

#[derive(Debug, Default)]
struct State {
    is_cut: AtomicBool,
    task: AtomicWaker,
}

impl Cut {
    /// The stream whose task runs on this thread now; if there is none, what cuts nothing.
    pub(super) fn of_this_stream() -> Self {
        CURRENT.with_borrow(|current| current.clone().unwrap_or_default())
    }

    /// Ends the stream, and tells its client so.
    pub(super) fn cut(&self) {
        self.0.is_cut.store(true, Ordering::Release);
        self.0.task.wake();
    }
}

thread_local! {
    static CURRENT: RefCell<Option<Cut>> = const { RefCell::new(None) };
}

/// Gives each stream a task, in which it can be cut.
#[derive(Clone, Copy, Debug)]
pub(super) struct CuttableStreams;

impl<F> Executor<F> for CuttableStreams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        tokio::spawn(Cuttable { stream: Some(stream), cut: Cut::default() });
    }
}

pin_project! {
    struct Cuttable<F> {
        #[pin]
        stream: Option<F>,
        cut: Cut,
    }
}

impl<F: Future<Output = ()>> Future for Cuttable<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        this.cut.0.task.register(cx.waker());
        if this.cut.0.is_cut.load(Ordering::Acquire) {
            this.stream.set(None);
        }
        let Some(stream) = this.stream.as_pin_mut() else { return Poll::Ready(()) };
        let _current = Current::set(this.cut.clone());
        stream.poll(cx)
    }
}

/// While there is one, its stream is the one whose task runs.
struct Current;

impl Current {
    fn set(cut: Cut) -> Self {
        CURRENT.set(Some(cut));
        Self
    }
}

impl Drop for Current {
    fn drop(&mut self) {
        CURRENT.set(None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;
    use tokio::sync::oneshot;

    #[tokio::test]
    async fn a_stream_is_dropped_when_it_is_cut_whatever_it_waits_for() {
        let ((tell, told), (kept, dropped)) = (oneshot::channel(), oneshot::channel::<()>());
        CuttableStreams.execute(async move {
            let _kept = kept;
            tell.send(Cut::of_this_stream()).unwrap();
            pending::<()>().await;
        });
        let cut = told.await.unwrap();
        Cut::of_this_stream().cut();
        tokio::task::yield_now().await;
        cut.cut();
        assert!(dropped.await.is_err());
    }
}

//! Worker threads: one runtime each, none of which shares a connection with another.
//!
//! A connection lives on the worker that accepted it, and what it needs of the far side is kept by worker too (`runner::http`), so that a call is read,
//! placed, forwarded and answered without another thread being woken.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

thread_local! {
    /// The number of the worker that this thread is; 0 on every other thread.
    static NUMBER: Cell<usize> = const { Cell::new(0) };
}

/// The highest number that a worker of this process has had.
static HIGHEST: AtomicUsize = AtomicUsize::new(0);

/// The number of the worker that the current thread is, from 1; 0 on every other thread.
pub fn current_worker() -> usize {
    NUMBER.get()
}

/// The highest number that [`current_worker`] can say so far.
pub fn highest_worker() -> usize {
    HIGHEST.load(Ordering::Relaxed)
}

/// Makes the current thread the worker of this number.
pub(super) fn become_worker(number: usize) {
    NUMBER.set(number);
    HIGHEST.fetch_max(number, Ordering::Relaxed);
}

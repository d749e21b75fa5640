//! What worker threads count, each for itself.
//!
//! An atomic addition costs some twenty cycles even if nobody else is there, and hundreds if another processor has counted last; a call is counted thirty times.
//! So each worker has cells that it alone writes, by a load and a store, and who reads adds up. Threads that are no workers, and workers beyond
//! [`MOST_OWN`], share one more set, by atomic additions.

use std::cell::Cell;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use prometheus_client::metrics::{counter, gauge};

thread_local! {
    /// The number of the worker that this thread is; 0 on every other thread.
    static NUMBER: Cell<usize> = const { Cell::new(0) };
}

/// The highest number that a worker of this process has had.
static HIGHEST: AtomicUsize = AtomicUsize::new(0);

/// A number for a new worker thread, from 1; no other has had it.
pub fn next_worker() -> usize {
    HIGHEST.fetch_add(1, Ordering::Relaxed) + 1
}

/// The current thread is the worker of this number, which came of [`next_worker`], from now on.
pub fn become_worker(number: usize) {
    NUMBER.set(number);
}

/// The number of the worker that the current thread is, from 1; 0 on every other thread.
pub fn current_worker() -> usize {
    NUMBER.get()
}

/// The highest number that [`current_worker`] can say so far.
pub fn highest_worker() -> usize {
    HIGHEST.load(Ordering::Relaxed)
}

/// Workers that have cells of their own. So many, since each takes memory for everything that is counted.
const MOST_OWN: usize = 8;

/// A set of cells for each worker, made when it first counts, and one for all other threads.
#[derive(Debug, Default)]
pub(super) struct PerWorker<T> {
    shared: T,
    own: [OnceLock<Box<OwnLine<T>>>; MOST_OWN],
}

/// Nobody else's cells are in these lines of the processor's cache.
#[derive(Debug)]
#[repr(align(64))]
struct OwnLine<T>(T);

/// How the cells of a set are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Writers {
    /// By this thread alone.
    One,
    /// By several threads.
    Many,
}

impl<T> PerWorker<T> {
    /// With `shared` for the threads that have no cells of their own.
    pub(super) const fn new(shared: T) -> Self {
        Self { shared, own: [const { OnceLock::new() }; MOST_OWN] }
    }

    /// The set of the current thread; one of its own is made by `make`.
    pub(super) fn mine(&self, make: impl FnOnce() -> T) -> (&T, Writers) {
        match current_worker().checked_sub(1).and_then(|place| self.own.get(place)) {
            Some(own) => (&own.get_or_init(|| Box::new(OwnLine(make()))).0, Writers::One),
            None => (&self.shared, Writers::Many),
        }
    }

    /// All sets there are.
    pub(super) fn all(&self) -> impl Iterator<Item = &T> {
        std::iter::once(&self.shared).chain(self.own.iter().filter_map(|own| own.get().map(|own| &own.0)))
    }
}

impl Writers {
    /// Adds to a cell, which goes round at its end. Who sees the sum with [`Ordering::Acquire`] sees what this thread has written before.
    pub(super) fn add(self, cell: &AtomicU64, value: u64) {
        match self {
            Self::One => cell.store(cell.load(Ordering::Relaxed).wrapping_add(value), Ordering::Release),
            Self::Many => {
                cell.fetch_add(value, Ordering::Release);
            }
        }
    }

    /// Adds to a cell that holds the bits of a float.
    pub(super) fn add_float(self, cell: &AtomicU64, value: f64) {
        let sum = |bits| (f64::from_bits(bits) + value).to_bits();
        match self {
            Self::One => cell.store(sum(cell.load(Ordering::Relaxed)), Ordering::Relaxed),
            Self::Many => {
                let _ = cell.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |bits| Some(sum(bits)));
            }
        }
    }
}

/// A number that all workers add to, for counters and for levels that go up and down by steps.
#[derive(Debug, Default)]
pub struct Sum(PerWorker<AtomicU64>);

impl Sum {
    fn add(&self, value: u64) {
        let (cell, writers) = self.0.mine(AtomicU64::default);
        writers.add(cell, value);
    }

    fn total(&self) -> u64 {
        self.0.all().fold(0, |total, cell| total.wrapping_add(cell.load(Ordering::Relaxed)))
    }
}

/// What the additions return, nobody uses: it would need a look at all cells.
impl counter::Atomic<u64> for Sum {
    fn inc(&self) -> u64 {
        self.inc_by(1)
    }

    fn inc_by(&self, value: u64) -> u64 {
        self.add(value);
        0
    }

    fn get(&self) -> u64 {
        self.total()
    }
}

/// Things that are there, and so never below zero: who reads while one ends on another worker than it began on could else find it gone before it was there.
impl gauge::Atomic<i64> for Sum {
    fn inc(&self) -> i64 {
        gauge::Atomic::inc_by(self, 1)
    }

    fn inc_by(&self, value: i64) -> i64 {
        self.add(value.cast_unsigned());
        0
    }

    fn dec(&self) -> i64 {
        gauge::Atomic::dec_by(self, 1)
    }

    fn dec_by(&self, value: i64) -> i64 {
        self.add(value.wrapping_neg().cast_unsigned());
        0
    }

    /// Right only while nobody adds.
    fn set(&self, value: i64) -> i64 {
        let others = self.total().wrapping_sub(self.0.shared.load(Ordering::Relaxed));
        self.0.shared.store(value.cast_unsigned().wrapping_sub(others), Ordering::Relaxed);
        0
    }

    fn get(&self) -> i64 {
        self.total().cast_signed().max(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    fn on_worker(work: impl FnOnce() -> i64 + Send) {
        thread::scope(|scope| {
            let _ = scope.spawn(|| {
                become_worker(next_worker());
                work()
            });
        });
    }

    #[test]
    fn what_all_threads_have_counted_is_added_up_and_nothing_is_lost() {
        let (sum, rounds) = (Sum::default(), 20_000);
        thread::scope(|scope| {
            for at in 0..16 {
                let sum = &sum;
                scope.spawn(move || {
                    // Half of them are no workers, and some of the others have no cells of their own.
                    if at % 2 == 0 {
                        become_worker(next_worker());
                    }
                    for _ in 0..rounds {
                        counter::Atomic::<u64>::inc(sum);
                    }
                });
            }
        });
        assert_eq!(sum.total(), 16 * rounds);
    }

    #[test]
    fn a_level_falls_on_another_worker_than_it_rose_on() {
        let level = Sum::default();
        on_worker(|| gauge::Atomic::inc_by(&level, 3));
        on_worker(|| gauge::Atomic::dec(&level));
        assert_eq!(gauge::Atomic::get(&level), 2);
        gauge::Atomic::set(&level, 7);
        assert_eq!(gauge::Atomic::get(&level), 7);
        on_worker(|| gauge::Atomic::dec_by(&level, 9));
        assert_eq!(gauge::Atomic::get(&level), 0);
    }
}

//! Whether the program wants calls: told by whoever starts and ends it, read by `/readyz`.

use std::fmt;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

/// Where the program is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Its configuration is not loaded, or its listeners are not open.
    Starting,
    /// It takes calls, if its checks agree.
    Ready,
    /// It will end: calls in hand go on, new ones should go elsewhere.
    Draining,
}

/// Whether the program wants calls. Clones are the same; reading costs one load.
#[derive(Clone, Default)]
pub struct Readiness {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    /// A [`Phase`], which only moves forward.
    phase: AtomicU8,
    /// Protects the list while a check is added, at the start of the program; held while checks run.
    checks: RwLock<Vec<Check>>,
}

/// One condition beside the phase.
struct Check {
    name: &'static str,
    run: Box<dyn Fn() -> Result<(), String> + Send + Sync>,
}

/// What one check said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CheckResult {
    pub(super) name: &'static str,
    pub(super) result: Result<(), String>,
}

const STARTING: u8 = 0;
const READY: u8 = 1;
const DRAINING: u8 = 2;

impl Readiness {
    /// A program that starts.
    pub fn new() -> Self {
        Self::default()
    }

    /// The program takes calls now. Does nothing to one that drains already.
    pub fn set_ready(&self) {
        self.inner.phase.fetch_max(READY, Ordering::AcqRel);
    }

    /// The program will end. There is no way back.
    pub fn set_draining(&self) {
        self.inner.phase.fetch_max(DRAINING, Ordering::AcqRel);
    }

    /// Where the program is in its life.
    pub fn phase(&self) -> Phase {
        match self.inner.phase.load(Ordering::Acquire) {
            STARTING => Phase::Starting,
            READY => Phase::Ready,
            _ => Phase::Draining,
        }
    }

    /// Adds a condition that must hold beside the phase. `run` is asked at every look at `/readyz`, so it answers from memory; its error
    /// says in a few words what is missing.
    pub fn add_check(&self, name: &'static str, run: impl Fn() -> Result<(), String> + Send + Sync + 'static) {
        self.inner.checks.write().unwrap_or_else(PoisonError::into_inner).push(Check { name, run: Box::new(run) });
    }

    /// Whether the phase and every check agree.
    pub fn is_ready(&self) -> bool {
        self.check().iter().all(|check| check.result.is_ok())
    }

    /// What the phase and every check say, in the order of their adding.
    pub(super) fn check(&self) -> Vec<CheckResult> {
        let phase = self.phase();
        let mut results = vec![
            CheckResult {
                name: "config",
                result: if phase == Phase::Starting { Err("not loaded yet".to_owned()) } else { Ok(()) },
            },
            CheckResult {
                name: "draining",
                result: if phase == Phase::Draining { Err("the program will end".to_owned()) } else { Ok(()) },
            },
        ];
        let checks = self.inner.checks.read().unwrap_or_else(PoisonError::into_inner);
        results.extend(checks.iter().map(|check| CheckResult { name: check.name, result: (check.run)() }));
        results
    }
}

impl fmt::Debug for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Readiness").field("phase", &self.phase()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;

    #[test]
    fn readiness_moves_only_forward() {
        let readiness = Readiness::new();
        assert_eq!((readiness.phase(), readiness.is_ready()), (Phase::Starting, false));
        readiness.set_ready();
        assert_eq!((readiness.phase(), readiness.is_ready()), (Phase::Ready, true));
        readiness.set_draining();
        readiness.set_ready();
        assert_eq!((readiness.phase(), readiness.is_ready()), (Phase::Draining, false));
    }

    #[test]
    fn a_failing_check_makes_a_ready_program_unready_until_it_holds_again() {
        let readiness = Readiness::new();
        readiness.set_ready();
        let holds = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&holds);
        readiness.add_check("store", move || if asked.load(Ordering::Acquire) { Ok(()) } else { Err("unreachable".to_owned()) });
        assert!(!readiness.is_ready());
        assert_eq!(readiness.check().last(), Some(&CheckResult { name: "store", result: Err("unreachable".to_owned()) }));
        holds.store(true, Ordering::Release);
        assert!(readiness.is_ready());
    }
}

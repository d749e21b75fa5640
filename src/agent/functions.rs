//! The versions of functions that the agent has been told of, in a bounded number.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustc_hash::FxHashMap;
use serde::Serialize;

use crate::model::{Digest, Function, FunctionName, FunctionSpec};

/// Versions that are remembered. A balancer that asks for a forgotten one is refused with `unknown-function` and tells it again.
const MAX_KNOWN: usize = 10_000;

/// A specification cannot be taken.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum LearnError {
    /// The specification's digest is another than the one it was sent under.
    #[error("the specification's digest is {actual}: expected {expected}, as the path says")]
    OtherDigest {
        /// Of the specification.
        actual: Digest,
        /// In the path.
        expected: Digest,
    },
    /// The agent cannot run it.
    #[error("function `{name}` has no command: expected a program and its arguments")]
    NoCommand {
        /// Its name.
        name: FunctionName,
    },
}

/// One known version, for people.
#[derive(Debug, Serialize)]
pub(crate) struct Listed {
    name: FunctionName,
    digest: Digest,
}

/// The known versions.
#[derive(Debug, Default)]
pub(crate) struct Functions {
    /// Protects the table; held for a look-up, or for a scan when it is full and must lose one.
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    by_digest: FxHashMap<Digest, Entry>,
    uses: u64,
}

#[derive(Debug)]
struct Entry {
    function: Arc<Function>,
    last_use: u64,
}

impl Functions {
    /// Learns a version that was sent under `digest`.
    ///
    /// # Errors
    /// See [`LearnError`].
    pub(crate) fn learn(&self, digest: &Digest, spec: FunctionSpec) -> Result<(), LearnError> {
        let function = Function::new(spec);
        if function.digest != *digest {
            return Err(LearnError::OtherDigest { actual: function.digest, expected: digest.clone() });
        }
        if function.spec.command.is_empty() {
            return Err(LearnError::NoCommand { name: function.spec.name });
        }
        let mut known = self.lock();
        if known.by_digest.len() >= MAX_KNOWN && !known.by_digest.contains_key(digest) {
            known.forget_one();
        }
        known.uses += 1;
        let last_use = known.uses;
        known.by_digest.insert(digest.clone(), Entry { function: Arc::new(function), last_use });
        Ok(())
    }

    /// The version of this digest.
    pub(crate) fn get(&self, digest: &Digest) -> Option<Arc<Function>> {
        let mut known = self.lock();
        known.uses += 1;
        let uses = known.uses;
        let entry = known.by_digest.get_mut(digest)?;
        entry.last_use = uses;
        Some(Arc::clone(&entry.function))
    }

    /// All known versions, by name.
    pub(crate) fn list(&self) -> Vec<Listed> {
        let listed = |entry: &Entry| Listed { name: entry.function.name().clone(), digest: entry.function.digest.clone() };
        let mut list: Vec<Listed> = self.lock().by_digest.values().map(listed).collect();
        list.sort_by(|a, b| (&a.name, &a.digest).cmp(&(&b.name, &b.digest)));
        list
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// Forgets the version that was used longest ago; calls and workers that have it keep it.
    fn forget_one(&mut self) {
        let oldest = self.by_digest.iter().min_by_key(|(_, entry)| entry.last_use).map(|(digest, _)| digest.clone());
        if let Some(digest) = oldest {
            self.by_digest.remove(&digest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(name: &str) -> FunctionSpec {
        FunctionSpec { command: vec!["true".into()], ..FunctionSpec::named(name.parse().unwrap()) }
    }

    #[test]
    fn a_specification_is_known_by_its_own_digest_only() {
        let functions = Functions::default();
        let (right, wrong) = (Digest::of(&spec("a")), Digest::of(&spec("b")));
        assert!(matches!(functions.learn(&wrong, spec("a")), Err(LearnError::OtherDigest { .. })));
        assert_eq!(functions.get(&right), None);
        assert_eq!(functions.learn(&right, spec("a")), Ok(()));
        assert_eq!(functions.get(&right).unwrap().name().as_str(), "a");
    }

    #[test]
    fn a_function_without_command_cannot_be_learnt() {
        let spec = FunctionSpec::named("web".parse().unwrap());
        let error = Functions::default().learn(&Digest::of(&spec), spec).unwrap_err();
        assert_eq!(error.to_string(), "function `web` has no command: expected a program and its arguments");
    }

    #[test]
    fn the_version_used_longest_ago_makes_room_for_a_new_one() {
        let functions = Functions::default();
        for number in 0..MAX_KNOWN {
            let spec = spec(&format!("f{number}"));
            functions.learn(&Digest::of(&spec), spec).unwrap();
        }
        assert!(functions.get(&Digest::of(&spec("f0"))).is_some());
        functions.learn(&Digest::of(&spec("new")), spec("new")).unwrap();
        assert_eq!(functions.list().len(), MAX_KNOWN);
        assert!(functions.get(&Digest::of(&spec("f0"))).is_some(), "it was just used");
        assert!(functions.get(&Digest::of(&spec("f1"))).is_none());
    }
}

//! Another workload of the same kind, for another seed.
//!
//! The instants of the public traces are drawn uniformly inside their minute (their README says so), and durations from the function's own
//! distribution. So a redraw keeps how often each function is called in each minute, draws the instants again, and shuffles the
//! durations among the calls of the function in that minute. Seed 1 is the file as it stands.

use std::collections::HashMap;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::{MINUTE, ModelCall, Workload};

impl Workload {
    /// The workload of `seed`: 1 is this one, every other is drawn from it.
    pub fn redraw(&self, seed: u64) -> Self {
        if seed == 1 {
            return self.clone();
        }
        let mut rng = StdRng::seed_from_u64(seed);
        let mut calls: Vec<ModelCall> = self.calls.to_vec();
        // The calls of a function in the minute that is looked at. Calls are in the order of time, so minutes come one after the other.
        let mut group: HashMap<u32, Vec<usize>> = HashMap::new();
        let mut order: Vec<u32> = Vec::new();
        let mut start = 0;
        while start < calls.len() {
            let minute = calls[start].at / MINUTE;
            let end = start + calls[start..].partition_point(|call| call.at / MINUTE == minute);
            for (offset, call) in calls[start..end].iter().enumerate() {
                let members = group.entry(call.function).or_default();
                if members.is_empty() {
                    order.push(call.function);
                }
                members.push(start + offset);
            }
            let length = MINUTE.min(self.span_ns.saturating_sub(minute * MINUTE)).max(1);
            for function in order.drain(..) {
                let Some(members) = group.get_mut(&function) else { continue };
                for last in (1..members.len()).rev() {
                    let other = rng.random_range(0..=last);
                    let kept = calls[members[last]].service_ns;
                    calls[members[last]].service_ns = calls[members[other]].service_ns;
                    calls[members[other]].service_ns = kept;
                }
                for index in members.drain(..) {
                    calls[index].at = minute * MINUTE + rng.random_range(0..length);
                }
            }
            calls[start..end].sort_by_key(|call| call.at);
            start = end;
        }
        Self { functions: self.functions.clone(), calls: calls.into(), span_ns: self.span_ns }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::workload::ModelFunction;

    #[test]
    fn a_redraw_keeps_what_each_minute_holds_and_moves_the_instants() {
        let call = |n: u64| ModelCall { at: n * 400_000_000, function: (n % 3) as u32, service_ns: n };
        let functions: Vec<ModelFunction> = ["a", "b", "c"].into_iter().map(ModelFunction::free).collect();
        let workload = Workload::new(functions, (0..400).map(call).collect());
        assert_eq!(workload.redraw(1), workload);
        let redrawn = workload.redraw(2);
        assert_eq!(redrawn, workload.redraw(2), "a seed decides");
        assert_ne!(redrawn, workload.redraw(3));
        let content = |workload: &Workload| {
            let mut content: Vec<_> =
                workload.calls.iter().map(|call| (call.at / MINUTE, call.function, call.service_ns)).collect();
            content.sort_unstable();
            content
        };
        assert_eq!(content(&redrawn), content(&workload));
        assert!(redrawn.calls.is_sorted_by_key(|call| call.at));
    }
}

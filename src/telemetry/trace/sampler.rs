//! Which new traces are recorded.

/// Decides by the trace's id, as OpenTelemetry's `TraceIdRatioBased` does: every process with the same ratio takes the same traces.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sampler {
    /// Of the 2⁶³ values of the id's lower part, how many are taken.
    taken: u64,
}

/// The number of values of 63 bits.
const ALL: u64 = 1 << 63;

impl Sampler {
    /// Takes this share of traces, 0 to 1.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "the ratio is from 0 to 1"
    )]
    pub(super) fn new(ratio: f64) -> Self {
        Self { taken: (ratio.clamp(0.0, 1.0) * ALL as f64) as u64 }
    }

    /// Whether the trace with this id is recorded.
    pub(super) const fn takes(self, trace_id: u128) -> bool {
        (trace_id as u64 >> 1) < self.taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_share_is_kept() {
        let lower = |part: u64| u128::from(part) | 7 << 64;
        let half = Sampler::new(0.5);
        assert!(half.takes(lower(0)));
        assert!(half.takes(lower(u64::MAX / 2)));
        assert!(!half.takes(lower(u64::MAX / 2 + 1)));
    }

    proptest! {
        #[test]
        fn all_or_nothing_means_it(trace_id: u128) {
            prop_assert!(Sampler::new(1.0).takes(trace_id));
            prop_assert!(!Sampler::new(0.0).takes(trace_id));
        }
    }
}

//! A histogram that all threads count on at once.
//!
//! The crate's own takes a lock for every value, looks through all bounds and keeps its native buckets in a sorted list. A call is measured half a dozen times, on
//! every worker: here a worker adds to three cells of its own ([`PerWorker`]), and nobody waits for anybody.
//!
//! Native buckets are those of Prometheus' exponential histograms with schema 3: the upper bound of bucket *i* is 2^(i/8), so that neighbours differ by 9 %. Sixteen
//! buckets, two octaves, have their memory from the first value that falls into them.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NativeHistogram, NativeHistogramBuckets, NoLabelSet};
use prometheus_client::metrics::exemplar::Exemplar;
use prometheus_client::metrics::{MetricType, TypedMetric};

use super::per_worker::PerWorker;

/// A histogram. Clones are the same.
#[derive(Clone, Debug)]
pub struct Histogram {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// Upper bounds of the classic buckets, in rising order.
    bounds: Arc<[f64]>,
    /// When it was made, if it has native buckets.
    created: Option<SystemTime>,
    cells: PerWorker<Cells>,
}

/// What the values of some threads are counted in.
#[derive(Debug)]
struct Cells {
    /// How many values each classic bucket has; one more than there are bounds.
    counts: Box<[AtomicU64]>,
    /// The sum of all values: the bits of a float.
    sum: AtomicU64,
    native: Option<Native>,
}

/// The native buckets.
#[derive(Debug)]
struct Native {
    /// Values that are too small for a bucket.
    zero: AtomicU64,
    chunks: [OnceLock<Box<[AtomicU64; CHUNK]>>; CHUNKS],
}

/// What a histogram holds at one moment.
struct Reading {
    /// How many values each classic bucket has.
    classic: Vec<u64>,
    native: Option<NativeReading>,
}

struct NativeReading {
    /// The index of each bucket that has values, in rising order, and how many.
    buckets: Vec<(i32, u64)>,
    zero: u64,
}

impl NativeReading {
    fn total(&self) -> u64 {
        self.zero + self.buckets.iter().map(|(_, count)| count).sum::<u64>()
    }
}

/// For histograms that keep no examples of their values.
type Exemplars = HashMap<usize, Exemplar<NoLabelSet, f64>>;

/// Native buckets for each factor of two.
const PER_OCTAVE: i32 = 8;
/// What Prometheus calls this resolution: 2^3 buckets an octave.
const SCHEMA: i32 = 3;
/// Buckets that have their memory together.
const CHUNK: usize = 16;
const CHUNKS: usize = 28;
/// Values up to 2 to this power count as zero: half a nanosecond.
const SMALLEST: i32 = -31;
/// The first bucket that is not zero.
const FIRST: i32 = SMALLEST * PER_OCTAVE + 1;
/// Buckets that are told at most; with more, neighbours are told as one. The default of OpenTelemetry's exponential histograms.
const MOST_TOLD: usize = 160;

/// The bits behind the point of 2^(k/8), for k from 0 to 7.
const EIGHTHS: [u64; 8] = [
    0x0_0000_0000_0000,
    0x1_72b8_3c7d_517b,
    0x3_06fe_0a31_b715,
    0x4_bfda_d536_2a27,
    0x6_a09e_667f_3bcd,
    0x8_ace5_422a_a0db,
    0xa_e89f_995a_d3ad,
    0xd_5818_dcfb_a487,
];

impl Histogram {
    /// A histogram with classic buckets up to these bounds, which rise, and one for what is above them; and with native buckets, if so wanted.
    pub fn new(bounds: Arc<[f64]>, is_native: bool) -> Self {
        let cells = PerWorker::new(Cells::new(&bounds, is_native));
        Self { inner: Arc::new(Inner { bounds, created: is_native.then(SystemTime::now), cells }) }
    }

    /// Counts a value that is not below zero.
    pub fn observe(&self, value: f64) {
        let Inner { bounds, created, cells } = &*self.inner;
        let (Cells { counts, sum, native }, writers) = cells.mine(|| Cells::new(bounds, created.is_some()));
        writers.add_float(sum, value);
        writers.add(&counts[bounds.partition_point(|bound| *bound < value)], 1);
        if let Some(native) = native {
            // Who sees it there sees it in the classic bucket too.
            writers.add(native.bucket(value), 1);
        }
    }

    /// All cells together.
    fn read(&self) -> (f64, Reading) {
        let Inner { bounds, created, cells } = &*self.inner;
        let (mut sum, mut classic) = (0.0, vec![0; bounds.len() + 1]);
        let (mut buckets, mut zero) = (BTreeMap::new(), 0);
        for cells in cells.all() {
            let reading = cells.read();
            sum += f64::from_bits(cells.sum.load(Ordering::Relaxed));
            classic.iter_mut().zip(reading.classic).for_each(|(total, count)| *total += count);
            if let Some(native) = reading.native {
                zero += native.zero;
                native.buckets.into_iter().for_each(|(index, count)| *buckets.entry(index).or_default() += count);
            }
        }
        let native = created.is_some().then(|| NativeReading { buckets: buckets.into_iter().collect(), zero });
        (sum, Reading { classic, native })
    }
}

impl Cells {
    fn new(bounds: &[f64], is_native: bool) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        let native = || Native { zero: AtomicU64::new(0), chunks: [const { OnceLock::new() }; CHUNKS] };
        Self { counts, sum: AtomicU64::new(0), native: is_native.then(native) }
    }

    /// As many values in the one kind of bucket as in the other, whoever counts meanwhile: a scraper refuses what does not add up.
    fn read(&self) -> Reading {
        let native = self.native.as_ref().map(Native::read);
        let total = native.as_ref().map_or(u64::MAX, NativeReading::total);
        let mut seen = 0_u64;
        let classic = self.counts.iter().map(|count| {
            let count = count.load(Ordering::Relaxed).min(total - seen);
            seen += count;
            count
        });
        Reading { classic: classic.collect(), native }
    }
}

impl Native {
    fn bucket(&self, value: f64) -> &AtomicU64 {
        let index = index(value);
        if index < FIRST {
            return &self.zero;
        }
        let place = usize::try_from(index - FIRST).unwrap_or(0).min(CHUNKS * CHUNK - 1);
        let chunk = self.chunks[place / CHUNK].get_or_init(|| Box::new([const { AtomicU64::new(0) }; CHUNK]));
        &chunk[place % CHUNK]
    }

    fn read(&self) -> NativeReading {
        let zero = self.zero.load(Ordering::Acquire);
        let chunks = self.chunks.iter().enumerate().filter_map(|(at, chunk)| Some((at * CHUNK, chunk.get()?)));
        let buckets = chunks.flat_map(|(first, chunk)| {
            chunk.iter().enumerate().map(move |(at, count)| (FIRST + (first + at) as i32, count.load(Ordering::Acquire)))
        });
        NativeReading { buckets: buckets.filter(|(_, count)| *count > 0).collect(), zero }
    }
}

/// The native bucket of a value: the least *i* with value ≤ 2^(i/8). Zero, and what is below it, is in one below all others.
fn index(value: f64) -> i32 {
    const FRACTION: u32 = f64::MANTISSA_DIGITS - 1;
    if value <= 0.0 {
        return i32::MIN;
    }
    let bits = value.to_bits();
    let exponent = (bits >> FRACTION) as i32 - (f64::MAX_EXP - 1);
    let fraction = bits & ((1 << FRACTION) - 1);
    exponent * PER_OCTAVE + EIGHTHS.iter().map(|eighth| i32::from(fraction > *eighth)).sum::<i32>()
}

/// Buckets as Prometheus has them: runs of neighbours, each with its distance to the run before, and what each bucket has more than the one before.
fn spans(buckets: &[(i32, u64)]) -> (Vec<(i32, u32)>, Vec<i64>) {
    let (mut spans, mut deltas) = (Vec::<(i32, u32)>::new(), Vec::new());
    let (mut next, mut former) = (0, 0);
    for (index, count) in buckets {
        match spans.last_mut() {
            Some((_, length)) if *index == next => *length += 1,
            _ => spans.push((index - next, 1)),
        }
        let count = i64::try_from(*count).unwrap_or(i64::MAX);
        deltas.push(count - former);
        (next, former) = (index + 1, count);
    }
    (spans, deltas)
}

/// The same values in buckets twice as wide.
fn merged(buckets: &[(i32, u64)]) -> Vec<(i32, u64)> {
    buckets.iter().fold(Vec::new(), |mut wider, (index, count)| {
        let index = (index + 1) >> 1;
        match wider.last_mut() {
            Some((last, sum)) if *last == index => *sum += count,
            _ => wider.push((index, *count)),
        }
        wider
    })
}

impl TypedMetric for Histogram {
    const TYPE: MetricType = MetricType::Histogram;
}

impl EncodeMetric for Histogram {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        const NO_EXEMPLARS: Option<&Exemplars> = None;
        let (sum, Reading { classic, native }) = self.read();
        let count = classic.iter().sum();
        let bounds = self.inner.bounds.iter().copied().chain([f64::INFINITY]);
        let classic: Vec<(f64, u64)> = bounds.zip(classic).collect();
        let Some(NativeReading { mut buckets, zero }) = native else {
            return encoder.encode_histogram(sum, count, &classic, NO_EXEMPLARS);
        };
        let mut schema = SCHEMA;
        while buckets.len() > MOST_TOLD {
            buckets = merged(&buckets);
            schema -= 1;
        }
        let (mut spans, deltas) = spans(&buckets);
        if spans.is_empty() {
            // So that it is known for a native one before its first value.
            spans.push((0, 0));
        }
        let native = NativeHistogram {
            schema,
            zero_threshold: f64::from(SMALLEST).exp2(),
            zero_count: zero,
            negative: NativeHistogramBuckets { spans: &[], deltas: &[] },
            positive: NativeHistogramBuckets { spans: &spans, deltas: &deltas },
            created: self.inner.created,
        };
        encoder.encode_histogram_with_native(sum, count, &classic, NO_EXEMPLARS, native)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

#[cfg(test)]
mod tests {
    use super::super::per_worker::{become_worker, next_worker};
    use super::*;
    use proptest::prelude::*;

    fn histogram() -> Histogram {
        Histogram::new([0.001, 0.01, 0.1].into(), true)
    }

    #[test]
    fn a_value_is_in_the_bucket_whose_upper_bound_is_the_first_that_it_is_not_above() {
        for i in -240..=160 {
            let bound = (f64::from(i) / 8.0).exp2();
            // The bounds themselves are rounded; what is off by more than that is not.
            assert_eq!(index(bound * (1.0 - 1e-12)), i, "below {bound}");
            assert_eq!(index(bound * (1.0 + 1e-12)), i + 1, "above {bound}");
        }
        for power in -20..20 {
            assert_eq!(index(f64::from(power).exp2()), power * 8, "2^{power} itself");
        }
        assert!(index(0.0) < FIRST && index(1e-10) < FIRST && index(1e-9) >= FIRST);
    }

    #[test]
    fn classic_bounds_are_inclusive_and_have_one_above_them() {
        let histogram = histogram();
        for value in [0.0, 0.001, 0.0011, 0.1, 5.0] {
            histogram.observe(value);
        }
        let (sum, Reading { classic, native }) = histogram.read();
        assert_eq!(classic, [2, 1, 1, 1]);
        let native = native.unwrap();
        assert_eq!((native.total(), native.zero), (5, 1));
        assert!((sum - 5.1021).abs() < 1e-9);
    }

    #[test]
    fn what_is_larger_than_any_bucket_is_in_the_last() {
        let histogram = histogram();
        histogram.observe(1e12);
        assert_eq!(histogram.read().1.native.unwrap().buckets, [(FIRST + (CHUNKS * CHUNK) as i32 - 1, 1)]);
    }

    #[test]
    fn spans_are_runs_with_their_distances_and_deltas_are_differences() {
        let (spans, deltas) = spans(&[(-3, 4), (-2, 1), (5, 1), (6, 9)]);
        assert_eq!(spans, [(-3, 2), (6, 2)]);
        assert_eq!(deltas, [4, -3, 0, 8]);
    }

    #[test]
    fn all_threads_are_counted_and_each_reading_adds_up() {
        let histogram = histogram();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let histogram = histogram.clone();
                scope.spawn(move || {
                    // Half of them are workers.
                    if thread % 2 == 0 {
                        become_worker(next_worker());
                    }
                    (0..5_000).for_each(|at| histogram.observe(f64::from(at * (thread + 1)) * 1e-5));
                });
            }
            for _ in 0..200 {
                let (_, Reading { classic, native }) = histogram.read();
                assert_eq!(classic.iter().sum::<u64>(), native.unwrap().total());
            }
        });
        assert_eq!(histogram.read().1.classic.iter().sum::<u64>(), 20_000);
    }

    proptest! {
        #[test]
        fn buckets_twice_as_wide_hold_the_same_values(values in proptest::collection::vec(1e-9_f64..1e6, 1..200)) {
            let histogram = histogram();
            values.iter().for_each(|value| histogram.observe(*value));
            let wider = merged(&histogram.read().1.native.unwrap().buckets);
            let mut expected = std::collections::BTreeMap::<i32, u64>::new();
            for value in &values {
                *expected.entry((index(*value) + 1) >> 1).or_default() += 1;
                // Bucket i of the next schema ends at 2^(i/4).
                let bound = f64::from((index(*value) + 1) >> 1) / 4.0;
                prop_assert!(value.log2() <= bound + 1e-9 && value.log2() > bound - 0.25 - 1e-9);
            }
            prop_assert_eq!(wider, expected.into_iter().collect::<Vec<_>>());
        }
    }
}

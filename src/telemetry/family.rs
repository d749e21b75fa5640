//! Series of one metric by their label values, written out in a fixed order.
//!
//! The crate's own family keeps its series in a hash map, so that two scrapes of the same state differ and no test or diff can
//! compare them. This one sorts. Its lock is never on a record path: handles are looked up once and held.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use prometheus_client::encoding::{EncodeMetric, MetricEncoder};
use prometheus_client::metrics::{MetricType, TypedMetric};

/// The label values of one series, in the order in which they are written.
pub type Labels = Vec<(&'static str, String)>;

/// Makes the metric of a new series.
pub trait MakeMetric<M>: Clone + Send + Sync + fmt::Debug + 'static {
    /// A metric at its beginning.
    fn make(&self) -> M;
}

/// Makes metrics that need no settings.
#[derive(Clone, Copy, Debug, Default)]
pub struct MakeDefault;

impl<M: Default> MakeMetric<M> for MakeDefault {
    fn make(&self) -> M {
        M::default()
    }
}

/// Series of one metric. Clones are the same family; so are clones of a metric the same metric.
#[derive(Debug)]
pub struct Family<M, C = MakeDefault> {
    /// Protects the map only; held for one look-up or one writing-out.
    series: Arc<RwLock<BTreeMap<Labels, M>>>,
    maker: C,
}

impl<M, C: Clone> Clone for Family<M, C> {
    fn clone(&self) -> Self {
        Self { series: Arc::clone(&self.series), maker: self.maker.clone() }
    }
}

impl<M> Default for Family<M> {
    fn default() -> Self {
        Self { series: Arc::default(), maker: MakeDefault }
    }
}

impl<M: Clone, C: MakeMetric<M>> Family<M, C> {
    /// A family whose series are made by `maker`.
    pub fn made_by(maker: C) -> Self {
        Self { series: Arc::default(), maker }
    }

    /// The handle of the series with these label values, to be held.
    pub fn get_or_create_owned(&self, labels: &Labels) -> M {
        if let Some(metric) = self.series.read().unwrap_or_else(PoisonError::into_inner).get(labels) {
            return metric.clone();
        }
        let mut series = self.series.write().unwrap_or_else(PoisonError::into_inner);
        series.entry(labels.clone()).or_insert_with(|| self.maker.make()).clone()
    }

    /// The same as [`Family::get_or_create_owned`], under the name that the crate's own family has for it.
    pub fn get_or_create(&self, labels: &Labels) -> M {
        self.get_or_create_owned(labels)
    }

    /// Forgets a series, of a runner that is gone for example. Handles that are still held record into nothing.
    pub fn remove(&self, labels: &Labels) -> bool {
        self.series.write().unwrap_or_else(PoisonError::into_inner).remove(labels).is_some()
    }
}

impl<M, C> EncodeMetric for Family<M, C>
where
    M: EncodeMetric + TypedMetric,
{
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        for (labels, metric) in self.series.read().unwrap_or_else(PoisonError::into_inner).iter() {
            metric.encode(encoder.encode_family(labels)?)?;
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        M::TYPE
    }

    fn is_empty(&self) -> bool {
        self.series.read().unwrap_or_else(PoisonError::into_inner).is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::metrics::Counter;

    fn labels(value: &str) -> Labels {
        vec![("function", value.to_owned())]
    }

    #[test]
    fn a_held_handle_records_on_the_series_of_its_labels_until_it_is_removed() {
        let family = Family::<Counter>::default();
        let held = family.get_or_create_owned(&labels("a"));
        held.inc();
        assert_eq!(family.get_or_create(&labels("a")).get(), 1);
        assert_eq!(family.get_or_create(&labels("b")).get(), 0);
        assert!(family.remove(&labels("a")));
        assert!(!family.remove(&labels("a")));
        assert_eq!(family.get_or_create(&labels("a")).get(), 0);
    }
}

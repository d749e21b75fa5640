//! Means of several seeds, with the interval that their true value is in.

use serde::Serialize;

/// A mean over seeds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Estimate {
    /// The mean.
    pub mean: f64,
    /// Half the 95 % confidence interval (Student's t); nothing for a single seed.
    pub half_width: Option<f64>,
}

/// Student's t for 97.5 % and 1, 2, … degrees of freedom.
const T: [f64; 30] = [
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110,
    2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
];

impl Estimate {
    /// Of one value for each seed.
    pub fn of(values: &[f64]) -> Self {
        let count = values.len();
        if count == 0 {
            return Self::default();
        }
        let mean = values.iter().sum::<f64>() / count as f64;
        if count == 1 {
            return Self { mean, half_width: None };
        }
        let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1) as f64;
        let t = T.get(count - 2).copied().unwrap_or(1.96);
        Self { mean, half_width: Some(t * (variance / count as f64).sqrt()) }
    }

    /// Whether `value` is in the interval, or no farther from the mean than `slack`.
    pub fn covers(&self, value: f64, slack: f64) -> bool {
        (self.mean - value).abs() <= self.half_width.unwrap_or(0.0) + slack
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_is_students() {
        let estimate = Estimate::of(&[1.0, 2.0, 3.0, 4.0, 5.0]);
        assert!((estimate.mean - 3.0).abs() < 1e-12);
        // 2.776 · sqrt(2.5 / 5)
        assert!((estimate.half_width.unwrap() - 1.963).abs() < 1e-3);
        assert!(estimate.covers(4.9, 0.0) && !estimate.covers(5.1, 0.0));
        assert_eq!(Estimate::of(&[7.0]), Estimate { mean: 7.0, half_width: None });
    }
}

//! Robust statistics of short series.

/// The middle value, the mean of the two middle ones of an even number; 0 of none.
pub(super) fn median(values: &mut [f64]) -> f64 {
    let middle = values.len() / 2;
    if values.is_empty() {
        return 0.0;
    }
    let even = values.len().is_multiple_of(2);
    let (below, upper, _) = values.select_nth_unstable_by(middle, f64::total_cmp);
    let upper = *upper;
    if even {
        let lower = below.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        f64::midpoint(lower, upper)
    } else {
        upper
    }
}

/// The slope of Theil (1950) and Sen (1968): the median of the slopes between all pairs of points. Up to 29 % of
/// the points may be arbitrarily wrong. `x` ascends strictly.
pub(super) fn theil_sen(x: &[f64], y: &[f64]) -> f64 {
    let points = x.len().min(y.len());
    let mut slopes = Vec::with_capacity(points * points.saturating_sub(1) / 2);
    for i in 0..points {
        for j in i + 1..points {
            let run = x[j] - x[i];
            if run > 0.0 {
                slopes.push((y[j] - y[i]) / run);
            }
        }
    }
    median(&mut slopes)
}

/// The trend test of Mann (1945) and Kendall (1975): about standard normal when there is no trend, positive
/// when later values tend to be larger; ties are corrected for.
pub(super) fn mann_kendall(values: &[f64]) -> f64 {
    let n = values.len() as f64;
    let mut s = 0.0;
    for (i, early) in values.iter().enumerate() {
        for late in &values[i + 1..] {
            s += f64::from(i8::from(late > early) - i8::from(late < early));
        }
    }
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let term = |t: f64| t * (t - 1.0) * (2.0 * t + 5.0);
    let ties: f64 = sorted.chunk_by(|a, b| a == b).map(|tied| term(tied.len() as f64)).sum();
    let variance = (term(n) - ties) / 18.0;
    if variance > 0.0 { (s - s.signum()) / variance.sqrt() } else { 0.0 }
}

/// How many standard errors the mean step of a series lies above 0: what tells a trend from a random walk, whose
/// steps cancel out.
pub(super) fn drift(values: &[f64]) -> f64 {
    let steps: Vec<f64> = values.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let (mean, variance) = mean_and_variance(&steps);
    if mean <= 0.0 {
        return 0.0;
    }
    // Steps that are all equal have no variance of their own; one step in `n` may still have been missed.
    let n = steps.len() as f64;
    mean / (variance / n + mean * mean / (n * n)).sqrt()
}

/// The chance that a Poisson number with this mean is at most `most`.
pub(super) fn poisson_at_most(most: u64, mean: f64) -> f64 {
    if mean <= 0.0 {
        return 1.0;
    }
    // Logarithms: e^(-mean) is 0 in floating point from a mean of 746 on. Far above the mean all terms are spent.
    let (mut term, mut sum) = (-mean, (-mean).exp());
    for k in 1..=most.min((2.0 * mean + 100.0) as u64) {
        term += mean.ln() - (k as f64).ln();
        sum += term.exp();
    }
    sum.min(1.0)
}

/// Mean and variance; 0 of none.
pub(super) fn mean_and_variance(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    if values.is_empty() {
        return (0.0, 0.0);
    }
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (mean, squares / (n - 1.0).max(1.0))
}

/// At each place the least value from there to the end: what a series never falls below again.
pub(super) fn lasting(values: &[f64]) -> Vec<f64> {
    let mut least = f64::INFINITY;
    let mut lasting: Vec<f64> = values
        .iter()
        .rev()
        .map(|value| {
            least = least.min(*value);
            least
        })
        .collect();
    lasting.reverse();
    lasting
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        for (values, expected) in
            [(vec![], 0.0), (vec![3.0], 3.0), (vec![9.0, 1.0], 5.0), (vec![5.0, 1.0, 100.0], 5.0)]
        {
            assert_eq!(median(&mut values.clone()), expected, "{values:?}");
        }
    }

    #[test]
    fn a_slope_survives_outliers() {
        let x: Vec<f64> = (0..20).map(f64::from).collect();
        let mut y: Vec<f64> = x.iter().map(|x| 3.0 * x + 1.0).collect();
        (y[4], y[17]) = (1e9, -1e9);
        assert_eq!(theil_sen(&x, &y), 3.0);
        assert_eq!(theil_sen(&[], &[]), 0.0);
        assert_eq!(theil_sen(&[1.0], &[1.0]), 0.0);
    }

    #[test]
    fn trends() {
        // Gilbert (1987), example of the exact variance: n (n-1) (2n+5) / 18 = 125 for n = 10.
        let rising: Vec<f64> = (0..10).map(f64::from).collect();
        assert!((mann_kendall(&rising) - 44.0 / 125.0_f64.sqrt()).abs() < 1e-12);
        assert_eq!(mann_kendall(&[7.0; 10]), 0.0);
        assert_eq!(mann_kendall(&[]), 0.0);
        assert!(drift(&rising) > 8.0);
        assert!(drift(&[0.0, 5.0, 0.0, 5.0, 0.0, 5.0]) < 1.0);
        assert_eq!(drift(&[]), 0.0);
    }

    #[test]
    fn poisson_tails() {
        for (most, mean, expected) in [
            (0, 3.0, (-3.0_f64).exp()),
            (2, 3.0, 8.5 * (-3.0_f64).exp()),
            (0, 0.0, 1.0),
            // The median of a large mean, and the far ends.
            (999, 1000.0, 0.4958),
            (900, 1000.0, 0.0007),
            (u64::MAX, 1000.0, 1.0),
        ] {
            let got = poisson_at_most(most, mean);
            assert!((got - expected).abs() < 1e-4, "{most} {mean}: {got}");
        }
    }

    #[test]
    fn what_lasts() {
        assert_eq!(lasting(&[1.0, 5.0, 2.0, 3.0]), [1.0, 2.0, 2.0, 3.0]);
        assert!(lasting(&[]).is_empty());
    }
}

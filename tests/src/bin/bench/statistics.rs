//! Medians, quartiles, and how they are written.

use std::fmt;

/// Values of interleaved rounds, one a round.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rounds(pub Vec<f64>);

impl Rounds {
    /// The value that so large a share of the others does not exceed; NaN when nothing was measured.
    pub fn quantile(&self, share: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let last = sorted.len().saturating_sub(1);
        sorted.get((last as f64 * share).round() as usize).copied().unwrap_or(f64::NAN)
    }

    /// The value in the middle.
    pub fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// Ratios of each round to the same round of others: what drifts from round to round is in both.
    pub fn over(&self, base: &Rounds) -> Rounds {
        Rounds(self.0.iter().zip(&base.0).map(|(value, base)| value / base).collect())
    }
}

/// The median with the quartiles: `1.07 (1.05 – 1.11)`, with as many digits as the format asks for.
impl fmt::Display for Rounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = f.precision().unwrap_or(0);
        let [low, middle, high] = [0.25, 0.5, 0.75].map(|share| self.quantile(share));
        write!(f, "{middle:.digits$} ({low:.digits$} – {high:.digits$})")
    }
}

/// Bold where it is not what it has to be.
pub fn marked(text: &str, held: bool) -> String {
    if held { text.to_owned() } else { format!("**{text}**") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_are_written() {
        let check = |values: &[f64], digits: usize, expected: &str| {
            assert_eq!(format!("{:.digits$}", Rounds(values.to_vec())), expected, "{values:?}");
        };
        check(&[5.0, 1.0, 4.0, 2.0, 3.0], 0, "3 (2 – 4)");
        check(&[1.256], 2, "1.26 (1.26 – 1.26)");
        check(&[], 0, "NaN (NaN – NaN)");
    }

    #[test]
    fn ratios_are_within_a_round() {
        let ratios = Rounds(vec![3.0, 6.0]).over(&Rounds(vec![2.0, 4.0]));
        assert_eq!(ratios, Rounds(vec![1.5, 1.5]));
    }
}

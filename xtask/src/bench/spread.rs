//! What many runs of one measurement come to: middle, quartiles, ends. Nothing here measures anything.

/// The values of one measurement, sorted.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Spread(Vec<f64>);

impl Spread {
    /// Of these values, in any order.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        Self(values)
    }

    /// Of what each run with something made, divided by what the run without it made in the same round.
    pub(crate) fn ratios(with: &[f64], without: &[f64]) -> Self {
        Self::of(with.iter().zip(without).map(|(with, without)| with / without))
    }

    /// The value below which this part of the runs lies, between neighbours in proportion; nothing of no runs.
    pub(crate) fn quantile(&self, part: f64) -> f64 {
        let last = self.0.len().saturating_sub(1);
        #[expect(clippy::cast_precision_loss, reason = "a measurement has thousands of runs, not 2^52")]
        let place = part.clamp(0.0, 1.0) * last as f64;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place lies within the runs")]
        let below = place as usize;
        let value = |place: usize| self.0.get(place.min(last)).copied().unwrap_or(f64::NAN);
        value(below) + (value(below + 1) - value(below)) * place.fract()
    }

    /// The value in the middle.
    pub(crate) fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// The largest value.
    pub(crate) fn largest(&self) -> f64 {
        self.quantile(1.0)
    }

    /// How many values are no larger than this.
    pub(crate) fn within(&self, limit: f64) -> usize {
        self.0.partition_point(|value| *value <= limit)
    }

    /// Smallest, quartiles and largest, as the page writes them.
    pub(crate) fn text(&self, digits: usize) -> String {
        let [smallest, lower, upper, largest] = [0.0, 0.25, 0.75, 1.0].map(|part| self.quantile(part));
        let runs = self.0.len();
        format!("{smallest:.digits$} [{lower:.digits$} {upper:.digits$}] {largest:.digits$}, {runs} runs")
    }
}

/// In which order a round runs its variants: every variant comes first, and right after every other, equally often.
pub(crate) fn order(round: usize, variants: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..variants).collect();
    order.rotate_left(round % variants.max(1));
    if (round / variants.max(1)) % 2 == 1 {
        order.reverse();
    }
    order
}

#[cfg(test)]
mod tests {
    use super::{Spread, order};

    fn close(left: f64, right: f64) -> bool {
        (left - right).abs() < 1e-9
    }

    #[test]
    fn quantiles_lie_between_neighbours_in_proportion() {
        let spread = Spread::of([4.0, 1.0, 3.0, 2.0]);
        assert!(close(spread.median(), 2.5));
        assert!(close(spread.quantile(0.0), 1.0));
        assert!(close(spread.largest(), 4.0));
        assert!(close(spread.quantile(0.25), 1.75));
    }

    #[test]
    fn one_run_is_its_own_spread_and_no_run_is_no_number() {
        assert!(close(Spread::of([7.0]).quantile(0.99), 7.0));
        assert!(Spread::of([]).median().is_nan());
    }

    #[test]
    fn a_ratio_compares_runs_of_the_same_round_only() {
        let spread = Spread::ratios(&[2.0, 30.0], &[1.0, 10.0]);
        assert_eq!(spread.text(1), "2.0 [2.2 2.8] 3.0, 2 runs");
    }

    #[test]
    fn two_variants_alternate_and_three_take_turns_in_being_first() {
        assert_eq!([0, 1].map(|round| order(round, 2)), [vec![0, 1], vec![1, 0]]);
        let first: Vec<usize> = (0..6).map(|round| order(round, 3)[0]).collect();
        assert_eq!(first, [0, 1, 2, 2, 0, 1]);
        assert_eq!(order(3, 3), [2, 1, 0]);
    }
}

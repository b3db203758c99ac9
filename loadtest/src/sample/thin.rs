//! A line of bounded length: when it is full, every two neighbours become one point.

/// Points of a line at most; more cannot be told apart in a plot.
pub const POINTS_MAX: usize = 1024;

/// How neighbours become one point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merge {
    /// The later one: of levels, such as memory.
    Last,
    /// Their mean: of rates, so that the area under the line stays.
    Mean,
}

/// A line that may go on for hours.
#[derive(Clone, Debug)]
pub struct Thin {
    merge: Merge,
    points: Vec<(f64, f64)>,
    /// Samples for each point; doubles when the line is full.
    stride: u32,
    /// Samples since the last point, and the sum of their values.
    pending: (u32, f64),
    highest: Option<f64>,
}

impl Thin {
    /// An empty line.
    pub fn new(merge: Merge) -> Self {
        Self { merge, points: Vec::new(), stride: 1, pending: (0, 0.0), highest: None }
    }

    /// Adds a sample. What is no number is left out.
    pub fn push(&mut self, x: f64, y: f64) {
        if !(x.is_finite() && y.is_finite()) {
            return;
        }
        self.highest = Some(self.highest.map_or(y, |highest| highest.max(y)));
        let (samples, sum) = (self.pending.0 + 1, self.pending.1 + y);
        self.pending = (samples, sum);
        if samples < self.stride {
            return;
        }
        self.pending = (0, 0.0);
        let y = match self.merge {
            Merge::Last => y,
            Merge::Mean => sum / f64::from(samples),
        };
        self.points.push((x, y));
        if self.points.len() >= POINTS_MAX {
            self.halve();
        }
    }

    /// The points, at most [`POINTS_MAX`].
    pub fn points(&self) -> &[(f64, f64)] {
        &self.points
    }

    /// The highest sample, kept even where thinning has lost it.
    pub fn highest(&self) -> Option<f64> {
        self.highest
    }

    fn halve(&mut self) {
        let merge = self.merge;
        let pair = |pair: &[(f64, f64)]| match (merge, pair) {
            (Merge::Mean, [(_, first), (x, second)]) => (*x, (first + second) / 2.0),
            (_, [.., last]) => *last,
            (_, []) => (0.0, 0.0),
        };
        self.points = self.points.chunks(2).map(pair).collect();
        self.stride = self.stride.saturating_mul(2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_any_length_stays_short_and_keeps_its_shape() {
        for samples in [10, 1023, 1024, 1025, 5000, 200_000] {
            let mut line = Thin::new(Merge::Last);
            (0..samples).for_each(|sample| line.push(f64::from(sample), f64::from(sample) * 2.0));
            let points = line.points();
            assert!(points.len() < POINTS_MAX, "{samples}: {}", points.len());
            assert!(points.len() as i32 >= samples.min(500), "{samples}: {}", points.len());
            assert!(points.iter().all(|(x, y)| *y == x * 2.0));
            assert!(points.windows(2).all(|pair| pair[0].0 < pair[1].0));
            let last = points.last().expect("points").0;
            assert!(last >= f64::from(samples) * 0.99 - 1.0, "{samples}: ends at {last}");
        }
    }

    #[test]
    fn the_mean_of_rates_stays_and_the_highest_is_not_lost() {
        let mut line = Thin::new(Merge::Mean);
        (0..8192).for_each(|sample| {
            line.push(f64::from(sample), if sample == 5001 { 8000.0 } else { f64::from(sample % 2) })
        });
        let mean = line.points().iter().map(|(_, y)| y).sum::<f64>() / line.points().len() as f64;
        assert!((mean - (0.5 + 7999.0 / 8192.0)).abs() < 0.01, "{mean}");
        assert_eq!(line.highest(), Some(8000.0));
    }

    #[test]
    fn what_is_no_number_is_left_out() {
        let mut line = Thin::new(Merge::Last);
        line.push(f64::NAN, 1.0);
        line.push(1.0, f64::INFINITY);
        assert!(line.points().is_empty() && line.highest().is_none());
    }
}

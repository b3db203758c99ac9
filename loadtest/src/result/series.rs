//! A line of a plot.

use serde::{Deserialize, Serialize};

/// What the x axis counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum XUnit {
    /// Seconds since the run began.
    Seconds,
    /// Connections that the server held.
    Connections,
}

/// Points of one name. Lines with the same `plot`, `unit` and `x_unit` are drawn in one plot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// Title of the plot that it belongs to, such as `Connected`.
    pub plot: String,
    /// Name in the legend.
    pub name: String,
    /// Unit of y: `B`, `µs`, `/s`, `%`, or empty for a count.
    pub unit: String,
    /// What x counts.
    pub x_unit: XUnit,
    /// Points (x, y), in the order of their measurement.
    pub points: Vec<(f64, f64)>,
}

impl Series {
    /// An empty line over the time of the run.
    pub fn over_seconds(plot: &str, name: &str, unit: &str) -> Self {
        Self::empty(plot, name, unit, XUnit::Seconds)
    }

    /// An empty line over the number of connections.
    pub fn over_connections(plot: &str, name: &str, unit: &str) -> Self {
        Self::empty(plot, name, unit, XUnit::Connections)
    }

    fn empty(plot: &str, name: &str, unit: &str, x_unit: XUnit) -> Self {
        Self { plot: plot.to_owned(), name: name.to_owned(), unit: unit.to_owned(), x_unit, points: Vec::new() }
    }

    /// The same with more points.
    #[must_use]
    pub fn with(mut self, points: impl IntoIterator<Item = (f64, f64)>) -> Self {
        points.into_iter().for_each(|(x, y)| self.push(x, y));
        self
    }

    /// Adds a point. One that is no number is left out: JSON cannot carry it, and nothing was measured.
    pub fn push(&mut self, x: f64, y: f64) {
        if x.is_finite() && y.is_finite() {
            self.points.push((x, y));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_number_is_no_point() {
        let line =
            Series::over_seconds("p", "n", "B").with([(0.0, 1.0), (1.0, f64::NAN), (f64::INFINITY, 1.0), (2.0, 3.0)]);
        assert_eq!(line.points, [(0.0, 1.0), (2.0, 3.0)]);
    }
}

//! From values to places on an axis.

use super::ticks::{self, Tick};
use crate::human;

/// How values become distances.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stretch {
    /// As they are, from zero.
    Linear,
    /// By their logarithm, decade by decade; for positive values.
    Log,
    /// Shares of a whole by their nines: 0.9, 0.99 and 0.999 are equally far from each other.
    Nines,
}

/// One axis of a drawing.
#[derive(Clone, Copy, Debug)]
pub struct Scale<'unit> {
    stretch: Stretch,
    unit: &'unit str,
    /// The ends in values, stretched.
    low: f64,
    high: f64,
    /// The ends in the drawing.
    from: f64,
    to: f64,
}

/// The most nines that are drawn: a share of one lies here, unless fewer are needed.
const NINES_MAX: f64 = 9.0;

/// Values below are drawn as this on an axis by logarithms: a nanosecond, in microseconds.
const LOG_LEAST: f64 = 1e-3;

impl<'unit> Scale<'unit> {
    /// An axis that holds these values, from the place `from` to the place `to`.
    pub fn new(stretch: Stretch, unit: &'unit str, (least, greatest): (f64, f64), (from, to): (f64, f64)) -> Self {
        let (low, high) = match stretch {
            Stretch::Linear => (least.min(0.0), greatest.max(0.0)),
            Stretch::Log => {
                let (low, high) = (put(stretch, least).floor(), put(stretch, greatest).ceil());
                // Half a decade is enough where the values leave the other half empty.
                let half = put(stretch, greatest) <= high - 1.0 + 3.0_f64.log10();
                (low, if half { high - 1.0 + 3.2_f64.log10() } else { high })
            }
            Stretch::Nines => (0.0, put(stretch, greatest)),
        };
        let high = if high > low { high } else { low + 1.0 };
        Self { stretch, unit, low, high, from, to }.widened()
    }

    /// Ends at a tick where the axis is linear, so that the topmost line of the grid is above all points.
    fn widened(mut self) -> Self {
        if self.stretch == Stretch::Linear && self.to < self.from {
            let step = ticks::step(self.high - self.low, self.unit);
            self.high = (self.high / step - 1e-9).ceil() * step;
            self.low = (self.low / step + 1e-9).floor() * step;
        }
        self
    }

    /// Where a value is in the drawing.
    pub fn place(&self, value: f64) -> f64 {
        let part = (put(self.stretch, value) - self.low) / (self.high - self.low);
        self.from + part.clamp(0.0, 1.0) * (self.to - self.from)
    }

    /// How it stretches.
    pub fn stretch(&self) -> Stretch {
        self.stretch
    }

    /// The ticks that fit.
    pub fn ticks(&self) -> Vec<Tick> {
        match self.stretch {
            Stretch::Linear => ticks::linear(self.low, self.high, self.unit),
            Stretch::Log => ticks::decades(self.low, self.high, self.unit),
            Stretch::Nines => ticks::nines(self.high),
        }
    }
}

/// A value on an axis in words.
pub fn name(stretch: Stretch, value: f64, unit: &str) -> String {
    match stretch {
        Stretch::Nines => ticks::share(value),
        Stretch::Linear | Stretch::Log => human::value(value, unit),
    }
}

fn put(stretch: Stretch, value: f64) -> f64 {
    match stretch {
        Stretch::Linear => value,
        Stretch::Log => value.max(LOG_LEAST).log10(),
        Stretch::Nines => (-(1.0 - value).max(0.0).log10()).clamp(0.0, NINES_MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_lie_where_they_should() {
        let close = |a: f64, b: f64| (a - b).abs() < 1e-6;
        for (stretch, range, value, place) in [
            (Stretch::Linear, (0.0, 10.0), 0.0, 0.0),
            (Stretch::Linear, (2.0, 10.0), 5.0, 50.0),
            (Stretch::Linear, (-10.0, 10.0), 0.0, 50.0),
            (Stretch::Linear, (7.0, 7.0), 7.0, 100.0),
            (Stretch::Linear, (0.0, 0.0), 0.0, 0.0),
            (Stretch::Log, (10.0, 1000.0), 100.0, 50.0),
            (Stretch::Log, (0.0, 1000.0), 0.0, 0.0),
            (Stretch::Nines, (0.5, 0.9999), 0.99, 50.0),
            (Stretch::Nines, (0.0, 0.99), 0.0, 0.0),
        ] {
            let scale = Scale::new(stretch, "", range, (0.0, 100.0));
            assert!(close(scale.place(value), place), "{stretch:?} {range:?} {value}: {}", scale.place(value));
        }
    }

    #[test]
    fn upwards_all_points_lie_below_the_last_line() {
        for (greatest, unit) in [(93.0, ""), (1.3e9, "B"), (5000.0, "B"), (700.0, "s"), (0.001, "")] {
            let scale = Scale::new(Stretch::Linear, unit, (0.0, greatest), (100.0, 0.0));
            let last = scale.ticks().last().map(|tick| tick.at).expect("ticks");
            assert!(last >= greatest && scale.place(last).abs() < 1e-6, "{greatest} {unit}");
        }
    }
}

//! Where an axis is marked, and what stands there.

use crate::human;

/// A mark of an axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Tick {
    /// Its value.
    pub at: f64,
    /// What stands there; a tick between labelled ones has none.
    pub label: Option<String>,
}

/// Ticks of a linear axis: as many as can be read.
const LINEAR: f64 = 5.0;

/// A round step that gives about five ticks: 1, 2, 2.5 or 5 times a power of ten of the unit's prefix. Prefixes of bytes are powers of 1024, and
/// minutes have sixty seconds.
pub fn step(span: f64, unit: &str) -> f64 {
    let bases: &[f64] = match unit {
        "B" => &[1_073_741_824.0, 1_048_576.0, 1024.0],
        "s" => &[3600.0, 60.0],
        _ => &[],
    };
    // From three of them on, so that what is marked has few digits.
    let base = bases.iter().copied().find(|base| span >= 3.0 * base).unwrap_or(1.0);
    let rough = span.max(f64::MIN_POSITIVE) / base / LINEAR;
    let power = 10_f64.powf(rough.log10().floor());
    let rest = rough / power;
    let factor = [1.0, 2.0, 2.5, 5.0].into_iter().find(|factor| rest <= *factor + 1e-9).unwrap_or(10.0);
    factor * power * base
}

/// Ticks from `low` to `high`.
pub fn linear(low: f64, high: f64, unit: &str) -> Vec<Tick> {
    let step = step(high - low, unit);
    let (first, last) = ((low / step - 1e-9).ceil() as i64, (high / step + 1e-9).floor() as i64);
    let values: Vec<f64> = (first..=last).map(|place| place as f64 * step).collect();
    let labels = human::axis(&values, unit);
    values.into_iter().zip(labels).map(|(at, label)| Tick { at, label: Some(label) }).collect()
}

/// Ticks of an axis by logarithms, between these powers of ten: the decades are labelled, and 2 and 5 where there is room.
pub fn decades(low: f64, high: f64, unit: &str) -> Vec<Tick> {
    let few = high - low <= 3.0;
    let tick = |power: i32, factor: f64| {
        let at = factor * 10_f64.powi(power);
        Tick { at, label: (few || factor == 1.0).then(|| human::value(at, unit)) }
    };
    let powers = low.floor() as i32..=high.ceil() as i32;
    let all = powers.flat_map(|power| [1.0, 2.0, 5.0].map(|factor| tick(power, factor)));
    all.filter(|tick| (low - 1e-9..=high + 1e-9).contains(&tick.at.log10())).collect()
}

/// Ticks of an axis of shares that goes up to so many nines.
pub fn nines(high: f64) -> Vec<Tick> {
    let half = Tick { at: 0.5, label: Some(share(0.5)) };
    let rest = (1..=high.floor() as i32).map(|nines| {
        let at = 1.0 - 10_f64.powi(-nines);
        Tick { at, label: Some(share(at)) }
    });
    let first = Tick { at: 0.0, label: Some("0 %".to_owned()) };
    [first, half].into_iter().chain(rest).collect()
}

/// A share as a percentage with all its nines.
pub fn share(value: f64) -> String {
    let text = format!("{:.7}", value * 100.0);
    format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(ticks: Vec<Tick>) -> Vec<String> {
        ticks.into_iter().filter_map(|tick| tick.label).collect()
    }

    #[test]
    fn steps_are_round() {
        for (span, round) in [(10.0, 2.0), (93.0, 20.0), (1.0, 0.2), (12.0, 2.5), (24.0, 5.0), (1e6, 2e5), (30.0, 10.0)]
        {
            assert!((step(span, "") - round).abs() < 1e-6, "{span}: {}", step(span, ""));
        }
        assert!(step(0.0, "B") > 0.0);
    }

    #[test]
    fn ticks_are_few_and_round() {
        let mebi = 1024.0 * 1024.0;
        for (low, high, unit, expected) in [
            (0.0, 60_000.0, "", &["0", "20,000", "40,000", "60,000"][..]),
            (0.0, 4.0 * mebi, "B", &["0", "1 MiB", "2 MiB", "3 MiB", "4 MiB"]),
            (0.0, 600.0, "s", &["0", "2 min", "4 min", "6 min", "8 min", "10 min"]),
            (-10.0, 10.0, "", &["−10", "−5", "0", "5", "10"]),
        ] {
            assert_eq!(labels(linear(low, high, unit)), expected, "{low} to {high} {unit}");
        }
    }

    #[test]
    fn decades_and_nines_are_labelled() {
        assert_eq!(labels(decades(1.0, 3.0, "µs")), ["10 µs", "20 µs", "50 µs", "100 µs", "200 µs", "500 µs", "1 ms"]);
        assert_eq!(labels(decades(0.0, 6.0, "µs")).len(), 7);
        assert_eq!(labels(nines(3.2)), ["0 %", "50 %", "90 %", "99 %", "99.9 %"]);
        assert_eq!(share(0.99999), "99.999 %");
    }
}

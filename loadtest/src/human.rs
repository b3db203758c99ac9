//! Values with their units, as a person reads them: `1.5 GiB`, `12.3 ms`, `20,000/s`.
//!
//! Owns the choice of prefix and digits, for tables and for the ticks of plots.

/// A value with its unit, of three or four digits where it is no whole number.
pub fn value(value: f64, unit: &str) -> String {
    let (factor, suffix) = prefix(value.abs(), unit);
    format!("{}{suffix}", digits(value / factor))
}

/// A whole number with its thousands set apart.
pub fn count(count: u64) -> String {
    group(&count.to_string())
}

/// Values on one axis, all with the prefix that suits the largest.
pub fn axis(values: &[f64], unit: &str) -> Vec<String> {
    let largest = values.iter().copied().fold(0.0_f64, |largest, value| largest.max(value.abs()));
    let step = values.windows(2).map(|pair| (pair[1] - pair[0]).abs()).fold(f64::INFINITY, f64::min);
    let (factor, suffix) = prefix(largest, short(unit));
    let places = places(step / factor);
    let tell = |value: &f64| match *value {
        0.0 => "0".to_owned(),
        value => format!("{}{suffix}", grouped(value / factor, places)),
    };
    values.iter().map(tell).collect()
}

/// The unit at an axis: words are said once, in the title.
fn short(unit: &str) -> &str {
    if unit.starts_with('%') { "%" } else { unit }
}

/// What to divide by, and what to write behind.
fn prefix(size: f64, unit: &str) -> (f64, String) {
    const KIB: f64 = 1024.0;
    let steps: &[(f64, &str)] = match unit {
        "B" => &[(KIB * KIB * KIB, " GiB"), (KIB * KIB, " MiB"), (KIB * 10.0, " KiB"), (0.0, " B")],
        "µs" => &[(1e6, " s"), (1e3, " ms"), (0.0, " µs")],
        "s" => &[(7200.0, " h"), (180.0, " min"), (0.0, " s")],
        "/s" => &[(1e6, "M/s"), (1e5, "k/s"), (0.0, "/s")],
        "" => &[(1e7, "M"), (0.0, "")],
        "%" => &[(0.0, " %")],
        _ => return (1.0, format!(" {unit}")),
    };
    let (_, suffix) = steps.iter().find(|(from, _)| size >= *from).copied().unwrap_or((0.0, ""));
    let factor = match suffix {
        " GiB" => KIB * KIB * KIB,
        " MiB" => KIB * KIB,
        " KiB" => KIB,
        "M" | "M/s" => 1e6,
        "k/s" | " ms" => 1e3,
        " s" if unit == "µs" => 1e6,
        " h" => 3600.0,
        " min" => 60.0,
        _ => 1.0,
    };
    (factor, suffix.to_owned())
}

/// Four digits, less zeros at the end.
fn digits(value: f64) -> String {
    let places = match value.abs() {
        size if size >= 1000.0 => 0,
        size if size >= 100.0 => 1,
        size if size >= 1.0 => 2,
        _ => 3,
    };
    let text = grouped(value, places);
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// Places behind the point that tell steps of this size apart.
fn places(step: f64) -> usize {
    (0..4).find(|places| (step * 10_f64.powi(*places)).fract().abs() < 1e-6).map_or(2, |places| places as usize)
}

/// Thousands set apart by commas.
fn grouped(value: f64, places: usize) -> String {
    let text = format!("{:.places$}", value.abs());
    let (whole, fraction) = text.split_once('.').map_or((text.as_str(), None), |(whole, rest)| (whole, Some(rest)));
    // "-0" is nobody's figure.
    let is_zero = text.bytes().all(|byte| matches!(byte, b'0' | b'.'));
    let sign = if value < 0.0 && !is_zero { "−" } else { "" };
    let fraction = fraction.map_or(String::new(), |fraction| format!(".{fraction}"));
    format!("{sign}{}{fraction}", group(whole))
}

/// Digits with a comma before every three from the right.
fn group(digits: &str) -> String {
    let mut out = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_a_prefix_and_few_digits() {
        for (given, unit, text) in [
            (106.53, "B", "106.5 B"),
            (7790.6, "B", "7,791 B"),
            (65_536.0, "B", "64 KiB"),
            (1.5 * 1024.0 * 1024.0 * 1024.0, "B", "1.5 GiB"),
            (-2517.9, "B", "−2,518 B"),
            (8.125, "µs", "8.12 µs"),
            (12_345.0, "µs", "12.35 ms"),
            (2_500_000.0, "µs", "2.5 s"),
            (38.21, "s", "38.21 s"),
            (600.0, "s", "10 min"),
            (10_800.0, "s", "3 h"),
            (20_000.4, "/s", "20,000/s"),
            (120_000.0, "/s", "120k/s"),
            (1_000_000.0, "", "1,000,000"),
            (0.0, "", "0"),
            (0.02, "%", "0.02 %"),
            (3.0, "wakes", "3 wakes"),
            (-0.0001, "", "0"),
        ] {
            assert_eq!(value(given, unit), text);
        }
    }

    #[test]
    fn thousands_are_set_apart() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (39_872, "39,872"), (7_058_000, "7,058,000")] {
            assert_eq!(count(number), text);
        }
        assert_eq!(count(u64::MAX), "18,446,744,073,709,551,615");
    }

    #[test]
    fn an_axis_has_one_prefix() {
        let mebi = 1024.0 * 1024.0;
        for (values, unit, texts) in [
            (vec![0.0, 50_000.0, 100_000.0], "", vec!["0", "50,000", "100,000"]),
            (vec![0.0, 0.5 * mebi, mebi, 1.5 * mebi], "B", vec!["0", "0.5 MiB", "1.0 MiB", "1.5 MiB"]),
            (vec![0.0, 25.0, 50.0], "% of a core", vec!["0", "25 %", "50 %"]),
            (vec![0.0, 2.5, 5.0], "s", vec!["0", "2.5 s", "5.0 s"]),
            (vec![], "s", vec![]),
        ] {
            assert_eq!(axis(&values, unit), texts);
        }
    }
}

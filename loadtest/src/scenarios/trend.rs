//! How fast a line rises or falls: the slope of least squares.

/// Units of y for each unit of x; `None` for fewer than two places of x.
pub fn slope(points: &[(f64, f64)]) -> Option<f64> {
    let count = points.len() as f64;
    let (sum_x, sum_y) = points.iter().fold((0.0, 0.0), |(x, y), point| (x + point.0, y + point.1));
    let (mean_x, mean_y) = (sum_x / count, sum_y / count);
    let spread: f64 = points.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
    let common: f64 = points.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
    (spread > 0.0).then(|| common / spread)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_its_slope_and_noise_has_none() {
        let line: Vec<(f64, f64)> = (0..10).map(|x| (f64::from(x), 7.0 - 2.5 * f64::from(x))).collect();
        assert!((slope(&line).expect("a slope") + 2.5).abs() < 1e-9);
        let flat = [(0.0, 1.0), (1.0, 3.0), (2.0, 3.0), (3.0, 1.0)];
        assert!(slope(&flat).expect("a slope").abs() < 1e-9);
        assert_eq!(slope(&[]), None);
        assert_eq!(slope(&[(1.0, 1.0), (1.0, 2.0)]), None);
    }
}

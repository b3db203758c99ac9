//! Which plots a result has.

use crate::plot::{Axis, Line, Plot, Stretch};
use crate::result::{Latencies, RunResult, Series, XUnit};

/// All plots: lines that belong together in one, in the order in which they were told, then the percentiles.
pub fn plots(result: &RunResult) -> Vec<Plot> {
    let mut plots: Vec<(&Series, Plot)> = Vec::new();
    for series in &result.series {
        let line = Line { name: series.name.clone(), points: series.points.clone() };
        let same =
            |other: &Series| (&other.plot, &other.unit, other.x_unit) == (&series.plot, &series.unit, series.x_unit);
        match plots.iter_mut().find(|(first, _)| same(first)) {
            Some((_, plot)) => plot.lines.push(line),
            None => plots.push((series, over(series, line))),
        }
    }
    let mut plots: Vec<Plot> = plots.into_iter().map(|(_, plot)| plot).collect();
    plots.iter_mut().for_each(name_alone);
    plots.extend(percentiles(&result.latencies));
    plots
}

fn over(series: &Series, line: Line) -> Plot {
    let (title, unit) = match series.x_unit {
        XUnit::Seconds => ("time since the run began", "s"),
        XUnit::Connections => ("connections", ""),
    };
    let axis =
        |title: &str, unit: &str| Axis { title: title.to_owned(), unit: unit.to_owned(), stretch: Stretch::Linear };
    // A unit of several words does not fit at each tick.
    let what = if series.unit.contains(' ') { series.unit.as_str() } else { "" };
    Plot { title: series.plot.clone(), x: axis(title, unit), y: axis(what, &series.unit), lines: vec![line] }
}

/// A line that is alone has no legend: its name stands beside the title.
fn name_alone(plot: &mut Plot) {
    if let [line] = plot.lines.as_slice() {
        let unit = if plot.y.title.is_empty() { String::new() } else { format!(", {}", plot.y.title) };
        plot.y.title = format!("{}{unit}", line.name);
    }
}

/// The plot of percentiles; none without latencies.
fn percentiles(latencies: &[Latencies]) -> Option<Plot> {
    let lines: Vec<Line> = latencies.iter().filter_map(percentile_line).collect();
    let x = Axis { title: "share of operations".to_owned(), unit: String::new(), stretch: Stretch::Nines };
    let y = Axis { title: String::new(), unit: "µs".to_owned(), stretch: Stretch::Log };
    let mut plot = Plot { title: "Latency percentiles".to_owned(), x, y, lines };
    name_alone(&mut plot);
    (!plot.lines.is_empty()).then_some(plot)
}

fn percentile_line(latencies: &Latencies) -> Option<Line> {
    let curve = latencies.curve();
    let total: u64 = latencies.buckets.iter().map(|bucket| bucket.count).sum();
    let (_, fastest) = *curve.first()?;
    // All operations are no share with a number of nines; the slowest one is drawn at the share of those that were faster, as far as it is known.
    let last = 1.0 - 1.0 / total as f64;
    let points = std::iter::once((0.0, fastest)).chain(curve.into_iter().map(|(share, slow)| (share.min(last), slow)));
    Some(Line { name: latencies.name.clone(), points: points.collect() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::{Bucket, Draft};

    #[test]
    fn lines_of_one_plot_are_drawn_together_unless_their_units_differ() {
        let mut draft = Draft::begin("storm");
        let over = |plot: &str, name: &str, unit: &str| Series::over_seconds(plot, name, unit).with([(0.0, 1.0)]);
        draft.series(over("Memory", "rss", "B")).series(over("Connected", "agents", ""));
        draft.series(over("Memory", "slab", "B")).series(over("Memory", "share", "%"));
        draft.series(Series::over_connections("Memory", "rss", "B").with([(0.0, 1.0)]));
        let plots = plots(&draft.finish());
        let told: Vec<(&str, usize)> = plots.iter().map(|plot| (plot.title.as_str(), plot.lines.len())).collect();
        assert_eq!(told, [("Memory", 2), ("Connected", 1), ("Memory", 1), ("Memory", 1)]);
    }

    #[test]
    fn a_line_that_is_alone_is_named_beside_the_title() {
        let mut draft = Draft::begin("call");
        let over = |name: &str| Series::over_seconds("Processor", name, "% of a core").with([(0.0, 1.0)]);
        draft.series(over("server"));
        assert_eq!(plots(&draft.clone().finish())[0].y.title, "server, % of a core");
        draft.series(over("this harness"));
        assert_eq!(plots(&draft.finish())[0].y.title, "% of a core");
    }

    #[test]
    fn percentiles_end_at_the_slowest() {
        let bucket = |up_to_us, count| Bucket { up_to_us, count };
        let buckets = vec![bucket(10.0, 50), bucket(20.0, 49), bucket(90.0, 1)];
        let line = percentile_line(&Latencies { buckets, ..Latencies::default() }).expect("a line");
        assert_eq!(line.points, [(0.0, 10.0), (0.5, 10.0), (0.99, 20.0), (0.99, 90.0)]);
        assert_eq!(percentile_line(&Latencies::default()), None);
    }
}

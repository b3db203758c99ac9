//! Plots as SVG text that goes into a page: lines over two axes, with a legend.
//!
//! Owns the drawing. It is written here and not taken from a library, because a page that follows the reader's light or dark scheme needs classes
//! where the plotting crates (plotters, charming) write colours, and because none of them has an axis of percentiles. Texts are escaped by maud.

mod scale;
mod ticks;

use std::fmt::Write as _;

use maud::{Markup, html};

use self::scale::Scale;
pub use self::scale::Stretch;
use crate::human;

/// The drawing, in its own units; the page scales it.
const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 300.0;
/// Room for the labels of the axes.
const LEFT: f64 = 72.0;
const RIGHT: f64 = 30.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 44.0;

/// Colours that the page's style has; further lines begin again, dashed.
const COLOURS: usize = 6;

/// Up to so many points each is a dot with its value, too.
const DOTS_MAX: usize = 40;

/// One axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    /// What it counts, in words; empty where the title of the plot or the unit says it.
    pub title: String,
    /// Unit of the values, for the ticks.
    pub unit: String,
    /// How values become distances.
    pub stretch: Stretch,
}

/// One line.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// Its name in the legend.
    pub name: String,
    /// Its points, from left to right.
    pub points: Vec<(f64, f64)>,
}

/// A plot.
#[derive(Clone, Debug, PartialEq)]
pub struct Plot {
    /// Its title.
    pub title: String,
    /// From left to right.
    pub x: Axis,
    /// From below to above.
    pub y: Axis,
    /// At least one line with a point, or nothing is drawn.
    pub lines: Vec<Line>,
}

impl Plot {
    /// The figure: title, legend, drawing. Nothing where there is nothing to draw.
    pub fn draw(&self) -> Markup {
        let all = || self.lines.iter().flat_map(|line| line.points.iter().copied());
        let ranges = (range(all().map(|(x, _)| x)), range(all().map(|(_, y)| y)));
        let (Some(x), Some(y)) = ranges else {
            return html! {};
        };
        let x = Scale::new(self.x.stretch, &self.x.unit, x, (LEFT, WIDTH - RIGHT));
        let y = Scale::new(self.y.stretch, &self.y.unit, y, (HEIGHT - BOTTOM, TOP));
        html! {
            figure class="plot" {
                figcaption {
                    span {
                        span class="title" { (self.title) }
                        @if !self.y.title.is_empty() { span class="what" { (self.y.title) } }
                    }
                    @if self.lines.len() > 1 { (self.legend()) }
                }
                svg viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) role="img" aria-label=(self.title) {
                    (self.grid(&x, &y))
                    @for (place, line) in self.lines.iter().enumerate() {
                        (draw_line(line, place, (&x, &y), (&self.x.unit, &self.y.unit), self.lines.len() == 1))
                    }
                }
            }
        }
    }

    fn legend(&self) -> Markup {
        html! {
            span class="legend" {
                @for (place, line) in self.lines.iter().enumerate() {
                    span class="key" {
                        svg class="swatch" viewBox="0 0 18 8" aria-hidden="true" {
                            line class=(class(place)) x1="0" y1="4" x2="18" y2="4" {}
                        }
                        (line.name)
                    }
                }
            }
        }
    }

    /// Lines behind the drawing, and what the axes say.
    fn grid(&self, x: &Scale, y: &Scale) -> Markup {
        let (across, up) = (x.ticks(), y.ticks());
        let (bottom, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
        html! {
            g class="grid" {
                @for tick in &up {
                    line x1=(LEFT) x2=(right) y1=(round(y.place(tick.at))) y2=(round(y.place(tick.at))) {}
                    @if let Some(label) = &tick.label {
                        text class="y" x=(LEFT - 8.0) y=(round(y.place(tick.at) + 4.0)) { (label) }
                    }
                }
                @for tick in &across {
                    line class="tick" x1=(round(x.place(tick.at))) x2=(round(x.place(tick.at))) y1=(bottom) y2=(bottom + 5.0) {}
                    @if let Some(label) = &tick.label {
                        text class="x" x=(round(x.place(tick.at))) y=(bottom + 19.0) { (label) }
                    }
                }
                line class="axis" x1=(LEFT) x2=(right) y1=(bottom) y2=(bottom) {}
                text class="name" x=(right) y=(HEIGHT - 6.0) { (self.x.title) }
            }
        }
    }
}

/// The least and the greatest; none without numbers.
fn range(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    let finite = values.filter(|value| value.is_finite());
    finite.fold(None, |range, value| match range {
        None => Some((value, value)),
        Some((least, greatest)) => Some((value.min(least), value.max(greatest))),
    })
}

fn class(place: usize) -> String {
    let dashed = if place >= COLOURS { " dashed" } else { "" };
    format!("line c{}{dashed}", place % COLOURS)
}

fn draw_line(line: &Line, place: usize, scales: (&Scale, &Scale), units: (&str, &str), is_alone: bool) -> Markup {
    let (x, y) = scales;
    let at: Vec<(f64, f64)> = line.points.iter().map(|(a, b)| (round(x.place(*a)), round(y.place(*b)))).collect();
    let mut path = String::new();
    for (step, (x, y)) in at.iter().enumerate() {
        // Writing to a text cannot fail.
        let _ = write!(path, "{}{x} {y}", if step == 0 { "M" } else { "L" });
    }
    let colour = place % COLOURS;
    let bottom = HEIGHT - BOTTOM;
    let area = match (at.first(), at.last()) {
        (Some((first, _)), Some((last, _))) if is_alone => Some(format!("{path}L{last} {bottom}L{first} {bottom}Z")),
        _ => None,
    };
    html! {
        @if let Some(area) = area {
            path class={ "area c" (colour) } d=(area) {}
        }
        path class=(class(place)) d=(path) {}
        @if at.len() <= DOTS_MAX {
            @for ((cx, cy), (a, b)) in at.iter().zip(&line.points) {
                circle class={ "dot c" (colour) } cx=(cx) cy=(cy) r="2.4" {
                    title { (line.name) ": " (human::value(*b, units.1)) " at " (scale::name(x.stretch(), *a, units.0)) }
                }
            }
        }
    }
}

/// A tenth of a unit is finer than a pixel.
fn round(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot(lines: Vec<Line>) -> Plot {
        let axis =
            |title: &str, unit: &str| Axis { title: title.to_owned(), unit: unit.to_owned(), stretch: Stretch::Linear };
        Plot { title: "A < B".to_owned(), x: axis("seconds", "s"), y: axis("", "B"), lines }
    }

    fn line(points: &[(f64, f64)]) -> Line {
        Line { name: "rss & more".to_owned(), points: points.to_vec() }
    }

    #[test]
    fn points_lie_within_the_frame_and_texts_are_escaped() {
        let drawn = plot(vec![line(&[(0.0, 0.0), (10.0, 1000.0)]), line(&[(5.0, 500.0)])]).draw().into_string();
        assert!(drawn.contains("A &lt; B") && drawn.contains("rss &amp; more") && !drawn.contains("A < B"));
        assert!(drawn.contains(&format!("M{LEFT} {}L", HEIGHT - BOTTOM)), "{drawn}");
        assert_eq!(drawn.matches("<svg").count(), drawn.matches("</svg>").count());
        assert_eq!(drawn.matches(r#"class="dot"#).count(), 3);
        assert_eq!(drawn.matches(r#"class="swatch""#).count(), 2);
        assert!(!drawn.contains("NaN") && !drawn.contains("inf"));
    }

    #[test]
    fn odd_data_is_drawn_or_left_out_but_never_broken() {
        for lines in [vec![], vec![line(&[])], vec![line(&[(f64::NAN, 1.0)])]] {
            assert_eq!(plot(lines).draw().into_string(), "");
        }
        for points in
            [vec![(0.0, 0.0)], vec![(3.0, 5.0)], vec![(0.0, -5.0), (1.0, -2.0)], vec![(0.0, 1e18), (1.0, 0.0)]]
        {
            let drawn = plot(vec![line(&points)]).draw().into_string();
            assert!(drawn.contains("<path") && !drawn.contains("NaN") && !drawn.contains("inf"), "{points:?}: {drawn}");
        }
    }

    #[test]
    fn more_lines_than_colours_are_dashed() {
        let drawn = plot(vec![line(&[(0.0, 1.0), (1.0, 2.0)]); 8]).draw().into_string();
        assert!(drawn.contains("line c5\"") && drawn.contains("line c1 dashed\"") && !drawn.contains("c6"));
    }
}

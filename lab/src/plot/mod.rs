//! Plots as SVG, without a crate: lines with the spread of seeds, and grouped bars.

mod axis;
mod svg;

use serde::Serialize;

pub use axis::Axis;

/// A picture of numbers.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Plot {
    /// Lines over a number.
    Lines(Lines),
    /// Bars over names.
    Bars(Bars),
}

/// Lines over a number.
#[derive(Clone, Debug, Serialize)]
pub struct Lines {
    /// What it shows.
    pub title: String,
    /// The horizontal axis.
    pub x: Axis,
    /// The vertical axis.
    pub y: Axis,
    /// The lines.
    pub series: Vec<Series>,
}

/// One line.
#[derive(Clone, Debug, Serialize)]
pub struct Series {
    /// Its name in the legend.
    pub name: String,
    /// From left to right.
    pub points: Vec<Point>,
}

/// One point of a line, with the least and the largest value among seeds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Point {
    /// Where.
    pub x: f64,
    /// The mean.
    pub y: f64,
    /// The least.
    pub low: f64,
    /// The largest.
    pub high: f64,
}

impl Series {
    /// A line without spread.
    pub fn new(name: impl Into<String>, points: impl IntoIterator<Item = (f64, f64)>) -> Self {
        let points = points.into_iter().map(|(x, y)| Point { x, y, low: y, high: y }).collect();
        Self { name: name.into(), points }
    }

    /// A line through the means of `values[i]`, one number per seed at `xs[i]`.
    pub fn of_seeds(name: impl Into<String>, xs: &[f64], values: &[Vec<f64>]) -> Self {
        let point = |(&x, values): (&f64, &Vec<f64>)| {
            let (low, high) = bounds(values.iter().copied());
            Point { x, y: crate::report::mean(values), low, high }
        };
        Self { name: name.into(), points: xs.iter().zip(values).map(point).collect() }
    }
}

/// Groups of bars.
#[derive(Clone, Debug, Serialize)]
pub struct Bars {
    /// What it shows.
    pub title: String,
    /// The vertical axis, from 0.
    pub y: Axis,
    /// Names under the groups.
    pub groups: Vec<String>,
    /// For each colour its name and a value per group.
    pub series: Vec<(String, Vec<f64>)>,
}

impl Plot {
    /// What it shows.
    pub fn title(&self) -> &str {
        match self {
            Plot::Lines(lines) => &lines.title,
            Plot::Bars(bars) => &bars.title,
        }
    }

    /// A complete SVG file.
    pub fn to_svg(&self) -> String {
        match self {
            Plot::Lines(lines) => svg::lines(lines),
            Plot::Bars(bars) => svg::bars(bars),
        }
    }
}

/// One SVG file with all pictures, one under the other.
pub fn stacked(plots: &[Plot]) -> String {
    svg::stacked(&plots.iter().map(Plot::to_svg).collect::<Vec<_>>())
}

/// The least and the largest finite number.
fn bounds(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let start = (f64::INFINITY, f64::NEG_INFINITY);
    values.filter(|v| v.is_finite()).fold(start, |(low, high), v| (low.min(v), high.max(v)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_seeds_has_their_mean_and_spread() {
        let series = Series::of_seeds("a", &[1.0, 2.0], &[vec![1.0, 3.0], vec![4.0]]);
        assert_eq!(series.points[0], Point { x: 1.0, y: 2.0, low: 1.0, high: 3.0 });
        assert_eq!(series.points[1], Point { x: 2.0, y: 4.0, low: 4.0, high: 4.0 });
    }

    #[test]
    fn every_series_has_a_line_a_name_and_a_colour() {
        let series =
            vec![Series::new("plain < log", [(1.0, 1.0), (2.0, 8.0)]), Series::new("b", [(1.0, 2.0)])];
        let (x, y) = (Axis::log("tokens"), Axis::linear("loss"));
        let svg = Plot::Lines(Lines { title: "t & u".into(), x, y, series }).to_svg();
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
        assert_eq!(svg.matches("<polyline").count(), 2);
        assert!(svg.contains("plain &lt; log") && svg.contains("t &amp; u"), "names are escaped");
        let series = vec![("a".to_owned(), vec![1.0, 2.0]), ("b".to_owned(), vec![0.5, f64::NAN])];
        let groups = vec!["x".to_owned(), "y".to_owned()];
        let y = Axis::linear("score");
        let svg = Plot::Bars(Bars { title: "t".into(), y, groups, series }).to_svg();
        assert_eq!(svg.matches("class=\"bar\"").count(), 3, "a missing value has no bar");
    }

    #[test]
    fn stacked_pictures_stand_under_each_other_in_one_file() {
        let plot = || {
            let (x, y) = (Axis::linear("x"), Axis::linear("y"));
            Plot::Lines(Lines {
                title: "t".into(),
                x,
                y,
                series: vec![Series::new("a", [(1.0, 1.0), (2.0, 2.0)])],
            })
        };
        let svg = stacked(&[plot(), plot()]);
        assert_eq!((svg.matches("<svg ").count(), svg.matches("</svg>").count()), (3, 3));
        assert!(svg.contains("<svg y=\"430\" ") && svg.contains("height=\"860\""), "{svg}");
    }

    #[test]
    fn numbers_that_are_none_leave_a_gap_and_break_nothing() {
        let series = vec![Series::new("a", [(1.0, f64::NAN), (2.0, 1.0)]), Series::new("b", [])];
        let (x, y) = (Axis::linear("x"), Axis::log("y"));
        let svg = Plot::Lines(Lines { title: String::new(), x, y, series }).to_svg();
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }
}

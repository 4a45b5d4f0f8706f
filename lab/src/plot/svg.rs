//! The drawing: a frame with ticks, marks inside, a legend at the right.

use std::fmt::Write as _;

use super::axis::{Range, tick_text};
use super::{Axis, Bars, Lines};

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 430.0;
const LEFT: f64 = 68.0;
const RIGHT: f64 = 190.0;
const TOP: f64 = 42.0;
const BOTTOM: f64 = 52.0;

/// Colours that people with any vision tell apart (Okabe, Ito, 2008), then again with dashes.
const COLOURS: [&str; 7] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#444444"];

fn colour(i: usize) -> &'static str {
    COLOURS[i % COLOURS.len()]
}

fn dash(i: usize) -> &'static str {
    if (i / COLOURS.len()).is_multiple_of(2) { "" } else { " stroke-dasharray=\"6 3\"" }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn across(place: f64) -> f64 {
    LEFT + place * (WIDTH - LEFT - RIGHT)
}

fn up(place: f64) -> f64 {
    HEIGHT - BOTTOM - place * (HEIGHT - TOP - BOTTOM)
}

fn label(svg: &mut String, x: f64, y: f64, style: &str, text: &str) {
    let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" {style}>{}</text>", escaped(text));
}

/// Title, vertical axis and frame; the caller draws inside and closes the file.
fn frame(title: &str, y: &Axis, range: &Range) -> String {
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" \
         height=\"{HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\" fill=\"#222222\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#ffffff\"/>\n"
    );
    label(&mut svg, LEFT, 24.0, "font-size=\"15\"", title);
    for &tick in &range.ticks {
        let Some(at) = range.place(tick).map(up) else { continue };
        let (left, right) = (across(0.0), across(1.0));
        let _ = writeln!(svg, "<path d=\"M{left:.1} {at:.1}H{right:.1}\" stroke=\"#dddddd\"/>");
        label(&mut svg, LEFT - 8.0, at + 4.0, "text-anchor=\"end\"", &tick_text(tick));
    }
    let middle = up(0.5);
    let turned = format!("text-anchor=\"middle\" transform=\"rotate(-90 18 {middle:.1})\"");
    label(&mut svg, 18.0, middle, &turned, &y.label);
    let (left, right, bottom) = (across(0.0), across(1.0), up(0.0));
    let _ = writeln!(svg, "<path d=\"M{left:.1} {bottom:.1}H{right:.1}\" stroke=\"#444444\"/>");
    svg
}

fn legend(svg: &mut String, names: impl Iterator<Item = String>) {
    for (i, name) in names.enumerate() {
        let (x, y) = (WIDTH - RIGHT + 14.0, TOP + 8.0 + 18.0 * i as f64);
        let (colour, dash) = (colour(i), dash(i));
        let _ = writeln!(svg, "<path d=\"M{x} {y}h18\" stroke=\"{colour}\" stroke-width=\"3\"{dash}/>");
        label(svg, x + 24.0, y + 4.0, "", &name);
    }
}

/// Complete files inside one, one under the other.
pub(super) fn stacked(files: &[String]) -> String {
    let height = HEIGHT * files.len() as f64;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
         height=\"{height}\">\n"
    );
    for (i, file) in files.iter().enumerate() {
        svg += &file.replacen("<svg ", &format!("<svg y=\"{}\" ", HEIGHT * i as f64), 1);
    }
    svg + "</svg>\n"
}

pub(super) fn lines(plot: &Lines) -> String {
    let points = || plot.series.iter().flat_map(|s| &s.points);
    let heights: Vec<f64> = points().flat_map(|p| [p.y, p.low, p.high]).collect();
    let (x, y) = (
        Range::of(&plot.x, &points().map(|p| p.x).collect::<Vec<_>>(), true),
        Range::of(&plot.y, &heights, false),
    );
    let mut svg = frame(&plot.title, &plot.y, &y);
    for &tick in &x.ticks {
        let Some(at) = x.place(tick).map(across) else { continue };
        label(&mut svg, at, up(0.0) + 18.0, "text-anchor=\"middle\"", &tick_text(tick));
    }
    label(&mut svg, across(0.5), HEIGHT - 12.0, "text-anchor=\"middle\"", &plot.x.label);
    for (i, series) in plot.series.iter().enumerate() {
        let at = |px: f64, py: f64| Some(format!("{:.1},{:.1}", across(x.place(px)?), up(y.place(py)?)));
        let shown: Vec<_> = series.points.iter().filter(|p| at(p.x, p.y).is_some()).collect();
        let path = |f: &dyn Fn(&super::Point) -> f64| -> Vec<String> {
            shown.iter().filter_map(|p| at(p.x, f(p))).collect()
        };
        let (low, mut high) = (path(&|p| p.low), path(&|p| p.high));
        if shown.iter().any(|p| p.low < p.high) {
            high.reverse();
            let outline = [low, high].concat().join(" ");
            let _ = writeln!(svg, "<polygon points=\"{outline}\" fill=\"{}\" opacity=\"0.13\"/>", colour(i));
        }
        let line = path(&|p| p.y);
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"2\"{}/>",
            line.join(" "),
            colour(i),
            dash(i)
        );
        for point in line.iter().filter(|_| line.len() <= 16) {
            let (px, py) = point.split_once(',').unwrap_or_default();
            let _ = writeln!(svg, "<circle cx=\"{px}\" cy=\"{py}\" r=\"3\" fill=\"{}\"/>", colour(i));
        }
    }
    legend(&mut svg, plot.series.iter().map(|s| s.name.clone()));
    svg + "</svg>\n"
}

pub(super) fn bars(plot: &Bars) -> String {
    let values = plot.series.iter().flat_map(|(_, v)| v.iter().copied());
    let range =
        Range::of(&Axis { log: false, ..plot.y.clone() }, &values.chain([0.0]).collect::<Vec<_>>(), false);
    let mut svg = frame(&plot.title, &plot.y, &range);
    let group = 1.0 / plot.groups.len().max(1) as f64;
    let width = 0.8 * group / plot.series.len().max(1) as f64;
    for (g, name) in plot.groups.iter().enumerate() {
        let left = (g as f64 + 0.1) * group;
        label(&mut svg, across((g as f64 + 0.5) * group), up(0.0) + 18.0, "text-anchor=\"middle\"", name);
        for (i, (_, values)) in plot.series.iter().enumerate() {
            let Some((top, foot)) = values.get(g).and_then(|v| range.place(*v)).zip(range.place(0.0)) else {
                continue;
            };
            let (x, w) = (across(left + i as f64 * width), across(width) - across(0.0));
            let (y, h) = (up(top.max(foot)), (up(top) - up(foot)).abs());
            let _ = writeln!(
                svg,
                "<rect class=\"bar\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{w:.1}\" height=\"{h:.1}\" fill=\"{}\"/>",
                colour(i)
            );
        }
    }
    legend(&mut svg, plot.series.iter().map(|(name, _)| name.clone()));
    svg + "</svg>\n"
}

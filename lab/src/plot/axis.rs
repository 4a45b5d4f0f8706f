//! Axes: the range of the data, round ticks, and where a number lies between the ends.

use serde::Serialize;

use super::bounds;

/// What an axis means and how it runs.
#[derive(Clone, Debug, Serialize)]
pub struct Axis {
    /// Its label.
    pub label: String,
    /// Whether equal steps are equal factors.
    pub log: bool,
}

impl Axis {
    /// Equal steps are equal differences.
    pub fn linear(label: impl Into<String>) -> Self {
        Self { label: label.into(), log: false }
    }

    /// Equal steps are equal factors.
    pub fn log(label: impl Into<String>) -> Self {
        Self { label: label.into(), log: true }
    }
}

/// An axis with its ends and ticks.
pub(super) struct Range {
    log: bool,
    low: f64,
    high: f64,
    pub(super) ticks: Vec<f64>,
}

impl Range {
    /// The range of `values`, with some air; `snap` puts the ends on the values themselves.
    pub(super) fn of(axis: &Axis, values: &[f64], snap: bool) -> Self {
        let shown = |v: &f64| v.is_finite() && (!axis.log || *v > 0.0);
        let (mut low, mut high) = bounds(values.iter().copied().filter(shown));
        if low > high {
            (low, high) = if axis.log { (1.0, 10.0) } else { (0.0, 1.0) };
        }
        let ticks = if axis.log { log_ticks(low, high, values) } else { linear_ticks(low, high) };
        if low == high {
            (low, high) = if axis.log { (low / 2.0, high * 2.0) } else { (low - 0.5, high + 0.5) };
        }
        if !snap {
            let air = if axis.log { (high / low).ln() } else { high - low } * 0.04;
            (low, high) =
                if axis.log { (low / air.exp(), high * air.exp()) } else { (low - air, high + air) };
        }
        let inside = |t: &f64| *t >= low - 1e-12 * low.abs() && *t <= high + 1e-12 * high.abs();
        let ticks = ticks.into_iter().filter(inside).collect();
        Self { log: axis.log, low, high, ticks }
    }

    /// Where `value` lies: 0 at the low end, 1 at the high end; none where it cannot be shown.
    pub(super) fn place(&self, value: f64) -> Option<f64> {
        if !value.is_finite() || (self.log && value <= 0.0) {
            return None;
        }
        let f = |v: f64| if self.log { v.ln() } else { v };
        Some((f(value) - f(self.low)) / (f(self.high) - f(self.low)))
    }
}

/// About five round numbers.
fn linear_ticks(low: f64, high: f64) -> Vec<f64> {
    let rough = ((high - low) / 5.0).max(1e-12);
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|m| m * power).into_iter().find(|s| *s >= rough).unwrap_or(power);
    let (first, last) = ((low / step).floor() as i64, (high / step).ceil() as i64);
    (first..=last).map(|i| i as f64 * step).collect()
}

/// The values themselves where they are few, otherwise powers of ten, or 1, 2, 5 of each.
fn log_ticks(low: f64, high: f64, values: &[f64]) -> Vec<f64> {
    let mut few = values.to_vec();
    few.sort_by(f64::total_cmp);
    few.dedup();
    if few.len() <= 8 {
        return few;
    }
    let (first, last) = (low.log10().floor() as i32, high.log10().ceil() as i32);
    let steps: &[f64] = if last - first <= 3 { &[1.0, 2.0, 5.0] } else { &[1.0] };
    (first..=last).flat_map(|p| steps.iter().map(move |s| s * 10f64.powi(p))).collect()
}

/// A short text of a tick.
pub(super) fn tick_text(value: f64) -> String {
    let size = value.abs();
    if size != 0.0 && !(1e-4..1e6).contains(&size) {
        return format!("{value:.0e}");
    }
    let text = format!("{value:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round() {
        assert_eq!(linear_ticks(0.0, 1.0).len(), 6);
        assert_eq!(linear_ticks(3.0, 17.0), [0.0, 5.0, 10.0, 15.0, 20.0]);
        assert_eq!(log_ticks(64.0, 512.0, &[512.0, 64.0, 128.0, 64.0]), [64.0, 128.0, 512.0]);
        let many: Vec<f64> = (1..=20).map(f64::from).collect();
        assert_eq!(log_ticks(1.0, 20.0, &many)[..4], [1.0, 2.0, 5.0, 10.0]);
        assert_eq!(
            (tick_text(0.25), tick_text(1024.0), tick_text(0.0)),
            ("0.25".into(), "1024".into(), "0".into())
        );
    }

    #[test]
    fn the_ends_are_0_and_1() {
        let range = Range::of(&Axis::log("n"), &[64.0, 1024.0], true);
        assert_eq!(
            (range.place(64.0), range.place(256.0), range.place(1024.0)),
            (Some(0.0), Some(0.5), Some(1.0))
        );
        assert_eq!(range.place(0.0), None);
        let flat = Range::of(&Axis::linear("y"), &[2.0], false);
        assert_eq!(flat.place(2.0), Some(0.5));
    }
}

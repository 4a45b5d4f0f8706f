//! Where time goes: seconds, calls and multiply-adds of every operation, while a profile is on.
//!
//! Definition:  the time of an operation is wall time of its calls less that of operations inside
//! Cost:        one relaxed load per operation while off

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

static ON: AtomicBool = AtomicBool::new(false);
static ROWS: Mutex<Option<HashMap<Key, Row>>> = Mutex::new(None);

thread_local! {
    /// Time of finished scopes inside the one that is open.
    static INSIDE: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    /// Which way this thread is going.
    static PASS: Cell<Pass> = const { Cell::new(Pass::Forward) };
}

type Key = (&'static str, Pass);

/// Which way an operation ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Pass {
    /// From inputs to the result, or outside the tape.
    Forward,
    /// From the result's gradient to those of the inputs.
    Backward,
}

/// One operation of a profile.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Row {
    /// Name of the operation.
    pub name: &'static str,
    /// Its direction.
    pub pass: Pass,
    /// Number of calls.
    pub calls: u64,
    /// Wall time in seconds, without operations inside.
    pub seconds: f64,
    /// Floating-point operations of its matrix products, 0 where none were counted.
    pub flops: f64,
}

/// Starts an empty profile of the whole process.
pub fn start() {
    *ROWS.lock().unwrap_or_else(|e| e.into_inner()) = Some(HashMap::new());
    ON.store(true, Ordering::Relaxed);
}

/// Ends the profile: its rows, the longest first. Empty when none was started.
pub fn stop() -> Vec<Row> {
    ON.store(false, Ordering::Relaxed);
    let rows = ROWS.lock().unwrap_or_else(|e| e.into_inner()).take().unwrap_or_default();
    let mut rows: Vec<Row> = rows.into_values().collect();
    rows.sort_by(|a, b| b.seconds.total_cmp(&a.seconds).then(a.name.cmp(b.name)));
    rows
}

/// An operation that runs until the scope is dropped.
#[must_use = "the operation ends when the scope is dropped"]
pub struct Scope(Option<Open>);

struct Open {
    key: Key,
    outer: Pass,
    start: Instant,
    before: Duration,
    flops: f64,
}

/// Opens a scope in the direction of the scope around it; does nothing while no profile is on.
pub fn scope(name: &'static str) -> Scope {
    if !ON.load(Ordering::Relaxed) {
        return Scope(None);
    }
    let before = INSIDE.replace(Duration::ZERO);
    let pass = PASS.get();
    Scope(Some(Open { key: (name, pass), outer: pass, start: Instant::now(), before, flops: 0.0 }))
}

/// Opens the scope of a backward rule: what runs inside counts as backward.
pub(crate) fn backward(name: &'static str) -> Scope {
    let mut scope = scope(name);
    if let Some(open) = &mut scope.0 {
        open.key.1 = Pass::Backward;
        PASS.set(Pass::Backward);
    }
    scope
}

impl Scope {
    /// Adds the floating-point operations of an `[m, k] x [k, n]` product.
    pub fn product(mut self, m: usize, n: usize, k: usize) -> Self {
        if let Some(open) = &mut self.0 {
            open.flops += 2.0 * m as f64 * n as f64 * k as f64;
        }
        self
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        let Some(Open { key, outer, start, before, flops }) = self.0.take() else { return };
        PASS.set(outer);
        let all = start.elapsed();
        let own = all.saturating_sub(INSIDE.replace(before + all));
        if let Some(rows) = &mut *ROWS.lock().unwrap_or_else(|e| e.into_inner()) {
            let (name, pass) = key;
            let row = rows.entry(key).or_insert(Row { name, pass, calls: 0, seconds: 0.0, flops: 0.0 });
            row.calls += 1;
            row.seconds += own.as_secs_f64();
            row.flops += flops;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The only test that switches the profile on: it belongs to the process.
    #[test]
    fn time_inside_another_operation_counts_once() {
        start();
        {
            let _outer = scope("test outer").product(2, 3, 4);
            std::thread::sleep(Duration::from_millis(4));
            let _inner = backward("test inner");
            std::thread::sleep(Duration::from_millis(8));
        }
        let rows = stop();
        let row = |name| *rows.iter().find(|r| r.name == name).unwrap();
        let (outer, inner) = (row("test outer"), row("test inner"));
        assert!(outer.seconds >= 0.004 && inner.seconds >= 0.008, "{outer:?} {inner:?}");
        assert!(outer.calls == 1 && inner.pass == Pass::Backward && outer.flops == 48.0);
        let _off = scope("test off");
        assert!(stop().is_empty());
    }
}

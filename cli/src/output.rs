//! Tables for people, JSON Lines for pipes.

use std::io::{ErrorKind, IsTerminal, StdoutLock, Write, stderr, stdout};

use anyhow::Result;
use bert4rs_tasks::ner::{Answer, Evaluation};
use bert4rs_tensor::profile::{Pass, Row};
use serde::Serialize;
use serde_json::Value;

use crate::input::Text;

/// A line on standard error. That its reader has gone is no reason to lose a run.
pub fn say(line: &str) {
    let _ = writeln!(stderr(), "{line}");
}

/// Whether an error only says that the reader of our output has gone, as `| head` does.
pub fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let kind = |e: &(dyn std::error::Error + 'static)| {
        let io = e.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        io.or_else(|| e.downcast_ref::<serde_json::Error>().and_then(serde_json::Error::io_error_kind))
    };
    error.chain().any(|e| kind(e) == Some(ErrorKind::BrokenPipe))
}

/// A line of data.
pub fn line(line: &str) -> Result<()> {
    Ok(writeln!(stdout().lock(), "{line}")?)
}

/// Operations, the longest first; time is summed over threads.
pub fn profile_table(rows: &[Row]) -> String {
    let total: f64 = rows.iter().map(|row| row.seconds).sum();
    let mut table =
        format!("{:<24} {:<8} {:>8} {:>10} {:>7} {:>9}\n", "operation", "pass", "calls", "ms", "%", "Gop/s");
    for row in rows {
        let rate =
            if row.flops > 0.0 { format!("{:.1}", row.flops / row.seconds / 1e9) } else { String::new() };
        table += &format!(
            "{:<24} {:<8} {:>8} {:>10.2} {:>7.1} {rate:>9}\n",
            row.name,
            pass(row),
            row.calls,
            1e3 * row.seconds,
            100.0 * row.seconds / total.max(1e-12)
        );
    }
    table
}

/// As [`profile_table`], for programs.
pub fn profile_rows(rows: &[Row]) -> Vec<Value> {
    let one = |row: &Row| {
        serde_json::json!({
            "name": row.name, "pass": pass(row), "calls": row.calls, "seconds": row.seconds,
            "operations": row.flops,
        })
    };
    rows.iter().map(one).collect()
}

fn pass(row: &Row) -> &'static str {
    match row.pass {
        Pass::Forward => "forward",
        Pass::Backward => "backward",
    }
}

/// Writes answers as they come: a table on a terminal, JSON Lines elsewhere or on request.
pub struct Entities {
    out: std::io::BufWriter<StdoutLock<'static>>,
    table: bool,
    first: bool,
}

#[derive(Serialize)]
struct Line<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: &'a Option<Value>,
    text: &'a str,
    #[serde(flatten)]
    answer: &'a Answer,
}

impl Entities {
    pub fn new(json: bool) -> Self {
        let table = !json && stdout().is_terminal();
        Self { out: std::io::BufWriter::new(stdout().lock()), table, first: true }
    }

    pub fn write(&mut self, Text { id, text, .. }: &Text, answer: &Answer) -> Result<()> {
        if !self.table {
            serde_json::to_writer(&mut self.out, &Line { id, text, answer })?;
            writeln!(self.out)?;
            return Ok(());
        }
        if !self.first {
            writeln!(self.out)?;
        }
        self.first = false;
        writeln!(self.out, "{text}")?;
        if answer.entities.is_empty() {
            writeln!(self.out, "  (no entities)")?;
        }
        for e in &answer.entities {
            let score = e.score.map(|s| format!("  {s:.2}")).unwrap_or_default();
            writeln!(self.out, "  {:>5}..{:<5} {:<14} {}{score}", e.start, e.end, e.label, e.text)?;
        }
        if answer.truncated {
            writeln!(
                self.out,
                "  (only the first {} tokens were read; --overflow window reads all)",
                answer.tokens
            )?;
        }
        Ok(())
    }

    pub fn flush(&mut self) -> Result<()> {
        Ok(self.out.flush()?)
    }
}

/// Writes scores: total first, then each label.
pub fn evaluation(evaluation: &Evaluation, json: bool) -> Result<()> {
    let mut out = stdout().lock();
    if json {
        writeln!(out, "{}", evaluation.to_json())?;
        return Ok(());
    }
    let columns = ["precision", "recall", "F1", "gold", "found", "right"];
    write!(out, "{:<16}", "")?;
    columns.iter().try_for_each(|c| write!(out, " {c:>9}"))?;
    writeln!(out)?;
    let scores = &evaluation.scores;
    let total = std::iter::once(("all", &scores.total));
    for (label, s) in total.chain(scores.types.iter().map(|(l, s)| (l.as_str(), s))) {
        let [p, r, f] = [s.precision(), s.recall(), s.f1()].map(|x| 100.0 * x);
        writeln!(
            out,
            "{label:<16} {p:>9.2} {r:>9.2} {f:>9.2} {:>9} {:>9} {:>9}",
            s.gold, s.predicted, s.correct
        )?;
    }
    let rate = evaluation.texts as f64 / evaluation.seconds.max(1e-9);
    writeln!(out, "{} texts in {:.1} s ({rate:.0} texts/s)", evaluation.texts, evaluation.seconds)?;
    if evaluation.truncated > 0 {
        writeln!(out, "{} texts were too long and only their beginning was read", evaluation.truncated)?;
    }
    Ok(())
}

/// Writes what is known about something, one fact per line.
pub fn facts(facts: &[(&str, Value)], json: bool) -> Result<()> {
    let mut out = stdout().lock();
    if json {
        let object: serde_json::Map<String, Value> =
            facts.iter().map(|(name, value)| (name.to_string(), value.clone())).collect();
        writeln!(out, "{}", Value::Object(object))?;
        return Ok(());
    }
    for (name, value) in facts {
        let value = match value {
            Value::String(text) => text.clone(),
            Value::Array(items) => items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", "),
            other => other.to_string(),
        };
        writeln!(out, "{name:<12} {value}")?;
    }
    Ok(())
}

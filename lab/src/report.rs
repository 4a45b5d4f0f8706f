//! What an experiment found: tables, plots and notes, as Markdown, JSON and SVG in one folder.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::plot::Plot;
use crate::{Experiment, Setup, Verdict};

/// Collects what an experiment finds.
pub struct Report {
    notes: Vec<String>,
    tables: Vec<Table>,
    plots: Vec<(String, Plot)>,
    progress: Box<dyn FnMut(&str)>,
}

impl Report {
    /// An empty report; `progress` is told what is being done.
    pub fn new(progress: impl FnMut(&str) + 'static) -> Self {
        Self { notes: Vec::new(), tables: Vec::new(), plots: Vec::new(), progress: Box::new(progress) }
    }

    /// Says what is being done, to whoever waits.
    pub fn progress(&mut self, what: &str) {
        (self.progress)(what);
    }

    /// Adds a sentence that readers need to judge the numbers.
    pub fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    /// Adds a table.
    pub fn table(&mut self, table: Table) {
        self.tables.push(table);
    }

    /// Adds a plot, written as `name.svg`.
    pub fn plot(&mut self, name: &str, plot: Plot) {
        self.plots.push((name.to_owned(), plot));
    }

    /// The tables so far.
    pub fn tables(&self) -> &[Table] {
        &self.tables
    }

    /// The plots so far, with the names of their files.
    pub fn plots(&self) -> &[(String, Plot)] {
        &self.plots
    }
}

/// Rows under named columns.
#[derive(Clone, Debug)]
pub struct Table {
    /// What it shows.
    pub title: String,
    /// The heads of the columns.
    pub columns: Vec<String>,
    /// As many cells in each as there are columns.
    pub rows: Vec<Vec<Cell>>,
}

impl Table {
    /// A table without rows.
    pub fn new(title: impl Into<String>, columns: impl IntoIterator<Item = impl ToString>) -> Self {
        let columns = columns.into_iter().map(|c| c.to_string()).collect();
        Self { title: title.into(), columns, rows: Vec::new() }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// As Markdown.
    pub fn to_markdown(&self) -> String {
        let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
        let mut text = line(self.columns.clone());
        text += &line(vec!["---".to_owned(); self.columns.len()]);
        for row in &self.rows {
            text += &line(row.iter().map(Cell::to_string).collect());
        }
        text
    }

    fn to_json(&self) -> Value {
        let cells = |row: &Vec<Cell>| row.iter().map(Cell::to_json).collect::<Vec<_>>();
        let rows: Vec<_> = self.rows.iter().map(cells).collect();
        json!({ "title": self.title, "columns": self.columns, "rows": rows })
    }
}

/// One entry of a table.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// Words.
    Text(String),
    /// A number shown with so many decimals.
    Number(f64, usize),
    /// One number per seed, shown as mean and standard deviation.
    Seeds(Vec<f64>, usize),
}

impl Cell {
    /// Words.
    pub fn text(text: impl Into<String>) -> Self {
        Cell::Text(text.into())
    }

    fn to_json(&self) -> Value {
        match self {
            Cell::Text(text) => json!(text),
            Cell::Number(x, _) => json!(x),
            Cell::Seeds(xs, _) => json!({ "mean": mean(xs), "deviation": deviation(xs), "seeds": xs }),
        }
    }
}

impl std::fmt::Display for Cell {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        match self {
            Cell::Text(text) => f.write_str(text),
            Cell::Number(x, digits) => write!(f, "{x:.digits$}"),
            Cell::Seeds(xs, digits) if xs.len() > 1 => {
                write!(f, "{:.digits$} ± {:.digits$}", mean(xs), deviation(xs))
            }
            Cell::Seeds(xs, digits) => write!(f, "{:.digits$}", mean(xs)),
        }
    }
}

/// The mean; not a number for no numbers.
pub fn mean(xs: &[f64]) -> f64 {
    xs.iter().sum::<f64>() / xs.len() as f64
}

/// The standard deviation of a sample; 0 for one number.
pub fn deviation(xs: &[f64]) -> f64 {
    let center = mean(xs);
    let squares: f64 = xs.iter().map(|x| (x - center).powi(2)).sum();
    (squares / (xs.len() as f64 - 1.0).max(1.0)).sqrt()
}

/// A report with its verdict, ready to be written.
pub struct Finished {
    name: &'static str,
    article: u32,
    claim: &'static str,
    setup: Setup,
    seconds: f64,
    verdict: Verdict,
    report: Report,
}

impl Experiment {
    /// Runs it to the end.
    pub fn finish(&self, setup: &Setup, mut report: Report) -> Result<Finished> {
        let start = std::time::Instant::now();
        let verdict = (self.run)(setup, &mut report).with_context(|| format!("experiment {}", self.name))?;
        let (name, article, claim, setup) = (self.name, self.article, self.claim, *setup);
        Ok(Finished { name, article, claim, setup, seconds: start.elapsed().as_secs_f64(), verdict, report })
    }
}

impl Finished {
    /// The verdict.
    pub fn verdict(&self) -> &Verdict {
        &self.verdict
    }

    /// What was found.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// The report as Markdown, with plots beside it.
    pub fn to_markdown(&self) -> String {
        let mut text = format!("# {}\n\n**Claim** (article {}): {}\n\n", self.name, self.article, self.claim);
        let _ = writeln!(text, "**Verdict**: {}\n", self.verdict.outcome);
        for check in &self.verdict.checks {
            let _ = writeln!(text, "- {}: {}", if check.holds { "yes" } else { "no" }, check.what);
        }
        for table in &self.report.tables {
            let _ = write!(text, "\n## {}\n\n{}", table.title, table.to_markdown());
        }
        for (name, plot) in &self.report.plots {
            let _ = write!(text, "\n![{}]({name}.svg)\n", plot.title());
        }
        text.push('\n');
        for note in &self.report.notes {
            let _ = writeln!(text, "- {note}");
        }
        let smoke = if self.setup.smoke { "; a smoke run, whose verdict means nothing" } else { "" };
        let (seeds, version) = (self.setup.seeds, env!("CARGO_PKG_VERSION"));
        let seconds = self.seconds;
        let _ = writeln!(
            text,
            "- `bert4rs lab run {} --seeds {seeds}`, version {version}, {seconds:.0} s{smoke}.",
            self.name
        );
        text
    }

    /// Everything as JSON.
    pub fn to_json(&self) -> Value {
        let tables: Vec<_> = self.report.tables.iter().map(Table::to_json).collect();
        let plots: Vec<_> =
            self.report.plots.iter().map(|(name, plot)| json!({ "name": name, "plot": plot })).collect();
        json!({
            "experiment": self.name, "article": self.article, "claim": self.claim,
            "outcome": self.verdict.outcome, "checks": self.verdict.checks,
            "tables": tables, "plots": plots, "notes": self.report.notes,
            "seeds": self.setup.seeds, "smoke": self.setup.smoke, "seconds": self.seconds,
            "version": env!("CARGO_PKG_VERSION"),
        })
    }

    /// Writes `report.md`, `report.json` and the plots into a folder, which is made; gives the files.
    pub fn write(&self, folder: &Path) -> Result<Vec<PathBuf>> {
        std::fs::create_dir_all(folder).with_context(|| format!("{}: not made", folder.display()))?;
        let mut files = Vec::new();
        let mut write = |name: String, content: &str| {
            let path = folder.join(name);
            std::fs::write(&path, content).with_context(|| format!("{}: not written", path.display()))?;
            files.push(path);
            anyhow::Ok(())
        };
        write("report.md".to_owned(), &self.to_markdown())?;
        write("report.json".to_owned(), &format!("{:#}\n", self.to_json()))?;
        for (name, plot) in &self.report.plots {
            write(format!("{name}.svg"), &plot.to_svg())?;
        }
        Ok(files)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_show_seeds_as_mean_and_deviation() {
        assert_eq!(Cell::Seeds(vec![1.0, 2.0, 3.0], 2).to_string(), "2.00 ± 1.00");
        assert_eq!(Cell::Seeds(vec![1.5], 1).to_string(), "1.5");
        assert_eq!(Cell::Number(0.125, 2).to_string(), "0.12");
        let mut table = Table::new("a", ["n", "x"]);
        table.row([Cell::text("one"), Cell::Number(1.0, 0)]);
        assert_eq!(table.to_markdown(), "| n | x |\n| --- | --- |\n| one | 1 |\n");
    }
}

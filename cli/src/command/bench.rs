//! `bert4rs bench MODEL_FOLDER|SHAPE`

use std::path::Path;

use anyhow::Result;
use bert4rs_tasks::bench::{self, Bench as Run, Measured};
use bert4rs_tasks::{Precision, calibration};
use bert4rs_tensor::peak;
use serde_json::{Value, json};

use crate::args::Bench;
use crate::output::{self, profile_rows};

pub fn run(args: &Bench, json: bool) -> Result<()> {
    let (mut precision, budget) = (args.precision.into(), args.batch_tokens as usize);
    let folder = Path::new(&args.model);
    if folder.is_dir() {
        precision = calibration::resolve(folder, precision)?;
    }
    let bench = match folder.is_dir() {
        true => Run::open(folder, precision, budget)?,
        false => Run::shape(&args.model, precision, budget)?,
    };
    let peak = match precision {
        Precision::Int8 => peak::int8_operations(),
        Precision::F32 | Precision::Bf16 | Precision::Auto => peak::f32_operations(),
    };
    let mut all = Vec::new();
    for name in &args.workload {
        let measured = bench.measure(name, &bench.workload(name)?, args.seconds)?;
        if json {
            all.push(as_json(&measured, peak));
        } else {
            output::line(&table(&measured, peak))?;
        }
    }
    let memory = bench::peak_memory();
    let threads = rayon_threads();
    if json {
        let report = json!({
            "model": args.model, "precision": precision.name(), "threads": threads,
            "peak_operations_per_second": peak, "peak_memory_bytes": memory, "workloads": all,
        });
        return output::line(&report.to_string());
    }
    let memory = memory.map_or("unknown".into(), |bytes| format!("{} MB", bytes >> 20));
    output::line(&format!("{} {precision}, {threads} threads; peak memory {memory}", args.model))
}

fn rayon_threads() -> usize {
    rayon::current_num_threads()
}

fn share(m: &Measured, peak: Option<f64>) -> Option<f64> {
    peak.map(|peak| 100.0 * m.operations / m.median / peak)
}

fn as_json(m: &Measured, peak: Option<f64>) -> Value {
    json!({
        "workload": m.workload, "texts": m.texts, "tokens": m.tokens, "runs": m.runs,
        "texts_per_second": m.texts as f64 / m.median, "tokens_per_second": m.tokens as f64 / m.median,
        "p50_ms": 1e3 * m.median, "p99_ms": 1e3 * m.p99, "percent_of_peak": share(m, peak),
        "operations": profile_rows(&m.profile),
    })
}

fn table(m: &Measured, peak: Option<f64>) -> String {
    let share = share(m, peak).map_or(String::new(), |share| format!(", {share:.0} % of the peak"));
    let head = format!(
        "{}: {:.1} texts/s, {:.0} tokens/s; {:.2} ms (p50), {:.2} ms (p99){share}; {} runs of {} texts, {} tokens\n",
        m.workload,
        m.texts as f64 / m.median,
        m.tokens as f64 / m.median,
        1e3 * m.median,
        1e3 * m.p99,
        m.runs,
        m.texts,
        m.tokens,
    );
    head + &output::profile_table(&m.profile)
}

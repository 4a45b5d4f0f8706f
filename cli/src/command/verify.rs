//! `bert4rs verify A B`

use anyhow::{Result, bail};
use bert4rs_tasks::verify::{Difference, verify};

use crate::args::Verify;
use crate::output;

/// Tensors that a table shows.
const SHOWN: usize = 10;

pub fn run(args: &Verify, json: bool) -> Result<()> {
    let found = verify(&args.first, &args.second, args.tolerance)?;
    if json {
        output::line(&serde_json::to_string(&found)?)?;
    } else {
        for field in &found.configs {
            output::line(&format!("config {field}"))?;
        }
        for (folder, names) in [(&args.first, &found.only_first), (&args.second, &found.only_second)] {
            if !names.is_empty() {
                output::line(&format!("only in {}: {}", folder.display(), names.join(", ")))?;
            }
        }
        let mut apart: Vec<&Difference> = found.tensors.iter().filter(|d| d.largest != Some(0.0)).collect();
        // The most different first; another shape, and no number, before all.
        let size = |d: &Difference| d.largest.filter(|x| !x.is_nan()).unwrap_or(f64::INFINITY);
        apart.sort_by(|a, b| size(b).total_cmp(&size(a)));
        let (all, differ) = (found.tensors.len(), apart.len());
        output::line(&format!("{all} tensors in both, {differ} of them differ"))?;
        output::line(&format!("{:<52} {:>12} {:>12}", "", "difference", "largest"))?;
        let shown = apart.into_iter().take(SHOWN).chain(&found.layers);
        for difference in shown {
            output::line(&row(difference))?;
        }
    }
    match &found.first_diverging {
        None => Ok(()),
        Some(layer) => bail!(
            "{} and {} differ from {layer} on (tolerance {}); what lies before is the same",
            args.first.display(),
            args.second.display(),
            args.tolerance
        ),
    }
}

fn row(difference: &Difference) -> String {
    let largest = difference.largest.map_or("other shape".into(), |x| format!("{x:.2e}"));
    format!("{:<52} {largest:>12} {:>12.4}", difference.name, difference.scale)
}

//! `bert4rs rerank MODEL --query TEXT [TEXT…|FILE|-]`

use anyhow::{Result, bail};
use bert4rs_tasks::calibration;
use bert4rs_tasks::matching::MatchingModel;
use bert4rs_tasks::sentence::Options;
use serde_json::json;

use super::predict::CHUNK;
use crate::args::Rerank;
use crate::{input, output};

pub fn run(args: &Rerank, json: bool) -> Result<()> {
    if args.query.trim().is_empty() {
        bail!("the query is empty; give a text, as in --query \"how do I reset my password\"");
    }
    let precision = calibration::resolve(&args.model, args.precision.into())?;
    let model = MatchingModel::open(&args.model)?.prepare(precision)?;
    let mut texts = input::texts(&args.input)?;
    let mut candidates = Vec::new();
    loop {
        let chunk = texts.chunk(CHUNK)?;
        if chunk.is_empty() {
            break;
        }
        if let Some(text) = chunk.iter().find(|t| t.text.trim().is_empty()) {
            bail!("{}: the candidate is empty; remove it", text.place);
        }
        candidates.extend(chunk);
    }
    let views: Vec<&str> = candidates.iter().map(|t| t.text.as_str()).collect();
    let options = Options { batch_tokens: args.batch_tokens as usize };
    let ranked = model.rank(&args.query, &views, &options)?;
    for r in ranked.iter().take(args.top.unwrap_or(usize::MAX)) {
        let candidate = &candidates[r.index];
        if json {
            let mut line = json!({ "index": r.index, "score": r.score, "text": candidate.text, "truncated": r.truncated });
            if let Some(id) = &candidate.id {
                line["id"] = id.clone();
            }
            output::line(&line.to_string())?;
        } else {
            output::line(&format!("{:.4}  {}", r.score, candidate.text))?;
        }
    }
    Ok(())
}

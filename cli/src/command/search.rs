//! `bert4rs search INDEX [QUERY…|FILE|-]`

use std::io::{BufWriter, IsTerminal, StdoutLock, Write, stdout};
use std::path::PathBuf;

use anyhow::{Result, anyhow, bail};
use bert4rs_search::Hit;
use bert4rs_search::store::{Ask, Index};
use bert4rs_tasks::retrieval::{self, Condition};
use bert4rs_tasks::sentence::{Options, SentenceEncoder};
use bert4rs_tasks::{Error, calibration};
use serde_json::{Value, json};

use crate::args;
use crate::input::{self, Text};
use crate::output::say;

/// Queries that are answered together.
const CHUNK: usize = 1024;
/// Characters of a text in the table.
const SHOWN: usize = 70;

pub fn run(args: &args::Search, json: bool) -> Result<()> {
    let index = Index::open(&args.index)?;
    index.notes().iter().for_each(|note| say(&format!("note: {note}")));
    let conditions: Vec<Condition> =
        args.filter.iter().map(|f| Condition::parse(f)).collect::<Result<_, Error>>()?;
    let mut queries = input::texts(&args.queries)?;
    let path = args.model.clone().unwrap_or_else(|| PathBuf::from(&index.settings().model_path));
    if !path.is_dir() {
        bail!(
            "{}: the model that made the index is not there any more; name it with --model DIR",
            path.display()
        );
    }
    retrieval::check_model(index.settings(), &args.index, &path)?;
    let precision = calibration::resolve(&path, args.precision.into())?;
    let model = SentenceEncoder::open(&path)?.prepare(precision)?;
    let options = Options { batch_tokens: args.batch_tokens as usize };
    let only = retrieval::filter(&index, &conditions);
    let there = only.as_ref().map_or(index.len(), |rows| rows.len());
    if there < args.k as usize {
        let which = if only.is_some() { "that the filter lets through" } else { "of the index" };
        say(&format!("note: {} texts were asked for; all {there} {which} are given", args.k));
    }
    let rescore = args.rescore.map(|n| n as usize);
    let ask = Ask { k: args.k as usize, only: only.as_ref(), rescore };
    let mut out = Answers { out: BufWriter::new(stdout().lock()), table: !json && stdout().is_terminal() };
    loop {
        let chunk = queries.chunk(CHUNK)?;
        if chunk.is_empty() {
            return Ok(());
        }
        if let Some(empty) = chunk.iter().find(|query| query.text.trim().is_empty()) {
            bail!("{}: the query is empty", empty.place);
        }
        let views: Vec<&str> = chunk.iter().map(|query| query.text.as_str()).collect();
        let vectors = model.encode(&views, &options).map_err(|error| match error {
            Error::Text { index, message } if index < chunk.len() => {
                anyhow!("{}: {message}", chunk[index].place)
            }
            other => other.into(),
        })?;
        let found = index.search(&vectors.vectors.concat(), &ask)?;
        for (query, hits) in chunk.iter().zip(&found) {
            out.write(&index, query, hits)?;
        }
        out.out.flush()?;
    }
}

struct Answers {
    out: BufWriter<StdoutLock<'static>>,
    table: bool,
}

impl Answers {
    fn write(&mut self, index: &Index, query: &Text, hits: &[Hit]) -> Result<()> {
        let document = |row: u32| -> Value {
            let payload = index.payload(row).unwrap_or_default();
            serde_json::from_slice(payload).unwrap_or_else(|_| json!(String::from_utf8_lossy(payload)))
        };
        if !self.table {
            let hits: Vec<Value> = hits
                .iter()
                .map(
                    |hit| json!({"id": index.id(hit.row), "score": hit.score, "document": document(hit.row)}),
                )
                .collect();
            let mut line = json!({"query": query.text, "hits": hits});
            if let Some(id) = &query.id {
                line["id"] = id.clone();
            }
            return Ok(writeln!(self.out, "{line}")?);
        }
        writeln!(self.out, "{}", query.text)?;
        if hits.is_empty() {
            writeln!(self.out, "  (nothing)")?;
        }
        for hit in hits {
            let document = document(hit.row);
            let text = document["text"].as_str().unwrap_or_default();
            let mut shown: String = text.chars().take(SHOWN).collect();
            if shown.len() < text.len() {
                shown.push('…');
            }
            writeln!(self.out, "  {:.4}  {:<12} {shown}", hit.score, index.id(hit.row).unwrap_or_default())?;
        }
        Ok(())
    }
}

//! `bert4rs index --model DIR CORPUS -o INDEX`

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Result, anyhow, bail};
use bert4rs_search::store::{Index, Item, Metric, Scan, Settings, Writer, is_index};
use bert4rs_tasks::sentence::{Options, SentenceEncoder};
use bert4rs_tasks::{Error, calibration, retrieval};
use serde_json::{Value, json};

use super::usage;
use crate::args::{self, Dtype};
use crate::input::{self, Text, Texts};
use crate::output::{self, say};

/// Texts that are added together: on disk before the next are read.
const CHUNK: usize = 4096;

pub fn run(args: &args::Index, json: bool) -> Result<()> {
    let start = Instant::now();
    let changes = !args.delete.is_empty() || args.compact;
    let adds = !args.input.is_empty() || !(changes || args.check);
    if !adds && !is_index(&args.output) {
        bail!("{}: there is no index to change; give texts to make one", args.output.display());
    }
    if args.check {
        Index::open(&args.output)?.check()?;
        if !adds && !changes {
            return told(&Index::open(&args.output)?, args, 0, 0, start, json);
        }
    }
    // Before anything is made: a missing file leaves no empty index.
    let mut texts = if adds { Some(input::texts(&args.input)?) } else { None };
    let (mut writer, model) = if adds { open(args)? } else { (Writer::open(&args.output)?, None) };
    writer.index().notes().iter().for_each(|note| say(&format!("note: {note}")));
    let (mut added, mut replaced) = (0, 0);
    if let (Some(model), Some(texts)) = (model, &mut texts) {
        (added, replaced) = add(args, texts, &mut writer, &model)?;
    }
    if !args.delete.is_empty() {
        let ids: Vec<&str> = args.delete.iter().map(String::as_str).collect();
        let unknown: Vec<&&str> = ids.iter().filter(|id| !writer.contains(id)).collect();
        if !unknown.is_empty() {
            say(&format!("note: no text has the id {unknown:?}"));
        }
        writer.delete(&ids)?;
    }
    if args.compact {
        writer.compact()?;
    }
    writer.seal()?;
    told(writer.index(), args, added, replaced, start, json)
}

/// The index, made if it is not there, and the model for its texts.
fn open(args: &args::Index) -> Result<(Writer, Option<SentenceEncoder>)> {
    let there = is_index(&args.output);
    let writer = if there { Some(Writer::open(&args.output)?) } else { None };
    let path = match (&args.model, &writer) {
        (Some(path), _) => path.clone(),
        (None, Some(writer)) => PathBuf::from(&writer.index().settings().model_path),
        (None, None) => return Err(usage("--model DIR is missing; it makes the vectors of a new index")),
    };
    let precision = calibration::resolve(&path, args.precision.into())?;
    let model = SentenceEncoder::open(&path)?.prepare(precision)?;
    if let Some(writer) = writer {
        let settings = writer.index().settings();
        retrieval::check_model(settings, &args.output, &path)?;
        if args.dtype.is_some_and(|dtype| scan(dtype) != settings.scan)
            || (args.keep_f32 && !settings.keep_f32)
        {
            bail!(
                "{}: was made with another --dtype or without --keep-f32; leave them out, or make a new index",
                args.output.display()
            );
        }
        return Ok((writer, Some(model)));
    }
    let settings = Settings {
        width: model.width(),
        metric: Metric::Cosine,
        scan: args.dtype.map_or(Scan::F32, scan),
        keep_f32: args.keep_f32,
        model: retrieval::model_fingerprint(&path)?,
        model_path: std::fs::canonicalize(&path).unwrap_or(path).display().to_string(),
    };
    Ok((Writer::create(&args.output, settings)?, Some(model)))
}

fn scan(dtype: Dtype) -> Scan {
    match dtype {
        Dtype::F32 => Scan::F32,
        Dtype::Int8 => Scan::Int8,
        Dtype::Binary => Scan::Binary,
    }
}

/// Adds all texts; gives how many, and how many of them replaced others.
fn add(
    args: &args::Index,
    texts: &mut Texts,
    writer: &mut Writer,
    model: &SentenceEncoder,
) -> Result<(usize, usize)> {
    let options = Options { batch_tokens: args.batch_tokens as usize };
    let (mut added, mut replaced, mut skipped, mut truncated) = (0, 0, 0, 0);
    let mut number = writer.index().len() + writer.index().deleted();
    loop {
        let mut chunk = texts.chunk(CHUNK)?;
        if chunk.is_empty() {
            break;
        }
        let before = chunk.len();
        if args.skip_empty {
            chunk.retain(|text| !is_empty(text));
            skipped += before - chunk.len();
        } else if let Some(text) = chunk.iter().find(|text| is_empty(text)) {
            bail!(
                "{}: the text is empty; remove it, or leave out all such texts with --skip-empty",
                text.place
            );
        }
        let views: Vec<&str> = chunk.iter().map(|text| text.text.as_str()).collect();
        let found = model.encode(&views, &options).map_err(|e| named(e, &chunk))?;
        truncated += found.truncated.len();
        let ids: Vec<String> = chunk.iter().map(|text| name(text, writer, &mut number)).collect();
        let payloads: Vec<String> = chunk
            .iter()
            .map(|text| text.record.clone().unwrap_or_else(|| retrieval::document(&text.text)))
            .collect();
        let each = ids.iter().zip(&payloads);
        let items: Vec<Item> = each.map(|(id, payload)| Item { id, payload: payload.as_bytes() }).collect();
        replaced += writer.add(&items, &found.vectors.concat())?;
        added += chunk.len();
    }
    if skipped > 0 {
        say(&format!("note: {skipped} empty texts were left out"));
    }
    if truncated > 0 {
        say(&format!(
            "note: {truncated} texts are longer than the model reads; their ends were not looked at"
        ));
    }
    Ok((added, replaced))
}

fn is_empty(text: &Text) -> bool {
    text.text.trim().is_empty()
}

/// The id of a record, or one that no other text has.
fn name(text: &Text, writer: &Writer, number: &mut usize) -> String {
    match &text.id {
        Some(Value::String(id)) => id.clone(),
        Some(Value::Null) | None => loop {
            let id = format!("#{number}");
            *number += 1;
            if !writer.contains(&id) {
                return id;
            }
        },
        Some(other) => other.to_string(),
    }
}

/// An error by the place of its text instead of its number in the chunk.
fn named(error: Error, chunk: &[Text]) -> anyhow::Error {
    match error {
        Error::Text { index, message } if index < chunk.len() => anyhow!("{}: {message}", chunk[index].place),
        other => other.into(),
    }
}

fn told(
    index: &Index,
    args: &args::Index,
    added: usize,
    replaced: usize,
    start: Instant,
    json: bool,
) -> Result<()> {
    let path: &Path = &args.output;
    output::facts(
        &[
            ("index", json!(path.display().to_string())),
            ("texts", json!(index.len())),
            ("added", json!(added)),
            ("replaced", json!(replaced)),
            ("to free", json!(index.deleted())),
            ("numbers", json!(index.settings().width)),
            ("bytes", json!(index.bytes())),
            ("seconds", json!((start.elapsed().as_secs_f64() * 100.0).round() / 100.0)),
        ],
        json,
    )
}

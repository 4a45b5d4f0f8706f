//! `bert4rs export MODEL OUT.onnx`

use anyhow::Result;
use bert4rs_tasks::export::export;
use serde_json::json;

use crate::args::Export;
use crate::output;

pub fn run(args: &Export, json: bool) -> Result<()> {
    let operations = export(&args.model, &args.out)?;
    output::facts(&[("file", json!(args.out)), ("operations", operations.into())], json)
}

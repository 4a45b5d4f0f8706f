//! `bert4rs eval MODEL DATA`

use anyhow::Result;
use bert4rs_tasks::ner::{NerModel, evaluate};
use bert4rs_tasks::read_examples;

use crate::args::Eval;
use crate::output;

pub fn run(args: &Eval, json: bool) -> Result<()> {
    let model = NerModel::open(&args.model)?;
    let examples = read_examples(&args.data)?;
    let evaluation = evaluate(&model, &examples, &args.reading.options())?;
    output::evaluation(&evaluation, json)
}

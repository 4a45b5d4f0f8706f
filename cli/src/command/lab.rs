//! `bert4rs lab list` and `bert4rs lab run NAME`

use std::path::PathBuf;

use anyhow::Result;
use bert4rs_lab::{EXPERIMENTS, Report, Setup, find, nearest};
use serde_json::json;

use super::usage;
use crate::args::{Lab, LabRun};
use crate::output;

pub fn run(verb: &Lab, json: bool) -> Result<()> {
    match verb {
        Lab::List => list(json),
        Lab::Run(args) => run_one(args, json),
    }
}

fn list(json: bool) -> Result<()> {
    for e in EXPERIMENTS {
        if json {
            let fields = json!({ "name": e.name, "article": e.article, "claim": e.claim });
            output::line(&fields.to_string())?;
        } else {
            output::line(&format!("{:<20} {}", e.name, e.claim))?;
        }
    }
    Ok(())
}

fn run_one(args: &LabRun, json: bool) -> Result<()> {
    let Some(experiment) = find(&args.name) else {
        let hint = nearest(&args.name).map(|near| format!("; did you mean {near}?")).unwrap_or_default();
        return Err(usage(&format!("{} is no experiment; `bert4rs lab list` names them{hint}", args.name)));
    };
    let setup = Setup { seeds: args.seeds.into(), smoke: args.smoke };
    let done = experiment.finish(&setup, Report::new(output::say))?;
    let folder = args.out.clone().unwrap_or_else(|| PathBuf::from(format!("lab-{}", experiment.name)));
    let files = done.write(&folder)?;
    if json {
        output::line(&done.to_json().to_string())?;
    } else {
        output::line(done.to_markdown().trim_end())?;
    }
    output::say(&format!("{} files in {}", files.len(), folder.display()));
    Ok(())
}

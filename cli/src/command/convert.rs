//! `bert4rs convert IN OUT`

use anyhow::Result;
use bert4rs_tasks::convert::{Selection, convert};

use crate::args::Convert;
use crate::output;

pub fn run(args: &Convert, json: bool) -> Result<()> {
    let selection = match (&args.keep_tokens, &args.vocabulary, args.simplify) {
        (Some(path), None, false) => Some(Selection::Ids(path.clone())),
        (None, Some(path), false) => Some(Selection::Tokens(path.clone())),
        (None, None, true) => Some(Selection::Simplified),
        _ => None, // clap lets one of them pass
    };
    let done = convert(&args.from, &args.to, selection.as_ref())?;
    if json {
        return output::line(&serde_json::to_string(&done)?);
    }
    output::line(&format!("{}: {} tensors", args.to.display(), done.tensors))?;
    if let Some((tokens, means)) = done.tokens {
        output::line(&format!("{tokens} tokens, {means} of them means of others"))?;
    }
    for (what, names) in
        [("left out", &done.left_out), ("copied", &done.copied), ("not copied", &done.not_copied)]
    {
        if !names.is_empty() {
            output::line(&format!("{what}: {}", names.join(", ")))?;
        }
    }
    match &done.unknown {
        Some(why) => output::say(&format!("note: bert4rs does not open the result itself: {why}")),
        None => output::say(&format!("hint: bert4rs verify {} {}", args.from.display(), args.to.display())),
    }
    Ok(())
}

//! `bert4rs whiten MODEL TEXTS -o OUT`

use anyhow::Result;
use bert4rs_search::whitening::{Config, Fitter, OnRankDeficient, Whitening};
use bert4rs_tasks::sentence::{Options, SentenceEncoder};
use bert4rs_tasks::{calibration, whitening};
use serde_json::json;

use crate::args::Whiten;
use crate::{input, output};

/// Texts that are read together.
const CHUNK: usize = 4096;

pub fn run(args: &Whiten, json: bool) -> Result<()> {
    let config = Config {
        dimensions: args.dimensions,
        beta: args.beta,
        gamma: args.gamma,
        on_rank_deficient: OnRankDeficient::Drop,
    };
    let mut texts = input::texts(std::slice::from_ref(&args.texts))?;
    let precision = calibration::resolve(&args.model, args.precision.into())?;
    let model = SentenceEncoder::open(&args.model)?.prepare(precision)?;
    let options = Options { batch_tokens: args.batch_tokens as usize };
    let mut moments = Fitter::new(model.width());
    loop {
        let chunk = texts.chunk(CHUNK)?;
        if chunk.is_empty() {
            break;
        }
        // Empty lines say nothing about the language.
        let views: Vec<&str> =
            chunk.iter().map(|t| t.text.as_str()).filter(|t| !t.trim().is_empty()).collect();
        whitening::update(&mut moments, &model, &views, &options)?;
    }
    let found = Whitening::fit(&moments, &config)?;
    whitening::save(&args.model, &args.output, &found, &config, moments.count())?;
    let wanted = args.dimensions.unwrap_or(found.width());
    if found.dimensions < wanted {
        output::say(&format!(
            "note: {} texts fill {} of {} dimensions; vectors have {} numbers instead of {wanted}; more and \
             different texts help",
            moments.count(),
            found.rank,
            found.width(),
            found.dimensions
        ));
    } else if moments.count() < 4 * found.width() as u64 {
        output::say(&format!(
            "note: {} texts are few for vectors of {} numbers; a few thousand make the directions certain",
            moments.count(),
            found.width()
        ));
    }
    let total: f64 = found.eigenvalues.iter().map(|x| x.max(0.0)).sum();
    let kept: f64 = found.eigenvalues.iter().take(found.dimensions).map(|x| x.max(0.0)).sum();
    output::facts(
        &[
            ("model", json!(args.output.display().to_string())),
            ("texts", json!(moments.count())),
            ("dimensions", json!(found.dimensions)),
            ("of", json!(found.width())),
            ("variance", json!((1e4 * kept / total.max(f64::MIN_POSITIVE)).round() / 1e4)),
        ],
        json,
    )
}

//! `bert4rs info MODEL`

use anyhow::Result;
use bert4rs_tasks::matching::MatchingModel;
use bert4rs_tasks::ner::NerModel;
use bert4rs_tasks::sentence::SentenceEncoder;

use crate::args::Info;
use crate::output;

pub fn run(args: &Info, json: bool) -> Result<()> {
    if SentenceEncoder::is_folder(&args.model) {
        let model = SentenceEncoder::open(&args.model)?;
        let facts = [
            ("task", "similarity".into()),
            ("dimensions", model.width().into()),
            ("vocab_size", model.tokenizer().vocab_size().into()),
            ("max_tokens", serde_json::json!(model.max_tokens())),
        ];
        return output::facts(&facts, json);
    }
    if MatchingModel::is_folder(&args.model) {
        let model = MatchingModel::open(&args.model)?;
        let (task, encoder) = (model.config(), model.encoder_config());
        let facts = [
            ("task", "matching".into()),
            ("objective", serde_json::to_value(task.objective)?),
            ("labels", serde_json::json!(task.labels)),
            ("parameters", model.params().elements().into()),
            ("layers", encoder.layers.into()),
            ("hidden_size", encoder.hidden_size.into()),
            ("vocab_size", encoder.vocab_size.into()),
            ("max_tokens", task.max_tokens.into()),
        ];
        return output::facts(&facts, json);
    }
    let model = NerModel::open(&args.model)?;
    let (task, head, encoder) = (model.config(), model.head_config(), model.encoder_config());
    let mixer = serde_json::to_value(&encoder.mixer)?;
    let mixer = match &mixer {
        serde_json::Value::Object(fields) => fields.keys().next().cloned().unwrap_or_default(),
        other => other.as_str().unwrap_or_default().to_string(),
    };
    output::facts(
        &[
            ("labels", serde_json::json!(model.labels())),
            ("decoder", serde_json::to_value(head.decoder)?),
            ("nested", head.decoder.is_nested().into()),
            ("parameters", model.params().elements().into()),
            ("mixer", mixer.into()),
            ("layers", encoder.layers.into()),
            ("hidden_size", encoder.hidden_size.into()),
            ("vocab_size", encoder.vocab_size.into()),
            ("max_tokens", task.max_tokens.into()),
            ("overflow", serde_json::to_value(task.overflow)?),
        ],
        json,
    )
}

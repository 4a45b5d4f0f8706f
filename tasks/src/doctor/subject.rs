//! What a name on the command line stands for: a folder, a run's configuration, or a preset.

use std::path::Path;

use bert4rs_nn::Builder;
use bert4rs_nn::encoder::{Encoder, EncoderConfig, huggingface, preset, preset_names};
use bert4rs_nn::weights::{Allow, Checkpoint};
use bert4rs_tensor::{DType, Params, Rng};

use super::{Subject, SubjectKind, without_dropout};
use crate::config::Goal;
use crate::ner::{self, NerModel};
use crate::{Error, Result, RunConfig, read_examples, settings};

impl Subject {
    /// Opens a folder with a model, reads a run's configuration (`.toml`) and builds the model that it would start
    /// with, or builds a preset.
    pub fn open(name: &str) -> Result<Self> {
        let path = Path::new(name);
        if path.is_dir() {
            return Self::of_folder(name, path);
        }
        if path.is_file() {
            return Self::of_config(name, path);
        }
        match preset(name) {
            Ok(config) => Self::of_preset(name, &config),
            Err(_) => Err(Error::Config(unknown(name))),
        }
    }

    fn of_preset(name: &str, config: &EncoderConfig) -> Result<Self> {
        let config = without_dropout(config);
        let (mut params, mut rng) = (Params::new(), Rng::new(0).fork("initialisation"));
        let encoder = Encoder::new(&mut Builder::new(&mut params, &mut rng, DType::F32), &config)?;
        Ok(Self {
            name: name.to_string(),
            kind: SubjectKind::Preset,
            mask: encoder.mask(),
            encoder,
            params,
            folder: None,
            task: None,
            new: true,
            train: None,
        })
    }

    fn of_folder(name: &str, path: &Path) -> Result<Self> {
        let task = if is_entity_model(path)? { Some(NerModel::open(path)?) } else { None };
        let config = without_dropout(&huggingface::read_config(path)?);
        let (mut params, mut rng) = (Params::new(), Rng::new(0));
        let mut builder = Builder::new(&mut params, &mut rng, DType::F32);
        let encoder = Encoder::to_be_filled(&mut builder, &config)?;
        let mut allow = Allow::default();
        allow.unexpected.push("head".into()); // of a model of ours
        Checkpoint::open(path)?.fill(&params, &allow)?;
        Ok(Self {
            name: name.to_string(),
            kind: SubjectKind::Folder,
            mask: encoder.mask(),
            encoder,
            params,
            folder: Some(path.to_path_buf()),
            task,
            new: false,
            train: None,
        })
    }

    fn of_config(name: &str, path: &Path) -> Result<Self> {
        let mut run = RunConfig::load(path, &[])?;
        if !matches!(run.goal, Goal::Ner { .. }) {
            let message =
                "a configuration of another task than \"ner\"; give the folder of the model, or a preset";
            return Err(Error::Config(format!("{}: {message}", path.display())));
        }
        let examples = read_examples(&run.data.train)?;
        let new = !run.encoder.contains_key("path");
        let model = ner::build(&mut run, &examples)?;
        let (encoder, params) = twin(&without_dropout(model.encoder_config()), model.params())?;
        Ok(Self {
            name: name.to_string(),
            kind: SubjectKind::Config,
            mask: encoder.mask(),
            encoder,
            params,
            folder: None,
            task: Some(model),
            new,
            train: Some(run.train),
        })
    }
}

/// An encoder with the values of the parameters of the same names.
fn twin(config: &EncoderConfig, values: &Params) -> Result<(Encoder, Params)> {
    let (mut params, mut rng) = (Params::new(), Rng::new(0));
    let encoder = Encoder::to_be_filled(&mut Builder::new(&mut params, &mut rng, DType::F32), config)?;
    for parameter in params.iter() {
        if let Some(value) = values.get(parameter.name()) {
            parameter.set(&value.value())?;
        }
    }
    Ok((encoder, params))
}

/// Models of other tasks are looked at as encoders.
fn is_entity_model(folder: &Path) -> Result<bool> {
    let file = folder.join("bert4rs.toml");
    if !file.is_file() {
        return Ok(false);
    }
    let table = settings::read_table(&file)?;
    let kind = table.get("task").and_then(|task| task.get("type")).and_then(|kind| kind.as_str());
    Ok(kind == Some("ner"))
}

fn unknown(name: &str) -> String {
    let hint = settings::nearest(name, preset_names()).map(|near| format!("; did you mean {near}?"));
    format!(
        "{name}: there is no such folder, no such configuration and no such preset{}; expected a model folder such as \
         RUN/best, a file .toml as for train, or one of {}",
        hint.unwrap_or_default(),
        preset_names().collect::<Vec<_>>().join(", ")
    )
}

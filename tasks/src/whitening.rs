//! Whitening of a sentence encoder: fitted on texts without labels, kept in the model folder.
//!
//! Folder:      two modules of sentence-transformers after those that are there: a Dense layer without
//!              activation, which is the map, and a Normalize. So the folder opens there as here, and whatever
//!              takes vectors from it takes whitened ones
//! Numerics:    fitted on the vectors that the model gives, in f64 (`search/src/whitening.rs`); stored in f32

use std::fs;
use std::path::Path;

use bert4rs_search::whitening::{Config, Fitter, Whitening};
use bert4rs_tensor::Tensor;
use bert4rs_tensor::io::safetensors;
use serde_json::{Value, json};

use crate::sentence::{Options, SentenceEncoder};
use crate::{Error, Result};

const MODULES: &str = "modules.json";
/// Measured on the vectors as they were: the cost of 8 bits, thresholds.
const STALE: [&str; 2] = ["calibration.json", "bert4rs.toml"];

/// Adds the vectors of some texts to the moments.
pub fn update(
    moments: &mut Fitter,
    model: &SentenceEncoder,
    texts: &[&str],
    options: &Options,
) -> Result<()> {
    let vectors = model.encode(texts, options)?.vectors;
    Ok(moments.update(&vectors.concat())?)
}

/// Writes a copy of a model folder that whitens. The new folder appears whole.
pub fn save(model: &Path, out: &Path, whitening: &Whitening, config: &Config, texts: u64) -> Result<()> {
    if fs::read_dir(out).is_ok_and(|mut entries| entries.next().is_some()) || out.is_file() {
        return Err(Error::model(out, "is there already; name a new folder"));
    }
    let mut beside = out.as_os_str().to_owned();
    beside.push(".partial");
    let beside = Path::new(&beside);
    let write = || -> Result<()> {
        if beside.exists() {
            fs::remove_dir_all(beside).map_err(|e| Error::file(beside, e))?;
        }
        copy(model, beside)?;
        add_modules(beside, whitening, config, texts)?;
        if out.is_dir() {
            fs::remove_dir(out).map_err(|e| Error::file(out, e))?;
        }
        fs::rename(beside, out).map_err(|e| Error::file(out, e))
    };
    write().inspect_err(|_| drop(fs::remove_dir_all(beside)))
}

fn add_modules(dir: &Path, whitening: &Whitening, config: &Config, texts: u64) -> Result<()> {
    let list = dir.join(MODULES);
    let mut modules: Vec<Value> = match fs::read(&list) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|e| Error::model(&list, e.to_string()))?,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => plain_encoder(dir)?,
        Err(e) => return Err(Error::file(&list, e)),
    };
    let index = modules.iter().filter_map(|module| module["idx"].as_u64()).max().map_or(0, |most| most + 1);
    let names = [format!("{index}_Dense"), format!("{}_Normalize", index + 1)];
    modules.push(entry(index, &names[0], "Dense"));
    modules.push(entry(index + 1, &names[1], "Normalize"));

    let [dense, normalize] = names.map(|name| dir.join(name));
    for folder in [&dense, &normalize] {
        fs::create_dir_all(folder).map_err(|e| Error::file(folder, e))?;
    }
    let (width, k) = (whitening.width(), whitening.dimensions);
    let settings = json!({
        "in_features": width, "out_features": k, "bias": true,
        "activation_function": "torch.nn.modules.linear.Identity",
    });
    write(&dense.join("config.json"), &settings)?;
    write(&normalize.join("config.json"), &json!({}))?;
    let (weight, bias) = whitening.linear_layer();
    let tensors = [
        ("linear.weight".to_string(), Tensor::new(weight, &[k, width])?),
        ("linear.bias".to_string(), Tensor::new(bias, &[k])?),
    ];
    safetensors::save(&dense.join("model.safetensors"), &tensors)?;
    let told = json!({
        "made_by": "bert4rs whiten", "texts": texts, "beta": config.beta, "gamma": config.gamma,
        "dimensions": k, "rank": whitening.rank, "eigenvalues": whitening.eigenvalues,
    });
    write(&dense.join("whitening.json"), &told)?;
    write(&list, &Value::Array(modules))
}

/// The modules of a folder that has an encoder alone: then a text's vector is the mean of its tokens'.
fn plain_encoder(dir: &Path) -> Result<Vec<Value>> {
    let pooling = dir.join("1_Pooling");
    fs::create_dir_all(&pooling).map_err(|e| Error::file(&pooling, e))?;
    let (_, value) = bert4rs_nn::weights::config_file(dir)?;
    let width = &value["hidden_size"];
    write(
        &pooling.join("config.json"),
        &json!({
            "word_embedding_dimension": width, "pooling_mode_cls_token": false,
            "pooling_mode_mean_tokens": true, "pooling_mode_max_tokens": false,
            "pooling_mode_mean_sqrt_len_tokens": false,
        }),
    )?;
    Ok(vec![entry(0, "", "Transformer"), entry(1, "1_Pooling", "Pooling")])
}

fn entry(index: u64, path: &str, kind: &str) -> Value {
    let kind = format!("sentence_transformers.models.{kind}");
    json!({"idx": index, "name": index.to_string(), "path": path, "type": kind})
}

fn write(path: &Path, value: &Value) -> Result<()> {
    fs::write(path, format!("{value:#}\n")).map_err(|e| Error::file(path, e))
}

/// All files of a folder but what was measured on its vectors.
fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).map_err(|e| Error::file(to, e))?;
    for entry in fs::read_dir(from).map_err(|e| Error::file(from, e))? {
        let entry = entry.map_err(|e| Error::file(from, e))?;
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy(&path, &target)?;
        } else if STALE.iter().all(|stale| entry.file_name() != *stale) {
            fs::copy(&path, target).map_err(|e| Error::file(&path, e))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoder() -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/checkpoints/sentence-bert-tiny")
    }

    fn texts() -> Vec<String> {
        let line = |i: usize| format!("西城{}今天{i}度，北京", "天气".repeat(i % 5));
        (0..60).map(line).collect()
    }

    #[test]
    fn the_folder_gives_whitened_vectors() {
        let dir = tempfile::tempdir().unwrap();
        let model = SentenceEncoder::open(&encoder()).unwrap();
        let texts = texts();
        let views: Vec<&str> = texts.iter().map(String::as_str).collect();
        let mut moments = Fitter::new(model.width());
        update(&mut moments, &model, &views, &Options::default()).unwrap();
        let config = Config { dimensions: Some(4), ..Config::default() };
        let whitening = Whitening::fit(&moments, &config).unwrap();
        let out = dir.path().join("white");
        save(&encoder(), &out, &whitening, &config, moments.count()).unwrap();

        let white = SentenceEncoder::open(&out).unwrap();
        assert_eq!(white.width(), 4);
        let got = white.encode(&views, &Options::default()).unwrap().vectors.concat();
        let raw = model.encode(&views, &Options::default()).unwrap().vectors.concat();
        let want = whitening.transform(&raw).unwrap();
        let apart = got.iter().zip(&want).map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max);
        assert!(apart < 1e-3, "{apart}");
        let again = save(&encoder(), &out, &whitening, &config, 1).unwrap_err().to_string();
        assert!(again.contains("is there already"), "{again}");
        assert!(!dir.path().join("white.partial").exists());
    }

    #[test]
    fn a_plain_encoder_becomes_a_sentence_encoder() {
        let dir = tempfile::tempdir().unwrap();
        let plain = dir.path().join("plain");
        fs::create_dir_all(&plain).unwrap();
        for name in ["config.json", "model.safetensors", "vocab.txt", "tokenizer_config.json"] {
            fs::copy(encoder().join(name), plain.join(name)).unwrap();
        }
        let model = SentenceEncoder::open(&plain).unwrap();
        let texts = texts();
        let views: Vec<&str> = texts.iter().map(String::as_str).collect();
        let mut moments = Fitter::new(model.width());
        update(&mut moments, &model, &views, &Options::default()).unwrap();
        let config = Config { dimensions: Some(2), ..Config::default() };
        let whitening = Whitening::fit(&moments, &config).unwrap();
        let out = dir.path().join("white");
        save(&plain, &out, &whitening, &config, 60).unwrap();
        assert_eq!(SentenceEncoder::open(&out).unwrap().width(), 2);
    }
}

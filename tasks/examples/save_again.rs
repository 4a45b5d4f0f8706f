//! Opens a folder with a published encoder and writes it as we save: old tensor names become
//! today's, `vocab.txt` gets its `tokenizer.json`, heads of pre-training are left out.
//!
//!     cargo run --release -p bert4rs-tasks --example save_again -- FOLDER NEW_FOLDER

use std::error::Error;
use std::path::PathBuf;

use bert4rs_nn::encoder::huggingface;
use bert4rs_tensor::DType;
use bert4rs_text::Tokenizer;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<PathBuf> = std::env::args().skip(1).map(PathBuf::from).collect();
    let [from, to] = &args[..] else { return Err("usage: save_again FOLDER NEW_FOLDER".into()) };
    let (config, _, params, report) = huggingface::load(from, DType::F32)?;
    let tokenizer = Tokenizer::from_dir(from)?;
    std::fs::create_dir_all(to)?;
    huggingface::save(to, &config, &params)?;
    tokenizer.save(to)?;
    println!(
        "{} tensors, {} tokens; left out: {:?}",
        params.len(),
        tokenizer.vocab_size(),
        report.unexpected
    );
    Ok(())
}

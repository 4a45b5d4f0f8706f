//! Rates of an encoder on given token ids, for `benches/peers`:
//!
//!     cargo run --release -p bert4rs-tasks --example encode_ids -- FOLDER PRECISION THREADS WORKLOADS.json VECTORS.json
//!
//! WORKLOADS maps names to lists of texts, texts are lists of ids. Prints one line `R name texts/s` a
//! workload and writes the mean-pooled vectors of length 1, to be compared.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;

use bert4rs_tasks::bench::Bench;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [folder, precision, threads, workloads, vectors] = &args[..] else {
        return Err("usage: encode_ids FOLDER PRECISION THREADS WORKLOADS.json VECTORS.json".into());
    };
    rayon::ThreadPoolBuilder::new().num_threads(threads.parse()?).build_global()?;
    let bench = Bench::open(Path::new(folder), precision.parse()?, 512)?;
    let workloads: BTreeMap<String, Vec<Vec<usize>>> =
        serde_json::from_reader(std::fs::File::open(workloads)?)?;
    let mut found = BTreeMap::new();
    for (name, texts) in &workloads {
        found.insert(name, bench.encode(texts)?);
        let measured = bench.measure(name, texts, 0.7)?;
        println!("R {name} {:.2}", measured.texts as f64 / measured.median);
        eprintln!("{name} p99 {:.2} ms", 1e3 * measured.p99);
    }
    Ok(std::fs::write(vectors, serde_json::to_string(&found)?)?)
}

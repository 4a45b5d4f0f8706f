//! How fast exact search, 8 bits and bits are: `nearest VECTORS QUERIES WIDTH K [ROUNDS]`, raw f32 files.
//!
//! Prints a line of JSON for each way: seconds for all queries together and for one, recall of the exact
//! neighbours. `benches/peers/nearest.py` makes the files and runs faiss beside it.

use std::time::Instant;

use bert4rs_search::Hit;
use bert4rs_search::store::{Ask, Index, Item, Scan, Settings, Writer};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().collect();
    let [_, vectors, queries, width, k, rest @ ..] = args.as_slice() else {
        return Err("usage: nearest VECTORS QUERIES WIDTH K [ROUNDS]".into());
    };
    let (width, k): (usize, usize) = (width.parse()?, k.parse()?);
    let rounds: usize = rest.first().map_or(Ok(3), |rounds| rounds.parse())?;
    let read = |path: &str| -> Result<Vec<f32>, std::io::Error> {
        Ok(std::fs::read(path)?
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
            .collect())
    };
    let (vectors, queries) = (read(vectors)?, read(queries)?);
    let folder = tempfile::tempdir()?;
    let mut exact: Vec<Vec<Hit>> = Vec::new();
    for (name, scan, rescore) in [
        ("f32", Scan::F32, None),
        ("int8", Scan::Int8, None),
        ("int8+f32", Scan::Int8, Some(2)),
        ("binary", Scan::Binary, None),
        ("binary+f32 x10", Scan::Binary, Some(10)),
        ("binary+f32 x40", Scan::Binary, Some(40)),
        ("binary+f32 x160", Scan::Binary, Some(160)),
    ] {
        let dir = folder.path().join(format!("{scan:?}"));
        let start = Instant::now();
        if !dir.exists() {
            let settings = Settings { width, scan, keep_f32: true, ..Settings::default() };
            let mut writer = Writer::create(&dir, settings)?;
            let ids: Vec<String> = (0..vectors.len() / width).map(|i| i.to_string()).collect();
            let items: Vec<Item> = ids.iter().map(|id| Item { id, payload: b"" }).collect();
            writer.add(&items, &vectors)?;
            writer.seal()?;
        }
        let built = start.elapsed().as_secs_f64();
        let index = Index::open(&dir)?;
        let ask = Ask { k, rescore, ..Ask::default() };
        let mut found = index.search(&queries[..width], &ask)?; // touches what it reads
        let (mut all, mut one) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            let start = Instant::now();
            found = index.search(&queries, &ask)?;
            all.push(start.elapsed().as_secs_f64());
            let start = Instant::now();
            index.search(&queries[..width], &ask)?;
            one.push(start.elapsed().as_secs_f64());
        }
        if exact.is_empty() {
            exact.clone_from(&found);
        }
        let common =
            |(a, b): (&Vec<Hit>, &Vec<Hit>)| a.iter().filter(|a| b.iter().any(|b| a.row == b.row)).count();
        let recall = exact.iter().zip(&found).map(common).sum::<usize>() as f64 / (exact.len() * k) as f64;
        [&mut all, &mut one].into_iter().for_each(|times| times.sort_by(f64::total_cmp));
        println!(
            "{{\"engine\": \"bert4rs {name}\", \"queries\": {}, \"seconds\": {:.4}, \"one\": {:.5}, \"recall\": {recall:.4}, \
             \"build\": {built:.2}, \"bytes\": {}}}",
            queries.len() / width,
            all[rounds / 2],
            one[rounds / 2],
            index.bytes()
        );
    }
    Ok(())
}

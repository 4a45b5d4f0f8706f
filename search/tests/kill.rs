//! A program that is killed while it adds, deletes and compacts leaves an index that opens and has all
//! that was acknowledged.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use bert4rs_search::store::{Ask, Index, Item, Scan, Settings, Writer};

const WIDTH: usize = 24;
const FOLDER: &str = "BERT4RS_TEST_KILL_FOLDER";

fn vector(n: usize) -> Vec<f32> {
    (0..WIDTH).map(|i| ((n * 131 + i * 37) % 97) as f32 - 48.0).collect()
}

/// What operation `n` adds: the names are `n-0`, `n-1` and so on.
fn size(n: usize) -> usize {
    1 + n * 7 % 40
}

fn deletes(n: usize) -> Option<usize> {
    (n % 7 == 6).then(|| n - 5)
}

/// Operations one after the other, each told when it is acknowledged. Runs until it is killed.
#[test]
fn the_program_that_is_killed() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let folder = Path::new(&folder);
    let settings = Settings { width: WIDTH, scan: Scan::F32, model: "m".into(), ..Settings::default() };
    let mut writer = if folder.join("index.json").exists() {
        Writer::open(folder)
    } else {
        Writer::create(folder, settings)
    }
    .unwrap();
    let start: usize = std::env::var("BERT4RS_TEST_KILL_START").unwrap().parse().unwrap();
    for n in start.. {
        let ids: Vec<String> = (0..size(n)).map(|i| format!("{n}-{i}")).collect();
        let items: Vec<Item> = ids.iter().map(|id| Item { id, payload: id.as_bytes() }).collect();
        let vectors: Vec<f32> = (0..size(n)).flat_map(|i| vector(n + i)).collect();
        match deletes(n) {
            Some(old) => drop(writer.delete(&[&format!("{old}-0")]).unwrap()),
            None => drop(writer.add(&items, &vectors).unwrap()),
        }
        if n % 11 == 10 {
            writer.seal().unwrap();
        }
        if n % 23 == 22 {
            writer.compact().unwrap();
        }
        println!("done {n}");
        std::io::stdout().flush().unwrap();
    }
}

/// Kills `times` times; each run goes on where the last one was killed.
fn kill(times: usize) {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("index");
    let mut done = 0;
    let mut random = 12345u64;
    for round in 0..times {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let mut program = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "the_program_that_is_killed", "--nocapture"])
            .env(FOLDER, &folder)
            .env("BERT4RS_TEST_KILL_START", done.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(program.stdout.take().unwrap()).lines();
        let mut wait = (random >> 33) % 30;
        let acknowledged =
            |line: &str| line.rsplit_once("done ").and_then(|(_, n)| n.trim().parse::<usize>().ok());
        while wait > 0 {
            let line =
                lines.next().unwrap_or_else(|| panic!("round {round}: the program ended by itself")).unwrap();
            if let Some(n) = acknowledged(&line) {
                done = n + 1;
                wait -= 1;
            }
        }
        (0..(random >> 40) % 200_000).for_each(|i| {
            std::hint::black_box(i);
        });
        program.kill().unwrap();
        program.wait().unwrap();
        // What it told before it died counts too.
        for line in lines.map_while(Result::ok) {
            done = acknowledged(&line).map_or(done, |n| n + 1);
        }
        if done > 0 {
            check(&folder, done);
        }
        let known = Index::open(&folder)
            .map(|index| index.select(|text| text.starts_with(format!("{done}-").as_bytes())));
        // The operation that was killed may be done: it is done again, which replaces its vectors.
        assert!(done == 0 || known.unwrap().len() <= size(done));
    }
    assert!(done > times, "{done} operations");
}

fn check(folder: &Path, done: usize) {
    let index = Index::open(folder).unwrap();
    index.check().unwrap();
    let mut rows = std::collections::HashMap::new();
    let all = index.select(|_| true);
    for row in (0..u32::MAX).take_while(|row| index.id(*row).is_some()).filter(|row| all.contains(*row)) {
        rows.insert(index.id(row).unwrap().to_string(), row);
    }
    let gone = |n: usize| (n + 1..=done).any(|later| deletes(later) == Some(n));
    for n in (0..done).filter(|n| deletes(*n).is_none()) {
        for i in 0..size(n) {
            let id = format!("{n}-{i}");
            let row = rows.get(&id);
            if i == 0 && gone(n) {
                // The last deletion may not have been acknowledged.
                assert!(row.is_none() || deletes(done) == Some(n), "{id} was deleted");
                continue;
            }
            let row = *row.unwrap_or_else(|| panic!("{id} was acknowledged and is lost"));
            assert_eq!(index.payload(row), Some(id.as_bytes()));
        }
    }
    let last = (0..done).rev().find(|n| deletes(*n).is_none()).unwrap();
    let found = index.search(&vector(last + size(last) - 1), &Ask { k: 1, ..Ask::default() }).unwrap();
    assert!(found[0][0].score > 0.9999);
}

#[test]
fn ten_kills_lose_nothing() {
    kill(10);
}

#[test]
#[ignore = "slow: 1 min"]
fn a_hundred_kills_lose_nothing_slow() {
    kill(100);
}

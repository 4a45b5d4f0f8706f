use std::fs;
use std::path::Path;

use super::*;

const WIDTH: usize = 5;

fn settings(scan: Scan) -> Settings {
    Settings { width: WIDTH, scan, model: "m".into(), ..Settings::default() }
}

fn vector(n: usize) -> Vec<f32> {
    (0..WIDTH).map(|i| ((n * 31 + i * 17 + 3) % 23) as f32 - 11.0).collect()
}

/// Adds vectors `from..to`, each named by its number.
fn add(writer: &mut Writer, from: usize, to: usize) {
    let ids: Vec<String> = (from..to).map(|n| n.to_string()).collect();
    let payloads: Vec<Vec<u8>> = (from..to).map(|n| format!("{{\"n\":{n}}}").into_bytes()).collect();
    let items: Vec<Item> = ids.iter().zip(&payloads).map(|(id, payload)| Item { id, payload }).collect();
    let vectors: Vec<f32> = (from..to).flat_map(vector).collect();
    assert_eq!(writer.add(&items, &vectors).unwrap(), 0);
}

/// Whether exactly the vectors `0..count` are there, whole.
fn holds(index: &Index, count: usize) {
    assert_eq!(index.len(), count);
    index.check().unwrap();
    for n in 0..count {
        assert_eq!(index.id(n as u32), Some(n.to_string().as_str()));
        assert_eq!(index.payload(n as u32).unwrap(), format!("{{\"n\":{n}}}").as_bytes());
        let found = index.search(&vector(n), &Ask { k: count, ..Ask::default() }).unwrap();
        assert!(found[0].iter().any(|hit| hit.row == n as u32 && hit.score > 0.9999), "vector {n}");
    }
}

fn rows_of(dir: &Path) -> PathBuf {
    dir.join("rows-1")
}

fn copy(from: &Path, to: &Path) {
    for name in ["index.json", "rows-1"] {
        fs::copy(from.join(name), to.join(name)).unwrap();
    }
}

#[test]
fn what_was_added_is_found_after_opening() {
    for (scan, keep_f32) in [(Scan::F32, false), (Scan::Int8, false), (Scan::Binary, true)] {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = Writer::create(dir.path(), Settings { keep_f32, ..settings(scan) }).unwrap();
        for (from, to) in [(0, 1), (1, 20), (20, 21)] {
            add(&mut writer, from, to);
        }
        assert_eq!(writer.index().len(), 21);
        drop(writer);
        let index = Index::open(dir.path()).unwrap();
        index.check().unwrap();
        let rescore = keep_f32.then_some(21);
        let found = index.search(&vector(7), &Ask { k: 1, rescore, ..Ask::default() }).unwrap();
        assert_eq!(index.id(found[0][0].row), Some("7"));
        let found = index.search(&vector(7), &Ask { k: 99, rescore, ..Ask::default() }).unwrap();
        assert_eq!(found[0].len(), 21);
        let some = index.select(|payload| payload.ends_with(b"5}"));
        let found = index.search(&vector(7), &Ask { k: 99, only: Some(&some), rescore }).unwrap();
        let mut rows: Vec<u32> = found[0].iter().map(|hit| hit.row).collect();
        rows.sort_unstable();
        assert_eq!(rows, [5, 15]);
    }
}

#[test]
fn a_file_cut_at_every_byte_keeps_what_was_acknowledged() {
    let (dir, cut) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut writer = Writer::create(dir.path(), settings(Scan::F32)).unwrap();
    let mut ends = vec![0];
    for (from, to) in [(0, 2), (2, 3), (3, 7)] {
        add(&mut writer, from, to);
        ends.push(writer.index().bytes());
    }
    let counts = [0, 2, 3, 7];
    let whole = fs::read(rows_of(dir.path())).unwrap();
    assert_eq!(whole.len(), ends[3]);
    for length in 0..=whole.len() {
        copy(dir.path(), cut.path());
        fs::write(rows_of(cut.path()), &whole[..length]).unwrap();
        let frames = ends.iter().rposition(|end| *end <= length).unwrap();
        let index = Index::open(cut.path()).unwrap();
        assert_eq!(index.notes().len(), usize::from(!ends.contains(&length)), "{length}");
        holds(&index, counts[frames]);
        // Writing goes on after the last whole frame.
        if length % 16 == 0 {
            let mut writer = Writer::open(cut.path()).unwrap();
            add(&mut writer, counts[frames], 9);
            drop(writer);
            let index = Index::open(cut.path()).unwrap();
            assert!(index.notes().is_empty());
            holds(&index, 9);
        }
    }
}

#[test]
fn zeros_at_the_end_are_half_a_write_too() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = Writer::create(dir.path(), settings(Scan::F32)).unwrap();
    add(&mut writer, 0, 3);
    drop(writer);
    let mut bytes = fs::read(rows_of(dir.path())).unwrap();
    bytes.extend([0; 1000]);
    fs::write(rows_of(dir.path()), &bytes).unwrap();
    let index = Index::open(dir.path()).unwrap();
    assert!(index.notes()[0].contains("1000 bytes"), "{:?}", index.notes());
    holds(&index, 3);
}

#[test]
fn damage_that_is_no_half_write_is_an_error() {
    let (dir, bad) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut writer = Writer::create(dir.path(), settings(Scan::F32)).unwrap();
    add(&mut writer, 0, 3);
    let first = writer.index().bytes();
    add(&mut writer, 3, 5);
    writer.seal().unwrap();
    drop(writer);
    let whole = fs::read(rows_of(dir.path())).unwrap();
    for sealed in [true, false] {
        for at in [3, 20, 70, first - 2] {
            copy(dir.path(), bad.path());
            if !sealed {
                let manifest = fs::read_to_string(bad.path().join("index.json")).unwrap();
                let zero = manifest.replace(&format!("\"sealed\": {}", whole.len()), "\"sealed\": 0");
                assert_ne!(zero, manifest);
                fs::write(bad.path().join("index.json"), zero).unwrap();
            }
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            fs::write(rows_of(bad.path()), bytes).unwrap();
            let found = Index::open(bad.path()).and_then(|index| index.check());
            let padding = at == first - 2;
            match found {
                Err(error) => assert!(error.to_string().contains("damaged"), "{error}"),
                Ok(()) => assert!(padding, "byte {at} sealed {sealed}"),
            }
        }
    }
    // A sealed file that is shorter was cut by somebody else.
    copy(dir.path(), bad.path());
    fs::write(rows_of(bad.path()), &whole[..first]).unwrap();
    assert!(Index::open(bad.path()).err().unwrap().to_string().contains("cut off"));
}

#[test]
fn deleted_and_replaced_vectors_are_not_found_and_compaction_frees_them() {
    for scan in [Scan::F32, Scan::Int8, Scan::Binary] {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = Writer::create(dir.path(), settings(scan)).unwrap();
        add(&mut writer, 0, 40);
        assert_eq!(writer.delete(&["3", "17", "3", "none"]).unwrap(), 2);
        assert_eq!(writer.delete(&["3"]).unwrap(), 0);
        let twice = [Item { id: "5", payload: b"old" }, Item { id: "5", payload: b"new" }];
        assert_eq!(writer.add(&twice, &[vector(5), vector(6)].concat()).unwrap(), 2);
        let state = |index: &Index| -> Vec<(String, String)> {
            let hits = index.search(&vector(6), &Ask { k: 99, ..Ask::default() }).unwrap().remove(0);
            let text = |row| String::from_utf8(index.payload(row).unwrap().to_vec()).unwrap();
            hits.iter()
                .map(|hit| (format!("{} {}", index.id(hit.row).unwrap(), hit.score), text(hit.row)))
                .collect()
        };
        let before = state(writer.index());
        assert_eq!((writer.index().len(), before.len(), writer.index().deleted()), (38, 38, 4));
        assert!(before.iter().any(|(id, text)| id.starts_with("5 ") && text == "new"));
        assert!(!before.iter().any(|(id, _)| id.starts_with("3 ") || id.starts_with("17 ")));
        assert_eq!(state(&Index::open(dir.path()).unwrap()), before);
        assert!(writer.compact().unwrap() > 0);
        assert_eq!((state(writer.index()), writer.index().deleted()), (before.clone(), 0));
        add(&mut writer, 100, 101);
        assert!(!dir.path().join("rows-1").exists() && writer.contains("100") && !writer.contains("3"));
        drop(writer);
        assert_eq!(Index::open(dir.path()).unwrap().len(), 39);
    }
}

#[test]
fn a_kill_during_compaction_leaves_the_index_that_was() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = Writer::create(dir.path(), settings(Scan::F32)).unwrap();
    add(&mut writer, 0, 3);
    drop(writer);
    fs::write(dir.path().join("rows-2"), b"half").unwrap();
    fs::write(dir.path().join("index.json.partial"), b"{").unwrap();
    holds(&Index::open(dir.path()).unwrap(), 3);
    holds(Writer::open(dir.path()).unwrap().index(), 3);
    assert!(!dir.path().join("rows-2").exists());
}

#[test]
fn one_writer_at_a_time_and_readers_see_a_whole_state() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = Writer::create(dir.path(), settings(Scan::F32)).unwrap();
    add(&mut writer, 0, 3);
    let reader = Index::open(dir.path()).unwrap();
    assert!(Writer::open(dir.path()).err().unwrap().to_string().contains("another program"));
    add(&mut writer, 3, 9);
    holds(&reader, 3);
    holds(&Index::open(dir.path()).unwrap(), 9);
}

#[test]
fn wrong_vectors_and_settings_say_what_was_expected() {
    let dir = tempfile::tempdir().unwrap();
    assert!(Index::open(dir.path()).err().unwrap().to_string().contains("there is no index"));
    assert!(Writer::open(&dir.path().join("none")).err().unwrap().to_string().contains("there is no index"));
    let zero = Settings { width: 0, ..settings(Scan::F32) };
    assert!(Writer::create(dir.path(), zero).err().unwrap().to_string().contains("expected 1 to"));
    let dot = Settings { metric: Metric::Dot, ..settings(Scan::Binary) };
    assert!(Writer::create(dir.path(), dot).err().unwrap().to_string().contains("lengths"));
    let mut writer = Writer::create(dir.path(), settings(Scan::Int8)).unwrap();
    assert!(Writer::create(dir.path(), settings(Scan::Int8)).err().unwrap().to_string().contains("already"));
    let item = [Item { id: "a", payload: b"" }];
    let error = writer.add(&item, &[1.0; 4]).unwrap_err().to_string();
    assert!(error.contains("vectors of 5"), "{error}");
    assert!(writer.add(&item, &[1.0; 10]).unwrap_err().to_string().contains("1 ids"));
    let error = writer.add(&item, &[1.0, f32::NAN, 1.0, 1.0, 1.0]).unwrap_err().to_string();
    assert!(error.contains("vector 1: number 2"), "{error}");
    assert!(writer.index().is_empty());
    let ask = Ask { k: 1, rescore: Some(2), ..Ask::default() };
    assert!(writer.index().search(&[1.0; 5], &ask).unwrap_err().to_string().contains("--keep-f32"));
    assert_eq!(writer.index().search(&[1.0; 5], &Ask { k: 3, ..Ask::default() }).unwrap(), [vec![]]);
    // A cosine with nothing is 0.
    writer.add(&item, &[0.0; 5]).unwrap();
    assert_eq!(writer.index().search(&[1.0; 5], &Ask { k: 3, ..Ask::default() }).unwrap()[0][0].score, 0.0);
}

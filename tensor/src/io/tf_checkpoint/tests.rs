use std::fs;

use super::*;

/// Written by TensorFlow (`scripts/parity/fixtures.py`).
fn bundle() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/weights/every_type.ckpt.index")
}

/// A copy whose index and data are changed.
fn changed(index: impl Fn(&mut Vec<u8>), data: impl Fn(&mut Vec<u8>)) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let shard = "data-00000-of-00001";
    let (mut i, mut d) = (fs::read(bundle()).unwrap(), fs::read(bundle().with_extension(shard)).unwrap());
    index(&mut i);
    data(&mut d);
    let path = dir.path().join("m.ckpt.index");
    fs::write(&path, i).unwrap();
    fs::write(path.with_extension(shard), d).unwrap();
    (dir, path)
}

fn error(result: Result<impl Sized>) -> String {
    result.err().unwrap().to_string()
}

#[test]
fn a_bundle_of_tensorflow_itself() {
    let file = TensorFlowFile::open(&bundle()).unwrap();
    let numbers = |name: &str| file.tensor(name, DType::F64).unwrap().to_f64_vec();
    for kind in ["float16", "bfloat16", "float32", "float64", "int8", "int16", "int32", "int64"] {
        assert_eq!(numbers(&format!("types/{kind}")), [-2., -1., 0., 1., 2., 3.], "{kind}");
        assert_eq!(file.shape(&format!("types/{kind}")), Some(&[2, 3][..]));
    }
    assert_eq!(numbers("types/uint8"), [0., 1., 2., 3., 4., 5.]);
    assert_eq!(numbers("types/bool"), [1., 0., 1.]);
    assert_eq!((numbers("number"), numbers("empty")), (vec![7.0], vec![]));
    // More names than one block of the table holds: 300 with a common beginning.
    for i in [0, 1, 127, 299] {
        assert_eq!(numbers(&format!("many/variables/with/long/names/number_{i:03}")), [f64::from(i)]);
    }
    assert_eq!(file.names().len(), 313);
    assert_eq!(file.kind("text"), None);
    assert!(
        error(file.stored("text")).contains("text has TensorFlow's type 7, which holds no plain numbers")
    );
    assert!(error(file.stored("none")).contains("has no variable called none"));
}

#[test]
fn damaged_tensors_are_found_by_their_checksum() {
    let (_dir, path) = changed(|_| (), |data| data.iter_mut().for_each(|byte| *byte ^= 1));
    let file = TensorFlowFile::open(&path).unwrap();
    let error = error(file.stored("types/float32"));
    assert!(error.contains("types/float32 is damaged") && error.contains("data-00000-of-00001"), "{error}");
}

#[test]
fn damaged_indices_are_errors_wherever_a_byte_changes() {
    let length = fs::read(bundle()).unwrap().len();
    let footer = length - 48;
    // The footer begins with the place of meta blocks (3 bytes), which nobody reads.
    for at in (0..footer).step_by(97).chain([footer - 1, footer + 3, length - 1]) {
        let (_dir, path) = changed(|index| index[at] ^= 0x41, |_| ());
        assert!(TensorFlowFile::open(&path).is_err(), "byte {at}");
    }
    for cut in [0, 47, 48, length - 1] {
        let (_dir, path) = changed(|index| index.truncate(cut), |_| ());
        assert!(error(TensorFlowFile::open(&path)).contains("no index of a TensorFlow checkpoint"));
    }
}

#[test]
fn missing_and_short_data_files_are_named() {
    let (_dir, path) = changed(|_| (), |data| data.truncate(100));
    let message = error(TensorFlowFile::open(&path));
    assert!(message.contains("data-00000-of-00001: has 100 bytes where"), "{message}");
    fs::remove_file(path.with_extension("data-00000-of-00001")).unwrap();
    let message = error(TensorFlowFile::open(&path));
    assert!(message.contains("cannot be opened") && message.contains("m.ckpt.index needs it"), "{message}");
    assert!(
        error(TensorFlowFile::open(&path.with_extension("none"))).contains("m.ckpt.none: cannot be opened")
    );
}

#[test]
fn messages_of_another_kind_are_refused() {
    assert!(Entry::read(&[0x0b]).is_none(), "groups");
    assert!(Entry::read(&[0x12, 5, 0]).is_none(), "a length beyond the end");
    assert!(Entry::read(&[0x08]).is_none(), "a number without bytes");
    assert!(Entry::read(&[0x08, 1, 0x1a, 1, 9, 0x41, 0, 0, 0, 0, 0, 0, 0, 0]).is_some(), "unknown fields");
    assert!(Header::read(&[]).is_none() && Header::read(&[0x08, 2]).is_some_and(|h| h.shards == 2));
    assert!(table::varint(&mut &[0xff; 11][..]).is_none());
}

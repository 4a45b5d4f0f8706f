use super::*;

/// What Python's `pickle.dumps(.., protocol=2)` writes for parts of state dicts.
struct Pickle(Vec<u8>);

impl Pickle {
    fn new() -> Self {
        Self(b"\x80\x02}(".to_vec())
    }

    fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    fn text(self, text: &str) -> Self {
        self.raw(b"X").raw(&(text.len() as u32).to_le_bytes()).raw(text.as_bytes())
    }

    fn tuple(mut self, numbers: &[i32]) -> Self {
        self = self.raw(b"(");
        for n in numbers {
            self = self.raw(b"J").raw(&n.to_le_bytes());
        }
        self.raw(b"t")
    }

    fn tensor(self, kind: &str, file: &str, offset: i32, shape: &[i32], strides: &[i32]) -> Self {
        self.raw(b"ctorch._utils\n_rebuild_tensor_v2\n((")
            .text("storage")
            .raw(format!("ctorch\n{kind}\n").as_bytes())
            .text(file)
            .text("cpu")
            .raw(b"K\x00tQJ")
            .raw(&offset.to_le_bytes())
            .tuple(shape)
            .tuple(strides)
            .raw(b"\x89ccollections\nOrderedDict\n)RtR")
    }

    fn end(self) -> Vec<u8> {
        self.raw(b"u.").0
    }
}

/// An archive of files as they are.
fn zip(files: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    for (name, data) in files {
        let at = out.len() as u32;
        let sizes = [(data.len() as u32).to_le_bytes(), (data.len() as u32).to_le_bytes()].concat();
        let lengths = [(name.len() as u16).to_le_bytes(), [0, 0]].concat();
        out.extend([&b"PK\x03\x04"[..], &[0; 14], &sizes, &lengths, name.as_bytes(), data].concat());
        directory.extend(
            [&b"PK\x01\x02"[..], &[0; 16], &sizes, &lengths, &[0; 10], &at.to_le_bytes(), name.as_bytes()]
                .concat(),
        );
    }
    let (count, at) = ((files.len() as u16).to_le_bytes(), (out.len() as u32).to_le_bytes());
    let size = (directory.len() as u32).to_le_bytes();
    out.extend(directory);
    out.extend([&b"PK\x05\x06"[..], &[0; 4], &count, &count, &size, &at, &[0, 0]].concat());
    out
}

fn open(bytes: &[u8]) -> Result<TorchFile> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pytorch_model.bin");
    std::fs::write(&path, bytes).unwrap();
    TorchFile::open(&path)
}

fn with(pickle: Vec<u8>) -> Vec<u8> {
    let numbers: Vec<u8> = (0..6).flat_map(|i| (i as f32).to_le_bytes()).collect();
    zip(&[("model/data.pkl", &pickle), ("model/byteorder", b"little"), ("model/data/0", &numbers)])
}

fn error(bytes: &[u8]) -> String {
    open(bytes).err().unwrap().to_string()
}

fn one(kind: &str, offset: i32, shape: &[i32], strides: &[i32]) -> Vec<u8> {
    with(Pickle::new().text("w").tensor(kind, "0", offset, shape, strides).end())
}

#[test]
fn offsets_and_strides_are_followed() {
    let numbers = |bytes: &[u8]| {
        let tensor = open(bytes).unwrap().tensor("w", DType::F64).unwrap();
        (tensor.shape().to_vec(), tensor.to_f64_vec())
    };
    assert_eq!(numbers(&one("FloatStorage", 1, &[2, 2], &[2, 1])), (vec![2, 2], vec![1., 2., 3., 4.]));
    assert_eq!(
        numbers(&one("FloatStorage", 0, &[3, 2], &[1, 3])),
        (vec![3, 2], vec![0., 3., 1., 4., 2., 5.])
    );
    assert_eq!(numbers(&one("FloatStorage", 5, &[], &[])), (vec![], vec![5.]));
    assert_eq!(numbers(&one("FloatStorage", 0, &[2, 0], &[1, 1])), (vec![2, 0], vec![]));
    assert_eq!(numbers(&one("BoolStorage", 7, &[1], &[9])), (vec![1], vec![63.]));
}

#[test]
fn a_tensor_that_leaves_its_storage_is_an_error() {
    for (offset, shape, strides) in [
        (0, vec![7], vec![1]),
        (5, vec![2], vec![1]),
        (0, vec![2, 2], vec![5, 1]),
        (i32::MAX, vec![1], vec![1]),
        (i32::MAX, vec![0], vec![1]),
        (0, vec![2, 2], vec![i32::MAX, i32::MAX]),
        (0, vec![i32::MAX, i32::MAX, i32::MAX], vec![1, 1, 1]),
    ] {
        let error = error(&one("FloatStorage", offset, &shape, &strides));
        assert!(error.contains("tensor w (shape") && error.contains("exceeds its 24 bytes"), "{error}");
    }
    assert!(error(&one("FloatStorage", 0, &[900, 900], &[0, 0])).contains("call .contiguous()"));
    assert!(error(&one("FloatStorage", 0, &[-1], &[1])).contains("the size, stride or offset -1"));
    assert!(error(&one("FloatStorage", 0, &[1], &[1, 1])).contains("shape [1] with strides [1, 1]"));
}

#[test]
fn other_globals_are_named_and_not_run() {
    let bytes = with(Pickle::new().text("w").raw(b"cos\nsystem\n").text("true").raw(b"\x85R").end());
    let error = error(&bytes);
    assert!(error.contains("names os.system,") && error.contains("torch.save(model.state_dict(), path)"));
}

#[test]
fn entries_that_are_no_tensors_are_named() {
    let text = |pickle: Pickle| error(&with(pickle.end()));
    assert!(text(Pickle::new().text("epoch").raw(b"K\x03")).contains("epoch is an integer, not a tensor"));
    assert!(text(Pickle::new().text("model").raw(b"}")).contains("model is a dict, not a tensor"));
    assert!(text(Pickle::new().raw(b"K\x03K\x04")).contains("a dict with an integer as a key"));
    let twice = Pickle::new().text("w").tensor("FloatStorage", "0", 0, &[1], &[1]).text("w").tensor(
        "FloatStorage",
        "0",
        0,
        &[1],
        &[1],
    );
    assert!(text(twice).contains("two tensors called w"));
    let elsewhere = Pickle::new().text("w").tensor("FloatStorage", "7", 0, &[1], &[1]);
    assert!(text(elsewhere).contains("lacks the numbers of w (data/7)"));
    assert!(error(&with(b"\x80\x02K\x01.".to_vec())).contains("holds an integer, not a dict"));
}

#[test]
fn broken_pickles_are_errors_at_every_cut() {
    let whole = Pickle::new().text("w").tensor("FloatStorage", "0", 0, &[2], &[1]).end();
    assert!(open(&with(whole.clone())).is_ok());
    for cut in 0..whole.len() {
        assert!(open(&with(whole[..cut].to_vec())).is_err(), "{cut}");
    }
    for wrong in
        [&b"."[..], b"u.", b"R.", b"h\x01.", b"\x80\x09.", b"\x81.", b"(K\x01u.", b"Q.", b"}(K\x01u."]
    {
        assert!(open(&with(wrong.to_vec())).is_err(), "{wrong:?}");
    }
    // Deep nesting costs memory of its length, and no stack.
    let deep = [b"\x80\x02".as_slice(), &b"]".repeat(1 << 20), &b"a".repeat((1 << 20) - 1), b"."].concat();
    assert!(error(&with(deep)).contains("a list or tuple, not a dict"));
}

#[test]
fn other_files_are_told_apart() {
    let whole = one("FloatStorage", 0, &[2], &[1]);
    for cut in [0, 1, whole.len() / 2, whole.len() - 1] {
        assert!(error(&whole[..cut]).contains("not a complete zip archive"), "{cut}");
    }
    assert!(error(&[OLD, b"more"].concat()).contains("torch before 1.6"));
    assert!(error(b"version https://git-lfs.github.com/spec/v1\n").contains("git lfs pull"));
    assert!(error(&zip(&[("a", b"b")])).contains("without data.pkl"));
    let big = zip(&[("m/data.pkl", b"\x80\x02}."), ("m/byteorder", b"big")]);
    assert!(error(&big).contains("the other byte order"));
}

/// Written by torch (`scripts/parity/fixtures.py`): every type, a transposed and a cut view, a shared
/// storage, a parameter.
#[test]
fn a_file_of_torch_itself() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/weights/every_type.bin");
    let file = TorchFile::open(&path).unwrap();
    let numbers = |name: &str| file.tensor(name, DType::F64).unwrap().to_f64_vec();
    for kind in ["float16", "bfloat16", "float32", "float64", "int8", "int16", "int32", "int64"] {
        assert_eq!(numbers(kind), [-2., -1., 0., 1., 2., 3.], "{kind}");
        assert_eq!(file.shape(kind), Some(&[2, 3][..]));
    }
    assert_eq!(numbers("uint8"), [0., 1., 2., 3., 4., 5.]);
    assert_eq!(numbers("bool"), [1., 0., 1.]);
    assert_eq!(numbers("transposed"), [-2., 1., -1., 2., 0., 3.]);
    assert_eq!(numbers("cut"), [1., 2.]);
    assert_eq!(numbers("shared"), numbers("float32"));
    assert_eq!(numbers("parameter"), [0.5]);
    assert_eq!((numbers("number"), numbers("empty")), (vec![7.0], vec![]));
    assert_eq!(file.names().len(), 16);
}

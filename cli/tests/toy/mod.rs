//! The binary as a user runs it: a folder with invented data, a config, and commands.
#![allow(dead_code)]

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// A folder with `train.jsonl`, `dev.jsonl` and `config.toml`.
pub struct Toy(tempfile::TempDir);

/// What a command said.
pub struct Said {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Said {
    pub fn ok(self) -> Self {
        assert_eq!(self.code, Some(0), "{}", self.err);
        self
    }

    /// Asserts exit code 1, nothing on standard output, and every part of the message.
    pub fn fails(self, parts: &[&str]) -> Self {
        self.fails_after(0, parts)
    }

    /// As [`Said::fails`], after at most so many lines of output.
    pub fn fails_after(self, lines: usize, parts: &[&str]) -> Self {
        assert_eq!(self.code, Some(1), "{}", self.err);
        assert!(self.out.lines().count() <= lines, "{}", self.out);
        for part in parts {
            assert!(self.err.contains(part), "expected {part:?} in: {}", self.err);
        }
        self
    }
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }
}

impl Toy {
    pub fn new() -> Self {
        let toy = Self(tempfile::tempdir().expect("temporary folder"));
        toy.write("train.jsonl", data(60, 1));
        toy.write("dev.jsonl", data(20, 2));
        toy.write("config.toml", CONFIG);
        toy
    }

    /// With a trained model in `run/best`.
    pub fn trained() -> Self {
        let toy = Self::new();
        toy.run(&["train", "config.toml"]).ok();
        toy
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::create_dir_all(self.path(name).parent().expect("a folder")).expect("writable");
        fs::write(self.path(name), content).expect("writable");
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bert4rs"));
        if !args.contains(&"--threads") {
            command.args(["--threads", "1"]);
        }
        command.args(args).current_dir(self.0.path()).stdin(Stdio::null());
        command
    }

    pub fn run(&self, args: &[&str]) -> Said {
        self.command(args).output().expect("the binary runs").into()
    }

    /// With a standard input.
    pub fn pipe(&self, args: &[&str], input: &[u8]) -> Said {
        let mut command = self.command(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary runs");
        let mut stdin = child.stdin.take().expect("piped");
        let input = input.to_vec();
        let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
        let output = child.wait_with_output().expect("it ends");
        writer.join().expect("written");
        output.into()
    }

    /// The names of what a folder of the toy holds, sorted.
    pub fn names(&self, folder: &str) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.path(folder)) else { return Vec::new() };
        let mut names: Vec<String> =
            entries.filter_map(|e| Some(e.ok()?.file_name().to_string_lossy().into_owned())).collect();
        names.sort();
        names
    }

    /// Every file of a folder with its bytes.
    pub fn files(&self, folder: &str) -> Vec<(String, Vec<u8>)> {
        let names = self.names(folder).into_iter();
        names.map(|name| (name.clone(), self.read(&format!("{folder}/{name}")))).collect()
    }
}

const CONFIG: &str = r#"
[task]
type = "ner"
max_tokens = 64
overlap = 16
[data]
train = "train.jsonl"
dev = "dev.jsonl"
[tokenizer]
min_count = 1
[encoder]
preset = "lstm"
hidden_size = 32
embedding = { size = 32 }
[head]
key_size = 16
[train]
epochs = 8
lr = 0.01
batch_tokens = 128
[output]
dir = "run"
"#;

const PLACES: [&str; 6] = ["北山", "南河", "东湖村", "西城", "白沙", "青石镇"];

/// Reports such as "北山今天3度，" with their places, the same for the same seed.
fn data(count: usize, seed: u64) -> String {
    let mut state = seed;
    let mut below = move |n: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % n
    };
    let mut lines = String::new();
    for _ in 0..count {
        let (mut text, mut entities) = (String::new(), Vec::new());
        for _ in 0..1 + below(3) {
            let place = PLACES[below(6) as usize];
            let (start, length) = (text.chars().count(), place.chars().count());
            entities.push(serde_json::json!({"start": start, "end": start + length, "label": "place"}));
            write!(text, "{place}今天{}度，", below(40)).expect("in memory");
        }
        let line = serde_json::json!({"text": text, "entities": entities});
        writeln!(lines, "{line}").expect("in memory");
    }
    lines
}

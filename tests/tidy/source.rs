//! The files of the project, and Rust text without its comments and strings.

use std::fs;
use std::path::Path;

/// A file: its path from the root with `/`, and its text (empty when it is not UTF-8).
pub struct File {
    pub path: String,
    pub text: String,
}

impl File {
    pub fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned() }
    }

    pub fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    pub fn is_markdown(&self) -> bool {
        self.path.ends_with(".md")
    }

    /// `Cargo.toml` of the root or of a crate.
    pub fn is_manifest(&self) -> bool {
        self.name() == "Cargo.toml"
    }

    pub fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }
}

/// Every file of the project: what `.gitignore` names at the root and hidden folders (except those
/// of continuous integration) do not belong to it.
pub fn project() -> Vec<File> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let ignored = fs::read_to_string(root.join(".gitignore")).expect(".gitignore is readable");
    let ignored: Vec<&str> = ignored.lines().map(|line| line.trim_matches('/')).collect();
    let mut files = Vec::new();
    walk(root, "", &ignored, &mut files);
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

fn walk(root: &Path, folder: &str, ignored: &[&str], files: &mut Vec<File>) {
    for entry in fs::read_dir(root.join(folder)).expect("folder is readable") {
        let entry = entry.expect("entry is readable");
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = if folder.is_empty() { name.clone() } else { format!("{folder}/{name}") };
        if ignored.contains(&path.as_str()) {
            continue;
        }
        let kind = entry.file_type().expect("file type is readable");
        if kind.is_dir() && (!name.starts_with('.') || [".ci", ".github"].contains(&name.as_str())) {
            walk(root, &path, ignored, files);
        } else if kind.is_file() {
            let text = fs::read(root.join(&path)).expect("file is readable");
            files.push(File { path, text: String::from_utf8(text).unwrap_or_default() });
        }
    }
}

/// The code in Rust text: comments, strings and characters become spaces, lines stay lines.
pub fn code(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = literal_end(&chars, at);
        if end == at {
            out.push(chars[at]);
            at += 1;
        } else {
            out.extend(chars[at..end].iter().map(|&c| if c == '\n' { c } else { ' ' }));
            at = end;
        }
    }
    out
}

/// The end of the comment, string or character that starts at `at`; `at` itself when none does.
fn literal_end(chars: &[char], at: usize) -> usize {
    let peek = |i: usize| chars.get(i).copied().unwrap_or('\0');
    let end = match (peek(at), peek(at + 1)) {
        ('/', '/') => find(chars, at, |i| peek(i) == '\n'),
        ('/', '*') => {
            let (mut depth, mut i) = (1, at + 2);
            while depth > 0 && i < chars.len() {
                match (peek(i), peek(i + 1)) {
                    ('/', '*') => (depth, i) = (depth + 1, i + 2),
                    ('*', '/') => (depth, i) = (depth - 1, i + 2),
                    _ => i += 1,
                }
            }
            i
        }
        ('"', _) => {
            let mut i = at + 1;
            while i < chars.len() && peek(i) != '"' {
                i += if peek(i) == '\\' { 2 } else { 1 };
            }
            i + 1
        }
        ('r', '"' | '#') if starts_raw(chars, at) => {
            let open = find(chars, at, |i| peek(i) == '"');
            let hashes = open - at - 1;
            let close = |i| peek(i) == '"' && (1..=hashes).all(|k| peek(i + k) == '#');
            find(chars, open + 1, close) + 1 + hashes
        }
        ('\'', '\\') => find(chars, at + 3, |i| peek(i) == '\'') + 1,
        ('\'', _) if peek(at + 2) == '\'' => at + 3,
        _ => at,
    };
    end.min(chars.len())
}

/// `r"`, `r#"`, `br"`, but neither `for"` nor the raw name `r#type`.
fn starts_raw(chars: &[char], at: usize) -> bool {
    let letter = |i: usize| chars[i].is_alphanumeric() || chars[i] == '_';
    let prefix = at > 0 && matches!(chars[at - 1], 'b' | 'c') && (at < 2 || !letter(at - 2));
    let quote = find(chars, at + 1, |i| chars[i] != '#');
    (at == 0 || !letter(at - 1) || prefix) && chars.get(quote) == Some(&'"')
}

fn find(chars: &[char], from: usize, hit: impl Fn(usize) -> bool) -> usize {
    (from..chars.len()).find(|&i| hit(i)).unwrap_or(chars.len())
}

#[test]
fn code_keeps_only_code() {
    let same = "fn a<'a>(r#type: &'a str) {}\nlet b = 1 / 2;";
    assert_eq!(code(same), same);
    assert_eq!(code("a // b\nc"), "a     \nc");
    assert_eq!(code("a /* b /* c */ d */ e"), format!("a {} e", " ".repeat(17)));
    assert_eq!(code(r#"f("a\"b", c)"#), "f(      , c)");
    assert_eq!(code(r##"f(r#"a"b"#, c)"##), "f(        , c)");
    assert_eq!(code(r#"(br"\", '\'', '"', b)"#), "(b    ,     ,    , b)");
    assert_eq!(code("\"never closed"), " ".repeat(13));
}

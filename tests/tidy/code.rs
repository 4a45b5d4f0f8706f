//! Rules about source text: length, `unsafe`, unfinished work, vague names, paths of a machine.

use crate::source::{File, code};

/// Near 200 lines is good, above this a file holds two concepts.
const LONGEST: usize = 400;

/// Folders whose files may contain `unsafe`.
const UNSAFE_HOMES: &[&str] = &["kernels/"];

/// Lines of code between `unsafe` and the comment that justifies it; comments are not counted.
const SAFETY_REACH: usize = 4;

pub fn long_files(files: &[File]) -> Vec<String> {
    let lines = |f: &File| f.text.lines().count();
    let long = files.iter().filter(|f| f.is_rust() && lines(f) > LONGEST);
    long.map(|f| format!("{}: {} lines, at most {LONGEST}; split it by concept", f.path, lines(f))).collect()
}

pub fn wrong_unsafe(files: &[File]) -> Vec<String> {
    let mut problems = Vec::new();
    for file in files.iter().filter(|f| f.is_rust()) {
        let code = code(&file.text);
        let raw: Vec<&str> = file.text.lines().collect();
        for (n, line) in code.lines().enumerate().filter(|(_, line)| opens_unsafe(line)) {
            let place = format!("{}:{}", file.path, n + 1);
            if !UNSAFE_HOMES.iter().any(|home| file.path.starts_with(home)) {
                problems.push(format!(
                    "{place}: `unsafe` outside {}; put it behind a safe function there",
                    UNSAFE_HOMES.join(", ")
                ));
            } else if !is_justified(&raw, n) {
                problems.push(format!(
                    "{place}: nothing says why `{}` is sound; add `// SAFETY: ...` (a function: `/// # Safety`) above it",
                    line.trim()
                ));
            }
        }
    }
    problems
}

/// A block, function, impl or extern; neither an attribute nor the type `unsafe fn(..)`.
fn opens_unsafe(code: &str) -> bool {
    code.match_indices("unsafe").any(|(at, word)| {
        let rest = &code[at + word.len()..];
        let letter = |c: char| c.is_alphanumeric() || c == '_';
        let whole = !code[..at].ends_with(letter) && !rest.starts_with(letter);
        whole && !code[..at].ends_with("#[") && !rest.trim_start().starts_with("fn(")
    })
}

fn is_justified(raw: &[&str], n: usize) -> bool {
    let says = |line: &str| line.contains("SAFETY:") || line.contains("# Safety");
    let mut code_lines = 0;
    for line in raw[..n].iter().rev() {
        if says(line) {
            return true;
        }
        if !line.trim_start().starts_with("//") {
            code_lines += 1;
        }
        if code_lines > SAFETY_REACH {
            break;
        }
    }
    says(raw[n])
}

pub fn forbidden(files: &[File]) -> Vec<String> {
    const UNFINISHED: &str = "finish it, or return an error that names what is missing";
    const WORDS: [(&str, &str); 3] = [
        ("todo!(", UNFINISHED),
        ("unimplemented!(", UNFINISHED),
        ("assert!(true)", "it cannot fail; assert a fact"),
    ];
    let mut problems = Vec::new();
    for file in files.iter().filter(|f| f.is_rust()) {
        let code = code(&file.text);
        let raw: Vec<&str> = file.text.lines().collect();
        for (n, line) in code.lines().enumerate() {
            let place = format!("{}:{}", file.path, n + 1);
            let dense: String = line.chars().filter(|c| !c.is_whitespace()).collect();
            for (word, hint) in WORDS.iter().filter(|(word, _)| dense.contains(word)) {
                problems.push(format!("{place}: `{word}` is forbidden; {hint}"));
            }
            if dense.contains("#[ignore") {
                if !dense.contains("#[ignore=") || raw[n].contains("\"\"") {
                    problems.push(format!(
                        "{place}: ignored without a reason; write `#[ignore = \"slow: <time>\"]`"
                    ));
                } else if !code
                    .lines()
                    .skip(n)
                    .find(|l| l.contains("fn "))
                    .is_some_and(|l| l.contains("slow"))
                {
                    problems.push(format!(
                        "{place}: no run would include this test; put `slow` into its name, \
                         then `scripts/check slow` runs it"
                    ));
                }
            }
        }
    }
    problems
}

pub fn vague_modules(files: &[File]) -> Vec<String> {
    const VAGUE: [&str; 5] = ["utils", "util", "common", "misc", "helpers"];
    let mut problems = Vec::new();
    for file in files.iter().filter(|f| f.is_rust()) {
        let stem = file.path.trim_end_matches(".rs");
        for name in stem.split('/').filter(|name| VAGUE.contains(name)) {
            problems.push(format!("{}: `{name}` says nothing; name it by its concept", file.path));
        }
        for (n, line) in code(&file.text).lines().enumerate() {
            let name = line.split_once("mod ").map_or("", |(_, rest)| rest.trim_end_matches([' ', ';', '{']));
            if VAGUE.contains(&name) && line.trim_end().ends_with('{') {
                problems.push(format!(
                    "{}:{}: `mod {name}` says nothing; name it by its concept",
                    file.path,
                    n + 1
                ));
            }
        }
    }
    problems
}

/// Home and work folders anywhere; the folder for temporary files outside tests.
pub fn machine_paths(files: &[File]) -> Vec<String> {
    const KINDS: [&str; 6] = [".rs", ".md", ".toml", ".json", ".yml", ".sh"];
    let mut problems = Vec::new();
    for file in files {
        let script = !file.name().contains('.');
        if !script && !KINDS.iter().any(|kind| file.path.ends_with(kind)) {
            continue; // data: its texts may name any path
        }
        let mut in_test = file.path.starts_with("tests/") || file.path.contains("/tests/");
        for (n, line) in file.text.lines().enumerate() {
            in_test |= file.is_rust() && line.contains("#[cfg(test)]");
            for top in ["root", "home", "work", "Users", "tmp"] {
                if names_folder(line, &format!("/{top}/")) && !(top == "tmp" && in_test) {
                    let hint = if top == "tmp" {
                        "make one with `tempfile` or `mktemp`"
                    } else {
                        "write it from the root of the project"
                    };
                    problems.push(format!(
                        "{}:{}: /{top}/ exists on one machine only; {hint}",
                        file.path,
                        n + 1
                    ));
                }
            }
        }
    }
    problems
}

/// `folder` begins an absolute path here: what stands before it is no part of a longer path or URL.
fn names_folder(line: &str, folder: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || "_-.~})*".contains(c);
    line.match_indices(folder).any(|(at, _)| !line[..at].ends_with(part))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files;

    fn one(text: &str) -> Vec<File> {
        files(&[("kernels/src/a.rs", text)])
    }

    #[test]
    fn a_file_of_401_lines_is_too_long() {
        assert!(long_files(&one(&"x\n".repeat(400))).is_empty());
        assert_eq!(
            long_files(&one(&"x\n".repeat(401))),
            ["kernels/src/a.rs: 401 lines, at most 400; split it by concept"]
        );
        assert!(long_files(&files(&[("a.md", &"x\n".repeat(999))])).is_empty());
    }

    #[test]
    fn unsafe_outside_the_kernels_is_found() {
        let text = "// SAFETY: none\nlet a = unsafe { b() };";
        assert!(wrong_unsafe(&one(text)).is_empty());
        assert!(
            wrong_unsafe(&files(&[("nn/src/a.rs", text)]))[0].starts_with("nn/src/a.rs:2: `unsafe` outside")
        );
    }

    #[test]
    fn unsafe_without_a_reason_is_found() {
        for bad in [
            "unsafe { b() }",
            "unsafe fn a() {}",
            "unsafe impl A for B {}",
            "let a = c(unsafe { *b });",
            "unsafe\n{",
        ] {
            assert_eq!(wrong_unsafe(&one(bad)).len(), 1, "{bad}");
        }
        for good in [
            "unsafe { b() } // SAFETY: c",
            "/// # Safety\n/// `a` holds\n/// `n` elements.\n#[inline]\nunsafe fn a() {}",
            "// SAFETY: c\nlet a = d(\n  e,\n  unsafe { b() });",
            "type A = unsafe fn(*const f32);",
            "#[unsafe(no_mangle)]\nfn is_unsafe() {}",
            "// unsafe { b() }\nlet a = \"unsafe {\";",
        ] {
            assert!(wrong_unsafe(&one(good)).is_empty(), "{good}");
        }
        assert_eq!(wrong_unsafe(&one("// SAFETY: far\n1;\n2;\n3;\n4;\n5;\nunsafe { b() }")).len(), 1);
    }

    #[test]
    fn unfinished_and_empty_tests_are_found() {
        for bad in ["todo!()", "unimplemented! (\"a\")", "assert!( true )"] {
            assert_eq!(forbidden(&one(bad)).len(), 1, "{bad}");
        }
        assert!(forbidden(&one("// todo!()\nlet a = \"todo!()\"; assert!(truth);")).is_empty());
    }

    #[test]
    fn an_ignored_test_needs_a_reason_and_a_runner() {
        assert_eq!(forbidden(&one("#[ignore]\nfn slow_a() {}")).len(), 1);
        assert_eq!(forbidden(&one("#[ignore = \"\"]\nfn slow_a() {}")).len(), 1);
        assert_eq!(forbidden(&one("#[ignore = \"slow: 1 min\"]\nfn a() {}")).len(), 1);
        assert!(forbidden(&one("#[ignore = \"slow: 1 min\"]\nfn slow_a() {}")).is_empty());
    }

    #[test]
    fn vague_names_are_found() {
        for path in ["nn/src/utils.rs", "nn/src/common/mod.rs", "tests/misc.rs"] {
            assert_eq!(vague_modules(&files(&[(path, "")])).len(), 1, "{path}");
        }
        assert_eq!(vague_modules(&one("pub mod common {\n}")).len(), 1);
        assert!(vague_modules(&one("mod commonality {\n}")).is_empty());
    }

    #[test]
    fn paths_of_a_machine_are_found() {
        for top in ["root", "home", "work", "Users", "tmp"] {
            assert_eq!(machine_paths(&one(&format!("let a = \"/{top}/a\";"))).len(), 1, "{top}");
        }
        let temporary = ["let a = \"", "tmp", "b\";"].join("/");
        assert!(machine_paths(&one(&format!("#[cfg(test)]\n{temporary}"))).is_empty());
        assert!(machine_paths(&files(&[("tests/a.rs", &temporary)])).is_empty());
        for fine in ["frame/work/a", "https://a.b/home/c", "$HOME/work/a"] {
            assert!(machine_paths(&one(fine)).is_empty(), "{fine}");
        }
        assert!(machine_paths(&files(&[("data/a.jsonl", &temporary)])).is_empty());
    }
}

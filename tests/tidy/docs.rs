//! Documents tell the truth: the method index, the vectors that headers name, relative links.

use crate::source::File;

/// Where the index of methods stands.
const INDEX: &str = "docs/methods.md";

/// Every vector file has a row, and every file that a row names exists.
pub fn method_index(files: &[File]) -> Vec<String> {
    let Some(index) = files.iter().find(|f| f.path == INDEX) else {
        return vec![format!("{INDEX}: missing; it lists every method with its code and vectors")];
    };
    let named: Vec<(usize, String)> = index
        .text
        .lines()
        .enumerate()
        .flat_map(|(n, line)| line.split('`').skip(1).step_by(2).map(move |name| (n + 1, name)))
        .filter(|(_, name)| [".rs", ".json", ".toml", ".md", "/"].iter().any(|end| name.ends_with(end)))
        .map(|(n, name)| (n, if name.contains('/') { name.to_owned() } else { format!("vectors/{name}") }))
        .collect();
    let mut problems = Vec::new();
    for (n, path) in &named {
        if !exists(files, path.trim_end_matches('/')) {
            problems.push(format!("{INDEX}:{n}: {path} does not exist; correct the row"));
        }
    }
    for file in files.iter().filter(|f| f.path.starts_with("vectors/") && f.path.ends_with(".json")) {
        if !named.iter().any(|(_, path)| *path == file.path) {
            problems.push(format!("{}: no row of {INDEX} names it; add the method's row", file.path));
        }
    }
    problems
}

/// `Vectors:` in the header of a file names existing files of `vectors/`, or says `none`.
pub fn vector_headers(files: &[File]) -> Vec<String> {
    let mut problems = Vec::new();
    for file in files.iter().filter(|f| f.is_rust()) {
        let header: Vec<&str> = file.text.lines().map_while(|line| line.strip_prefix("//!")).collect();
        for (n, line) in header.iter().enumerate() {
            let Some((_, first)) = line.split_once("Vectors:") else { continue };
            // A long list goes on in lines that are indented under it.
            let more = header[n + 1..].iter().take_while(|line| line.starts_with("     "));
            let list = [first].into_iter().chain(more.copied()).collect::<Vec<_>>().join(" ");
            let words = list.split([' ', ',', ';']).map(|w| w.trim_matches(|c: char| !c.is_alphanumeric()));
            let names: Vec<&str> = words.filter(|w| w.ends_with(".json") || *w == "none").collect();
            let place = format!("{}:{}", file.path, n + 1);
            if names.is_empty() {
                problems.push(format!(
                    "{place}: `Vectors:` names no file; write `name.json` of vectors/, or `none`"
                ));
            }
            for name in names.iter().filter(|name| **name != "none") {
                let path = format!("vectors/{}", name.trim_start_matches("vectors/"));
                if !exists(files, &path) {
                    problems
                        .push(format!("{place}: {path} does not exist; correct the name or add the file"));
                }
            }
        }
    }
    problems
}

/// Relative links of Markdown files, `[text](path)` and `[text]: path`, lead to a file or folder.
pub fn dead_links(files: &[File]) -> Vec<String> {
    let mut problems = Vec::new();
    for file in files.iter().filter(|f| f.is_markdown()) {
        let mut fenced = false;
        for (n, line) in file.text.lines().enumerate() {
            if line.trim_start().starts_with("```") {
                fenced = !fenced;
            }
            for target in links(line).filter(|_| !fenced) {
                let path = target.split('#').next().unwrap_or("");
                let outside = path.is_empty() || path.contains("://") || path.starts_with("mailto:");
                if !outside && !resolve(&file.path, path).is_some_and(|path| exists(files, &path)) {
                    problems.push(format!(
                        "{}:{}: dead link to {target}; correct or remove it",
                        file.path,
                        n + 1
                    ));
                }
            }
        }
    }
    problems
}

/// The targets of the links in a line, without titles; inline code holds no links.
fn links(line: &str) -> impl Iterator<Item = String> {
    let prose: String = line.split('`').step_by(2).collect::<Vec<_>>().join(" ");
    let mut found: Vec<String> = prose
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split([')', ' ']).next().map(str::to_owned))
        .collect();
    if let Some((_, target)) = prose.split_once("]: ").filter(|_| prose.starts_with('[')) {
        found.push(target.split(' ').next().unwrap_or("").to_owned());
    }
    found.into_iter()
}

/// `path`, as written in the file `from`, seen from the root; `None` when it leaves the project.
fn resolve(from: &str, path: &str) -> Option<String> {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

/// A file, or a folder that holds one; the root itself is "".
fn exists(files: &[File], path: &str) -> bool {
    path.is_empty() || files.iter().any(|f| f.path == path || f.path.starts_with(&format!("{path}/")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files;

    #[test]
    fn a_true_index_passes_and_a_missing_one_fails() {
        let row = "| CoSENT | 25 | `nn/src/loss/cosent.rs` | `cosent.json` | - |";
        let all = files(&[(INDEX, row), ("nn/src/loss/cosent.rs", ""), ("vectors/cosent.json", "{}")]);
        assert!(method_index(&all).is_empty());
        assert!(method_index(&all[1..])[0].contains("missing"));
    }

    #[test]
    fn a_row_without_its_file_and_a_file_without_its_row_are_found() {
        let row = "| CoSENT | 25 | `nn/src/loss/cosent.rs` | `cosent.json` | - |";
        let found = method_index(&files(&[(INDEX, row), ("vectors/simcse.json", "{}")]));
        assert_eq!(
            found,
            [
                "docs/methods.md:1: nn/src/loss/cosent.rs does not exist; correct the row",
                "docs/methods.md:1: vectors/cosent.json does not exist; correct the row",
                "vectors/simcse.json: no row of docs/methods.md names it; add the method's row",
            ]
        );
    }

    #[test]
    fn a_header_with_a_wrong_vector_file_is_found() {
        let check = |line: &str| vector_headers(&files(&[("a.rs", line), ("vectors/zlpr.json", "{}")])).len();
        assert_eq!(check("//! Reference: paper, 2022.   Vectors: zlpr.json"), 0);
        assert_eq!(check("//! Vectors: `zlpr.json`, none for the sparse form."), 0);
        assert_eq!(check("//! Vectors: none (brute force instead)"), 0);
        assert_eq!(check("//! Vectors: zlpr.json, crf.json"), 1);
        assert_eq!(check("//! Vectors: zlpr"), 1);
        assert_eq!(check("//! Vectors: zlpr.json,\n//!          crf.json"), 1);
        assert_eq!(check("//! Vectors: zlpr.json\n//! See also crf.json"), 0);
        assert_eq!(check("let a = \"Vectors: crf.json\";"), 0);
    }

    #[test]
    fn dead_links_are_found_and_live_ones_pass() {
        let check =
            |text: &str| dead_links(&files(&[("docs/a.md", text), ("README.md", ""), ("docs/b.md", "")]));
        assert_eq!(check("see [b](c.md#top)"), ["docs/a.md:1: dead link to c.md#top; correct or remove it"]);
        for dead in ["[b](../../README.md)", "[b]: c.md", "[a](b.md) [c](d/)", "![p](p.png \"title\")"] {
            assert_eq!(check(dead).len(), 1, "{dead}");
        }
        for live in [
            "[b](b.md) [r](../README.md#x) [d](../docs/) [root](..)",
            "[w](https://a.b/c) [m](mailto:a@b.c) [h](#here)",
            "`[b](c.md)`",
            "```\n[b](c.md)\n```",
            "[b]: b.md",
        ] {
            assert!(check(live).is_empty(), "{live}: {:?}", check(live));
        }
    }
}

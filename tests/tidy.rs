//! The rules of the house that a compiler does not check: floors, file length, `unsafe`, the method
//! index, links. Each rule is a function from files to problems, tested on invented files beside it;
//! here the rules meet the project.

#[path = "tidy/code.rs"]
mod code;
#[path = "tidy/docs.rs"]
mod docs;
#[path = "tidy/floors.rs"]
mod floors;
#[path = "tidy/source.rs"]
mod source;

use source::{File, project};

/// Fails with every problem at once, so that one run tells the whole work.
fn none(problems: Vec<String>) {
    assert!(problems.is_empty(), "{} problem(s)\n{}\n", problems.len(), problems.join("\n"));
}

#[test]
fn the_walk_sees_the_project() {
    let files = project();
    for path in
        ["Cargo.toml", "src/lib.rs", "kernels/src/lib.rs", "tests/tidy.rs", ".ci/run", "docs/methods.md"]
    {
        assert!(files.iter().any(|f| f.path == path && !f.text.is_empty()), "{path} was not seen");
    }
    assert!(files.iter().all(|f| !f.path.starts_with("target/") && !f.path.starts_with(".git/")));
}

#[test]
fn dependencies_point_down() {
    none(floors::wrong_dependencies(&project()));
}

#[test]
fn guarded_crates_stay_in_their_crate() {
    none(floors::leaked_crates(&project()));
}

#[test]
fn every_crate_uses_the_workspace_lints() {
    none(floors::missing_lints(&project()));
}

#[test]
fn every_external_crate_is_explained() {
    none(floors::unexplained_crates(&project()));
}

#[test]
fn files_are_short() {
    none(code::long_files(&project()));
}

#[test]
fn unsafe_is_confined_and_explained() {
    none(code::wrong_unsafe(&project()));
}

#[test]
fn nothing_is_left_half_done() {
    none(code::forbidden(&project()));
}

#[test]
fn modules_are_named_by_their_concept() {
    none(code::vague_modules(&project()));
}

#[test]
fn paths_of_a_machine_stay_out() {
    none(code::machine_paths(&project()));
}

#[test]
fn the_method_index_is_true() {
    none(docs::method_index(&project()));
}

#[test]
fn vector_headers_are_true() {
    none(docs::vector_headers(&project()));
}

#[test]
fn links_are_alive() {
    none(docs::dead_links(&project()));
}

/// Invented files for the tests of the rules.
fn files(pairs: &[(&str, &str)]) -> Vec<File> {
    pairs.iter().map(|(path, text)| File::new(path, text)).collect()
}

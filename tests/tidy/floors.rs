//! Dependencies: crates use only the floors below them, and external crates stay where they belong.

use crate::source::File;
use toml::{Table, Value};

/// What each crate may use. `bert4rs-testing` is for everybody, under `dev-dependencies` only.
const FLOORS: &[(&str, &[&str])] = &[
    ("bert4rs-kernels", &[]),
    ("bert4rs-text", &[]),
    ("bert4rs-tensor", &["bert4rs-kernels"]),
    ("bert4rs-testing", &["bert4rs-tensor"]),
    ("bert4rs-nn", &["bert4rs-tensor"]),
    ("bert4rs-search", &["bert4rs-kernels"]),
    ("bert4rs-train", &["bert4rs-nn", "bert4rs-tensor"]),
    ("bert4rs-tasks", &["bert4rs-train", "bert4rs-nn", "bert4rs-search", "bert4rs-tensor", "bert4rs-text"]),
    ("bert4rs-lab", &["bert4rs-train", "bert4rs-nn", "bert4rs-tensor"]),
    (
        "bert4rs-cli",
        &[
            "bert4rs-lab",
            "bert4rs-tasks",
            "bert4rs-train",
            "bert4rs-nn",
            "bert4rs-search",
            "bert4rs-tensor",
            "bert4rs-text",
            "bert4rs-kernels",
        ],
    ),
    ("bert4rs", &["bert4rs-tasks", "bert4rs-train", "bert4rs-nn", "bert4rs-tensor", "bert4rs-text"]),
];

/// External crates with one home: (crate, home, why).
const GUARDED: &[(&str, &str, &str)] = &[
    ("clap", "bert4rs-cli", "flags are read in one place"),
    ("tokenizers", "bert4rs-text", "only text turns strings into ids"),
];

/// One line of a dependency table: the manifest, its crate, the table, the crate it names.
struct Use<'a> {
    path: &'a str,
    krate: String,
    table: String,
    name: String,
}

pub fn wrong_dependencies(files: &[File]) -> Vec<String> {
    let (manifests, mut problems) = manifests(files);
    for (path, krate, _) in &manifests {
        if !FLOORS.iter().any(|(name, _)| name == krate) {
            problems.push(format!(
                "{path}: crate {krate} has no floor; add it to FLOORS in tests/tidy/floors.rs"
            ));
        }
    }
    for u in uses(&manifests) {
        let allowed = FLOORS.iter().find(|(name, _)| *name == u.krate).map_or(&[][..], |(_, list)| list);
        let ours = FLOORS.iter().any(|(name, _)| *name == u.name);
        let dev_helper = u.name == "bert4rs-testing" && u.table.ends_with("dev-dependencies");
        if ours && !dev_helper && !allowed.contains(&u.name.as_str()) {
            let list = if allowed.is_empty() { "none of our crates".to_owned() } else { allowed.join(", ") };
            problems.push(format!(
                "{}: [{}] names {}, but {} may use {list}; move the code to a crate that may use both, \
                 see \"Floors\" in ARCHITECTURE.md",
                u.path, u.table, u.name, u.krate
            ));
        }
    }
    problems
}

pub fn leaked_crates(files: &[File]) -> Vec<String> {
    let (manifests, mut problems) = manifests(files);
    for u in uses(&manifests) {
        for (name, home, why) in GUARDED {
            if u.name == *name && u.krate != *home {
                problems.push(format!(
                    "{}: [{}] names {name}, which only {home} may use ({why}); call {home} instead",
                    u.path, u.table
                ));
            }
        }
    }
    problems
}

pub fn missing_lints(files: &[File]) -> Vec<String> {
    let (manifests, mut problems) = manifests(files);
    for (path, _, table) in &manifests {
        let lints = table.get("lints").and_then(|l| l.get("workspace")).and_then(Value::as_bool);
        if lints != Some(true) {
            problems
                .push(format!("{path}: the workspace lints are off; add `[lints]` with `workspace = true`"));
        }
    }
    problems
}

/// Every external crate of the workspace has its sentence in CONTRIBUTING.md, "Dependencies".
pub fn unexplained_crates(files: &[File]) -> Vec<String> {
    let (manifests, mut problems) = manifests(files);
    let guide = files.iter().find(|f| f.path == "CONTRIBUTING.md").map_or("", |f| &f.text);
    let section = guide.split("\n## ").find(|s| s.starts_with("Dependencies")).unwrap_or("");
    for (path, _, table) in &manifests {
        let shared = table.get("workspace").and_then(|w| w.get("dependencies")).and_then(Value::as_table);
        for name in shared.into_iter().flat_map(Table::keys) {
            if !name.starts_with("bert4rs") && !section.contains(&format!("- `{name}`")) {
                problems.push(format!(
                    "{path}: {name} is unexplained; add \"- `{name}`: what it saves us\" to CONTRIBUTING.md, \
                     section \"Dependencies\""
                ));
            }
        }
    }
    problems
}

/// Path, crate name and content of every manifest that parses, and a problem for each that does not.
fn manifests(files: &[File]) -> (Vec<(&str, String, Table)>, Vec<String>) {
    let (mut found, mut problems) = (Vec::new(), Vec::new());
    for file in files.iter().filter(|f| f.is_manifest()) {
        match file.text.parse::<Table>() {
            Ok(table) => {
                let name = table.get("package").and_then(|p| p.get("name")).and_then(Value::as_str);
                found.push((file.path.as_str(), name.unwrap_or("(no name)").to_owned(), table));
            }
            Err(error) => problems.push(format!("{}: no valid TOML: {error}", file.path)),
        }
    }
    (found, problems)
}

fn uses<'a>(manifests: &[(&'a str, String, Table)]) -> Vec<Use<'a>> {
    const TABLES: [&str; 3] = ["dependencies", "dev-dependencies", "build-dependencies"];
    let mut found = Vec::new();
    for (path, krate, manifest) in manifests {
        let mut tables: Vec<(String, &Value)> = Vec::new();
        tables.extend(TABLES.iter().filter_map(|t| Some(((*t).to_owned(), manifest.get(*t)?))));
        for (target, content) in manifest.get("target").and_then(Value::as_table).into_iter().flatten() {
            tables.extend(
                TABLES.iter().filter_map(|t| Some((format!("target.{target}.{t}"), content.get(*t)?))),
            );
        }
        for (table, content) in tables {
            for (key, value) in content.as_table().into_iter().flatten() {
                // A dependency under another name says the real one in `package`.
                let name = value.get("package").and_then(Value::as_str).unwrap_or(key).to_owned();
                found.push(Use { path, krate: krate.clone(), table: table.clone(), name });
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files;

    fn manifest(krate: &str, rest: &str) -> Vec<File> {
        files(&[("x/Cargo.toml", &format!("[package]\nname = \"{krate}\"\n{rest}"))])
    }

    #[test]
    fn a_dependency_that_points_up_is_found_in_every_table() {
        let tables =
            ["dependencies", "dev-dependencies", "build-dependencies", "target.'cfg(unix)'.dependencies"];
        for table in tables {
            let up = manifest("bert4rs-nn", &format!("[{table}]\nbert4rs-text.workspace = true"));
            let found = wrong_dependencies(&up);
            assert_eq!(found.len(), 1, "{table}: {found:?}");
            assert!(found[0].contains("names bert4rs-text") && found[0].contains("may use bert4rs-tensor;"));
        }
        let down = manifest("bert4rs-nn", "[dependencies]\nbert4rs-tensor.workspace = true\nserde = \"1\"");
        assert!(wrong_dependencies(&down).is_empty());
    }

    #[test]
    fn a_new_name_does_not_hide_a_dependency() {
        let text = "[dependencies]\nwords = { package = \"bert4rs-text\", path = \"../text\" }";
        assert_eq!(wrong_dependencies(&manifest("bert4rs-nn", text)).len(), 1);
    }

    #[test]
    fn the_testing_crate_is_for_tests_only() {
        let dev = manifest("bert4rs-nn", "[dev-dependencies]\nbert4rs-testing.workspace = true");
        assert!(wrong_dependencies(&dev).is_empty());
        let shipped = manifest("bert4rs-nn", "[dependencies]\nbert4rs-testing.workspace = true");
        assert_eq!(wrong_dependencies(&shipped).len(), 1);
    }

    #[test]
    fn a_crate_without_floor_and_a_broken_manifest_are_found() {
        assert!(wrong_dependencies(&manifest("bert4rs-extra", ""))[0].contains("has no floor"));
        assert!(wrong_dependencies(&files(&[("x/Cargo.toml", "[package")]))[0].contains("no valid TOML"));
    }

    #[test]
    fn a_guarded_crate_elsewhere_is_found() {
        for (krate, problems) in [("bert4rs-text", 0), ("bert4rs-nn", 1)] {
            let text = "[dev-dependencies]\ntokenizers = \"0.23\"";
            assert_eq!(leaked_crates(&manifest(krate, text)).len(), problems, "{krate}");
        }
        assert_eq!(leaked_crates(&manifest("bert4rs-tasks", "[dependencies]\nclap = \"4\"")).len(), 1);
    }

    #[test]
    fn a_crate_without_the_lints_is_found() {
        assert!(missing_lints(&manifest("bert4rs-nn", "[lints]\nworkspace = true")).is_empty());
        assert_eq!(missing_lints(&manifest("bert4rs-nn", "[lints]\nworkspace = false")).len(), 1);
        assert_eq!(missing_lints(&manifest("bert4rs-nn", "")).len(), 1);
    }

    #[test]
    fn an_external_crate_without_its_sentence_is_found() {
        let check = |guide: &str| {
            let root = "[package]\nname = \"bert4rs\"\n[workspace.dependencies]\nserde = \"1\"";
            unexplained_crates(&files(&[("Cargo.toml", root), ("CONTRIBUTING.md", guide)]))
        };
        assert!(check("# Guide\n\n## Dependencies\n- `serde`: derives.\n").is_empty());
        assert_eq!(check("# Guide\n\n## Dependencies\n- `toml`: configs.\n").len(), 1);
        assert_eq!(check("# Guide\n\n## Style\n- `serde`: derives.\n").len(), 1);
    }
}

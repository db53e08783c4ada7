//! Looks up the modules, functions and files that the documents name, so that a map never shows what is gone.

use anyhow::Result;

use super::{Findings, Tree, is_heading, quoted};

const DOCUMENTS: [&str; 3] = ["ARCHITECTURE.md", "CONTRIBUTING.md", "SPECIFICATION.md"];
/// What stands under this heading does not exist yet.
const PLANNED: &str = "Planned";

/// Every `crate::module` and every path of a file in the documents exists, up to the section of plans.
pub(crate) fn names(tree: &Tree) -> Result<Findings> {
    let mut findings = Findings::new();
    for document in DOCUMENTS {
        let text = tree.document(document)?;
        let existing = text.lines().position(|line| is_heading(line, PLANNED));
        let text: String = text.lines().take(existing.unwrap_or(usize::MAX)).flat_map(|line| [line, "\n"]).collect();
        for name in quoted(&text) {
            if !exists(tree, name) {
                findings.push(format!("{document} names `{name}`, which does not exist"));
            }
        }
    }
    Ok(findings)
}

/// Whether what a document quotes exists; true for anything that is no module and no file.
fn exists(tree: &Tree, name: &str) -> bool {
    if let Some((path, test)) = name.split_once("::").filter(|(path, _)| path.contains('/')) {
        // A test in a file: `tests/e2e/test_invoke.py::test_name`.
        return tree.text(path).is_some_and(|text| super::promises::has_test(text, test));
    }
    if name.split("::").nth(1).is_some() && name.chars().all(|c| c.is_ascii_alphanumeric() || "_:".contains(c)) {
        return module_exists(tree, name);
    }
    let known = ["crates/", "xtask/", "tests/", "docs/", "models/", ".ci/", ".config/"];
    let is_path = known.iter().any(|folder| name.starts_with(folder))
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "_-./".contains(c));
    !is_path || tree.exists(name)
}

/// Follows a path as far as modules go; what comes after must be a word of the last module.
fn module_exists(tree: &Tree, name: &str) -> bool {
    let mut segments = name.split("::");
    let krate = segments.next().unwrap_or_default();
    let Some(root) = ["crates", "crates/storage", "."]
        .iter()
        .map(|folder| format!("{folder}/{krate}/src").trim_start_matches("./").to_owned())
        .find(|folder| tree.exists(folder))
    else {
        // Not one of ours: `tokio::spawn`.
        return true;
    };
    let mut folder = root.clone();
    let mut texts = vec![format!("{root}/lib.rs"), format!("{root}/main.rs")];
    for segment in segments {
        let (file, inner) = (format!("{folder}/{segment}.rs"), format!("{folder}/{segment}"));
        if tree.exists(&file) || tree.exists(&inner) {
            texts = vec![file, format!("{inner}/mod.rs")];
            folder = inner;
            continue;
        }
        let word = |text: &str| text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).any(|w| w == segment);
        return texts.iter().filter_map(|path| tree.text(path)).any(word);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_functions_and_files_are_looked_up() {
        let tree = Tree::of(&[
            ("crates/invoke/src/lib.rs", "//! x\npub mod pool;"),
            ("crates/invoke/src/pool.rs", "pub fn step() {}"),
            ("crates/store/src/embedded/mod.rs", "struct Writer;"),
            ("xtask/src/tidy.rs", "fn run() {}"),
            ("tests/e2e/test_a.py", "def test_one():\n"),
        ]);
        for name in [
            "invoke::pool::step",
            "invoke::pool",
            "store::embedded::Writer",
            "tokio::spawn",
            "xtask::tidy",
            "crates/invoke",
            "tests/e2e/test_a.py::test_one",
            "cargo xtask test",
            "--data-dir",
        ] {
            assert!(exists(&tree, name), "{name}");
        }
        for name in
            ["invoke::pond", "invoke::pool::stop", "crates/pool", "tests/e2e/test_a.py::test_two", "tests/x.rs::a"]
        {
            assert!(!exists(&tree, name), "{name}");
        }
    }
}

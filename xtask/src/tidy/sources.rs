//! Checks every source file: how it opens, how long it is, and which words it may not hold.

use anyhow::Result;

use super::{Findings, Tree};

const LINES_MAX: usize = 800;
/// Crates whose public parts must all be described.
const DESCRIBED: [&str; 3] = ["store", "sandbox", "invoke"];
/// Files that a program writes: no one reads them from top to bottom.
const LOCKS: [&str; 4] = ["Cargo.lock", ".lock", "package-lock.json", "LICENSE"];

/// Every Rust file opens with `//!` and a sentence.
pub(crate) fn openings(tree: &Tree) -> Result<Findings> {
    let opens = |text: &str| {
        let words = text.lines().next().and_then(|line| line.strip_prefix("//!"));
        words.is_some_and(|words| words.trim().len() > 10)
    };
    let silent = tree.ending(".rs").filter(|(_, text)| !is_generated(text) && !opens(text));
    Ok(silent.map(|(path, _)| format!("{path} does not open with a sentence behind `//!`")).collect())
}

/// No hand-written source file is longer than can be read.
pub(crate) fn lengths(tree: &Tree) -> Result<Findings> {
    let endings = [".rs", ".py", ".js", ".mjs", ".cjs", ".c", ".sh", ".sql"];
    let sources =
        tree.files.iter().filter(|(path, text)| endings.iter().any(|e| path.ends_with(e)) && !is_generated(text));
    let long = sources.filter(|(_, text)| text.lines().count() > LINES_MAX);
    Ok(long.map(|(path, text)| format!("{path} has {} lines; at most {LINES_MAX}", text.lines().count())).collect())
}

/// No word that a workplace, a registry or an unfinished thought leaves behind.
pub(crate) fn words(tree: &Tree) -> Result<Findings> {
    // In two pieces, so that this file does not find itself.
    let everywhere = [
        concat!("/wo", "rk/main"),
        concat!("/wo", "rk/target"),
        concat!("/wo", "rk/shared"),
        concat!("/wo", "rk/notes"),
        concat!("pypi", ".org"),
        concat!("pythonhosted", ".org"),
        concat!("registry.npmjs", ".org"),
        concat!("index.crates", ".io"),
        concat!("static.crates", ".io"),
        concat!("deb.debian", ".org"),
    ];
    let unfinished = [concat!("to", "do!("), concat!("unimple", "mented!("), concat!("dbg", "!(")];
    let unwrap = concat!(".unw", "rap()");
    let mut findings = Findings::new();
    for (path, text) in &tree.files {
        let is_lock = LOCKS.iter().any(|lock| path.ends_with(lock));
        // The service models are Amazon's words.
        if is_lock || path.starts_with("models/") {
            continue;
        }
        let is_rust = path.ends_with(".rs");
        let mut in_tests = !path.contains("/src/") || path.ends_with("/tests.rs") || path.contains("/tests/");
        for (number, line) in text.lines().enumerate() {
            let place = || format!("{path}:{}", number + 1);
            in_tests |= line.trim_start().starts_with("#[cfg(test)]");
            if let Some(word) = everywhere.iter().find(|word| line.contains(**word)) {
                findings.push(format!("{} names {word}", place()));
            }
            if let Some(word) = unfinished.iter().find(|word| is_rust && line.contains(**word)) {
                findings.push(format!("{} holds {word}", place()));
            }
            let is_comment = line.trim_start().starts_with("//");
            if is_rust && !in_tests && !is_comment && line.contains(unwrap) {
                findings.push(format!("{} holds {unwrap} outside tests", place()));
            }
        }
    }
    Ok(findings)
}

/// Every crate but the sandbox forbids unsafe code.
pub(crate) fn unsafe_code(tree: &Tree) -> Result<Findings> {
    let mut findings = Findings::new();
    for (path, text) in tree.ending(".rs") {
        let Some((folder, file)) = path.split_once("/src/") else { continue };
        let is_root = matches!(file, "lib.rs" | "main.rs");
        let allowed = folder == "crates/sandbox" || folder.starts_with("tests/clients/");
        // A crate with both roots is one package, and each root is compiled alone.
        if is_root && !allowed && !text.contains("#![forbid(unsafe_code)]") {
            findings.push(format!("{path} lacks #![forbid(unsafe_code)]"));
        }
    }
    Ok(findings)
}

/// The crates that others build on refuse a public part without a description.
pub(crate) fn described(tree: &Tree) -> Result<Findings> {
    let roots = DESCRIBED.iter().map(|name| format!("crates/{name}/src/lib.rs"));
    let lacking = roots.filter(|path| !tree.text(path).is_some_and(|text| text.contains("#![deny(missing_docs)]")));
    Ok(lacking.map(|path| format!("{path} lacks #![deny(missing_docs)]")).collect())
}

/// Two copies of SQLite in one process would break each other's file locks.
pub(crate) fn one_sqlite(tree: &Tree) -> Result<Findings> {
    let copies = tree.document("Cargo.lock")?.lines().filter(|line| *line == "name = \"libsqlite3-sys\"").count();
    Ok(if copies > 1 { vec![format!("libsqlite3-sys is there {copies} times")] } else { Findings::new() })
}

fn is_generated(text: &str) -> bool {
    text.lines().take(5).any(|line| line.contains("@generated") || line.contains("Generated by"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(run: fn(&Tree) -> Result<Findings>, files: &[(&str, &str)], expected: &[&str]) {
        assert_eq!(run(&Tree::of(files)).expect("the check can run"), expected);
    }

    #[test]
    fn silent_long_and_unfinished_files_are_found() {
        check(
            openings,
            &[("a.rs", "//! What it is, said.\n"), ("b.rs", "fn x() {}\n")],
            &["b.rs does not open with a sentence behind `//!`"],
        );
        let long = "x\n".repeat(801);
        let generated = format!("//! Generated by xtask.\n{long}");
        check(
            lengths,
            &[("a.rs", &long), ("b.rs", &generated), ("c.txt", &long)],
            &["a.rs has 801 lines; at most 800"],
        );
        let unwraps = concat!("fn a() { x.unw", "rap() }\n#[cfg(test)]\nfn b() { x.unw", "rap() }\n");
        let expected = concat!("crates/a/src/a.rs:1 holds .unw", "rap() outside tests");
        check(words, &[("crates/a/src/a.rs", unwraps), ("crates/a/tests/b.rs", unwraps)], &[expected]);
        check(words, &[("a.md", concat!("see /wo", "rk/main/x"))], &[concat!("a.md:1 names /wo", "rk/main")]);
    }

    #[test]
    fn a_crate_that_allows_unsafe_code_is_found() {
        let files = [("crates/a/src/lib.rs", "//! A"), ("crates/sandbox/src/lib.rs", ""), ("crates/b/src/x.rs", "")];
        check(unsafe_code, &files, &["crates/a/src/lib.rs lacks #![forbid(unsafe_code)]"]);
    }

    #[test]
    fn a_second_sqlite_is_found() {
        let twice = "name = \"libsqlite3-sys\"\nversion = 1\nname = \"libsqlite3-sys\"\nversion = 2\n";
        check(one_sqlite, &[("Cargo.lock", twice)], &["libsqlite3-sys is there 2 times"]);
    }
}

//! Our own checks: the code against its map, and habits that no other tool knows.

mod layers;
mod map;
mod promises;
mod sources;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::commands;
use crate::counts::Counts;

/// What a check found wrong, a line each.
type Findings = Vec<String>;

/// Runs every check and says what each found; a check counts as a test.
pub(crate) fn run() -> Result<Counts> {
    let tree = Tree::read(commands::root())?;
    let metadata = commands::metadata()?;
    let checks: [(&str, Result<Findings>); 11] = [
        ("crates use only what the layer table allows", layers::uses(&tree, &metadata)),
        ("guarded dependencies stay in their crates", layers::guarded(&tree, &metadata)),
        ("modules and files that documents name exist", map::names(&tree)),
        ("promises name tests that exist", promises::check(&tree)),
        ("source files open with what they are", sources::openings(&tree)),
        ("hand-written source files have at most 800 lines", sources::lengths(&tree)),
        ("forbidden words do not occur", sources::words(&tree)),
        ("unsafe code stays in the sandbox", sources::unsafe_code(&tree)),
        ("public parts of store, sandbox and invoke are described", sources::described(&tree)),
        ("one libsqlite3-sys is in the graph", sources::one_sqlite(&tree)),
        (
            "generated code is current",
            Ok(crate::generate::run(true).err().map(|e| format!("{e:#}")).into_iter().collect()),
        ),
    ];
    let mut counts = Counts::default();
    for (name, findings) in checks {
        let findings = findings.with_context(|| format!("check that {name}"))?;
        println!("{} {name}", if findings.is_empty() { "ok    " } else { "FAILED" });
        for finding in &findings {
            println!("         {finding}");
        }
        counts += Counts::one(findings.is_empty());
    }
    Ok(counts)
}

/// The text files of the repository that people write, or that stand beside those.
struct Tree {
    files: Vec<(String, String)>,
}

impl Tree {
    /// Reads what git knows or would add; without git (an unpacked archive), everything outside hidden folders.
    fn read(root: &Path) -> Result<Self> {
        let mut git = std::process::Command::new("git");
        git.current_dir(root).args(["ls-files", "--cached", "--others", "--exclude-standard"]);
        let paths: Vec<PathBuf> = match commands::output(&mut git) {
            Ok(list) => list.lines().map(PathBuf::from).collect(),
            Err(_) => walk(root, Path::new(""))?,
        };
        let mut files = Vec::new();
        for path in paths {
            // A file that was removed but not yet committed is still listed; one that is not text is no one's source.
            if let Ok(text) = fs::read_to_string(root.join(&path)) {
                files.push((path.to_string_lossy().into_owned(), text));
            }
        }
        files.sort();
        files.dedup();
        Ok(Self { files })
    }

    fn text(&self, path: &str) -> Option<&str> {
        self.files.iter().find(|(name, _)| name == path).map(|(_, text)| text.as_str())
    }

    /// The text of a document that must be there.
    fn document(&self, path: &str) -> Result<&str> {
        self.text(path).with_context(|| format!("{path} is missing"))
    }

    fn exists(&self, path: &str) -> bool {
        let folder = format!("{}/", path.trim_end_matches('/'));
        self.files.iter().any(|(name, _)| name == path || name.starts_with(&folder))
    }

    /// Files with this ending, with their paths.
    fn ending<'a>(&'a self, ending: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        let files = self.files.iter().map(|(path, text)| (path.as_str(), text.as_str()));
        files.filter(move |(path, _)| path.ends_with(ending))
    }

    #[cfg(test)]
    fn of(files: &[(&str, &str)]) -> Self {
        Self { files: files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect() }
    }
}

fn walk(root: &Path, below: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let folder = root.join(below);
    for entry in fs::read_dir(&folder).with_context(|| format!("list {}", folder.display()))? {
        let entry = entry.with_context(|| format!("list {}", folder.display()))?;
        let (name, kind) = (entry.file_name(), entry.file_type().context("ask for the kind of a file")?);
        let hidden = name.to_string_lossy().starts_with('.') && name != ".ci" && name != ".config" && name != ".cargo";
        if hidden || name == "target" || name == "node_modules" {
            continue;
        }
        if kind.is_dir() {
            found.extend(walk(root, &below.join(name))?);
        } else if kind.is_file() {
            found.push(below.join(name));
        }
    }
    Ok(found)
}

/// The rows of the first table under a heading of a document, a cell each, without its head and rule.
fn table<'a>(document: &'a str, heading: &str) -> Vec<Vec<&'a str>> {
    let section = document.lines().skip_while(|line| !is_heading(line, heading)).skip(1);
    let lines = section.take_while(|line| !line.starts_with('#')).skip_while(|line| !line.starts_with('|'));
    let rows = lines.take_while(|line| line.starts_with('|')).skip(2);
    rows.map(|row| row.trim().trim_matches('|').split('|').map(str::trim).collect()).collect()
}

fn is_heading(line: &str, heading: &str) -> bool {
    line.starts_with('#') && line.trim_start_matches('#').trim() == heading
}

/// What stands between backticks, outside code blocks.
fn quoted(document: &str) -> impl Iterator<Item = &str> {
    let mut fenced = false;
    let lines = document.lines().filter(move |line| {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
            return false;
        }
        !fenced
    });
    lines.flat_map(|line| line.split('`').skip(1).step_by(2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_read_under_their_heading() {
        let document =
            "# A\n| x | y |\n|---|---|\n| 1 | 2 |\n\n## B\nwords\n\n| x |\n|---|\n| `3` |\n| 4 |\nend\n| 5 |\n";
        assert_eq!(table(document, "A"), [["1", "2"]]);
        assert_eq!(table(document, "B"), [["`3`"], ["4"]]);
        assert!(table(document, "C").is_empty());
    }

    #[test]
    fn quoted_words_are_found_outside_code() {
        let found: Vec<_> = quoted("a `b` c `d`\n```\n`no`\n```\n`e`").collect();
        assert_eq!(found, ["b", "d", "e"]);
    }
}

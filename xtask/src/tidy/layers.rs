//! Compares the layer table of ARCHITECTURE.md with what cargo says the crates depend on.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use serde_json::Value;

use super::{Findings, Tree, table};

const MAP: &str = "ARCHITECTURE.md";

/// Each crate of the workspace stands in the table, and uses no crate that its row does not name.
pub(crate) fn uses(tree: &Tree, metadata: &Value) -> Result<Findings> {
    Ok(compare(&table(tree.document(MAP)?, "Layers"), &crates(metadata)?))
}

/// Each dependency in the table of guarded ones is used by no crate that its row does not name.
pub(crate) fn guarded(tree: &Tree, metadata: &Value) -> Result<Findings> {
    let crates = crates(metadata)?;
    let mut findings = Findings::new();
    let rows = table(tree.document(MAP)?, "Guarded dependencies");
    if rows.is_empty() {
        findings.push(format!("{MAP} has no table of guarded dependencies"));
    }
    for row in rows {
        let [guarded, owners, ..] = row.as_slice() else { continue };
        let owners = names(owners);
        for guarded in names(guarded) {
            for (name, uses) in &crates {
                if uses.contains(guarded) && !owners.contains(&name.as_str()) {
                    findings.push(format!("`{name}` depends on `{guarded}`, which is for {}", owners.join(", ")));
                }
            }
        }
    }
    Ok(findings)
}

/// What each crate of the workspace depends on, apart from what only its tests use.
fn crates(metadata: &Value) -> Result<BTreeMap<String, BTreeSet<String>>> {
    let packages = metadata["packages"].as_array().context("cargo metadata lists no packages")?;
    let uses = packages.iter().map(|package| {
        let dependencies = package["dependencies"].as_array().into_iter().flatten();
        let names = dependencies.filter(|d| d["kind"] != "dev").filter_map(|d| d["name"].as_str().map(str::to_owned));
        (package["name"].as_str().unwrap_or_default().to_owned(), names.collect())
    });
    Ok(uses.collect())
}

fn compare(rows: &[Vec<&str>], crates: &BTreeMap<String, BTreeSet<String>>) -> Findings {
    let mut findings = Findings::new();
    let mut allowed: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for row in rows {
        let [name, uses, ..] = row.as_slice() else { continue };
        let above: Vec<&str> = allowed.keys().copied().collect();
        let uses = names(uses);
        let mut may: Vec<&str> = if uses.first() == Some(&"all") { above } else { uses.clone() };
        if let Some(but) = uses.iter().position(|word| *word == "but") {
            may.retain(|name| !uses[but + 1..].contains(name));
        }
        if let [name] = names(name).as_slice() {
            allowed.insert(name, may);
        }
    }
    for (name, uses) in crates {
        let Some(may) = allowed.get(name.as_str()) else {
            findings.push(format!("`{name}` has no row in the layer table"));
            continue;
        };
        for used in uses.iter().filter(|used| crates.contains_key(*used)) {
            if !may.contains(&used.as_str()) {
                findings.push(format!("`{name}` uses `{used}`, which its row does not allow"));
            }
        }
    }
    for name in allowed.keys().filter(|name| !crates.contains_key(**name)) {
        findings.push(format!("the layer table has a row for `{name}`, which does not exist"));
    }
    findings
}

/// The words of a cell that name crates: without commas, backticks and line ends.
fn names(cell: &str) -> Vec<&str> {
    cell.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '_')).filter(|word| !word.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rows: &[(&str, &str)], crates: &[(&str, &[&str])], expected: &[&str]) {
        let rows: Vec<Vec<&str>> = rows.iter().map(|(name, uses)| vec![*name, *uses, "words"]).collect();
        let crates = crates
            .iter()
            .map(|(name, uses)| ((*name).to_owned(), uses.iter().map(|used| (*used).to_owned()).collect()))
            .collect();
        assert_eq!(compare(&rows, &crates), expected);
    }

    #[test]
    fn a_use_that_no_row_allows_is_found() {
        let rows =
            [("`base`", ""), ("`model`", "`base`"), ("`wire`", "base, model"), ("`services`", "all above but wire")];
        let none: &[&str] = &[];
        check(&rows, &[("base", none), ("model", &["base", "serde"]), ("wire", none), ("services", &["model"])], none);
        check(
            &rows,
            &[("base", &["model"]), ("model", none), ("wire", none), ("services", &["wire"]), ("extra", none)],
            &[
                "`base` uses `model`, which its row does not allow",
                "`extra` has no row in the layer table",
                "`services` uses `wire`, which its row does not allow",
            ],
        );
        check(
            &rows,
            &[("base", none), ("model", none), ("services", none)],
            &["the layer table has a row for `wire`, which does not exist"],
        );
    }
}

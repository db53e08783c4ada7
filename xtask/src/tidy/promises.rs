//! Checks that each promise of SPECIFICATION.md names a test that exists, or says that it is pending.

use anyhow::Result;

use super::{Findings, Tree, quoted};

const PAGE: &str = "SPECIFICATION.md";
const PENDING: &str = "pending";

/// Every row of every table with the columns promise and test.
pub(crate) fn check(tree: &Tree) -> Result<Findings> {
    let mut findings = Findings::new();
    let mut promises = 0;
    for (promise, proof) in rows(tree.document(PAGE)?) {
        promises += 1;
        if proof.starts_with(PENDING) {
            continue;
        }
        let mut tests = quoted(proof).filter(|name| name.contains("::")).peekable();
        if tests.peek().is_none() {
            findings.push(format!("no test is named, and it is not {PENDING}: {promise}"));
        }
        for test in tests {
            let found = test.split_once("::").is_some_and(|(path, name)| {
                let name = name.rsplit("::").next().unwrap_or(name);
                tree.text(path).is_some_and(|text| has_test(text, name))
            });
            if !found {
                findings.push(format!("the test `{test}` does not exist: {promise}"));
            }
        }
    }
    if promises == 0 {
        findings.push(format!("{PAGE} holds no promise"));
    }
    Ok(findings)
}

/// Whether a file of tests in Rust or Python holds a test of this name.
pub(crate) fn has_test(text: &str, name: &str) -> bool {
    let mut lines = text.lines().map(str::trim_start);
    lines.any(|line| {
        ["fn ", "async fn ", "def ", "async def "].iter().any(|keyword| {
            line.strip_prefix(keyword)
                .and_then(|rest| rest.strip_prefix(name))
                .is_some_and(|rest| rest.starts_with('('))
        })
    })
}

/// The cells of promise and test, over the whole page.
fn rows(page: &str) -> impl Iterator<Item = (&str, &str)> {
    page.lines().filter_map(|line| {
        let mut cells = line.strip_prefix('|')?.strip_suffix('|')?.split('|').map(str::trim);
        let (promise, proof) = (cells.next()?, cells.next()?);
        (!promise.starts_with("---") && promise != "promise").then_some((promise, proof))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn promises_without_a_test_are_found() {
        let page = "| promise | test |\n|---|---|\n| a | `t/a.py::test_a` |\n| b | pending: why |\n| c | `t/a.py::test_c` |\n\
                    | d | later |\n| e | `t/b.rs::tests::e` |\n";
        let tree = Tree::of(&[
            (PAGE, page),
            ("t/a.py", "def test_a(x):\n  pass\n"),
            ("t/b.rs", "mod tests {\n    fn e() {}\n    fn test_c_long() {}\n}"),
        ]);
        let findings = check(&tree).expect("the page is there");
        assert_eq!(
            findings,
            ["the test `t/a.py::test_c` does not exist: c", "no test is named, and it is not pending: d"]
        );
    }
}

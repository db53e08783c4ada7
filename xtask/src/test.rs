//! Everything that CI runs, in the order in which it fails soonest.

use anyhow::Result;

use crate::counts::Counts;
use crate::tools::{Choice, For, Tools};
use crate::{e2e, lint, tidy, unit};

/// Runs all steps, also after one has failed, and closes with a line that counts the tests of all.
pub(crate) fn run(choice: &Choice) -> Result<()> {
    let tools = Tools::ready(choice, For::Everything)?;
    let mut sum = Counts::default();
    let mut failures = Vec::new();
    let steps: [(&str, &dyn Fn() -> Result<Counts>); 6] = [
        ("tidy", &tidy::run),
        ("fmt", &|| lint::format(true).map(|()| Counts::one(true))),
        ("clippy", &|| lint::clippy().map(|()| Counts::one(true))),
        ("deny", &|| lint::deny(&tools).map(|()| Counts::one(true))),
        ("unit", &|| unit::run(&tools, &[])),
        ("e2e", &|| e2e::run(&tools, &[])),
    ];
    for (name, step) in steps {
        eprintln!("\n\u{2550}\u{2550} {name}");
        let counts = step().unwrap_or_else(|error| {
            eprintln!("{name}: {error:#}");
            Counts::one(false)
        });
        if counts.failed > 0 {
            failures.push(name);
        }
        eprintln!("{name}: {counts}");
        sum += counts;
    }
    if !failures.is_empty() {
        println!("\nfailed: {}", failures.join(", "));
    }
    sum.verdict()
}

//! The wall, tried from inside: each hostile act must fail in a cell and succeed outside, as root and as an ordinary user.
//!
//! A harness of its own, because a test binary must also serve as the launcher. An argument that is part of a case's name
//! runs only the cases that match.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]

mod acts;
mod behaviour;
mod harness;
mod packages;
mod platform;

use harness::{Case, World};

/// What a test runner that asks for a list is told; any other word chooses cases by their names.
const ALL: &str = "hostile_cases";

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.first().map(String::as_str) {
        Some("__launcher") => sandbox::launcher_main(),
        Some("platform") => return platform::serve(&words[1..]),
        _ => {}
    }
    if words.iter().any(|word| word == "--list") {
        if words.iter().all(|word| word != "--ignored") {
            println!("{ALL}: test");
        }
        return;
    }
    let filter = words.iter().find(|word| !word.starts_with("--") && *word != ALL).cloned().unwrap_or_default();
    let world = World::new();
    let cases: Vec<Case> =
        [acts::cases(), behaviour::cases(), packages::cases(), platform::cases()].into_iter().flatten().collect();
    let failed = world.run(&cases, &filter);
    let failed = failed + world.run_as_ordinary_user(&filter);
    if failed > 0 {
        eprintln!("{failed} cases failed");
        std::process::exit(1);
    }
}

//! Measures ours beside a bare lower bound, alternating in one run: `warm`, `cold`.

#![forbid(unsafe_code)]

mod bound;
mod client;
mod cold;
mod platform;
mod sample;
mod stats;
mod warm;

use anyhow::{Result, bail};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if words.first() == Some(&"__launcher") {
        sandbox::launcher_main();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    match words.as_slice() {
        ["warm"] => runtime.block_on(warm::run()),
        ["cold"] => runtime.block_on(cold::run()),
        ["__bound", language, code_dir] => runtime.block_on(bound::serve(language, code_dir)),
        _ => bail!("usage: bench warm | bench cold"),
    }
}

//! The tests of the crates, and the examples in their documentation.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::commands;
use crate::counts::Counts;
use crate::tools::Tools;

/// Runs the tests with nextest, then the examples in the documentation if no filter is given.
pub(crate) fn run(tools: &Tools, rest: &[String]) -> Result<Counts> {
    let mut nextest = Command::new(&tools.nextest);
    nextest.current_dir(commands::root());
    nextest.args(["nextest", "run", "--locked", "--workspace", "--no-fail-fast", "--no-tests=warn"]).args(rest);
    let mut counts = counted(&mut nextest)?;
    if rest.is_empty() {
        counts +=
            counted(commands::cargo().args(["test", "--locked", "--workspace", "--doc", "--no-fail-fast", "--quiet"]))?;
    }
    Ok(counts)
}

/// Runs a test runner, shows its output, and counts by its closing lines. A runner that failed without counting a
/// failed test (it did not compile, for example) is an error.
pub(crate) fn counted(command: &mut Command) -> Result<Counts> {
    let started = Instant::now();
    eprintln!("\n\u{2500}\u{2500} {command:?}");
    // Both streams into one pipe: nextest counts on standard error, cargo's own runner on standard output.
    let (reader, writer) = std::io::pipe().context("make a pipe")?;
    command.stdin(Stdio::null()).stdout(writer.try_clone().context("share a pipe")?).stderr(writer);
    let mut child = command.spawn().with_context(|| format!("run {command:?}"))?;
    // The command itself keeps the pipe's write ends open, and reading would never end.
    command.stdout(Stdio::null()).stderr(Stdio::null());

    let mut text = String::new();
    let mut terminal = std::io::stderr();
    for line in BufReader::new(reader).split(b'\n') {
        let line = line.context("read the output of a test runner")?;
        let line = String::from_utf8_lossy(&line);
        writeln!(terminal, "{line}").context("show the output of a test runner")?;
        text.push_str(&line);
        text.push('\n');
    }
    let status = child.wait().context("wait for a test runner")?;
    eprintln!("\u{2500}\u{2500} {:.1} s", started.elapsed().as_secs_f32());
    let counts = Counts::read(&text);
    if !status.success() && counts.failed == 0 {
        bail!("the tests could not be run: {status}");
    }
    Ok(counts)
}

//! Counts tests over all steps, for the closing line.

use std::fmt;
use std::ops::AddAssign;

use anyhow::Result;

/// Tests failed, and the closing line has said so: nothing may be printed after it.
#[derive(Debug, thiserror::Error)]
#[error("tests failed")]
pub(crate) struct Failed;

/// How many tests passed, failed and were skipped.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: u32,
    pub(crate) failed: u32,
    pub(crate) skipped: u32,
}

impl Counts {
    /// One check that passed or failed.
    pub(crate) fn one(passed: bool) -> Self {
        Self { passed: u32::from(passed), failed: u32::from(!passed), skipped: 0 }
    }

    /// Prints the closing line. Fails if a test failed, and also if there was none at all.
    pub(crate) fn verdict(self) -> Result<()> {
        println!("\n{self}");
        if self.failed > 0 || self.passed == 0 { Err(Failed.into()) } else { Ok(()) }
    }

    /// Reads the closing lines of nextest, or else of cargo's own test runner, out of their output. Nextest shows what
    /// a failed test has printed, and that ends like a whole run of the other.
    pub(crate) fn read(output: &str) -> Self {
        let sum = |marks: &[&str]| {
            let found: Vec<Self> = output.lines().filter_map(|line| Self::of_line(line, marks)).collect();
            let sum = found.iter().fold(Self::default(), |mut sum, counts| {
                sum += *counts;
                sum
            });
            (!found.is_empty()).then_some(sum)
        };
        sum(&[" tests run: ", " test run: "]).or_else(|| sum(&["test result: "])).unwrap_or_default()
    }

    fn of_line(line: &str, marks: &[&str]) -> Option<Self> {
        let line = without_colours(line);
        let (_, counted) = marks.iter().find_map(|mark| line.split_once(mark))?;
        let mut counts = Self::default();
        let mut number = 0;
        for word in counted.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()) {
            match word {
                "passed" => counts.passed += number,
                "failed" => counts.failed += number,
                "skipped" | "ignored" => counts.skipped += number,
                // Nextest says "1 timed out" and "2 exec failed"; the next word after those adds nothing.
                "timed" => counts.failed += number,
                "exec" => continue,
                _ => {}
            }
            number = word.parse().unwrap_or(0);
        }
        Some(counts)
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

fn without_colours(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut escaped = false;
    for c in line.chars() {
        match (escaped, c) {
            (false, '\u{1b}') => escaped = true,
            (false, c) => plain.push(c),
            (true, 'm') => escaped = false,
            (true, _) => {}
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, passed: u32, failed: u32, skipped: u32) {
        assert_eq!(Counts::read(line), Counts { passed, failed, skipped }, "{line}");
    }

    #[test]
    fn closing_lines_of_runners_are_read() {
        check("     Summary [   0.5s] 12 tests run: 12 passed, 3 skipped", 12, 0, 3);
        check("     Summary [   0.5s] 1 test run: 1 passed (1 slow), 0 skipped", 1, 0, 0);
        check("     Summary [   9.5s] 5/12 tests run: 3 passed, 1 failed, 1 timed out, 7 skipped", 3, 2, 7);
        check(
            "\u{1b}[32m Summary\u{1b}[0m [ 1s] \u{1b}[1m2\u{1b}[0m tests run: \u{1b}[1m2\u{1b}[0m passed, 0 skipped",
            2,
            0,
            0,
        );
        check("test result: ok. 4 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; finished in 0.00s", 4, 0, 1);
        check("test result: FAILED. 4 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out", 4, 2, 0);
        check("4 passed by the door", 0, 0, 0);
    }

    #[test]
    fn several_runs_are_added() {
        check("test result: ok. 4 passed; 0 failed\nrunning 1 test\ntest result: ok. 1 passed; 0 failed", 5, 0, 0);
        let shown = "    test result: FAILED. 0 passed; 1 failed; 0 ignored\n";
        check(&format!("{shown}  Summary [ 9.5s] 3 tests run: 2 passed, 1 failed, 0 skipped"), 2, 1, 0);
    }
}

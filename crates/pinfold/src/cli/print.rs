//! Printing: text for people, with colour only on a terminal, or JSON for programs.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use clap::ValueEnum;
use serde_json::Value;

/// For whom results are printed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// Prints results to standard output and remarks to standard error.
#[derive(Debug)]
pub struct Printer {
    format: Format,
    colour_out: bool,
    colour_err: bool,
    closed: AtomicBool,
    failed: AtomicBool,
}

/// How a piece of text looks on a terminal.
#[derive(Debug, Clone, Copy)]
pub enum Look {
    Bold,
    Dim,
    Good,
    Bad,
    Name,
}

impl Look {
    const fn code(self) -> &'static str {
        match self {
            Self::Bold => "\x1b[1m",
            Self::Dim => "\x1b[2m",
            Self::Good => "\x1b[32m",
            Self::Bad => "\x1b[31m",
            Self::Name => "\x1b[36m",
        }
    }
}

impl Printer {
    /// Looks at the terminal, `NO_COLOR` and `TERM`.
    pub fn new(format: Format) -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
            && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        Self {
            format,
            colour_out: wanted && io::stdout().is_terminal(),
            colour_err: wanted && io::stderr().is_terminal(),
            closed: AtomicBool::new(false),
            failed: AtomicBool::new(false),
        }
    }

    /// Whether results are for programs.
    pub fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// Whether standard error is a terminal that shows colour.
    pub fn colour_err(&self) -> bool {
        self.colour_err
    }

    /// Whether nobody reads standard output any more, as after `| head`.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// Whether a part of the result could not be written, as on a full disk. That nobody wants to read it is no failure.
    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// A piece of text with a look, if standard output shows it.
    pub fn paint(&self, look: Look, text: impl Display) -> String {
        if self.colour_out { format!("{}{text}\x1b[0m", look.code()) } else { text.to_string() }
    }

    /// The same for remarks.
    pub fn paint_remark(&self, look: Look, text: impl Display) -> String {
        if self.colour_err { format!("{}{text}\x1b[0m", look.code()) } else { text.to_string() }
    }

    /// A line of the result.
    pub fn line(&self, text: impl Display) {
        self.bytes(format!("{text}\n").as_bytes());
    }

    /// Bytes of the result, as they are.
    pub fn bytes(&self, bytes: &[u8]) {
        let mut out = io::stdout().lock();
        if let Err(error) = out.write_all(bytes).and_then(|()| out.flush()) {
            self.closed.store(true, Ordering::Relaxed);
            if error.kind() != io::ErrorKind::BrokenPipe {
                self.failed.store(true, Ordering::Relaxed);
            }
        }
    }

    /// The result for programs, indented.
    pub fn json(&self, value: &Value) {
        self.line(format_args!("{value:#}"));
    }

    /// A line that is no part of the result.
    pub fn remark(&self, text: impl Display) {
        // Nobody is left to be told that a remark was lost.
        let _ = writeln!(io::stderr().lock(), "{text}");
    }

    /// A table with a head; columns as wide as they need to be.
    pub fn table(&self, head: &[&str], rows: &[Vec<String>]) {
        let widths = |column: usize| {
            let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
            cells.chain(std::iter::once(head[column].chars().count())).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..head.len()).map(widths).collect();
        let line = |cells: &mut dyn Iterator<Item = &str>| {
            let padded: Vec<String> = cells.zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
            padded.join("  ").trim_end().to_owned()
        };
        self.line(self.paint(Look::Dim, line(&mut head.iter().copied())));
        for row in rows {
            self.line(line(&mut row.iter().map(String::as_str)));
        }
    }
}

/// A guest's text for a terminal: without control characters, which could change what else is shown.
pub fn harmless(text: &str) -> std::borrow::Cow<'_, str> {
    let bad = |c: char| c.is_control() && c != '\n' && c != '\t';
    if !text.contains(bad) {
        return text.into();
    }
    text.chars().map(|c| if bad(c) { c.escape_default().to_string() } else { c.to_string() }).collect::<String>().into()
}

/// `1.2 MB`, in powers of 1,000.
pub fn bytes_for_people(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["B", "kB", "MB", "GB"];
    let mut amount = bytes as f64;
    let mut unit = 0;
    while amount >= 999.5 && unit + 1 < UNITS.len() {
        amount /= 1000.0;
        unit += 1;
    }
    if unit == 0 || amount >= 99.5 {
        format!("{amount:.0} {}", UNITS[unit])
    } else {
        format!("{amount:.1} {}", UNITS[unit])
    }
}

/// `850 µs`, `2.3 ms`, `4.1 s`.
pub fn micros_for_people(micros: u64) -> String {
    match micros {
        0..1000 => format!("{micros} µs"),
        1000..100_000 => format!("{:.1} ms", micros as f64 / 1e3),
        100_000..1_000_000 => format!("{} ms", micros / 1000),
        _ => format!("{:.1} s", micros as f64 / 1e6),
    }
}

/// `3 days 4 h`, `12 min`, `40 s`: the two largest units.
pub fn seconds_for_people(secs: u64) -> String {
    let (days, hours, minutes) = (secs / 86_400, secs / 3600 % 24, secs / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{secs} s"),
        (0, 0, _) => format!("{minutes} min {} s", secs % 60),
        (0, _, _) => format!("{hours} h {minutes} min"),
        (1, _, _) => format!("1 day {hours} h"),
        _ => format!("{days} days {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_cannot_write_to_the_terminal_past_us() {
        assert_eq!(harmless("a\tb\u{1b}[2Jc\r\u{9b}"), "a\tb\\u{1b}[2Jc\\r\\u{9b}");
    }

    #[test]
    fn amounts_are_short() {
        let shown: Vec<String> = [0, 999, 1000, 1234, 99_600, 999_600, 52_428_800].map(bytes_for_people).into();
        assert_eq!(shown, ["0 B", "999 B", "1.0 kB", "1.2 kB", "100 kB", "1.0 MB", "52.4 MB"]);
        let shown: Vec<String> = [7, 2345, 345_678, 4_120_000].map(micros_for_people).into();
        assert_eq!(shown, ["7 µs", "2.3 ms", "345 ms", "4.1 s"]);
        let shown: Vec<String> = [40, 750, 7300, 90_000, 300_000].map(seconds_for_people).into();
        assert_eq!(shown, ["40 s", "12 min 30 s", "2 h 1 min", "1 day 1 h", "3 days 11 h"]);
    }
}

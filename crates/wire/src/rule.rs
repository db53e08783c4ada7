//! The constraints of a model and the sentences in which AWS reports their violation.

use std::fmt::{self, Write as _};
use std::sync::OnceLock;

use regex::{Regex, RegexBuilder};

use crate::error::Error;

/// What a shape demands of its values: lengths of strings, lists and maps, ranges of numbers, a pattern, rules for what is inside.
#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) min: Option<i64>,
    pub(crate) max: Option<i64>,
    pub(crate) pattern: Option<&'static Pattern>,
    /// Its values stay out of messages.
    pub(crate) sensitive: bool,
    /// For the items of a list and the values of a map.
    pub(crate) item: &'static Rule,
    /// For the keys of a map.
    pub(crate) key: &'static Rule,
}

/// Demands nothing.
pub(crate) static FREE: Rule = Rule::new();

/// A regular expression that a whole value must match.
#[derive(Debug)]
pub(crate) struct Pattern {
    /// As the model writes it, for messages.
    source: &'static str,
    /// The same in the syntax of the matcher.
    regex: &'static str,
    compiled: OnceLock<Option<Regex>>,
}

/// Memory that one compiled pattern may take; the largest of the models needs a tenth of it.
const PATTERN_BYTES_MAX: usize = 4 * base::sizes::MIB;

impl Pattern {
    pub(crate) const fn new(source: &'static str, regex: &'static str) -> Self {
        Self { source, regex, compiled: OnceLock::new() }
    }

    /// Compiled at first use. `None` cannot happen: a test compiles every pattern.
    pub(crate) fn compiled(&self) -> Option<&Regex> {
        let compile =
            || RegexBuilder::new(&format!(r"\A(?:{})\z", self.regex)).size_limit(PATTERN_BYTES_MAX).build().ok();
        self.compiled.get_or_init(compile).as_ref()
    }

    fn matches(&self, text: &str) -> bool {
        self.compiled().is_none_or(|regex| regex.is_match(text))
    }
}

/// Where a value stands, from the inside out; only written down when something is wrong with it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum At<'a> {
    Root,
    Member(&'a At<'a>, &'a str),
    /// From zero.
    Item(&'a At<'a>, usize),
    Value(&'a At<'a>, &'a str),
}

impl fmt::Display for At<'_> {
    /// `vpcConfig.subnetIds`, `logEvents.1.member.message`, `tags.key.member`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Member(parent, name) => {
                if !matches!(parent, Self::Root) {
                    write!(f, "{parent}.")?;
                }
                let mut chars = name.chars();
                chars.next().map_or(Ok(()), |first| write!(f, "{}{}", first.to_ascii_lowercase(), chars.as_str()))
            }
            Self::Item(parent, index) => write!(f, "{parent}.{}.member", index + 1),
            Self::Value(parent, key) => write!(f, "{parent}.{}.member", shorten(key)),
        }
    }
}

/// Violations that one answer names; what exceeds them is only counted, since a request may hold ten thousand.
const VIOLATIONS_MAX: usize = 32;
/// Characters of an offending value that a message repeats.
const VALUE_CHARS_MAX: usize = 1024;

/// Collects violations while a request is read.
#[derive(Debug, Default)]
pub(crate) struct Violations {
    messages: Vec<String>,
    count: usize,
}

impl Violations {
    /// `value` is as it shall be shown: quoted, `null`, or nothing where it is a secret.
    fn push(&mut self, value: &str, at: &At<'_>, constraint: &str) {
        self.count += 1;
        if self.messages.len() < VIOLATIONS_MAX {
            let value = if value.is_empty() { String::new() } else { format!("{value} ") };
            self.messages.push(format!("Value {value}at '{at}' failed to satisfy constraint: {constraint}"));
        }
    }

    /// A required member is not there.
    pub(crate) fn missing(&mut self, at: &At<'_>) {
        self.push("null", at, "Member must not be null");
    }

    /// `value` at `at` breaks `constraint`.
    pub(crate) fn violated(&mut self, value: &dyn fmt::Display, sensitive: bool, at: &At<'_>, constraint: &str) {
        let value = if sensitive { String::new() } else { format!("'{}'", shorten(&value.to_string())) };
        self.push(&value, at, constraint);
    }

    /// How many there are so far.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Nothing if there are none, otherwise the answer that lists them.
    pub(crate) fn into_result(self, code: &'static str) -> Result<(), Error> {
        if self.count == 0 {
            return Ok(());
        }
        let plural = if self.count == 1 { "" } else { "s" };
        let mut message = format!("{} validation error{plural} detected: {}", self.count, self.messages.join("; "));
        if self.count > self.messages.len() {
            let _ = write!(message, "; and {} more", self.count - self.messages.len());
        }
        Err(Error::validation(code, message))
    }
}

fn shorten(text: &str) -> &str {
    text.char_indices().nth(VALUE_CHARS_MAX).map_or(text, |(end, _)| &text[..end])
}

/// What a measured value is called in messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Measure {
    Length,
    Value,
}

impl Measure {
    fn word(self) -> &'static str {
        match self {
            Self::Length => "length",
            Self::Value => "value",
        }
    }
}

impl Rule {
    pub(crate) const fn new() -> Self {
        Self { min: None, max: None, pattern: None, sensitive: false, item: &FREE, key: &FREE }
    }

    pub(crate) const fn min(mut self, min: i64) -> Self {
        self.min = Some(min);
        self
    }

    pub(crate) const fn max(mut self, max: i64) -> Self {
        self.max = Some(max);
        self
    }

    pub(crate) const fn pattern(mut self, pattern: &'static Pattern) -> Self {
        self.pattern = Some(pattern);
        self
    }

    pub(crate) const fn sensitive(mut self) -> Self {
        self.sensitive = true;
        self
    }

    pub(crate) const fn item(mut self, item: &'static Self) -> Self {
        self.item = item;
        self
    }

    pub(crate) const fn key(mut self, key: &'static Self) -> Self {
        self.key = key;
        self
    }

    fn too_large(&self, measure: Measure) -> Option<String> {
        Some(format!("Member must have {} less than or equal to {}", measure.word(), self.max?))
    }

    fn too_small(&self, measure: Measure) -> Option<String> {
        Some(format!("Member must have {} greater than or equal to {}", measure.word(), self.min?))
    }

    fn no_match(&self) -> Option<String> {
        Some(format!("Member must satisfy regular expression pattern: {}", self.pattern?.source))
    }

    /// Every sentence that this rule could say, in AWS's order.
    pub(crate) fn sentences(&self, measure: Measure) -> Vec<String> {
        [self.too_large(measure), self.too_small(measure), self.no_match()].into_iter().flatten().collect()
    }

    /// Whether it demands anything of a string or a number.
    pub(crate) fn is_free(&self) -> bool {
        self.min.is_none() && self.max.is_none() && self.pattern.is_none()
    }

    /// Which sentences a string breaks.
    pub(crate) fn broken_by_text(&self, text: &str) -> Vec<String> {
        if self.is_free() {
            return Vec::new();
        }
        let length = text.chars().count();
        let mut broken = self.broken_by_measure(i64::try_from(length).unwrap_or(i64::MAX), Measure::Length);
        // A value far beyond its length is not worth matching.
        let matchable = self.max.is_none_or(|max| length <= usize::try_from(max).unwrap_or(0).saturating_mul(4));
        if let Some(sentence) = self.no_match().filter(|_| !matchable || self.pattern.is_some_and(|p| !p.matches(text)))
        {
            broken.push(sentence);
        }
        broken
    }

    /// Which sentences a number, or the length of something, breaks.
    pub(crate) fn broken_by_measure(&self, measured: i64, measure: Measure) -> Vec<String> {
        let large = self.max.filter(|max| measured > *max).and_then(|_| self.too_large(measure));
        let small = self.min.filter(|min| measured < *min).and_then(|_| self.too_small(measure));
        large.into_iter().chain(small).collect()
    }

    /// As [`Rule::broken_by_measure`], for a number that need not be whole.
    pub(crate) fn broken_by_float(&self, measured: f64) -> Vec<String> {
        let large = self.max.filter(|max| measured > *max as f64).and_then(|_| self.too_large(Measure::Value));
        let small = self.min.filter(|min| measured < *min as f64).and_then(|_| self.too_small(Measure::Value));
        large.into_iter().chain(small).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generated::{lambda, logs, sts};

    #[test]
    fn every_pattern_compiles() {
        let mut count = 0;
        for pattern in [lambda::patterns::ALL, logs::patterns::ALL, sts::patterns::ALL].concat() {
            assert!(pattern.compiled().is_some(), "{}", pattern.source);
            count += 1;
        }
        assert!(count > 20, "{count}");
    }

    #[test]
    fn a_rewritten_pattern_holds_the_same_strings() {
        let bucket = lambda::patterns::ALL.iter().find(|pattern| pattern.source.contains("(?<!")).expect("it is there");
        for (name, expected) in
            [("my-bucket.x", true), ("", true), ("bucket.", false), (".", false), (".a", true), ("a/b", false)]
        {
            assert_eq!(bucket.matches(name), expected, "{name}");
        }
    }

    #[test]
    fn places_are_written_as_aws_writes_them() {
        let root = At::Root;
        let events = At::Member(&root, "LogEvents");
        let first = At::Item(&events, 0);
        assert_eq!(At::Member(&first, "message").to_string(), "logEvents.1.member.message");
        assert_eq!(At::Member(&root, "KMSKeyArn").to_string(), "kMSKeyArn");
        assert_eq!(At::Value(&events, "k").to_string(), "logEvents.k.member");
    }

    #[test]
    fn a_flood_of_violations_is_cut() {
        let mut violations = Violations::default();
        for _ in 0..10_000 {
            violations.violated(&"x".repeat(100_000), false, &At::Member(&At::Root, "m"), "c");
        }
        let error = violations.into_result("ValidationException").expect_err("violations");
        assert!(error.message.starts_with("10000 validation errors detected: Value 'xxx"), "{}", error.message);
        assert!(error.message.ends_with("; and 9968 more"));
        assert!(error.message.len() < 64 * 1024);
    }
}

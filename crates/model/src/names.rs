//! Names that people give, checked once at the border and trusted afterwards.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A name that does not follow its rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {value:?} {rule}")]
pub struct BadName {
    what: &'static str,
    value: String,
    rule: &'static str,
}

impl BadName {
    pub(crate) fn new(what: &'static str, value: &str, rule: &'static str) -> Self {
        Self { what, value: value.chars().take(200).collect(), rule }
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $rule:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks the rule.
            pub fn parse(value: &str) -> Result<Self, BadName> {
                let check: fn(&str) -> bool = $check;
                if check(value) { Ok(Self(value.into())) } else { Err(BadName::new($what, value, $rule)) }
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = BadName;
            fn try_from(value: String) -> Result<Self, BadName> {
                Self::parse(&value)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0.to_string()
            }
        }
    };
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
}

name!(
    /// A Lambda function's name (Lambda API reference, FunctionName: 1 to 64 of `[a-zA-Z0-9-_]`).
    FunctionName,
    "function name",
    "is not 1 to 64 letters, digits, hyphens or underscores",
    |value| (1..=64).contains(&value.len()) && value.bytes().all(is_word)
);

name!(
    /// A region's name, such as `us-east-1`.
    Region,
    "region",
    "is not 1 to 64 small letters, digits or hyphens",
    |value| (1..=64).contains(&value.len())
        && value.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
);

name!(
    /// A log group's name (CloudWatch Logs API reference: 1 to 512 of `[.\-_/#A-Za-z0-9]`).
    LogGroupName,
    "log group name",
    "is not 1 to 512 letters, digits or any of . - _ / #",
    |value| (1..=512).contains(&value.len())
        && value.bytes().all(|b| is_word(b) || matches!(b, b'.' | b'/' | b'#'))
);

name!(
    /// A log stream's name (CloudWatch Logs API reference: 1 to 512, neither `:` nor `*`).
    LogStreamName,
    "log stream name",
    "is not 1 to 512 characters without : and *",
    |value| !value.is_empty() && value.chars().count() <= 512 && !value.contains([':', '*'])
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn function_names_follow_the_rule() {
        for good in ["a", "Hello-World_1", &"x".repeat(64)] {
            assert!(FunctionName::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "a b", "a.b", "a/b", "ä", &"x".repeat(65)] {
            assert!(FunctionName::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_stored_name_is_checked_again() {
        assert!(serde_json::from_str::<FunctionName>("\"../x\"").is_err());
    }
}

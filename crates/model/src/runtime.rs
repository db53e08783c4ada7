//! Runtime names as AWS writes them, and the language that each one stands for.

use std::fmt;

/// A language with the version that a runtime name asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Language {
    /// `python3.13` is `Python { minor: 13 }`.
    Python {
        /// The minor version of CPython 3.
        minor: u32,
    },
    /// `nodejs22.x` is `Node { major: 22 }`.
    Node {
        /// The major version of Node.js.
        major: u32,
    },
    /// `provided`, `provided.al2`, `provided.al2023`: the package brings an executable `bootstrap`.
    Provided,
}

impl Language {
    /// Reads a runtime name; `None` if no language pack here can serve it.
    pub fn of_runtime(name: &str) -> Option<Self> {
        if let Some(minor) = name.strip_prefix("python3.") {
            return Some(Self::Python { minor: small_number(minor)? });
        }
        if let Some(version) = name.strip_prefix("nodejs") {
            let major = version.strip_suffix(".x").or_else(|| version.split('.').next()).filter(|v| !v.is_empty());
            // The first runtime was called just `nodejs` and stood for 0.10.
            return Some(Self::Node { major: small_number(major.unwrap_or("0"))? });
        }
        matches!(name, "provided" | "provided.al2" | "provided.al2023").then_some(Self::Provided)
    }

    /// Whether code is interpreted, so that the processor's architecture does not matter to it.
    pub fn is_interpreted(self) -> bool {
        !matches!(self, Self::Provided)
    }
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Python { minor } => write!(f, "Python 3.{minor}"),
            Self::Node { major } => write!(f, "Node.js {major}"),
            Self::Provided => f.write_str("a bootstrap of its own"),
        }
    }
}

fn small_number(text: &str) -> Option<u32> {
    (!text.is_empty() && text.len() <= 3 && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_for_languages() {
        assert_eq!(Language::of_runtime("python3.13"), Some(Language::Python { minor: 13 }));
        assert_eq!(Language::of_runtime("nodejs22.x"), Some(Language::Node { major: 22 }));
        assert_eq!(Language::of_runtime("nodejs4.3"), Some(Language::Node { major: 4 }));
        assert_eq!(Language::of_runtime("nodejs"), Some(Language::Node { major: 0 }));
        assert_eq!(Language::of_runtime("provided.al2023"), Some(Language::Provided));
        for other in ["python2.7", "python3.", "python3.x", "java21", "provided.al3", "", "nodejs-1.x", "ruby3.3"] {
            assert_eq!(Language::of_runtime(other), None, "{other}");
        }
    }
}

//! Filter patterns for unstructured events: which messages a search returns.
//!
//! The grammar is that of "Filter pattern syntax … match terms in unstructured log events" in CloudWatch's user guide.
//! JSON (`{ … }`), space-delimited (`[ … ]`) and regular-expression (`%…%`) patterns are refused by name.

use bytes::Bytes;

/// Longest pattern, in characters (CloudWatch Logs API reference, FilterPattern).
pub const PATTERN_CHARS_MAX: usize = 1024;

/// A pattern that was understood. The empty one matches everything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pattern {
    required: Vec<String>,
    optional: Vec<String>,
    excluded: Vec<String>,
}

/// A pattern that is not served; its text is what the caller is told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadPattern {
    /// A kind of pattern that this version does not evaluate.
    #[error(
        "Filter patterns of this kind are not supported yet: {kind} ({example}). Use terms, ?terms, -terms or quoted phrases."
    )]
    Unsupported {
        /// What the pattern is.
        kind: &'static str,
        /// What it looks like.
        example: &'static str,
    },
    /// An unquoted term with anything but letters, digits and underscores.
    #[error("Invalid character(s) in term '{0}'")]
    Characters(String),
    /// A quote without its partner.
    #[error("Invalid filter pattern: unclosed quotation mark")]
    Unclosed,
    /// Longer than [`PATTERN_CHARS_MAX`].
    #[error("Invalid filter pattern: longer than {PATTERN_CHARS_MAX} characters")]
    TooLong,
}

impl Pattern {
    /// Understands a pattern: terms must all occur; of `?terms`, one; no `-term` may; `"…"` quotes a phrase, in which
    /// `\"` and `\\` stand for the plain characters. Where `?terms` are mixed with others, they are ignored.
    pub fn parse(text: &str) -> Result<Self, BadPattern> {
        if text.chars().count() > PATTERN_CHARS_MAX {
            return Err(BadPattern::TooLong);
        }
        let mut rest = text.trim();
        match rest.as_bytes() {
            [b'{', ..] => return Err(BadPattern::Unsupported { kind: "JSON", example: "{ $.level = \"error\" }" }),
            [b'[', ..] => {
                return Err(BadPattern::Unsupported { kind: "space-delimited", example: "[ip, user, status]" });
            }
            [b'%', ..] => return Err(BadPattern::Unsupported { kind: "regular expression", example: "%expression%" }),
            _ => {}
        }
        let mut pattern = Self::default();
        while !rest.is_empty() {
            let (list, term) = match rest.as_bytes()[0] {
                b'?' => (&mut pattern.optional, &rest[1..]),
                b'-' => (&mut pattern.excluded, &rest[1..]),
                _ => (&mut pattern.required, rest),
            };
            let (term, after) = read_term(term)?;
            list.push(term);
            rest = after.trim_start();
        }
        if !pattern.required.is_empty() || !pattern.excluded.is_empty() {
            pattern.optional.clear();
        }
        Ok(pattern)
    }

    /// Whether the message is one of those asked for. Letters' case matters.
    pub fn matches(&self, message: &Bytes) -> bool {
        let holds = |term: &String| memchr::memmem::find(message, term.as_bytes()).is_some();
        self.required.iter().all(holds)
            && (self.optional.is_empty() || self.optional.iter().any(holds))
            && !self.excluded.iter().any(holds)
    }
}

/// The first term, and the text after it.
fn read_term(text: &str) -> Result<(String, &str), BadPattern> {
    if let Some(quoted) = text.strip_prefix('"') {
        return read_phrase(quoted);
    }
    let end = text.find(char::is_whitespace).unwrap_or(text.len());
    let (term, rest) = text.split_at(end);
    let is_odd = |c: char| !c.is_alphanumeric() && c != '_';
    match term.find(is_odd) {
        None if term.is_empty() => Err(BadPattern::Characters(text.chars().take(1).collect())),
        None => Ok((term.to_owned(), rest)),
        Some(at) => Err(BadPattern::Characters(term[at..].chars().take_while(|c| is_odd(*c)).collect())),
    }
}

/// The phrase up to its closing quote, and the text after it.
fn read_phrase(quoted: &str) -> Result<(String, &str), BadPattern> {
    let mut phrase = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Ok((phrase, &quoted[at + 1..])),
            '\\' => match characters.next() {
                Some((_, escaped @ ('"' | '\\'))) => phrase.push(escaped),
                Some((_, other)) => phrase.extend(['\\', other]),
                None => return Err(BadPattern::Unclosed),
            },
            other => phrase.push(other),
        }
    }
    Err(BadPattern::Unclosed)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Messages of the user guide's examples.
    const MESSAGES: [&str; 4] = [
        "[ERROR 400] BAD REQUEST",
        "[ERROR 401] UNAUTHORIZED REQUEST",
        "[ERROR 419] MISSING ARGUMENTS",
        "[WARN 420] \"odd\" C:\\dir Ünï",
    ];

    /// `expected` names the messages by number, or holds the error's text.
    fn check(pattern: &str, expected: &str) {
        let found = match Pattern::parse(pattern) {
            Err(error) => error.to_string(),
            Ok(pattern) => {
                let matched = |(n, message): (usize, &&'static str)| {
                    pattern.matches(&Bytes::from_static(message.as_bytes())).then(|| n.to_string())
                };
                MESSAGES.iter().enumerate().filter_map(matched).collect::<Vec<_>>().join(" ")
            }
        };
        assert_eq!(found, expected, "{pattern}");
    }

    #[test]
    fn terms_select_as_the_user_guide_says() {
        check("", "0 1 2 3");
        check("  ", "0 1 2 3");
        check("ERROR", "0 1 2");
        check("error", "");
        check("ERROR REQUEST", "0 1");
        check("ERROR REQUEST -UNAUTHORIZED", "0");
        check("-ERROR", "3");
        check("?UNAUTHORIZED ?MISSING", "1 2");
        check("\"ERROR 4\"", "0 1 2");
        check("ERROR -\"BAD REQUEST\"", "1 2");
        check("?\"BAD REQUEST\" ?WARN", "0 3");
        check(r#""\"odd\" C:\\dir""#, "3");
        check("Ünï", "3");
        check("\"ERROR\"\"419\"", "2");
    }

    #[test]
    fn optional_terms_are_ignored_beside_others() {
        check("?WARN REQUEST", "0 1");
        check("?WARN -ERROR", "3");
        check("?BAD -ERROR", "3");
    }

    #[test]
    fn what_is_not_understood_is_refused_by_name() {
        check("a:b", "Invalid character(s) in term ':'");
        check("caf\u{e9}::x", "Invalid character(s) in term '::'");
        check("? x", "Invalid character(s) in term ' '");
        check("-", "Invalid character(s) in term ''");
        check("\"open", "Invalid filter pattern: unclosed quotation mark");
        check("\"open\\", "Invalid filter pattern: unclosed quotation mark");
        check(&"x".repeat(1025), "Invalid filter pattern: longer than 1024 characters");
        for (pattern, kind) in [("{ $.a = 1 }", "JSON"), ("[a, b]", "space-delimited"), ("%a|b%", "regular expression")]
        {
            let error = Pattern::parse(pattern).expect_err(pattern).to_string();
            assert!(error.contains("not supported yet") && error.contains(kind), "{error}");
        }
    }
}

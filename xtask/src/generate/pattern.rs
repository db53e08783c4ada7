//! The patterns of models (Java's dialect) in the dialect of the `regex` crate.

use anyhow::{Result, bail};

/// Java's `\d`, `\w` and `\s` are ASCII; `regex` would take them for Unicode's.
const CLASSES: [(char, &str); 3] = [('d', "0-9"), ('w', "0-9A-Za-z_"), ('s', r" \t\n\x0B\f\r")];

/// The same language, or an error where only a rewriting by hand (`[SERVICE.patterns]`) can say it.
pub(super) fn translate(pattern: &str) -> Result<String> {
    let mut out = String::with_capacity(pattern.len());
    let mut chars = pattern.chars().peekable();
    let mut in_class = false;
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                None => bail!("{pattern} ends in a backslash"),
                Some('u') => {
                    let digits: String = chars.by_ref().take(4).collect();
                    out.push_str(&format!(r"\x{{{digits}}}"));
                }
                Some(digit @ '1'..='9') => bail!("{pattern} refers back to group {digit}"),
                Some(escaped) => {
                    let class = CLASSES.iter().find(|(name, _)| *name == escaped.to_ascii_lowercase());
                    match (class, escaped.is_ascii_uppercase(), in_class) {
                        (Some((_, set)), false, true) => out.push_str(set),
                        (Some((_, set)), false, false) => out.push_str(&format!("[{set}]")),
                        (Some((_, set)), true, _) => out.push_str(&format!("[^{set}]")),
                        (None, ..) => out.extend(['\\', escaped]),
                    }
                }
            },
            '[' if in_class => out.push_str(r"\["),
            '[' => {
                in_class = true;
                out.push('[');
                if chars.peek() == Some(&'^') {
                    out.extend(chars.next());
                }
            }
            ']' => {
                in_class = false;
                out.push(']');
            }
            '(' if !in_class && chars.peek() == Some(&'?') => {
                let ahead: String = chars.clone().take(3).collect();
                if ahead.starts_with("?=")
                    || ahead.starts_with("?!")
                    || ahead.starts_with("?<=")
                    || ahead.starts_with("?<!")
                {
                    bail!("{pattern} looks around");
                }
                out.push('(');
            }
            _ => out.push(c),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_become_ascii() {
        let cases = [
            (r"\d{12}", r"[0-9]{12}"),
            (r"[\w#+]*", r"[0-9A-Za-z_#+]*"),
            (r"[^\s]+", r"[^ \t\n\x0B\f\r]+"),
            (r"[\u0009-\u00FF]", r"[\x{0009}-\x{00FF}]"),
            (r"a\.b(?:c)", r"a\.b(?:c)"),
        ];
        for (java, expected) in cases {
            assert_eq!(translate(java).expect("translates"), expected);
        }
    }

    #[test]
    fn what_a_linear_matcher_lacks_is_refused() {
        for pattern in [r"(?!x)y", r".*(?<!\.)", r"(a)\1"] {
            assert!(translate(pattern).is_err(), "{pattern}");
        }
    }
}

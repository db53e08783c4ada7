//! The ways to name a function in the Lambda API: name, partial ARN, full ARN, each with an optional qualifier.

use crate::ids::AccountId;
use crate::names::{FunctionName, Region};

/// What a caller wrote where a function is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunctionReference {
    /// The account, if the reference names one.
    pub account: Option<AccountId>,
    /// The region, if the reference names one.
    pub region: Option<Region>,
    /// The function's name.
    pub name: FunctionName,
    /// Version or alias, if the reference names one: `$LATEST`, a number or an alias.
    pub qualifier: Option<String>,
}

/// The text is no reference to a function.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither a function's name nor its ARN")]
pub struct BadFunctionReference(pub String);

impl FunctionReference {
    /// Accepts `NAME`, `NAME:QUALIFIER`, `ACCOUNT:function:NAME[:QUALIFIER]`, `function:NAME[:QUALIFIER]` and
    /// `arn:aws:lambda:REGION:ACCOUNT:function:NAME[:QUALIFIER]` (Lambda API reference, FunctionName).
    pub fn parse(text: &str) -> Result<Self, BadFunctionReference> {
        let bad = || BadFunctionReference(text.chars().take(200).collect());
        let parts: Vec<&str> = text.split(':').collect();
        let (region, account, rest): (Option<&str>, Option<&str>, &[&str]) = match parts.as_slice() {
            ["arn", partition, "lambda", region, account, "function", rest @ ..] if partition.starts_with("aws") => {
                (Some(region), Some(account), rest)
            }
            ["function", rest @ ..] if !rest.is_empty() && !rest[0].is_empty() => (None, None, rest),
            [account, "function", rest @ ..] => (None, Some(account), rest),
            rest => (None, None, rest),
        };
        let (name, qualifier) = match rest {
            [name] => (*name, None),
            [name, qualifier] if is_qualifier(qualifier) => (*name, Some((*qualifier).to_owned())),
            _ => return Err(bad()),
        };
        Ok(Self {
            account: account.map(AccountId::parse).transpose().map_err(|_| bad())?,
            region: region.map(Region::parse).transpose().map_err(|_| bad())?,
            name: FunctionName::parse(name).map_err(|_| bad())?,
            qualifier,
        })
    }
}

/// `$LATEST`, a version number or an alias (Lambda API reference, Qualifier: `(|[a-zA-Z0-9$_-]+)`, 1 to 128).
pub fn is_qualifier(text: &str) -> bool {
    (1..=128).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'$' | b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<(&str, Option<&str>, Option<&str>)>) {
        let parsed = FunctionReference::parse(text).ok();
        let parsed = parsed.as_ref().map(|reference| {
            let account = reference.account.as_ref().map(AccountId::as_str);
            (reference.name.as_str(), reference.qualifier.as_deref(), account)
        });
        assert_eq!(parsed, expected, "{text}");
    }

    #[test]
    fn every_form_is_understood() {
        check("hello", Some(("hello", None, None)));
        check("hello:$LATEST", Some(("hello", Some("$LATEST"), None)));
        check("function:hello", Some(("hello", None, None)));
        check("123456789012:function:hello", Some(("hello", None, Some("123456789012"))));
        check("123456789012:function:hello:prod", Some(("hello", Some("prod"), Some("123456789012"))));
        check("arn:aws:lambda:us-east-1:123456789012:function:hello", Some(("hello", None, Some("123456789012"))));
        check(
            "arn:aws:lambda:us-east-1:123456789012:function:hello:7",
            Some(("hello", Some("7"), Some("123456789012"))),
        );
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["", ":", "a:", "a b", "a:b:c", "12:function:x", "arn:aws:s3:::x", "arn:aws:lambda:R:1:function:x"]
        {
            check(text, None);
        }
    }
}

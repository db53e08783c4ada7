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
    /// The function's name, or what stands in its place and no function can be called, such as `a.b`.
    pub name: Result<FunctionName, String>,
    /// Version or alias, if the reference names one: `$LATEST`, a number or an alias.
    pub qualifier: Option<String>,
}

/// The text is no reference to a function.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither a function's name nor its ARN")]
pub struct BadFunctionReference(pub String);

impl FunctionReference {
    /// Reads what the pattern of the Lambda API's model accepts (API reference, FunctionName):
    /// `(arn:aws:lambda:)?(REGION:)?(ACCOUNT:)?(function:)?NAME(:QUALIFIER)?`. As in a pattern, what can be one of the
    /// optional parts is one: `123456789012:x` is a function `x` of that account.
    pub fn parse(text: &str) -> Result<Self, BadFunctionReference> {
        let parts: Vec<&str> = text.split(':').collect();
        after_prefix(&parts).ok_or_else(|| BadFunctionReference(text.chars().take(200).collect()))
    }
}

fn after_prefix(parts: &[&str]) -> Option<FunctionReference> {
    let rest = match parts {
        ["arn", partition, "lambda", rest @ ..] if is_partition(partition) => rest,
        rest => rest,
    };
    let is_arn = rest.len() < parts.len();
    if let [region, rest @ ..] = rest {
        // A region of this platform's own may look like nothing in the pattern, but in an ARN an account follows it.
        let in_place = is_arn && rest.first().is_some_and(|account| AccountId::parse(account).is_ok());
        if (is_region(region) || in_place)
            && let Ok(region) = Region::parse(region)
            && let Some(found) = after_region(rest)
        {
            return Some(FunctionReference { region: Some(region), ..found });
        }
    }
    after_region(rest)
}

fn after_region(parts: &[&str]) -> Option<FunctionReference> {
    if let [account, rest @ ..] = parts
        && let Ok(account) = AccountId::parse(account)
        && let Some(found) = after_account(rest)
    {
        return Some(FunctionReference { account: Some(account), ..found });
    }
    after_account(parts)
}

fn after_account(parts: &[&str]) -> Option<FunctionReference> {
    match parts {
        ["function", rest @ ..] => name_and_qualifier(rest).or_else(|| name_and_qualifier(parts)),
        _ => name_and_qualifier(parts),
    }
}

fn name_and_qualifier(parts: &[&str]) -> Option<FunctionReference> {
    let (name, qualifier) = match parts {
        [name] => (name, None),
        [name, qualifier] if is_qualifier(qualifier) => (name, Some((*qualifier).to_owned())),
        _ => return None,
    };
    let is_name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if name.is_empty() || !name.bytes().all(is_name) {
        return None;
    }
    let name = FunctionName::parse(name).map_err(|_| (*name).to_owned());
    Some(FunctionReference { account: None, region: None, name, qualifier })
}

/// `aws`, `aws-cn`, `aws-us-gov`; the pattern lets it be empty too.
fn is_partition(text: &str) -> bool {
    let rest = text.strip_prefix("aws").unwrap_or(text);
    (rest.len() < text.len() || text.is_empty()) && rest.bytes().all(|b| b.is_ascii_alphabetic() || b == b'-')
}

/// `eu-central-1`, `us-gov-west-1`: words of small letters, and a digit.
fn is_region(text: &str) -> bool {
    let Some((words, number)) = text.rsplit_once('-') else { return false };
    let mut words = words.split('-');
    number.len() == 1
        && number.bytes().all(|b| b.is_ascii_digit())
        && words.clone().count() > 1
        && words.all(|word| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase()))
}

/// `$LATEST`, a version number or an alias (Lambda API reference, Qualifier: `\$(LATEST(\.PUBLISHED)?)|[a-zA-Z0-9$_-]+`,
/// 1 to 128).
pub fn is_qualifier(text: &str) -> bool {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'$' | b'_' | b'-');
    text == "$LATEST.PUBLISHED" || ((1..=128).contains(&text.len()) && text.bytes().all(is_plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCOUNT: &str = "123456789012";

    /// `expected` is region, account, name and qualifier, each `-` if absent.
    fn check(text: &str, expected: &str) {
        let found = match FunctionReference::parse(text) {
            Ok(reference) => {
                let region = reference.region.as_ref().map_or("-", Region::as_str);
                let account = reference.account.as_ref().map_or("-", AccountId::as_str);
                let name = reference.name.as_ref().map_or_else(|bad| format!("no name: {bad}"), ToString::to_string);
                format!("{region} {account} {name} {}", reference.qualifier.as_deref().unwrap_or("-"))
            }
            Err(_) => "refused".to_owned(),
        };
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn every_form_is_understood() {
        check("hello", "- - hello -");
        check("hello:$LATEST", "- - hello $LATEST");
        check("hello:$LATEST.PUBLISHED", "- - hello $LATEST.PUBLISHED");
        check("function:hello", "- - hello -");
        check("function:hello:prod", "- - hello prod");
        check("123456789012:hello", "- 123456789012 hello -");
        check("123456789012:hello:prod", "- 123456789012 hello prod");
        check("123456789012:function:hello", "- 123456789012 hello -");
        check("123456789012:function:hello:prod", "- 123456789012 hello prod");
        check("us-east-1:123456789012:function:hello", "us-east-1 123456789012 hello -");
        check("us-gov-west-1:123456789012:hello:7", "us-gov-west-1 123456789012 hello 7");
        check("us-east-1:hello", "us-east-1 - hello -");
        check("arn:aws:lambda:us-east-1:123456789012:function:hello", "us-east-1 123456789012 hello -");
        check("arn:aws:lambda:us-east-1:123456789012:function:hello:7", "us-east-1 123456789012 hello 7");
        check("arn:aws:lambda:us-east-1:123456789012:hello", "us-east-1 123456789012 hello -");
        check("arn:aws-cn:lambda:cn-north-1:123456789012:hello:7", "cn-north-1 123456789012 hello 7");
        check("arn:aws:lambda:home:123456789012:function:hello", "home 123456789012 hello -");
        check("arn:aws:lambda:hello", "- - hello -");
    }

    #[test]
    fn a_name_that_looks_like_another_part_is_a_name_where_nothing_else_can_be() {
        check(ACCOUNT, "- - 123456789012 -");
        check("123456789012:$LATEST", "- - 123456789012 $LATEST");
        check("us-east-1", "- - us-east-1 -");
        check("function", "- - function -");
        check("function:$LATEST", "- - function $LATEST");
        check("function:function:function", "- - function function");
        check("123456789012:function", "- 123456789012 function -");
        check("12:prod", "- - 12 prod");
    }

    #[test]
    fn a_name_that_no_function_can_have_is_told_from_no_name() {
        check("a.b", "- - no name: a.b -");
        check(&format!("{ACCOUNT}:{}", "x".repeat(65)), &format!("- {ACCOUNT} no name: {} -", "x".repeat(65)));
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            ":",
            "a:",
            "a b",
            "a:b:c",
            "12:function:x",
            "function:",
            "arn:aws:s3:::x",
            "arn:aws:lambda:R:1:function:x",
            "arn:evil:lambda:us-east-1:123456789012:function:x",
            "us-east-1:123456789012:function:x:1:2",
        ] {
            check(text, "refused");
        }
    }
}

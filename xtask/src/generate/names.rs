//! Rust names for the names of models.

/// `KMSKeyArn` → `kms_key_arn`, `CodeSha256` → `code_sha256`, `cognito-idp` → `cognito_idp`.
pub(super) fn snake(name: &str) -> String {
    let chars: Vec<char> = name.chars().collect();
    let mut out = String::new();
    for (index, &c) in chars.iter().enumerate() {
        if !c.is_ascii_alphanumeric() {
            out.push('_');
            continue;
        }
        let previous = index.checked_sub(1).map(|i| chars[i]);
        let next = chars.get(index + 1);
        let starts = c.is_ascii_uppercase()
            && previous.is_some_and(|p| {
                p.is_ascii_lowercase()
                    || p.is_ascii_digit()
                    || (p.is_ascii_uppercase() && next.is_some_and(char::is_ascii_lowercase))
            });
        if starts && !out.ends_with('_') {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    match out.as_str() {
        "type" | "match" | "ref" | "move" | "where" | "use" | "static" => format!("{out}_"),
        _ => out,
    }
}

/// `LATEST_PUBLISHED` → `LatestPublished`, `x86_64` → `X86_64`, `FunctionError.InitTimeout` → `FunctionErrorInitTimeout`.
pub(super) fn variant(name: &str) -> String {
    let mut out = String::new();
    for word in name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()) {
        let digits = word.starts_with(|c: char| c.is_ascii_digit());
        if digits && out.ends_with(|c: char| c.is_ascii_digit()) {
            out.push('_');
        } else if digits && out.is_empty() {
            out.push('V');
        }
        let shouted = !word.contains(|c: char| c.is_ascii_lowercase());
        for (index, c) in word.chars().enumerate() {
            out.push(match (index, shouted) {
                (0, _) => c.to_ascii_uppercase(),
                (_, true) => c.to_ascii_lowercase(),
                _ => c,
            });
        }
    }
    out
}

/// `FunctionName` → `FUNCTION_NAME`.
pub(super) fn constant(name: &str) -> String {
    snake(name).trim_end_matches('_').to_uppercase()
}

/// A string literal.
pub(super) fn literal(text: &str) -> String {
    format!("{text:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_rust() {
        let cases = [("KMSKeyArn", "kms_key_arn"), ("CodeSha256", "code_sha256"), ("S3Bucket", "s3_bucket")];
        for (name, expected) in cases.into_iter().chain([("Type", "type_"), ("logGroupName", "log_group_name")]) {
            assert_eq!(snake(name), expected);
        }
        let cases =
            [("LATEST_PUBLISHED", "LatestPublished"), ("x86_64", "X86_64"), ("arm64", "Arm64"), ("None", "None")];
        for (name, expected) in cases.into_iter().chain([("FunctionError.InitTimeout", "FunctionErrorInitTimeout")]) {
            assert_eq!(variant(name), expected);
        }
    }
}

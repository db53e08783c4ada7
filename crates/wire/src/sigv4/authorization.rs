//! The `Authorization` header and the times that a request may carry.

use base::time::Timestamp;

use super::canonical::basic_time;
use super::{ALGORITHM, Refusal, TERMINATOR, unhex};

/// Headers that one signature may cover.
const SIGNED_HEADERS_MAX: usize = 128;

/// `AWS4-HMAC-SHA256 Credential=KEY/DATE/REGION/SERVICE/aws4_request, SignedHeaders=a;b, Signature=HEX`.
#[derive(Debug)]
pub(super) struct Authorization<'a> {
    /// `KEY/DATE/REGION/SERVICE/aws4_request`.
    pub(super) credential: &'a str,
    pub(super) access_key_id: &'a str,
    /// `20261122`.
    pub(super) date: &'a str,
    pub(super) region: &'a str,
    pub(super) service: &'a str,
    /// In the order of the header, in lower case.
    pub(super) signed_headers: Vec<&'a str>,
    pub(super) signature: [u8; 32],
}

impl<'a> Authorization<'a> {
    pub(super) fn parse(header: &'a str, has_date: bool) -> Result<Self, Refusal> {
        let (algorithm, rest) = header.split_once(char::is_whitespace).unwrap_or(("", header));
        let (algorithm, rest) = if header == ALGORITHM { (header, "") } else { (algorithm, rest) };
        if let Some(bare) =
            rest.split([',', ' ', '\t']).find(|parameter| !parameter.is_empty() && !parameter.contains('='))
        {
            return Err(Refusal::Incomplete(format!(
                "'{}' not a valid key=value pair (missing equal-sign) in Authorization header: '{}'.",
                clip(bare),
                clip(header)
            )));
        }
        if algorithm != ALGORITHM {
            return Err(Refusal::Incomplete(format!(
                "Unsupported AWS 'algorithm': '{}'. Use {ALGORITHM}.",
                clip(algorithm)
            )));
        }
        let (mut credential, mut signed_headers, mut signature) = (None, None, None);
        for parameter in rest.split([',', ' ', '\t']).filter(|parameter| !parameter.is_empty()) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let slot = match name {
                "Credential" => &mut credential,
                "SignedHeaders" => &mut signed_headers,
                "Signature" => &mut signature,
                _ => {
                    return Err(Refusal::Incomplete(format!(
                        "'{}' is not a valid key=value pair in Authorization header.",
                        clip(parameter)
                    )));
                }
            };
            if slot.replace(value).is_some() {
                return Err(Refusal::Incomplete(format!("Authorization header has '{name}' twice.")));
            }
        }
        let mut lacks = String::new();
        for (name, value) in [("Credential", credential), ("Signature", signature), ("SignedHeaders", signed_headers)] {
            if value.is_none_or(str::is_empty) {
                lacks.push_str(&format!("Authorization header requires '{name}' parameter. "));
            }
        }
        if !has_date {
            lacks.push_str("Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. ");
        }
        let (Some(credential), Some(signed), Some(signature), "") = (credential, signed_headers, signature, &*lacks)
        else {
            return Err(Refusal::Incomplete(lacks.trim_end().to_owned()));
        };
        let signed_headers: Vec<&str> = signed.split(';').collect();
        let is_name = |name: &&str| !name.is_empty() && !name.bytes().any(|byte| byte.is_ascii_uppercase());
        if signed_headers.len() > SIGNED_HEADERS_MAX || !signed_headers.iter().all(is_name) {
            return Err(Refusal::Incomplete(
                "SignedHeaders must be a list of header names in lower case, separated by ';'.".into(),
            ));
        }
        let parts: Vec<&str> = credential.split('/').collect();
        let [access_key_id, date, region, service, terminator] = parts[..] else {
            return Err(Refusal::Incomplete(format!(
                "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got '{}'.",
                clip(credential)
            )));
        };
        if terminator != TERMINATOR {
            return Err(Refusal::Incomplete(format!(
                "Credential should be scoped with a valid terminator: '{TERMINATOR}', not '{}'.",
                clip(terminator)
            )));
        }
        // A signature of another length or alphabet is simply not the right one.
        let signature = unhex(signature).ok_or(Refusal::Mismatch)?;
        Ok(Self { credential, access_key_id, date, region, service, signed_headers, signature })
    }

    /// `DATE/REGION/SERVICE/aws4_request`.
    pub(super) fn scope(&self) -> &'a str {
        &self.credential[self.access_key_id.len() + 1..]
    }

    /// The time of the request, which must be of the day of the scope, and its basic form.
    pub(super) fn time(&self, text: &str) -> Result<(Timestamp, String), Refusal> {
        let at = parse_time(text).ok_or_else(|| {
            Refusal::Incomplete(format!("Date must be in ISO-8601 'basic format'. Got '{}'.", clip(text)))
        })?;
        let basic = basic_time(at);
        let day = &basic[..8];
        if day != self.date {
            return Err(Refusal::Incomplete(format!(
                "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '{}' != '{day}', from '{}'.",
                clip(self.date),
                clip(text)
            )));
        }
        Ok((at, basic))
    }
}

/// Characters of what a caller sent that a message repeats.
const CLIP_CHARS: usize = 100;

fn clip(text: &str) -> String {
    text.chars().take(CLIP_CHARS).collect()
}

/// `20261122T150405Z` (`X-Amz-Date`) or `Sun, 22 Nov 2026 15:04:05 GMT` (`Date`).
fn parse_time(text: &str) -> Option<Timestamp> {
    let instant = if text.len() == 16 && text.ends_with('Z') && text.as_bytes()[8] == b'T' {
        let number = |from: usize, to: usize| {
            let digits = text.get(from..to)?;
            digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse::<i16>().ok())?
        };
        let small = |from: usize| number(from, from + 2).and_then(|value| i8::try_from(value).ok());
        let civil =
            jiff::civil::DateTime::new(number(0, 4)?, small(4)?, small(6)?, small(9)?, small(11)?, small(13)?, 0);
        jiff::tz::Offset::UTC.to_timestamp(civil.ok()?).ok()?
    } else {
        jiff::fmt::rfc2822::parse(text).ok()?.timestamp()
    };
    Some(Timestamp::from_micros(u64::try_from(instant.as_microsecond()).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_both_forms_of_time() {
        let expected = Some(Timestamp::from_millis(1_440_938_160_000));
        assert_eq!(parse_time("20150830T123600Z"), expected);
        assert_eq!(parse_time("Sun, 30 Aug 2015 12:36:00 GMT"), expected);
        for wrong in ["", "20150830T123600", "20151330T123600Z", "2015-08-30T12:36:00Z", "2015083éT12360Z"] {
            assert_eq!(parse_time(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn says_what_an_authorization_lacks() {
        #[track_caller]
        fn check(header: &str, has_date: bool, expected: &str) {
            let refusal = Authorization::parse(header, has_date).expect_err("refused");
            assert_eq!(refusal.to_string(), expected);
        }
        check(
            "AWS4-HMAC-SHA256 Credential=A/20150830/r/s/aws4_request",
            false,
            "Authorization header requires 'Signature' parameter. Authorization header requires 'SignedHeaders' parameter. \
             Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.",
        );
        check("Basic a=b", true, "Unsupported AWS 'algorithm': 'Basic'. Use AWS4-HMAC-SHA256.");
        let missing = "not a valid key=value pair (missing equal-sign) in Authorization header";
        check("foo", true, &format!("'foo' {missing}: 'foo'."));
        check("Bearer x", true, &format!("'x' {missing}: 'Bearer x'."));
        check(
            "AWS4-HMAC-SHA256",
            true,
            "Authorization header requires 'Credential' parameter. Authorization header requires 'Signature' parameter. \
             Authorization header requires 'SignedHeaders' parameter.",
        );
        check(
            "AWS4-HMAC-SHA256 Credential=A/r/s/aws4_request, SignedHeaders=host, Signature=00",
            true,
            "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got 'A/r/s/aws4_request'.",
        );
        check(
            "AWS4-HMAC-SHA256 Credential=A/20150830/r/s/aws3, SignedHeaders=host, Signature=00",
            true,
            "Credential should be scoped with a valid terminator: 'aws4_request', not 'aws3'.",
        );
        check(
            "AWS4-HMAC-SHA256 Credential=A/20150830/r/s/aws4_request, SignedHeaders=host, Signature=00, Signature=11",
            true,
            "Authorization header has 'Signature' twice.",
        );
    }
}

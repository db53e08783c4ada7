//! How a fact lies in the segments: one byte for the version, then the fact.

use bytes::{BufMut, Bytes, BytesMut};
use model::ids::AccountId;
use model::names::FunctionName;
use model::usage::UsageFact;

/// The fact as JSON. A later version reads this one too.
const VERSION_JSON: u8 = 1;

/// What a stored fact is, when it cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BadFact {
    #[error("a usage fact has version {0}, which this binary does not know")]
    Version(u8),
    #[error("a usage fact is empty")]
    Empty,
    #[error("read a usage fact")]
    Malformed(#[from] serde_json::Error),
}

/// The stored form of a fact.
pub(crate) fn encode(fact: &UsageFact) -> Bytes {
    let mut writer = BytesMut::with_capacity(512).writer();
    writer.get_mut().put_u8(VERSION_JSON);
    serde_json::to_writer(&mut writer, fact).expect("a fact has text keys and is written to memory");
    writer.into_inner().freeze()
}

/// Reads the stored form.
pub(crate) fn decode(payload: &[u8]) -> Result<UsageFact, BadFact> {
    match payload.split_first() {
        Some((&VERSION_JSON, fact)) => Ok(serde_json::from_slice(fact)?),
        Some((version, _)) => Err(BadFact::Version(*version)),
        None => Err(BadFact::Empty),
    }
}

/// The stream of a function's facts: account, function, region, so that both an account's and a function's facts (in
/// every region) are neighbours.
pub(crate) fn stream(fact: &UsageFact) -> Bytes {
    let function = &fact.function;
    let mut key = prefix(function.account, Some(&function.name));
    key.put_slice(function.region.as_str().as_bytes());
    key.freeze()
}

/// What the streams of an account, or of one of its functions, begin with.
pub(crate) fn prefix(account: AccountId, function: Option<&FunctionName>) -> BytesMut {
    let mut key = BytesMut::with_capacity(128);
    key.put_slice(account.as_str().as_bytes());
    if let Some(function) = function {
        key.put_slice(function.as_str().as_bytes());
        key.put_u8(0);
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A fact of the first version, as it lies on disks.
    const FIRST: &str = r#"{"at":1700000000000000,"function":{"account":"000000000000","region":"us-east-1","name":"hello"},"version":"$LATEST","invocation":"07070707-0707-4707-8707-070707070707","attempt":1,"duration_us":1500,"billed_ms":2,"init_us":null,"memory_mib":128,"memory_used_mib":40,"outcome":"success","bytes_in":2,"bytes_out":4}"#;

    #[test]
    fn a_fact_of_the_first_version_is_read_and_written_alike() {
        let stored = [&[VERSION_JSON][..], FIRST.as_bytes()].concat();
        let fact = decode(&stored).expect("the first version");
        assert_eq!(fact.memory_used_mib, 40);
        assert_eq!(encode(&fact), stored);
        assert_eq!(&stream(&fact)[..], b"000000000000hello\0us-east-1");
        assert!(stream(&fact).starts_with(&prefix(AccountId::DEFAULT, Some(&fact.function.name))));
        assert!(stream(&fact).starts_with(&prefix(AccountId::DEFAULT, None)));
    }

    #[test]
    fn what_is_no_fact_is_named() {
        let check = |payload: &[u8], expected: &str| {
            assert_eq!(decode(payload).expect_err("no fact").to_string(), expected);
        };
        check(b"", "a usage fact is empty");
        check(b"\x02{}", "a usage fact has version 2, which this binary does not know");
        check(b"\x01{}", "read a usage fact");
    }
}

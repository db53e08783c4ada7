//! Records: values with a kind and a version, read by every newer binary.

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

/// A value that the store keeps. What was written by an older version is migrated when it is read.
pub trait Record: Serialize + DeserializeOwned {
    /// Names the kind of record, for ever.
    const KIND: &'static str;
    /// Counts up with every change of shape that an older value does not satisfy.
    const VERSION: u32;

    /// Turns a value of `version` into one of `version + 1`.
    ///
    /// # Errors
    /// Why it cannot; the default knows no older version.
    fn migrate(version: u32, _value: Value) -> Result<Value, String> {
        Err(format!("no migration from version {version}"))
    }
}

/// Why stored bytes are not the record that was expected.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The bytes are no record.
    #[error("read a stored record of kind {kind}")]
    Malformed {
        /// The kind that was expected.
        kind: &'static str,
        /// What the parser says.
        #[source]
        source: serde_json::Error,
    },
    /// A record of another kind is there.
    #[error("a record of kind {found} is stored where {expected} was expected")]
    OtherKind {
        /// The kind that was expected.
        expected: &'static str,
        /// The kind that is stored.
        found: String,
    },
    /// A newer binary wrote it.
    #[error("a record of kind {kind} has version {found}, and this binary knows versions up to {known}")]
    Newer {
        /// The kind.
        kind: &'static str,
        /// The stored version.
        found: u32,
        /// The newest version that this binary reads.
        known: u32,
    },
    /// The migration from an older version failed.
    #[error("migrate a record of kind {kind} from version {from}: {reason}")]
    Migration {
        /// The kind.
        kind: &'static str,
        /// The version that could not be left.
        from: u32,
        /// What the migration says.
        reason: String,
    },
}

#[derive(Serialize)]
struct Written<'a, T> {
    kind: &'a str,
    version: u32,
    value: &'a T,
}

#[derive(Deserialize)]
struct Found<'a> {
    kind: String,
    version: u32,
    #[serde(borrow)]
    value: &'a RawValue,
}

/// The stored form: `{"kind":…,"version":…,"value":…}`.
pub fn encode<T: Record>(record: &T) -> Bytes {
    let written = Written { kind: T::KIND, version: T::VERSION, value: record };
    serde_json::to_vec(&written).expect("a record has text keys and no fallible serializer").into()
}

/// Reads the stored form, migrating it where it is older.
///
/// # Errors
/// The bytes are no record, of another kind, newer than this binary, or cannot be migrated.
pub fn decode<T: Record>(bytes: &[u8]) -> Result<T, DecodeError> {
    let kind = T::KIND;
    let malformed = |source| DecodeError::Malformed { kind, source };
    let found: Found<'_> = serde_json::from_slice(bytes).map_err(malformed)?;
    if found.kind != kind {
        return Err(DecodeError::OtherKind { expected: kind, found: found.kind });
    }
    if found.version > T::VERSION {
        return Err(DecodeError::Newer { kind, found: found.version, known: T::VERSION });
    }
    if found.version == T::VERSION {
        return serde_json::from_str(found.value.get()).map_err(malformed);
    }
    let mut value: Value = serde_json::from_str(found.value.get()).map_err(malformed)?;
    for version in found.version..T::VERSION {
        value = T::migrate(version, value).map_err(|reason| DecodeError::Migration { kind, from: version, reason })?;
    }
    serde_json::from_value(value).map_err(malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Lamp {
        lumens: u64,
        colour: String,
    }

    impl Record for Lamp {
        const KIND: &'static str = "lamp";
        const VERSION: u32 = 3;

        fn migrate(version: u32, mut value: Value) -> Result<Value, String> {
            match version {
                1 => value["lumens"] = Value::from(value["watts"].as_u64().ok_or("no watts")? * 12),
                2 => value["colour"] = Value::from("white"),
                _ => return Err(format!("unknown version {version}")),
            }
            Ok(value)
        }
    }

    #[test]
    fn reads_what_it_wrote() {
        let lamp = Lamp { lumens: 800, colour: "red".into() };
        assert_eq!(decode::<Lamp>(&encode(&lamp)).expect("decodes"), lamp);
    }

    #[test]
    fn migrates_step_by_step() {
        let old = br#"{"kind":"lamp","version":1,"value":{"watts":60}}"#;
        assert_eq!(decode::<Lamp>(old).expect("migrates"), Lamp { lumens: 720, colour: "white".into() });
    }

    #[test]
    fn refuses_with_one_clear_message() {
        let cases: [(&[u8], &str); 5] = [
            (b"{", "read a stored record of kind lamp"),
            (br#"{"kind":"bulb","version":1,"value":{}}"#, "a record of kind bulb is stored where lamp was expected"),
            (
                br#"{"kind":"lamp","version":4,"value":{}}"#,
                "a record of kind lamp has version 4, and this binary knows versions up to 3",
            ),
            (br#"{"kind":"lamp","version":1,"value":{}}"#, "migrate a record of kind lamp from version 1: no watts"),
            (br#"{"kind":"lamp","version":3,"value":{}}"#, "read a stored record of kind lamp"),
        ];
        for (bytes, message) in cases {
            assert_eq!(decode::<Lamp>(bytes).expect_err("refused").to_string(), message);
        }
    }
}

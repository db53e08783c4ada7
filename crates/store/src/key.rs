//! Keys: text parts joined so that the order of the bytes is the order of the parts.

use std::fmt;

use bytes::Bytes;

/// Ends a part.
const END: u8 = 0x00;
/// Follows a zero byte that belongs to a part. No UTF-8 text holds it, so it also sorts after every continuation of a prefix.
const ESCAPE: u8 = 0xFF;

/// Where a key lives: the unit of order, ownership and fencing. Shards are named by parts, as keys are.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Shard(Bytes);

/// A shard and a name of one or more parts within it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    shard: Shard,
    name: Bytes,
}

/// Neighbouring keys, from one place (included) to another (excluded).
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct KeyRange {
    from: Place,
    to: Place,
}

/// A place between keys.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Place {
    pub(crate) shard: Bytes,
    pub(crate) name: Bytes,
}

impl Shard {
    /// A shard of these parts. No part at all names the root, above every shard.
    pub fn new<P: AsRef<str>>(parts: &[P]) -> Self {
        Self(encode(&[], parts, None))
    }

    /// A key of these parts in this shard.
    pub fn key<P: AsRef<str>>(&self, parts: &[P]) -> Key {
        Key { shard: self.clone(), name: encode(&[], parts, None) }
    }

    /// Every key of this shard.
    pub fn all(&self) -> KeyRange {
        KeyRange { from: place(&self.0, &[]), to: Place { shard: followed_by(&self.0, END), name: Bytes::new() } }
    }

    /// Every key of this shard whose first parts are these.
    pub fn under<P: AsRef<str>>(&self, parts: &[P]) -> KeyRange {
        let name = encode(&[], parts, None);
        KeyRange { to: Place { shard: self.0.clone(), name: followed_by(&name, ESCAPE) }, from: place(&self.0, &name) }
    }

    /// Every key of this shard whose first parts are these and whose next part begins with `prefix`.
    pub fn starting<P: AsRef<str>>(&self, parts: &[P], prefix: &str) -> KeyRange {
        let name = encode(&[], parts, Some(prefix));
        KeyRange { to: Place { shard: self.0.clone(), name: followed_by(&name, ESCAPE) }, from: place(&self.0, &name) }
    }

    /// Every key of this shard and of every shard whose first parts are this one's.
    pub fn subtree(&self) -> KeyRange {
        KeyRange { from: place(&self.0, &[]), to: Place { shard: followed_by(&self.0, ESCAPE), name: Bytes::new() } }
    }

    /// The parts it was made of.
    pub fn parts(&self) -> Vec<String> {
        decode(&self.0)
    }

    /// Whether the first parts of `other` are this one's.
    pub fn contains(&self, other: &Self) -> bool {
        other.0.starts_with(&self.0) && other.0.get(self.0.len()) != Some(&ESCAPE)
    }

    /// The encoded parts; their order is the order of the shards.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn from_bytes(bytes: Bytes) -> Self {
        Self(bytes)
    }

    /// This shard and each one above it, without the root.
    pub(crate) fn lineage(&self) -> impl Iterator<Item = &[u8]> {
        let ends = |&at: &usize| self.0[at] == END && self.0.get(at + 1) != Some(&ESCAPE);
        (0..self.0.len()).filter(ends).map(|at| &self.0[..=at])
    }

    /// The encoded first part: what due-times are grouped by.
    pub(crate) fn kind(&self) -> &[u8] {
        self.lineage().next().unwrap_or_default()
    }
}

impl Key {
    /// Where it lives.
    pub fn shard(&self) -> &Shard {
        &self.shard
    }

    /// The parts of its name.
    pub fn parts(&self) -> Vec<String> {
        decode(&self.name)
    }

    /// The encoded parts of its name; their order is the order of the keys of a shard.
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    pub(crate) fn from_bytes(shard: Bytes, name: Bytes) -> Self {
        Self { shard: Shard(shard), name }
    }

    pub(crate) fn size(&self) -> usize {
        self.shard.0.len() + self.name.len()
    }

    pub(crate) fn place(&self) -> Place {
        Place { shard: self.shard.0.clone(), name: self.name.clone() }
    }
}

impl KeyRange {
    /// Whether the key lies within.
    pub fn contains(&self, key: &Key) -> bool {
        let place = key.place();
        self.from <= place && place < self.to
    }

    pub(crate) fn from(&self) -> &Place {
        &self.from
    }

    pub(crate) fn to(&self) -> &Place {
        &self.to
    }

    /// The part of this range that comes after `key`.
    pub(crate) fn after(&self, key: &Place) -> Self {
        let next = Place { shard: key.shard.clone(), name: followed_by(&key.name, END) };
        Self { from: next.max(self.from.clone()), to: self.to.clone() }
    }

    /// The part of this range that comes before `key`.
    pub(crate) fn before(&self, key: &Place) -> Self {
        Self { from: self.from.clone(), to: key.clone().min(self.to.clone()) }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.from >= self.to
    }
}

/// A number as a part that sorts as the number does: sixteen hexadecimal digits.
pub fn number(value: u64) -> String {
    format!("{value:016x}")
}

fn place(shard: &Bytes, name: &[u8]) -> Place {
    Place { shard: shard.clone(), name: Bytes::copy_from_slice(name) }
}

fn followed_by(bytes: &[u8], byte: u8) -> Bytes {
    let mut longer = Vec::with_capacity(bytes.len() + 1);
    longer.extend_from_slice(bytes);
    longer.push(byte);
    longer.into()
}

fn encode<P: AsRef<str>>(before: &[u8], parts: &[P], unfinished: Option<&str>) -> Bytes {
    let size = parts.iter().map(|part| part.as_ref().len() + 1).sum::<usize>() + unfinished.map_or(0, str::len);
    let mut bytes = Vec::with_capacity(before.len() + size);
    bytes.extend_from_slice(before);
    for part in parts {
        escape(&mut bytes, part.as_ref());
        bytes.push(END);
    }
    escape(&mut bytes, unfinished.unwrap_or_default());
    bytes.into()
}

fn escape(bytes: &mut Vec<u8>, text: &str) {
    for byte in text.bytes() {
        bytes.push(byte);
        if byte == END {
            bytes.push(ESCAPE);
        }
    }
}

fn decode(bytes: &[u8]) -> Vec<String> {
    let mut parts = Vec::new();
    let mut part = Vec::new();
    let mut rest = bytes.iter().peekable();
    while let Some(&byte) = rest.next() {
        if byte != END {
            part.push(byte);
        } else if rest.next_if(|&&next| next == ESCAPE).is_some() {
            part.push(END);
        } else {
            parts.push(String::from_utf8_lossy(&std::mem::take(&mut part)).into_owned());
        }
    }
    parts
}

impl fmt::Debug for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.parts().join("/"))
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.shard, self.parts().join("/"))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl fmt::Debug for KeyRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let show = |place: &Place| format!("{}:{}", place.shard.escape_ascii(), place.name.escape_ascii());
        write!(f, "{}..{}", show(&self.from), show(&self.to))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn texts() -> impl Strategy<Value = Vec<String>> {
        proptest::collection::vec("[\\x00\\x01a\u{ff}\u{10ffff}]{0,4}", 1..4)
    }

    proptest! {
        #[test]
        fn keys_sort_as_their_parts_do(a in texts(), b in texts()) {
            let shard = Shard::new(&["s"]);
            prop_assert_eq!(shard.key(&a).cmp(&shard.key(&b)), a.cmp(&b));
            prop_assert_eq!(Shard::new(&a).cmp(&Shard::new(&b)), a.cmp(&b));
        }

        #[test]
        fn keys_give_back_their_parts(parts in texts()) {
            prop_assert_eq!(Shard::new(&["s"]).key(&parts).parts(), parts.clone());
            prop_assert_eq!(Shard::new(&parts).parts(), parts);
        }

        #[test]
        fn ranges_hold_exactly_what_their_names_say(shard in texts(), a in texts(), prefix in texts(), start in "[\\x00a]{0,2}") {
            let home = Shard::new(&shard);
            let key = home.key(&a);
            prop_assert!(home.all().contains(&key));
            prop_assert_eq!(home.under(&prefix).contains(&key), a.starts_with(&prefix));
            let begins = a.len() > prefix.len() && a.starts_with(&prefix) && a[prefix.len()].starts_with(&start);
            let itself = a == prefix && start.is_empty();
            prop_assert_eq!(home.starting(&prefix, &start).contains(&key), begins || itself);
            let other = Shard::new(&prefix);
            prop_assert_eq!(other.all().contains(&key), other == home);
            prop_assert_eq!(other.subtree().contains(&key), shard.starts_with(&prefix));
            prop_assert_eq!(other.contains(&home), shard.starts_with(&prefix));
            prop_assert_eq!(home.lineage().count(), shard.len());
            let first = Shard::new(&shard[..1]);
            prop_assert_eq!(home.kind(), first.as_bytes());
        }
    }

    #[test]
    fn the_root_holds_every_shard() {
        let root = Shard::new::<&str>(&[]);
        let key = Shard::new(&["\u{10ffff}"]).key(&["x"]);
        assert!(root.subtree().contains(&key));
        assert!(!root.all().contains(&key));
    }

    #[test]
    fn numbers_sort_as_numbers() {
        assert!(number(9) < number(10));
        assert!(number(u64::MAX - 1) < number(u64::MAX));
    }
}

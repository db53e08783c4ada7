//! From a request's parts to typed values: JSON members, headers, labels and parameters, checked while they are read.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use base::time::Timestamp;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::HeaderMap;

use crate::error::Error;
use crate::json::{Json, Members};
use crate::rule::{At, Measure, Rule, Violations};

/// `None` means that violations were noted; the whole request will be refused at the end, with all of them.
pub(crate) type Taken<T> = Result<Option<T>, Error>;

/// A type that can be read from a request.
pub(crate) trait Take: Sized {
    /// It holds no members of its own, so that a list of it is reported as one value.
    const LEAF: bool = true;

    /// Reads it; `rule` is that of the shape.
    fn take(json: Json<'_>, rule: &Rule, at: &At<'_>, violations: &mut Violations) -> Taken<Self>;

    /// Every sentence that a value of this shape could break.
    fn sentences(rule: &Rule) -> Vec<String> {
        rule.sentences(Measure::Value)
    }
}

/// A generated structure.
pub(crate) trait Structure: Sized {
    /// Reads its members.
    fn read(fields: &mut Fields<'_, '_>) -> Taken<Self>;
}

/// Where a member of a request stands, when not in the body under its own name.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Place {
    Body(&'static str),
    Header(&'static str),
    Label(&'static str),
    Query(&'static str),
}

/// The parts of a request that its members may come from.
pub(crate) struct Source<'a> {
    pub(crate) labels: &'a [(&'static str, String)],
    pub(crate) query: &'a [(Cow<'a, str>, Cow<'a, str>)],
    pub(crate) headers: &'a HeaderMap,
    pub(crate) payload: Bytes,
}

/// The members of one structure that is being read.
pub(crate) struct Fields<'a, 'c> {
    members: Members<'a>,
    source: Option<&'a Source<'a>>,
    at: &'c At<'c>,
    violations: &'c mut Violations,
}

impl<'a, 'c> Fields<'a, 'c> {
    pub(crate) fn new(
        members: Members<'a>,
        source: Option<&'a Source<'a>>,
        at: &'c At<'c>,
        violations: &'c mut Violations,
    ) -> Self {
        Self { members, source, at, violations }
    }

    /// A member of the body that may be absent.
    pub(crate) fn optional<T: Take>(&mut self, name: &'static str, rule: &Rule) -> Result<Option<T>, Error> {
        self.optional_at(Place::Body(name), name, rule)
    }

    /// A member of the body that must be there.
    pub(crate) fn required<T: Take>(&mut self, name: &'static str, rule: &Rule) -> Taken<T> {
        self.required_at(Place::Body(name), name, rule)
    }

    /// A member that may be absent.
    pub(crate) fn optional_at<T: Take>(
        &mut self,
        place: Place,
        name: &'static str,
        rule: &Rule,
    ) -> Result<Option<T>, Error> {
        match self.find(place)? {
            None => Ok(None),
            Some(json) => T::take(json, rule, &At::Member(self.at, name), self.violations),
        }
    }

    /// A member that must be there.
    pub(crate) fn required_at<T: Take>(&mut self, place: Place, name: &'static str, rule: &Rule) -> Taken<T> {
        let before = self.violations.count();
        let value = self.optional_at(place, name, rule)?;
        if value.is_none() && self.violations.count() == before {
            self.violations.missing(&At::Member(self.at, name));
        }
        Ok(value)
    }

    /// The body as it came; `None` if there is none.
    pub(crate) fn payload(&mut self) -> Option<Bytes> {
        self.source.map(|source| source.payload.clone()).filter(|payload| !payload.is_empty())
    }

    fn find(&mut self, place: Place) -> Result<Option<Json<'a>>, Error> {
        let found = match place {
            Place::Body(name) => self
                .members
                .iter()
                .rposition(|(member, _)| member == name)
                .map(|index| self.members.swap_remove(index).1)
                .filter(|json| *json != Json::Null),
            Place::Header(name) => match self.source.and_then(|source| source.headers.get(name)) {
                None => None,
                Some(value) => {
                    let text = std::str::from_utf8(value.as_bytes())
                        .map_err(|_| Error::serialization(format!("The header {name} is not UTF-8.")))?;
                    Some(Json::Loose(Cow::Borrowed(text)))
                }
            },
            Place::Label(name) => self.source.and_then(|source| {
                source
                    .labels
                    .iter()
                    .find(|(label, _)| *label == name)
                    .map(|(_, text)| Json::Loose(Cow::Borrowed(&**text)))
            }),
            Place::Query(name) => self.source.and_then(|source| {
                source.query.iter().find(|(key, _)| key == name).map(|(_, text)| Json::Loose(Cow::Borrowed(&**text)))
            }),
        };
        Ok(found)
    }
}

/// Notes each broken sentence and says whether the value may be used.
fn settle<T>(
    value: T,
    shown: &dyn fmt::Display,
    broken: &[String],
    rule: &Rule,
    at: &At<'_>,
    violations: &mut Violations,
) -> Option<T> {
    for sentence in broken {
        violations.violated(shown, rule.sensitive, at, sentence);
    }
    broken.is_empty().then_some(value)
}

fn mismatch(json: &Json<'_>, wanted: &str) -> Error {
    Error::serialization(match json {
        Json::List(_) => "Start of list found where not expected".to_owned(),
        Json::Object(_) | Json::Form(_) => "Start of structure or map found where not expected.".to_owned(),
        _ => format!("{} cannot be converted to {wanted}", json.token()),
    })
}

fn text<'a>(json: Json<'a>, wanted: &str) -> Result<Cow<'a, str>, Error> {
    match json {
        Json::Text(text) | Json::Loose(text) => Ok(text),
        other => Err(mismatch(&other, wanted)),
    }
}

impl Take for String {
    fn take(json: Json<'_>, rule: &Rule, at: &At<'_>, violations: &mut Violations) -> Taken<Self> {
        let text = text(json, "String")?;
        let broken = rule.broken_by_text(&text);
        Ok(settle((), &text, &broken, rule, at, violations).map(|()| text.into_owned()))
    }

    fn sentences(rule: &Rule) -> Vec<String> {
        rule.sentences(Measure::Length)
    }
}

impl Take for bool {
    fn take(json: Json<'_>, _: &Rule, _: &At<'_>, _: &mut Violations) -> Taken<Self> {
        match json {
            Json::Bool(value) => Ok(Some(value)),
            Json::Loose(text) if text.eq_ignore_ascii_case("true") => Ok(Some(true)),
            Json::Loose(text) if text.eq_ignore_ascii_case("false") => Ok(Some(false)),
            other => Err(mismatch(&other, "Boolean")),
        }
    }
}

fn whole(json: &Json<'_>) -> Option<i64> {
    match json {
        Json::Integer(value) => Some(*value),
        // Beyond 2^53 a float is no longer the number that was meant.
        Json::Float(value) if value.fract() == 0.0 && value.abs() < 9.0e15 => Some(*value as i64),
        Json::Loose(text) => text.trim().parse().ok(),
        _ => None,
    }
}

impl Take for i64 {
    fn take(json: Json<'_>, rule: &Rule, at: &At<'_>, violations: &mut Violations) -> Taken<Self> {
        let value = whole(&json).ok_or_else(|| mismatch(&json, "Long"))?;
        Ok(settle(value, &value, &rule.broken_by_measure(value, Measure::Value), rule, at, violations))
    }
}

impl Take for i32 {
    fn take(json: Json<'_>, rule: &Rule, at: &At<'_>, violations: &mut Violations) -> Taken<Self> {
        let value =
            whole(&json).and_then(|value| Self::try_from(value).ok()).ok_or_else(|| mismatch(&json, "Integer"))?;
        Ok(settle(value, &value, &rule.broken_by_measure(value.into(), Measure::Value), rule, at, violations))
    }
}

impl Take for f64 {
    fn take(json: Json<'_>, rule: &Rule, at: &At<'_>, violations: &mut Violations) -> Taken<Self> {
        let value = match &json {
            Json::Integer(value) => *value as Self,
            Json::Float(value) => *value,
            Json::Loose(text) => text.trim().parse().map_err(|_| mismatch(&json, "Double"))?,
            _ => return Err(mismatch(&json, "Double")),
        };
        Ok(settle(value, &value, &rule.broken_by_float(value), rule, at, violations))
    }
}

impl Take for Bytes {
    /// Base64, as JSON and forms carry it.
    fn take(json: Json<'_>, rule: &Rule, at: &At<'_>, violations: &mut Violations) -> Taken<Self> {
        let text = text(json, "Blob")?;
        let bytes =
            STANDARD.decode(text.as_bytes()).map_err(|_| Error::serialization("Invalid base64 in a binary member."))?;
        let length = i64::try_from(bytes.len()).unwrap_or(i64::MAX);
        let broken = rule.broken_by_measure(length, Measure::Length);
        Ok(settle((), &format_args!("{length} bytes"), &broken, rule, at, violations).map(|()| bytes.into()))
    }

    fn sentences(rule: &Rule) -> Vec<String> {
        rule.sentences(Measure::Length)
    }
}

impl Take for Timestamp {
    /// Seconds since the epoch in JSON; ISO 8601 is understood too.
    fn take(json: Json<'_>, _: &Rule, _: &At<'_>, _: &mut Violations) -> Taken<Self> {
        let seconds = match &json {
            Json::Integer(value) => *value as f64,
            Json::Float(value) => *value,
            Json::Text(text) | Json::Loose(text) => match (text.parse::<f64>(), text.parse::<jiff::Timestamp>()) {
                (Ok(seconds), _) => seconds,
                (_, Ok(instant)) => instant.as_microsecond() as f64 / 1e6,
                _ => return Err(mismatch(&json, "Timestamp")),
            },
            _ => return Err(mismatch(&json, "Timestamp")),
        };
        if !(0.0..=253_402_300_799.0).contains(&seconds) {
            return Err(Error::serialization("A timestamp is outside the years 1970 to 9999."));
        }
        Ok(Some(Self::from_micros((seconds * 1e6).round() as u64)))
    }
}

impl<T: Structure> Take for T {
    const LEAF: bool = false;

    fn take(json: Json<'_>, _: &Rule, at: &At<'_>, violations: &mut Violations) -> Taken<Self> {
        match json {
            Json::Object(members) | Json::Form(members) => T::read(&mut Fields::new(members, None, at, violations)),
            // `Foo=` is how a form writes an empty structure.
            Json::Loose(text) if text.is_empty() => T::read(&mut Fields::new(Vec::new(), None, at, violations)),
            Json::List(_) => Err(Error::serialization("Start of list found where not expected")),
            _ => Err(Error::serialization("Unexpected value type in payload")),
        }
    }
}

/// The items of a form's list: `Name.member.1=…` or, flattened, `Name.1=…`.
fn form_items<'a>(mut members: Members<'a>, wrapper: &str) -> Result<Vec<Json<'a>>, Error> {
    if let [(name, Json::Form(_))] = &members[..]
        && name == wrapper
        && let Some((_, Json::Form(inner))) = members.pop()
    {
        members = inner;
    }
    let mut items = Vec::with_capacity(members.len());
    for (name, item) in members {
        let index: u32 =
            name.parse().map_err(|_| Error::serialization(format!("{name} is not the number of an item.")))?;
        items.push((index, item));
    }
    items.sort_by_key(|(index, _)| *index);
    Ok(items.into_iter().map(|(_, item)| item).collect())
}

/// Characters of a list or map that a message repeats.
const SKETCH_CHARS_MAX: usize = 256;

/// `[a, b]` or `{k=v}`, for messages; made before the values are read, hence short.
fn sketch<'a>(parts: impl Iterator<Item = (&'a str, &'a Json<'a>)>, open: char, close: char) -> String {
    let mut out = String::from(open);
    for (index, (key, json)) in parts.enumerate() {
        if out.len() > SKETCH_CHARS_MAX {
            out.push_str(", ...");
            break;
        }
        out.push_str(if index > 0 { ", " } else { "" });
        out.push_str(key);
        out.push_str(if key.is_empty() { "" } else { "=" });
        match json {
            Json::Text(text) | Json::Loose(text) => out.extend(text.chars().take(SKETCH_CHARS_MAX)),
            Json::Integer(value) => out.push_str(&value.to_string()),
            Json::Float(value) => out.push_str(&value.to_string()),
            Json::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            _ => out.push_str("..."),
        }
    }
    out.push(close);
    out
}

impl<T: Take> Take for Vec<T> {
    fn take(json: Json<'_>, rule: &Rule, at: &At<'_>, violations: &mut Violations) -> Taken<Self> {
        let items = match json {
            Json::List(items) => items,
            Json::Form(members) => form_items(members, "member")?,
            Json::Loose(text) if text.is_empty() => Vec::new(),
            Json::Object(_) => return Err(mismatch(&json, "List")),
            _ => return Err(Error::serialization("Expected list or null")),
        };
        let before = violations.count();
        let sensitive = rule.sensitive || rule.item.sensitive;
        let broken = rule.broken_by_measure(i64::try_from(items.len()).unwrap_or(i64::MAX), Measure::Length);
        let shown = match T::LEAF {
            true => sketch(items.iter().map(|item| ("", item)), '[', ']'),
            false if items.is_empty() => "[]".to_owned(),
            false => format!("[{} items]", items.len()),
        };
        for sentence in &broken {
            violations.violated(&shown, sensitive, at, sentence);
        }
        let mut scratch = Violations::default();
        let mut taken = Self::with_capacity(items.len());
        for (index, item) in items.into_iter().enumerate() {
            let place = At::Item(at, index);
            if item == Json::Null {
                violations.missing(&place);
                continue;
            }
            // A list of simple values is reported as a whole, a structure by its own member.
            let noted = if T::LEAF { &mut scratch } else { &mut *violations };
            taken.extend(T::take(item, rule.item, &place, noted)?);
        }
        if scratch.count() > 0 {
            let sentence = format!("Member must satisfy constraint: [{}]", T::sentences(rule.item).join(", "));
            violations.violated(&shown, sensitive, at, &sentence);
        }
        Ok((violations.count() == before).then_some(taken))
    }

    fn sentences(rule: &Rule) -> Vec<String> {
        rule.sentences(Measure::Length)
    }
}

impl<T: Take> Take for BTreeMap<String, T> {
    fn take(json: Json<'_>, rule: &Rule, at: &At<'_>, violations: &mut Violations) -> Taken<Self> {
        let members = match json {
            Json::Object(members) => members,
            Json::Form(members) => form_entries(members)?,
            Json::Loose(text) if text.is_empty() => Vec::new(),
            Json::List(_) => return Err(mismatch(&json, "Map")),
            _ => return Err(Error::serialization("Expected map or null")),
        };
        let before = violations.count();
        let sensitive = rule.sensitive || rule.item.sensitive || rule.key.sensitive;
        let shown = match T::LEAF {
            true => sketch(members.iter().map(|(key, value)| (&**key, value)), '{', '}'),
            false if members.is_empty() => "{}".to_owned(),
            false => format!("{{{} entries}}", members.len()),
        };
        let broken = rule.broken_by_measure(i64::try_from(members.len()).unwrap_or(i64::MAX), Measure::Length);
        for sentence in &broken {
            violations.violated(&shown, sensitive, at, sentence);
        }
        let mut scratch = Violations::default();
        let mut bad_key = false;
        let mut taken = Self::new();
        for (key, item) in members {
            bad_key |= !rule.key.broken_by_text(&key).is_empty();
            if item == Json::Null {
                violations.missing(&At::Value(at, &key));
                continue;
            }
            let noted = if T::LEAF { &mut scratch } else { &mut *violations };
            let value = T::take(item, rule.item, &At::Value(at, &key), noted)?;
            taken.extend(value.map(|value| (key.into_owned(), value)));
        }
        if bad_key {
            let sentence = format!("Map keys must satisfy constraint: [{}]", String::sentences(rule.key).join(", "));
            violations.violated(&shown, sensitive, at, &sentence);
        }
        if scratch.count() > 0 {
            let sentence = format!("Map value must satisfy constraint: [{}]", T::sentences(rule.item).join(", "));
            violations.violated(&shown, sensitive, at, &sentence);
        }
        Ok((violations.count() == before).then_some(taken))
    }

    fn sentences(rule: &Rule) -> Vec<String> {
        rule.sentences(Measure::Length)
    }
}

/// The entries of a form's map: `Name.entry.1.key=…&Name.entry.1.value=…`.
fn form_entries(members: Members<'_>) -> Result<Members<'_>, Error> {
    let mut entries = Vec::new();
    for entry in form_items(members, "entry")? {
        let (mut key, mut value) = (None, None);
        if let Json::Form(parts) = entry {
            for (name, part) in parts {
                match (&*name, part) {
                    ("key", Json::Loose(text)) => key = Some(text),
                    ("value", part) => value = Some(part),
                    _ => {}
                }
            }
        }
        let key = key.ok_or_else(|| Error::serialization("An entry of a map has no key."))?;
        entries.push((key, value.unwrap_or(Json::Null)));
    }
    Ok(entries)
}

/// Reads an enumeration whose values are all known.
pub(crate) fn take_enum<T: Copy>(
    all: &[(&'static str, T)],
    json: Json<'_>,
    rule: &Rule,
    at: &At<'_>,
    violations: &mut Violations,
) -> Taken<T> {
    let text = text(json, "String")?;
    let found = all.iter().find(|(name, _)| *name == text).map(|(_, value)| *value);
    if found.is_none() {
        violations.violated(&text, rule.sensitive, at, &enum_sentence(all));
    }
    Ok(found)
}

/// The sentence of a value that is none of `all`.
pub(crate) fn enum_sentence<T>(all: &[(&'static str, T)]) -> String {
    let names: Vec<&str> = all.iter().map(|(name, _)| *name).collect();
    format!("Member must satisfy enum value set: [{}]", names.join(", "))
}

/// Defines an enumeration of the wire: its values, their names, how it is read and written.
macro_rules! wire_enum {
    ($name:ident { $($variant:ident = $text:literal),+ $(,)? }) => {
        #[doc = concat!("`", stringify!($name), "` of the model.")]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[allow(missing_docs, reason = "the values are the model's")]
        pub enum $name { $($variant),+ }

        impl $name {
            /// Every value with its name on the wire.
            pub const ALL: &[(&'static str, Self)] = &[$(($text, Self::$variant)),+];

            /// Its name on the wire.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }

            /// The value of this name.
            pub fn from_name(name: &str) -> Option<Self> {
                Self::ALL.iter().find(|(text, _)| *text == name).map(|(_, value)| *value)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl $crate::read::Take for $name {
            fn take(
                json: $crate::json::Json<'_>,
                rule: &$crate::rule::Rule,
                at: &$crate::rule::At<'_>,
                violations: &mut $crate::rule::Violations,
            ) -> $crate::read::Taken<Self> {
                $crate::read::take_enum(Self::ALL, json, rule, at, violations)
            }

            fn sentences(_: &$crate::rule::Rule) -> Vec<String> {
                vec![$crate::read::enum_sentence(Self::ALL)]
            }
        }

        impl $crate::write::Emit for $name {
            fn emit(&self, writer: &mut $crate::write::Writer) {
                writer.text(self.as_str());
            }
        }
    };
}
pub(crate) use wire_enum;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::percent::form_pairs;
    use crate::rule::FREE;

    #[derive(Debug, PartialEq)]
    struct Tag {
        key: String,
        weight: Option<i32>,
    }

    impl Structure for Tag {
        fn read(fields: &mut Fields<'_, '_>) -> Taken<Self> {
            let key = fields.required("Key", &FREE)?;
            let weight = fields.optional("Weight", &FREE)?;
            let Some(key) = key else { return Ok(None) };
            Ok(Some(Self { key, weight }))
        }
    }

    /// Reads the member `A` of a form.
    #[track_caller]
    fn check<T: Take + PartialEq + fmt::Debug>(form: &str, expected: Result<Option<T>, &str>) {
        let Json::Form(members) = Json::from_form(form_pairs(form)).expect("nests") else { panic!("a form") };
        let mut violations = Violations::default();
        let found = Fields::new(members, None, &At::Root, &mut violations).optional::<T>("A", &FREE);
        let found = found.and_then(|value| violations.into_result("ValidationError").map(|()| value));
        assert_eq!(found.map_err(|error| error.message), expected.map_err(str::to_owned), "{form}");
    }

    #[test]
    fn forms_hold_values_lists_maps_and_structures() {
        check("A=12", Ok(Some(12)));
        check("A=true", Ok(Some(true)));
        check("A=2.5", Ok(Some(2.5)));
        check("B=1", Ok(None::<String>));
        check("A=UEs%3D", Ok(Some(Bytes::from_static(b"PK"))));
        check("A=2026-11-22T15%3A04%3A05Z", Ok(Some(Timestamp::from_millis(1_795_359_845_000))));
        check("A.member.2=y&A.member.1=x&A.member.10=z", Ok(Some(vec!["x".to_owned(), "y".into(), "z".into()])));
        check("A.1=x&A.2=y", Ok(Some(vec!["x".to_owned(), "y".into()])));
        check("A=", Ok(Some(Vec::<String>::new())));
        check(
            "A.entry.1.key=k&A.entry.1.value=1&A.entry.2.value=2&A.entry.2.key=l",
            Ok(Some(BTreeMap::from([("k".to_owned(), 1), ("l".to_owned(), 2)]))),
        );
        check(
            "A.member.1.Key=k&A.member.1.Weight=3&A.member.2.Key=l",
            Ok(Some(vec![Tag { key: "k".into(), weight: Some(3) }, Tag { key: "l".into(), weight: None }])),
        );
    }

    #[test]
    fn forms_are_checked_too() {
        check::<i32>("A=x", Err("STRING_VALUE cannot be converted to Integer"));
        check::<Vec<String>>("A.member.x=1", Err("x is not the number of an item."));
        check::<BTreeMap<String, String>>("A.entry.1.value=1", Err("An entry of a map has no key."));
        check::<Vec<Tag>>(
            "A.member.1.Weight=3",
            Err(
                "1 validation error detected: Value null at 'a.1.member.key' failed to satisfy constraint: Member must not be null",
            ),
        );
    }

    #[test]
    fn times_outside_the_calendar_are_refused() {
        let refused = Err("A timestamp is outside the years 1970 to 9999.");
        check::<Timestamp>("A=-1", refused);
        check::<Timestamp>("A=1e300", refused);
        check::<Timestamp>("A=NaN", refused);
    }
}

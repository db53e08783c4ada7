//! A parsed request body that borrows its text from the body: JSON, or a form that is read as if it were.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::error::Error;

/// Members in the order of the body; where a name occurs twice the last one counts.
pub(crate) type Members<'a> = Vec<(Cow<'a, str>, Json<'a>)>;

/// A JSON value, or text from a place that has no types (header, path, query, form).
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Json<'a> {
    Null,
    Bool(bool),
    Integer(i64),
    Float(f64),
    Text(Cow<'a, str>),
    List(Vec<Json<'a>>),
    Object(Members<'a>),
    /// Untyped text, which is read as whatever the model says.
    Loose(Cow<'a, str>),
    /// Untyped nested parameters of a form: `Tags.member.1.Key=…`.
    Form(Members<'a>),
}

impl<'a> Json<'a> {
    /// Parses a body; an empty one is an empty object. Nesting is bounded by the parser (128).
    pub(crate) fn parse(body: &'a [u8]) -> Result<Self, Error> {
        if body.iter().all(u8::is_ascii_whitespace) {
            return Ok(Self::Object(Vec::new()));
        }
        serde_json::from_slice(body).map_err(|error| Error::serialization(format!("Could not parse the body: {error}")))
    }

    /// Nests the parameters of a form by the dots in their names.
    pub(crate) fn from_form(pairs: Vec<(Cow<'a, str>, Cow<'a, str>)>) -> Result<Self, Error> {
        let mut root = Vec::new();
        for (name, value) in pairs {
            insert(&mut root, &name, value)?;
        }
        Ok(Self::Form(root))
    }

    /// How AWS's readers name what they found where it does not belong.
    pub(crate) fn token(&self) -> &'static str {
        match self {
            Self::Null => "NULL_VALUE",
            Self::Bool(true) => "TRUE_VALUE",
            Self::Bool(false) => "FALSE_VALUE",
            Self::Integer(_) => "NUMBER_VALUE",
            Self::Float(_) => "DECIMAL_VALUE",
            Self::Text(_) | Self::Loose(_) => "STRING_VALUE",
            Self::List(_) => "LIST_VALUE",
            Self::Object(_) | Self::Form(_) => "STRUCT_VALUE",
        }
    }
}

/// Parts of a parameter's name; deeper ones are refused, so that a name cannot exhaust the stack.
const FORM_DEPTH_MAX: usize = 32;

fn insert<'a>(root: &mut Members<'a>, name: &str, value: Cow<'a, str>) -> Result<(), Error> {
    let parts: Vec<&str> = name.split('.').collect();
    if parts.len() > FORM_DEPTH_MAX {
        return Err(Error::serialization("A parameter is nested too deeply."));
    }
    let mut members = root;
    for part in &parts[..parts.len() - 1] {
        let index = position(members, part);
        let Json::Form(inner) = &mut members[index].1 else {
            return Err(Error::serialization(format!("The parameter {name} is both a value and a structure.")));
        };
        members = inner;
    }
    members.push((Cow::Owned(parts[parts.len() - 1].to_owned()), Json::Loose(value)));
    Ok(())
}

/// Where the structure `part` stands among `members`; it is made if it is not there.
fn position(members: &mut Members<'_>, part: &str) -> usize {
    members.iter().rposition(|(name, _)| name == part).unwrap_or_else(|| {
        members.push((Cow::Owned(part.to_owned()), Json::Form(Vec::new())));
        members.len() - 1
    })
}

impl<'de> Deserialize<'de> for Json<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(JsonVisitor)
    }
}

/// A string that borrows where the body holds no escapes in it.
struct Text<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TextVisitor)
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Text<'de>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }
    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Text(Cow::Borrowed(text)))
    }
    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Text(Cow::Owned(text.to_owned())))
    }
    fn visit_string<E>(self, text: String) -> Result<Self::Value, E> {
        Ok(Text(Cow::Owned(text)))
    }
}

struct JsonVisitor;

impl<'de> Visitor<'de> for JsonVisitor {
    type Value = Json<'de>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }
    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Json::Null)
    }
    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Json::Bool(value))
    }
    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Json::Integer(value))
    }
    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok(i64::try_from(value).map_or(Json::Float(value as f64), Json::Integer))
    }
    fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
        Ok(Json::Float(value))
    }
    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Json::Text(Cow::Borrowed(text)))
    }
    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Json::Text(Cow::Owned(text.to_owned())))
    }
    fn visit_string<E>(self, text: String) -> Result<Self::Value, E> {
        Ok(Json::Text(Cow::Owned(text)))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Json::List(items))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some((Text(name), value)) = map.next_entry()? {
            members.push((name, value));
        }
        Ok(Json::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn borrows_text_without_escapes() {
        let body = br#"{"a":"plain","b":"with \n escape","c":[1,2.5,true,null]}"#;
        let Json::Object(members) = Json::parse(body).expect("valid") else { panic!("an object") };
        assert!(matches!(&members[0].1, Json::Text(Cow::Borrowed("plain"))));
        assert!(matches!(&members[1].1, Json::Text(Cow::Owned(text)) if text == "with \n escape"));
        assert_eq!(members[2].1, Json::List(vec![Json::Integer(1), Json::Float(2.5), Json::Bool(true), Json::Null]));
    }

    #[test]
    fn an_empty_body_is_an_empty_object() {
        assert_eq!(Json::parse(b" \n").expect("empty"), Json::Object(Vec::new()));
    }

    #[test]
    fn garbage_and_deep_nesting_are_serialization_errors() {
        for body in [&b"{"[..], b"\xff", b"{} {}", &[b'['; 100_000]] {
            assert_eq!(Json::parse(body).expect_err("refused").code, "SerializationException");
        }
    }

    #[test]
    fn a_form_nests_by_dots() {
        let pairs = [("A", "1"), ("B.member.1.C", "x"), ("B.member.2.C", "y")];
        let form = Json::from_form(pairs.map(|(n, v)| (n.into(), v.into())).into()).expect("nests");
        let leaf = |text: &'static str| Json::Loose(text.into());
        let item = |text| Json::Form(vec![("C".into(), leaf(text))]);
        let list = Json::Form(vec![("1".into(), item("x")), ("2".into(), item("y"))]);
        let expected =
            Json::Form(vec![("A".into(), leaf("1")), ("B".into(), Json::Form(vec![("member".into(), list)]))]);
        assert_eq!(form, expected);
    }

    #[test]
    fn a_form_that_contradicts_itself_is_refused() {
        let pairs = [("A", "1"), ("A.B", "2")];
        assert!(Json::from_form(pairs.map(|(n, v)| (n.into(), v.into())).into()).is_err());
    }
}

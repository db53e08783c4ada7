//! From typed values to the body of an answer, JSON or XML; absent members are left out.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};

use base::time::Timestamp;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

/// A value that can stand in an answer.
pub(crate) trait Emit {
    /// Writes it.
    fn emit(&self, writer: &mut Writer);

    /// Whether it has no place in the answer.
    fn is_absent(&self) -> bool {
        false
    }
}

/// A generated structure.
pub(crate) trait Members {
    /// Writes each member.
    fn members(&self, writer: &mut Writer);
}

/// The body under construction.
pub(crate) struct Writer {
    out: String,
    xml: bool,
    /// A member of the structure being written was written already, hence a comma is due (JSON).
    follows: bool,
}

impl Writer {
    pub(crate) fn json() -> Self {
        Self { out: String::with_capacity(256), xml: false, follows: false }
    }

    pub(crate) fn xml() -> Self {
        Self { out: String::with_capacity(256), xml: true, follows: false }
    }

    pub(crate) fn into_string(self) -> String {
        self.out
    }

    /// A member of a structure, unless it is absent.
    pub(crate) fn member(&mut self, name: &str, value: &impl Emit) {
        if value.is_absent() {
            return;
        }
        if self.xml {
            self.element(name, value);
        } else {
            self.comma();
            self.quoted(name);
            self.out.push(':');
            value.emit(self);
            self.follows = true;
        }
    }

    /// A structure: whatever `members` writes.
    pub(crate) fn structure(&mut self, members: &impl Members) {
        self.nested('{', '}', |writer| members.members(writer));
    }

    pub(crate) fn text(&mut self, text: &str) {
        if self.xml {
            self.out.push_str(&escape_xml(text));
        } else {
            self.quoted(text);
        }
    }

    /// A number or a truth value, which look the same in both formats.
    pub(crate) fn plain(&mut self, value: impl Display) {
        // Writing to a String cannot fail.
        let _ = write!(self.out, "{value}");
    }

    fn list<T: Emit>(&mut self, items: &[T]) {
        if self.xml {
            items.iter().for_each(|item| self.element("member", item));
            return;
        }
        self.nested('[', ']', |writer| {
            for item in items {
                writer.comma();
                item.emit(writer);
                writer.follows = true;
            }
        });
    }

    fn map<T: Emit>(&mut self, entries: &BTreeMap<String, T>) {
        if self.xml {
            for (key, value) in entries {
                self.out.push_str("<entry>");
                self.element("key", key);
                self.element("value", value);
                self.out.push_str("</entry>");
            }
            return;
        }
        self.nested('{', '}', |writer| entries.iter().for_each(|(key, value)| writer.member(key, value)));
    }

    fn nested(&mut self, open: char, close: char, inside: impl FnOnce(&mut Self)) {
        if self.xml {
            return inside(self);
        }
        self.out.push(open);
        self.follows = false;
        inside(self);
        self.out.push(close);
        self.follows = true;
    }

    fn element(&mut self, name: &str, value: &impl Emit) {
        let _ = write!(self.out, "<{name}>");
        value.emit(self);
        let _ = write!(self.out, "</{name}>");
    }

    fn comma(&mut self) {
        if self.follows {
            self.out.push(',');
        }
    }

    fn quoted(&mut self, text: &str) {
        self.out.push('"');
        let mut rest = 0;
        for (index, byte) in text.bytes().enumerate() {
            let escape = match byte {
                b'"' => "\\\"",
                b'\\' => "\\\\",
                b'\n' => "\\n",
                b'\r' => "\\r",
                b'\t' => "\\t",
                0..0x20 | 0x7f => "",
                _ => continue,
            };
            self.out.push_str(&text[rest..index]);
            if escape.is_empty() {
                let _ = write!(self.out, "\\u{byte:04x}");
            } else {
                self.out.push_str(escape);
            }
            rest = index + 1;
        }
        self.out.push_str(&text[rest..]);
        self.out.push('"');
    }
}

impl<T: Members> Emit for T {
    fn emit(&self, writer: &mut Writer) {
        writer.structure(self);
    }
}

impl<T: Emit> Emit for Option<T> {
    fn emit(&self, writer: &mut Writer) {
        if let Some(value) = self {
            value.emit(writer);
        }
    }
    fn is_absent(&self) -> bool {
        self.is_none()
    }
}

impl<T: Emit> Emit for Vec<T> {
    fn emit(&self, writer: &mut Writer) {
        writer.list(self);
    }
}

impl<T: Emit> Emit for BTreeMap<String, T> {
    fn emit(&self, writer: &mut Writer) {
        writer.map(self);
    }
}

impl Emit for String {
    fn emit(&self, writer: &mut Writer) {
        writer.text(self);
    }
}

impl Emit for Bytes {
    fn emit(&self, writer: &mut Writer) {
        writer.text(&STANDARD.encode(self));
    }
}

impl Emit for Timestamp {
    /// Seconds since the epoch in JSON, ISO 8601 in XML.
    fn emit(&self, writer: &mut Writer) {
        if writer.xml {
            writer.plain(self.iso8601_millis());
        } else {
            writer.plain(format_args!("{}.{:03}", self.as_secs(), self.as_millis() % 1000));
        }
    }
}

impl Emit for bool {
    fn emit(&self, writer: &mut Writer) {
        writer.plain(self);
    }
}

impl Emit for i32 {
    fn emit(&self, writer: &mut Writer) {
        writer.plain(self);
    }
}

impl Emit for i64 {
    fn emit(&self, writer: &mut Writer) {
        writer.plain(self);
    }
}

impl Emit for f64 {
    fn emit(&self, writer: &mut Writer) {
        if self.is_finite() {
            writer.plain(self);
        } else {
            // JSON has no such numbers; AWS writes their names.
            writer.text(if self.is_nan() {
                "NaN"
            } else if *self > 0.0 {
                "Infinity"
            } else {
                "-Infinity"
            });
        }
    }
}

/// Text that may stand in an element or an attribute. Characters that XML 1.0 cannot hold become U+FFFD.
pub(crate) fn escape_xml(text: &str) -> Cow<'_, str> {
    let special = |c: char| matches!(c, '&' | '<' | '>' | '"' | '\'' | '\0'..' ' | '\u{fffe}' | '\u{ffff}');
    if !text.contains(special) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            '\n' | '\t' => out.push(c),
            '\r' => out.push_str("&#13;"),
            c if special(c) => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Sample;
    impl Members for Sample {
        fn members(&self, writer: &mut Writer) {
            writer.member("Name", &"a \"b\" \\ \n \u{1} ü".to_owned());
            writer.member("Absent", &None::<i32>);
            writer.member("Empty", &Some(Vec::<String>::new()));
            writer.member("Numbers", &vec![1, 2]);
            writer.member("Map", &BTreeMap::from([("k<".to_owned(), true), ("l".to_owned(), false)]));
            writer.member("At", &Timestamp::from_millis(1_700_000_000_123));
            writer.member("Blob", &Bytes::from_static(b"\xff\x00"));
            writer.member("Float", &2.5);
        }
    }

    fn written(mut writer: Writer) -> String {
        Sample.emit(&mut writer);
        writer.into_string()
    }

    #[test]
    fn writes_json() {
        let text = written(Writer::json());
        let expected = serde_json::json!({
            "Name": "a \"b\" \\ \n \u{1} ü", "Empty": [], "Numbers": [1, 2], "Map": {"k<": true, "l": false},
            "At": 1_700_000_000.123, "Blob": "/wA=", "Float": 2.5
        });
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).expect("valid JSON"), expected, "{text}");
    }

    #[test]
    fn writes_xml() {
        assert_eq!(
            written(Writer::xml()),
            "<Name>a &quot;b&quot; \\ \n \u{fffd} ü</Name><Empty></Empty>\
             <Numbers><member>1</member><member>2</member></Numbers>\
             <Map><entry><key>k&lt;</key><value>true</value></entry><entry><key>l</key><value>false</value></entry></Map>\
             <At>2023-11-14T22:13:20.123Z</At><Blob>/wA=</Blob><Float>2.5</Float>"
        );
    }
}

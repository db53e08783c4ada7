//! What a caller is told when a request fails: codes, statuses and the shape that each protocol gives them.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use http::{HeaderValue, Response};
use serde_json::Value;

use crate::operation::{Protocol, Service};
use crate::reply::{self, Reply};
use crate::rule::{At, Violations};
use crate::write::escape_xml;

/// An exception as a model describes it.
#[derive(Debug, PartialEq, Eq)]
pub struct Exception {
    /// The code on the wire: the shape's name, or the older name that query services keep.
    pub code: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// The platform is to blame, not the caller.
    pub fault: bool,
    /// The member that holds the message: `message` or `Message`.
    pub message_member: &'static str,
    /// It has a member `Type` that says whose fault it is (Lambda).
    pub has_type: bool,
    /// Members that travel as headers: (member, header).
    pub headers: &'static [(&'static str, &'static str)],
}

impl Exception {
    /// One occurrence of it.
    pub fn error(&'static self, message: impl Into<String>) -> Error {
        Error {
            status: self.status,
            code: Cow::Borrowed(self.code),
            message: message.into(),
            fields: Vec::new(),
            origin: Origin::Modelled(self),
        }
    }
}

/// Errors that any service may answer, whatever its model says. Their codes and statuses differ by protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Common {
    /// Authenticated, but not allowed.
    AccessDenied,
    /// The session has ended.
    ExpiredToken,
    /// The authorization header lacks something.
    IncompleteSignature,
    /// A bug or a failure of the platform.
    Internal,
    /// The signature is wrong, or its time is.
    InvalidSignature,
    /// Nobody signed.
    MissingAuthentication,
    /// An operation that AWS has and Pinfold does not serve.
    NotImplemented,
    /// The body cannot be read as the operation's input.
    Serialization,
    /// Try later.
    Throttling,
    /// The request is larger than any operation takes.
    TooLarge,
    /// Not now: starting, draining, or out of room.
    Unavailable,
    /// The access key does not exist.
    UnknownKey,
    /// No such operation.
    UnknownOperation,
}

impl Common {
    /// Every one of them.
    pub const ALL: [Self; 13] = [
        Self::AccessDenied,
        Self::ExpiredToken,
        Self::IncompleteSignature,
        Self::Internal,
        Self::InvalidSignature,
        Self::MissingAuthentication,
        Self::NotImplemented,
        Self::Serialization,
        Self::Throttling,
        Self::TooLarge,
        Self::Unavailable,
        Self::UnknownKey,
        Self::UnknownOperation,
    ];

    /// Code in JSON protocols, code in query, code in rest-xml (S3), status, and status in json 1.x.
    /// Source: "Common Errors" in the API references of Lambda, CloudWatch Logs, STS and S3.
    fn row(self) -> (&'static str, &'static str, &'static str, u16, u16) {
        match self {
            Self::AccessDenied => ("AccessDeniedException", "AccessDenied", "AccessDenied", 403, 400),
            Self::ExpiredToken => ("ExpiredTokenException", "ExpiredToken", "ExpiredToken", 403, 400),
            Self::IncompleteSignature => {
                ("IncompleteSignatureException", "IncompleteSignature", "AuthorizationHeaderMalformed", 403, 400)
            }
            Self::Internal => ("InternalFailure", "InternalFailure", "InternalError", 500, 500),
            Self::InvalidSignature => {
                ("InvalidSignatureException", "SignatureDoesNotMatch", "SignatureDoesNotMatch", 403, 400)
            }
            Self::MissingAuthentication => {
                ("MissingAuthenticationTokenException", "MissingAuthenticationToken", "AccessDenied", 403, 400)
            }
            Self::NotImplemented => ("NotImplementedException", "NotImplemented", "NotImplemented", 501, 501),
            Self::Serialization => ("SerializationException", "MalformedInput", "MalformedXML", 400, 400),
            Self::Throttling => ("ThrottlingException", "Throttling", "SlowDown", 429, 400),
            Self::TooLarge => ("RequestEntityTooLargeException", "RequestEntityTooLarge", "EntityTooLarge", 413, 413),
            Self::Unavailable => ("ServiceUnavailableException", "ServiceUnavailable", "ServiceUnavailable", 503, 503),
            Self::UnknownKey => ("UnrecognizedClientException", "InvalidClientTokenId", "InvalidAccessKeyId", 403, 400),
            Self::UnknownOperation => ("UnknownOperationException", "InvalidAction", "MethodNotAllowed", 404, 400),
        }
    }

    /// Its code in this protocol.
    pub fn code(self, protocol: Protocol) -> &'static str {
        let (json, query, xml, ..) = self.row();
        match protocol {
            Protocol::Query | Protocol::Ec2 => query,
            Protocol::RestXml => xml,
            _ => json,
        }
    }

    /// Its HTTP status in this protocol.
    pub fn status(self, protocol: Protocol) -> u16 {
        let (.., status, rpc) = self.row();
        match (self, protocol) {
            (
                Self::UnknownOperation | Self::Throttling | Self::IncompleteSignature,
                Protocol::Query | Protocol::Ec2,
            ) => 400,
            (Self::UnknownOperation, Protocol::RestXml) => 405,
            (Self::Throttling, Protocol::RestXml) => 503,
            (Self::IncompleteSignature, Protocol::RestXml) => 400,
            _ if protocol.is_json_rpc() || protocol == Protocol::Cbor => rpc,
            _ => status,
        }
    }

    /// One occurrence of it.
    pub fn error(self, message: impl Into<String>) -> Error {
        let (code, _, _, status, _) = self.row();
        Error {
            status,
            code: Cow::Borrowed(code),
            message: message.into(),
            fields: Vec::new(),
            origin: Origin::Common(self),
        }
    }
}

/// A refusal on its way to the caller. `status` and `code` are those of rest-json; [`Error::respond`] uses each protocol's own.
#[derive(Debug, Clone, PartialEq)]
pub struct Error {
    /// HTTP status.
    pub status: u16,
    /// The code by which SDKs pick an exception.
    pub code: Cow<'static, str>,
    /// For the caller.
    pub message: String,
    /// Further members, such as `Reason` or `retryAfterSeconds`; the model decides which travel as headers.
    pub fields: Vec<(&'static str, Value)>,
    origin: Origin,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    Modelled(&'static Exception),
    Common(Common),
    Validation,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for Error {}

impl Error {
    /// A request that violates constraints of the model, under the code that its service uses for that.
    pub(crate) fn validation(code: &'static str, message: String) -> Self {
        Self { status: 400, code: Cow::Borrowed(code), message, fields: Vec::new(), origin: Origin::Validation }
    }

    /// A value that violates a constraint which is not in the model, in the sentence of those that are.
    pub fn constraint(service: Service, value: &str, member: &str, constraint: &str) -> Self {
        let mut violations = Violations::default();
        violations.violated(&value, false, &At::Member(&At::Root, member), constraint);
        let code = service.info().validation_code;
        violations.into_result(code).err().unwrap_or_else(|| Self::validation(code, constraint.to_owned()))
    }

    /// A body that is not what the operation takes.
    pub fn serialization(message: impl Into<String>) -> Self {
        Common::Serialization.error(message)
    }

    /// Authenticated, but not allowed.
    pub fn access_denied(message: impl Into<String>) -> Self {
        Common::AccessDenied.error(message)
    }

    /// A failure of the platform; the message is for the caller and names no internals.
    pub fn internal(message: impl Into<String>) -> Self {
        Common::Internal.error(message)
    }

    /// Adds a member of the exception.
    #[must_use]
    pub fn with(mut self, member: &'static str, value: impl Into<Value>) -> Self {
        self.fields.push((member, value.into()));
        self
    }

    /// Which of the common errors it is, if one.
    pub fn common(&self) -> Option<Common> {
        match self.origin {
            Origin::Common(common) => Some(common),
            _ => None,
        }
    }

    /// Whether the platform is to blame.
    pub fn is_fault(&self) -> bool {
        match self.origin {
            Origin::Modelled(exception) => exception.fault,
            _ => self.status >= 500,
        }
    }

    /// The answer in the shape of `protocol`.
    pub fn respond(&self, protocol: Protocol, request_id: &str) -> Response<Bytes> {
        let (status, code) = match self.origin {
            Origin::Common(common) => (common.status(protocol), common.code(protocol)),
            _ => (self.status, self.code.as_ref()),
        };
        let mut reply = Reply::new(status, protocol, request_id);
        for (member, header) in self.headers() {
            if let Some((_, value)) = self.fields.iter().find(|(name, _)| name == member) {
                reply.header(header, value.as_str().map_or_else(|| value.to_string(), str::to_owned).as_str());
            }
        }
        let body = match protocol {
            Protocol::RestJson => {
                reply.header("x-amzn-errortype", code);
                self.json_body(None)
            }
            Protocol::Json10 | Protocol::Json11 => self.json_body(Some(code)),
            Protocol::Query => self.query_body(code, request_id),
            Protocol::RestXml => format!(
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{}</Code><Message>{}</Message><RequestId>{}</RequestId></Error>",
                escape_xml(code),
                escape_xml(&self.message),
                escape_xml(request_id)
            ),
            Protocol::Ec2 => format!(
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Response><Errors><Error><Code>{}</Code><Message>{}</Message></Error></Errors>\
                 <RequestID>{}</RequestID></Response>",
                escape_xml(code),
                escape_xml(&self.message),
                escape_xml(request_id)
            ),
            Protocol::Cbor => return reply.finish(Some(cbor_map(&[("__type", code), ("message", &self.message)]))),
        };
        reply.finish(Some(Bytes::from(body)))
    }

    fn headers(&self) -> &'static [(&'static str, &'static str)] {
        match self.origin {
            Origin::Modelled(exception) => exception.headers,
            _ => &[],
        }
    }

    fn json_body(&self, code: Option<&str>) -> String {
        let mut body = serde_json::Map::new();
        if let Some(code) = code {
            body.insert("__type".into(), code.into());
        }
        let message_member = match self.origin {
            Origin::Modelled(exception) => {
                if exception.has_type {
                    body.insert("Type".into(), if exception.fault { "Service" } else { "User" }.into());
                }
                exception.message_member
            }
            // AWS's front door and its readers of requests spell it so.
            Origin::Common(Common::AccessDenied | Common::Serialization) => "Message",
            _ => "message",
        };
        for (member, value) in &self.fields {
            if !self.headers().iter().any(|(name, _)| name == member) {
                body.insert((*member).into(), value.clone());
            }
        }
        body.insert(message_member.into(), self.message.as_str().into());
        Value::Object(body).to_string()
    }

    fn query_body(&self, code: &str, request_id: &str) -> String {
        format!(
            "<ErrorResponse>\n  <Error>\n    <Type>{}</Type>\n    <Code>{}</Code>\n    <Message>{}</Message>\n  </Error>\n  \
             <RequestId>{}</RequestId>\n</ErrorResponse>\n",
            if self.is_fault() { "Receiver" } else { "Sender" },
            escape_xml(code),
            escape_xml(&self.message),
            escape_xml(request_id)
        )
    }
}

/// A map of text to text (RFC 8949); it has fewer than 24 entries.
fn cbor_map(entries: &[(&str, &str)]) -> Bytes {
    const MAP: u8 = 5 << 5;
    const TEXT: u8 = 3 << 5;
    let mut out = vec![MAP | entries.len() as u8];
    for text in entries.iter().flat_map(|(name, value)| [name, value]) {
        // The length stands in the eight bytes that follow.
        out.push(TEXT | 27);
        out.extend((text.len() as u64).to_be_bytes());
        out.extend(text.as_bytes());
    }
    Bytes::from(out)
}

/// A header value of what can stand in one: other characters are replaced.
pub(crate) fn header_value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or_else(|_| {
        let visible: String = text.chars().map(|c| if (' '..='~').contains(&c) { c } else { '?' }).collect();
        HeaderValue::from_str(&visible).unwrap_or(reply::EMPTY_VALUE)
    })
}

/// Defines exceptions: constant, constructor, code, status, fault, member of the message, has `Type`, headers.
macro_rules! exceptions {
    ($($constant:ident, $function:ident: $code:literal, $status:literal, $fault:literal, $message:literal, $type:literal,
       [$($header:expr),*];)*) => {
        $(
            #[doc = concat!("`", $code, "`.")]
            pub static $constant: Exception = Exception {
                code: $code,
                status: $status,
                fault: $fault,
                message_member: $message,
                has_type: $type,
                headers: &[$($header),*],
            };

            #[doc = concat!("`", $code, "`, status ", $status, ".")]
            pub fn $function(message: impl Into<String>) -> Error {
                $constant.error(message)
            }
        )*

        /// Every one of them.
        pub static ALL: &[&Exception] = &[$(&$constant),*];
    };
}
pub(crate) use exceptions;

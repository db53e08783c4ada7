//! An HTTP answer under construction: status, headers, body.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName};
use http::{HeaderValue, Response, StatusCode};

use crate::error::header_value;
use crate::operation::Protocol;
use crate::write::{Members, Writer};

pub(crate) const EMPTY_VALUE: HeaderValue = HeaderValue::from_static("");

/// What an output leaves for the body.
pub(crate) enum Body {
    /// Nothing.
    Empty,
    /// Bytes that the operation's user made.
    Raw(Option<Bytes>),
    /// The members of the output, without what a protocol puts around them.
    Written(String),
}

/// Collects what generated encoders say.
pub(crate) struct Reply {
    status: u16,
    xml: bool,
    content_type: &'static str,
    response: Response<Bytes>,
}

impl Reply {
    pub(crate) fn new(status: u16, protocol: Protocol, request_id: &str) -> Self {
        let mut response = Response::new(Bytes::new());
        response.headers_mut().insert(HeaderName::from_static("x-amzn-requestid"), header_value(request_id));
        if protocol == Protocol::Cbor {
            // Clients take an answer without it for one of something in between.
            let spoken = HeaderValue::from_static("rpc-v2-cbor");
            response.headers_mut().insert(HeaderName::from_static("smithy-protocol"), spoken);
        }
        Self { status, xml: protocol.is_xml(), content_type: protocol.content_type(), response }
    }

    /// Replaces the status, if the operation said one that HTTP has.
    pub(crate) fn status(&mut self, status: Option<i32>) {
        if let Some(status) = status.and_then(|status| u16::try_from(status).ok()) {
            self.status = status;
        }
    }

    /// Adds a header; the name is a model's.
    pub(crate) fn header(&mut self, name: &'static str, value: &str) {
        if let Ok(name) = HeaderName::from_bytes(name.as_bytes()) {
            self.response.headers_mut().insert(name, header_value(value));
        }
    }

    /// Adds a header, if there is a value for it.
    pub(crate) fn optional_header(&mut self, name: &'static str, value: Option<&str>) {
        if let Some(value) = value {
            self.header(name, value);
        }
    }

    /// Writes the members of an output in the format of the protocol.
    pub(crate) fn structure(&self, output: &impl Members) -> Body {
        let mut writer = if self.xml { Writer::xml() } else { Writer::json() };
        writer.structure(output);
        Body::Written(writer.into_string())
    }

    /// Ends it. No body at all means no content type either.
    pub(crate) fn finish(mut self, body: Option<Bytes>) -> Response<Bytes> {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        *self.response.status_mut() = status;
        if let Some(body) = body.filter(|_| status != StatusCode::NO_CONTENT && !status.is_informational()) {
            self.response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(self.content_type));
            *self.response.body_mut() = body;
        }
        self.response
    }
}

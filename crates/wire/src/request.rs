//! What a generated decoder reads from: a routed request, and the format in which its members stand.

use std::borrow::Cow;

use bytes::Bytes;
use http::HeaderMap;

use crate::error::Error;
use crate::json::Json;
use crate::operation::{Operation, Protocol};
use crate::percent::form_pairs;
use crate::read::{Fields, Source, Structure};
use crate::rule::{At, Violations};

/// The parts of a request as they came.
#[derive(Debug, Clone, Copy)]
pub struct Parts<'a> {
    /// The method.
    pub method: &'a http::Method,
    /// The path, not decoded.
    pub path: &'a str,
    /// The query without its question mark, not decoded; empty if there is none.
    pub query: &'a str,
    /// The headers. Over HTTP/2, `host` must have been filled in from the authority.
    pub headers: &'a HeaderMap,
}

impl<'a> Parts<'a> {
    /// The decoded pairs of the query, in their order.
    pub fn parameters(&self) -> Vec<(Cow<'a, str>, Cow<'a, str>)> {
        form_pairs(self.query)
    }

    /// A header that occurs exactly once and is visible ASCII.
    pub(crate) fn header(&self, name: &str) -> Option<&'a str> {
        let mut values = self.headers.get_all(name).iter();
        let only = values.next().filter(|_| values.next().is_none())?;
        only.to_str().ok()
    }
}

/// What the body of an operation holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// Nothing that matters.
    None,
    /// One member, as it is.
    Payload,
    /// Members, in the format of the protocol.
    Body,
}

/// A routed request.
pub(crate) struct Request<'a> {
    pub(crate) operation: &'static Operation,
    pub(crate) protocol: Protocol,
    pub(crate) labels: &'a [(&'static str, String)],
    pub(crate) parts: &'a Parts<'a>,
    pub(crate) body: Bytes,
}

impl Request<'_> {
    /// Reads the input of an operation and reports all that is wrong with it at once.
    pub(crate) fn read<T: Structure>(&self, format: Format) -> Result<T, Error> {
        let query = self.parts.parameters();
        let source =
            Source { labels: self.labels, query: &query, headers: self.parts.headers, payload: self.body.clone() };
        let members = match format {
            Format::Body => self.members()?,
            Format::None | Format::Payload => Vec::new(),
        };
        let mut violations = Violations::default();
        let input = T::read(&mut Fields::new(members, Some(&source), &At::Root, &mut violations))?;
        violations.into_result(self.operation.service.info().validation_code)?;
        // Without a violation there is an input: readers return none only after they noted one.
        input.ok_or_else(|| Error::internal("The request could not be read."))
    }

    fn members(&self) -> Result<Vec<(Cow<'_, str>, Json<'_>)>, Error> {
        let json = match self.protocol {
            Protocol::RestJson | Protocol::Json10 | Protocol::Json11 => Json::parse(&self.body)?,
            Protocol::Query => {
                let body =
                    std::str::from_utf8(&self.body).map_err(|_| Error::serialization("The body is not UTF-8."))?;
                let mut pairs = form_pairs(self.parts.query);
                pairs.extend(form_pairs(body));
                Json::from_form(pairs)?
            }
            Protocol::RestXml => return Err(Error::internal("XML bodies are not read here.")),
            Protocol::Ec2 | Protocol::Cbor => return Err(Error::internal("No operation in this protocol is served.")),
        };
        match json {
            Json::Object(members) | Json::Form(members) => Ok(members),
            Json::List(_) => Err(Error::serialization("Start of list found where not expected")),
            _ => Err(Error::serialization("Unexpected value type in payload")),
        }
    }
}

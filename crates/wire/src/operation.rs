//! The vocabulary of the parity table: protocols, methods, services and every operation that AWS models.

use crate::generated::operations::SERVICES;
pub use crate::generated::operations::Service;

/// How a service puts its operations on HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// Method, path and headers name the operation; bodies are JSON.
    RestJson,
    /// `X-Amz-Target` names the operation; bodies are `application/x-amz-json-1.0`.
    Json10,
    /// `X-Amz-Target` names the operation; bodies are `application/x-amz-json-1.1`.
    Json11,
    /// The parameter `Action` names the operation; requests are forms, answers XML.
    Query,
    /// As [`Protocol::RestJson`], with XML bodies.
    RestXml,
    /// As [`Protocol::Query`], with errors in a shape of EC2's own. No service that has a model speaks it.
    Ec2,
    /// The path names the operation; bodies are CBOR. No service that has a model speaks it and nothing else.
    Cbor,
}

impl Protocol {
    /// The name by which the models call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::RestJson => "rest-json",
            Self::Json10 => "json 1.0",
            Self::Json11 => "json 1.1",
            Self::Query => "query",
            Self::RestXml => "rest-xml",
            Self::Ec2 => "ec2",
            Self::Cbor => "rpc-v2-cbor",
        }
    }

    /// Whether method and path name the operation.
    pub fn is_rest(self) -> bool {
        matches!(self, Self::RestJson | Self::RestXml)
    }

    /// Whether `X-Amz-Target` names the operation.
    pub fn is_json_rpc(self) -> bool {
        matches!(self, Self::Json10 | Self::Json11)
    }

    /// Whether its bodies are XML.
    pub fn is_xml(self) -> bool {
        matches!(self, Self::Query | Self::RestXml | Self::Ec2)
    }

    /// The media type of its answers.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::RestJson => "application/json",
            Self::Json10 => "application/x-amz-json-1.0",
            Self::Json11 => "application/x-amz-json-1.1",
            Self::Query | Self::Ec2 => "text/xml",
            Self::RestXml => "application/xml",
            Self::Cbor => "application/cbor",
        }
    }
}

/// The HTTP methods that models use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    /// `DELETE`
    Delete,
    /// `GET`
    Get,
    /// `HEAD`
    Head,
    /// `PATCH`
    Patch,
    /// `POST`
    Post,
    /// `PUT`
    Put,
}

impl Method {
    /// As it stands in a request line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Delete => "DELETE",
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Patch => "PATCH",
            Self::Post => "POST",
            Self::Put => "PUT",
        }
    }
}

/// One service as its model describes it.
#[derive(Debug)]
pub struct ServiceInfo {
    /// Which one.
    pub service: Service,
    /// The name of its model, which is also the AWS CLI's word for it: `lambda`, `cognito-idp`.
    pub name: &'static str,
    /// How people call it: `Lambda`, `CloudWatch Logs`.
    pub title: &'static str,
    /// How its requests look.
    pub protocol: Protocol,
    /// The service part of a SigV4 credential scope; several services may share one.
    pub signing_name: &'static str,
    /// The first label of its hosts at AWS.
    pub endpoint_prefix: &'static str,
    /// What `X-Amz-Target` starts with, up to the dot; empty where the protocol has none.
    pub target_prefix: &'static str,
    /// The model's version, which query requests repeat as `Version`.
    pub api_version: &'static str,
    /// The namespace of XML answers; empty where there are none.
    pub xml_namespace: &'static str,
    /// Older clients still speak query to it.
    pub query_compatible: bool,
    /// The code of a request that violates a constraint of the model.
    pub validation_code: &'static str,
    /// Every operation, by name in order.
    pub operations: &'static [Operation],
}

/// One operation as its model describes it.
#[derive(Debug)]
pub struct Operation {
    /// Whose operation it is.
    pub service: Service,
    /// `CreateFunction`.
    pub name: &'static str,
    /// The HTTP method.
    pub method: Method,
    /// The path with its labels, and the query parameters that tell it from others: `/{Bucket}?acl`.
    pub uri: &'static str,
    /// The status of a success that does not say another.
    pub status: u16,
    /// Query parameters (`?name`) and headers (`name`) that a request for it must carry, beyond those in `uri`.
    pub requires: &'static [&'static str],
    /// Whether Pinfold serves it; if not, a call is answered with 501 and its name.
    pub served: bool,
}

/// Rows of the parity table: name, method, URI, status, what a request must carry, served or absent.
macro_rules! table {
    ($service:ident $($name:literal $method:ident $uri:literal $status:literal [$($requires:literal),*] $known:ident;)*) => {
        &[$($crate::operation::Operation {
            service: $crate::operation::Service::$service,
            name: $name,
            method: $crate::operation::Method::$method,
            uri: $uri,
            status: $status,
            requires: &[$($requires),*],
            served: $crate::operation::is_served!($known),
        }),*]
    };
}
macro_rules! is_served {
    (served) => {
        true
    };
    (absent) => {
        false
    };
}
pub(crate) use {is_served, table};

impl Service {
    /// What the model says of it.
    pub fn info(self) -> &'static ServiceInfo {
        SERVICES[self as usize]
    }
}

/// Every service that has a model, by the model's name in order.
pub fn services() -> impl Iterator<Item = &'static ServiceInfo> {
    SERVICES.iter().copied()
}

/// The parity table: every operation of every model, served or not.
pub fn operations() -> impl Iterator<Item = &'static Operation> {
    services().flat_map(|service| service.operations)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_service_finds_its_own_row() {
        for info in services() {
            assert_eq!(info.service.info().name, info.name);
            assert!(info.operations.iter().all(|operation| operation.service == info.service), "{}", info.name);
            assert!(info.operations.is_sorted_by_key(|operation| operation.name), "{}", info.name);
        }
    }

    #[test]
    fn the_table_holds_every_model() {
        assert_eq!(services().count(), 24);
        assert!(operations().count() > 1_700);
        let served: Vec<_> = operations().filter(|operation| operation.served).map(|o| o.name).collect();
        assert!(served.contains(&"Invoke") && served.contains(&"FilterLogEvents"), "{served:?}");
    }
}

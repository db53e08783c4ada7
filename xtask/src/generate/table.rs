//! The parity table and the dispatch over services.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Result, bail};

use super::Served;
use super::model::{Model, Operation};
use super::names::{literal, snake, variant};

/// `operations.rs`: every operation of every model.
pub(super) fn operations(models: &BTreeMap<String, Model>, served: &BTreeMap<String, Served>) -> Result<String> {
    let mut out = String::from(
        "//! Every service that has a model, and every operation of it.\n\n\
         use crate::operation::{Protocol, ServiceInfo, table};\n\n\
         /// A service, named as its model.\n#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]\n\
         #[allow(missing_docs, reason = \"the names are the models'\")]\npub enum Service {\n",
    );
    for name in models.keys() {
        writeln!(out, "{},", variant(name))?;
    }
    out.push_str("}\n\npub(crate) static SERVICES: &[&ServiceInfo] = &[");
    for name in models.keys() {
        write!(out, "&{},", snake(name).to_uppercase())?;
    }
    out.push_str("];\n");
    for (name, model) in models {
        let empty = Served::default();
        let served = served.get(name).unwrap_or(&empty);
        let metadata = &model.metadata;
        let service = variant(name);
        let protocol = match (metadata.protocol.as_str(), metadata.json_version.as_deref()) {
            ("rest-json", _) => "RestJson",
            ("json", Some("1.0")) => "Json10",
            ("json", Some("1.1")) => "Json11",
            ("query", _) => "Query",
            ("rest-xml", _) => "RestXml",
            other => bail!("{name} speaks {other:?}, which the generator does not know"),
        };
        let full = metadata.service_full_name.as_str();
        let title = full.strip_prefix("Amazon ").or_else(|| full.strip_prefix("AWS ")).unwrap_or(full);
        let fallback = match metadata.protocol.as_str() {
            "query" => "ValidationError",
            _ => "ValidationException",
        };
        let validation = if served.validation_code.is_empty() { fallback } else { &served.validation_code };
        write!(
            out,
            "\nstatic {}: ServiceInfo = ServiceInfo {{ service: Service::{service}, name: {}, title: {}, protocol: Protocol::{protocol}, \
             signing_name: {}, endpoint_prefix: {}, target_prefix: {}, api_version: {}, xml_namespace: {}, query_compatible: {}, \
             validation_code: {}, operations: table! {{ {service}\n",
            snake(name).to_uppercase(),
            literal(name),
            literal(title),
            literal(metadata.signing_name.as_deref().unwrap_or(&metadata.endpoint_prefix)),
            literal(&metadata.endpoint_prefix),
            literal(metadata.target_prefix.as_deref().unwrap_or("")),
            literal(&metadata.api_version),
            literal(metadata.xml_namespace.as_deref().unwrap_or("")),
            metadata.aws_query_compatible.is_some(),
            literal(validation),
        )?;
        for (operation_name, operation) in &model.operations {
            let requires: Vec<String> = requires(model, operation)?.iter().map(|name| literal(name)).collect();
            let known = if served.serve.contains(operation_name) { "served" } else { "absent" };
            writeln!(
                out,
                "        {} {} {} {} [{}] {known};",
                literal(operation_name),
                variant(&operation.http.method),
                literal(&operation.http.request_uri),
                operation.http.response_code.unwrap_or(200),
                requires.join(", "),
            )?;
        }
        out.push_str("    }};\n");
    }
    Ok(out)
}

/// Required members that stand in the query (`?name`) or in a header (`name`).
fn requires(model: &Model, operation: &Operation) -> Result<Vec<String>> {
    let mut names = Vec::new();
    if let Some(input) = &operation.input {
        let shape = model.shape(&input.shape)?;
        for (name, member) in shape.members.iter().filter(|(name, _)| shape.required.contains(name)) {
            let wire = member.location_name.as_deref().unwrap_or(name);
            match member.location.as_deref() {
                Some("querystring") => names.push(format!("?{wire}")),
                Some("header") => names.push(wire.to_ascii_lowercase()),
                _ => {}
            }
        }
    }
    Ok(names)
}

/// `mod.rs`: one enumeration over the services that are served, for inputs and for outputs.
pub(super) fn dispatch(served: &BTreeMap<String, Served>) -> String {
    let names: Vec<&String> = served.keys().collect();
    let mut out = String::from("//! Generated shapes and tables.\n\npub(crate) mod operations;\n");
    let mut each = |before: &str, line: &dyn Fn(&str, &str) -> String, after: &str| {
        out.push_str(before);
        names.iter().for_each(|name| out.push_str(&line(&snake(name), &variant(name))));
        out.push_str(after);
    };
    each("", &|module, _| format!("pub mod {module};\n"), "\n");
    each(
        "use crate::error::Error;\nuse crate::request::Request;\nuse crate::reply::{Body, Reply};\n\n\
         /// The input of an operation, by service.\n#[derive(Debug, Clone, PartialEq)]\n\
         #[allow(clippy::large_enum_variant, reason = \"moved a few times a request; a box would burden each user\")]\n\
         pub enum Input {\n",
        &|module, name| format!("/// An operation of `{module}`.\n{name}({module}::Input),\n"),
        "}\n\n",
    );
    each(
        "/// The output of an operation, by service.\n#[derive(Debug, Clone, PartialEq)]\n\
         #[allow(clippy::large_enum_variant, reason = \"moved a few times a request; a box would burden each user\")]\n\
         pub enum Output {\n",
        &|module, name| format!("/// An operation of `{module}`.\n{name}({module}::Output),\n"),
        "}\n\n",
    );
    each(
        "/// Reads the input; `None` if the operation is not served.\n\
         pub(crate) fn decode(request: &Request<'_>) -> Result<Option<Input>, Error> {\n\
         match request.operation.service {\n",
        &|module, name| format!("operations::Service::{name} => Ok({module}::decode(request)?.map(Input::{name})),\n"),
        "_ => Ok(None),\n}\n}\n\n",
    );
    each(
        "/// Puts the output's members where they belong.\n\
         pub(crate) fn encode(output: Output, reply: &mut Reply) -> Body {\nmatch output {\n",
        &|module, name| format!("Output::{name}(output) => {module}::encode(output, reply),\n"),
        "}\n}\n\n",
    );
    each(
        "impl Input {\n/// The name of the operation that it belongs to: `CreateFunction`.\n\
         pub fn operation(&self) -> &'static str {\nmatch self {\n",
        &|_, name| format!("Self::{name}(input) => input.operation(),\n"),
        "}\n}\n}\n",
    );
    out
}

//! A service model as `models/*.json` holds it; what the generator does not use is left unread.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Metadata {
    pub(super) api_version: String,
    pub(super) endpoint_prefix: String,
    pub(super) protocol: String,
    pub(super) json_version: Option<String>,
    pub(super) service_full_name: String,
    pub(super) signing_name: Option<String>,
    pub(super) target_prefix: Option<String>,
    pub(super) xml_namespace: Option<String>,
    pub(super) aws_query_compatible: Option<serde_json::Value>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Model {
    pub(super) metadata: Metadata,
    pub(super) operations: BTreeMap<String, Operation>,
    pub(super) shapes: BTreeMap<String, Shape>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Operation {
    pub(super) http: Http,
    pub(super) input: Option<Reference>,
    pub(super) output: Option<Reference>,
    #[serde(default)]
    pub(super) errors: Vec<Reference>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Http {
    pub(super) method: String,
    pub(super) request_uri: String,
    pub(super) response_code: Option<u16>,
}

/// A use of a shape, as a member or elsewhere.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Reference {
    pub(super) shape: String,
    pub(super) location: Option<String>,
    pub(super) location_name: Option<String>,
    pub(super) result_wrapper: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Shape {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) members: BTreeMap<String, Reference>,
    pub(super) required: Vec<String>,
    pub(super) payload: Option<String>,
    pub(super) member: Option<Reference>,
    pub(super) key: Option<Reference>,
    pub(super) value: Option<Reference>,
    pub(super) min: Option<serde_json::Number>,
    pub(super) max: Option<serde_json::Number>,
    pub(super) pattern: Option<String>,
    #[serde(rename = "enum")]
    pub(super) values: Vec<String>,
    pub(super) sensitive: bool,
    pub(super) error: Option<ErrorTrait>,
    pub(super) fault: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ErrorTrait {
    pub(super) code: Option<String>,
    pub(super) http_status_code: Option<u16>,
}

impl Model {
    pub(super) fn shape(&self, name: &str) -> Result<&Shape> {
        self.shapes.get(name).with_context(|| format!("the model has no shape {name}"))
    }

    pub(super) fn shape_mut(&mut self, name: &str) -> Result<&mut Shape> {
        self.shapes.get_mut(name).with_context(|| format!("the model has no shape {name}"))
    }

    /// Every shape that is reached from `roots`, themselves included.
    pub(super) fn closure<'a>(&'a self, roots: impl Iterator<Item = &'a str>) -> Result<BTreeSet<&'a str>> {
        let mut open: Vec<&str> = roots.collect();
        let mut seen = BTreeSet::new();
        while let Some(name) = open.pop() {
            if seen.insert(name) {
                let shape = self.shape(name)?;
                let inner = [&shape.member, &shape.key, &shape.value];
                open.extend(inner.into_iter().flatten().chain(shape.members.values()).map(|r| r.shape.as_str()));
            }
        }
        Ok(seen)
    }
}

//! One served service: its shapes, rules, readers, writers, inputs, outputs and exceptions.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use anyhow::{Context as _, Result, bail, ensure};

use super::Served;
use super::model::{Model, Reference, Shape};
use super::names::{constant, literal, snake, variant};
use super::pattern;

/// Names that the generated file uses for something else.
const TAKEN: [&str; 14] = [
    "BTreeMap",
    "Body",
    "Bytes",
    "Emit",
    "Error",
    "Exception",
    "Fields",
    "Input",
    "Members",
    "Option",
    "Output",
    "Rule",
    "String",
    "Vec",
];

struct Generator<'a> {
    model: &'a Model,
    served: &'a Served,
    /// Shapes that requests may hold.
    inputs: BTreeSet<&'a str>,
    /// Shapes that answers may hold.
    outputs: BTreeSet<&'a str>,
    out: String,
}

/// The text of `SERVICE.rs`.
pub(super) fn generate(model: &Model, served: &Served) -> Result<String> {
    let operations: Vec<_> = served.serve.iter().map(|name| &model.operations[name]).collect();
    let roots = |pick: fn(&super::model::Operation) -> &Option<Reference>| {
        operations.iter().filter_map(move |operation| pick(operation).as_ref()).map(|r| r.shape.as_str())
    };
    let inputs = model.closure(roots(|operation| &operation.input))?;
    let outputs = model.closure(roots(|operation| &operation.output))?;
    let mut generator = Generator { model, served, inputs, outputs, out: String::new() };
    generator.head();
    generator.structures()?;
    generator.enumerations()?;
    generator.rules()?;
    generator.operations()?;
    generator.exceptions()?;
    Ok(generator.out)
}

impl<'a> Generator<'a> {
    fn head(&mut self) {
        let _ = write!(
            self.out,
            "//! {} as its model describes it: the shapes of the operations that are served.\n\n\
             #![allow(unused_imports, reason = \"which of them a service needs depends on its shapes\")]\n\n\
             use std::collections::BTreeMap;\n\nuse base::time::Timestamp;\nuse bytes::Bytes;\n\n\
             use crate::error::{{Error, Exception, exceptions}};\nuse crate::read::{{Fields, Place, Structure, Taken, wire_enum}};\n\
             use crate::reply::{{Body, Reply}};\nuse crate::request::{{Format, Request}};\nuse crate::rule::{{FREE, Pattern, Rule}};\n\
             use crate::write::{{Members, Writer}};\n\n",
            self.model.metadata.service_full_name
        );
    }

    fn used(&self) -> BTreeSet<&'a str> {
        self.inputs.union(&self.outputs).copied().collect()
    }

    fn is_open(&self, shape: &str) -> bool {
        self.served.open_enums.iter().any(|name| name == shape)
    }

    /// The Rust type of a shape.
    fn rust_type(&self, name: &str) -> Result<String> {
        let shape = self.model.shape(name)?;
        let inner = |reference: &Option<Reference>| -> Result<String> {
            self.rust_type(&reference.as_ref().with_context(|| format!("{name} lacks its item"))?.shape)
        };
        Ok(match shape.kind.as_str() {
            "string" if !shape.values.is_empty() && !self.is_open(name) => name.to_owned(),
            "string" => "String".into(),
            "boolean" => "bool".into(),
            "integer" => "i32".into(),
            "long" => "i64".into(),
            "double" => "f64".into(),
            "blob" => "Bytes".into(),
            "timestamp" => "Timestamp".into(),
            "list" => format!("Vec<{}>", inner(&shape.member)?),
            "map" => format!("BTreeMap<String, {}>", inner(&shape.value)?),
            "structure" => name.to_owned(),
            other => bail!("{name} is a {other}, which the generator does not know"),
        })
    }

    /// Whether a value can stand for "nothing was said": an enumeration cannot.
    fn has_default(&self, name: &str) -> Result<bool> {
        let shape = self.model.shape(name)?;
        Ok(match shape.kind.as_str() {
            "string" => shape.values.is_empty() || self.is_open(name),
            "structure" => {
                let mut all = true;
                for member in shape.members.iter().filter(|(member, _)| shape.required.contains(member)) {
                    all &= self.has_default(&member.1.shape)?;
                }
                all
            }
            _ => true,
        })
    }

    fn structures(&mut self) -> Result<()> {
        for name in self.used() {
            let shape = self.model.shape(name)?;
            if shape.kind != "structure" {
                continue;
            }
            ensure!(!TAKEN.contains(&name), "the shape {name} has the name of something that the generated code uses");
            self.structure(name, shape)?;
            if self.inputs.contains(name) {
                self.reader(name, shape)?;
            }
            if self.outputs.contains(name) {
                self.writer(name, shape)?;
            }
        }
        Ok(())
    }

    fn structure(&mut self, name: &str, shape: &Shape) -> Result<()> {
        let mut secret = false;
        for member in shape.members.values() {
            secret |= self.model.shape(&member.shape)?.sensitive;
        }
        let debug = if secret { "" } else { "Debug, " };
        let default = if self.has_default(name)? { "Default, " } else { "" };
        write!(
            self.out,
            "/// `{name}` of the model.\n#[derive({debug}{default}Clone, PartialEq)]\n\
             #[allow(missing_docs, reason = \"the members are the model's\")]\npub struct {name} {{\n"
        )?;
        for (member, reference) in &shape.members {
            let kind = self.rust_type(&reference.shape)?;
            let kind = if shape.required.contains(member) { kind } else { format!("Option<{kind}>") };
            writeln!(self.out, "pub {}: {kind},", snake(member))?;
        }
        self.out.push_str("}\n\n");
        if secret {
            write!(
                self.out,
                "impl std::fmt::Debug for {name} {{\n/// Says nothing of its members, some of which are secrets.\n\
                 fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {{\n\
                 f.debug_struct(\"{name}\").finish_non_exhaustive()\n}}\n}}\n\n"
            )?;
        }
        Ok(())
    }

    fn reader(&mut self, name: &str, shape: &Shape) -> Result<()> {
        let fields = if shape.members.is_empty() { "_" } else { "fields" };
        write!(self.out, "impl Structure for {name} {{\nfn read({fields}: &mut Fields<'_, '_>) -> Taken<Self> {{\n")?;
        for (member, reference) in &shape.members {
            let rust = snake(member);
            let required = shape.required.contains(member);
            if shape.payload.as_ref() == Some(member) {
                let kind = self.model.shape(&reference.shape)?.kind.as_str();
                ensure!(kind == "blob", "{name}.{member}: a payload that is a {kind} is not generated yet");
                let or = if required { ".or_else(|| Some(Bytes::new()))" } else { "" };
                writeln!(self.out, "let {rust} = fields.payload(){or};")?;
                continue;
            }
            let verb = if required { "required" } else { "optional" };
            let rule = self.rule_name(&reference.shape)?;
            let wire = literal(reference.location_name.as_deref().unwrap_or(member));
            let place = match reference.location.as_deref() {
                None if reference.location_name.as_deref().is_none_or(|wire| wire == member) => {
                    writeln!(self.out, "let {rust} = fields.{verb}({}, &{rule})?;", literal(member))?;
                    continue;
                }
                None => format!("Place::Body({wire})"),
                Some("uri") => format!("Place::Label({wire})"),
                Some("querystring") => format!("Place::Query({wire})"),
                Some("header") => format!("Place::Header({wire})"),
                Some(other) => bail!("{name}.{member} stands in {other}, which is not generated yet"),
            };
            let kind = self.model.shape(&reference.shape)?.kind.as_str();
            ensure!(
                reference.location.is_none() || !matches!(kind, "list" | "map" | "blob" | "structure" | "timestamp"),
                "{name}.{member}: a {kind} outside the body is not generated yet"
            );
            writeln!(self.out, "let {rust} = fields.{verb}_at({place}, {}, &{rule})?;", literal(member))?;
        }
        let required: Vec<String> =
            shape.members.keys().filter(|m| shape.required.contains(m)).map(|m| snake(m)).collect();
        match &required[..] {
            [] => {}
            [one] => writeln!(self.out, "let Some({one}) = {one} else {{ return Ok(None) }};")?,
            many => {
                let some: Vec<String> = many.iter().map(|name| format!("Some({name})")).collect();
                writeln!(self.out, "let ({}) = ({}) else {{ return Ok(None) }};", some.join(", "), many.join(", "))?;
            }
        }
        let members: Vec<String> = shape.members.keys().map(|member| snake(member)).collect();
        write!(self.out, "Ok(Some(Self {{ {} }}))\n}}\n}}\n\n", members.join(", "))?;
        Ok(())
    }

    fn writer(&mut self, name: &str, shape: &Shape) -> Result<()> {
        let body: Vec<_> = shape.members.iter().filter(|(member, r)| in_body(shape, member, r)).collect();
        let writer = if body.is_empty() { "_" } else { "writer" };
        write!(self.out, "impl Members for {name} {{\nfn members(&self, {writer}: &mut Writer) {{\n")?;
        for (member, reference) in body {
            let wire = reference.location_name.as_deref().unwrap_or(member);
            writeln!(self.out, "writer.member({}, &self.{});", literal(wire), snake(member))?;
        }
        self.out.push_str("}\n}\n\n");
        Ok(())
    }

    fn enumerations(&mut self) -> Result<()> {
        for name in self.used() {
            let shape = self.model.shape(name)?;
            if shape.kind != "string" || shape.values.is_empty() || self.is_open(name) {
                continue;
            }
            ensure!(!TAKEN.contains(&name), "the shape {name} has the name of something that the generated code uses");
            let mut seen = BTreeSet::new();
            write!(self.out, "wire_enum!({name} {{ ")?;
            for value in &shape.values {
                let variant = variant(value);
                ensure!(seen.insert(variant.clone()), "two values of {name} are called {variant}");
                write!(self.out, "{variant} = {}, ", literal(value))?;
            }
            self.out.push_str("});\n\n");
        }
        Ok(())
    }

    /// The static that holds the rule of a shape, `FREE` if it demands nothing.
    fn rule_name(&self, name: &str) -> Result<String> {
        Ok(if self.rule(name, 0)?.is_some() { constant(name) } else { "FREE".into() })
    }

    fn rule(&self, name: &str, depth: usize) -> Result<Option<String>> {
        ensure!(depth < 64, "the rule of {name} holds itself");
        let shape = self.model.shape(name)?;
        let mut rule = String::new();
        if shape.kind == "structure" || shape.kind == "boolean" || shape.kind == "timestamp" {
            return Ok(None);
        }
        if shape.values.is_empty() || self.is_open(name) {
            for (bound, value) in [("min", &shape.min), ("max", &shape.max)] {
                if let Some(value) = value {
                    let value = value.as_i64().with_context(|| format!("{bound} of {name} is not a whole number"))?;
                    // A length of at least nothing demands nothing.
                    let idle =
                        value == 0 && bound == "min" && !matches!(shape.kind.as_str(), "integer" | "long" | "double");
                    if !idle {
                        write!(rule, ".{bound}({value})")?;
                    }
                }
            }
            if shape.pattern.as_deref().is_some_and(|pattern| pattern != ".*") {
                write!(rule, ".pattern(&patterns::{})", constant(name))?;
            }
        }
        if shape.sensitive {
            rule.push_str(".sensitive()");
        }
        for (part, reference) in [("item", &shape.member), ("item", &shape.value), ("key", &shape.key)] {
            if let Some(reference) = reference
                && self.rule(&reference.shape, depth + 1)?.is_some()
            {
                write!(rule, ".{part}(&{})", constant(&reference.shape))?;
            }
        }
        Ok((!rule.is_empty()).then_some(rule))
    }

    fn rules(&mut self) -> Result<()> {
        let mut patterns = BTreeMap::new();
        for name in self.inputs.clone() {
            let shape = self.model.shape(name)?;
            let Some(rule) = self.rule(name, 0)? else { continue };
            let constant = constant(name);
            if rule.contains(".pattern(") {
                let source = shape.pattern.as_deref().context("the rule says so")?;
                let written = match self.served.patterns.get(name) {
                    Some(rewritten) => rewritten.as_str(),
                    None => source,
                };
                let regex = pattern::translate(written)
                    .with_context(|| format!("rewrite the pattern of {name} under [SERVICE.patterns]"))?;
                patterns.insert(constant.clone(), (source, regex));
            }
            writeln!(self.out, "static {constant}: Rule = Rule::new(){rule};")?;
        }
        let names: Vec<String> = patterns.keys().map(|name| format!("&{name}")).collect();
        self.out.push_str("\n#[allow(unused_imports, reason = \"a service may have no patterns\")]\npub(crate) mod patterns {\nuse super::Pattern;\n\n");
        for (name, (source, regex)) in &patterns {
            writeln!(
                self.out,
                "pub(super) static {name}: Pattern = Pattern::new({}, {});",
                literal(source),
                literal(regex)
            )?;
        }
        write!(
            self.out,
            "\n/// Every pattern, for the test that compiles them.\n#[cfg(test)]\n\
             pub(crate) static ALL: &[&Pattern] = &[{}];\n}}\n\n",
            names.join(", ")
        )?;
        Ok(())
    }

    fn operations(&mut self) -> Result<()> {
        let (mut inputs, mut decodes, mut names) = (String::new(), String::new(), String::new());
        let (mut outputs, mut encodes) = (String::new(), String::new());
        let mut serve = self.served.serve.clone();
        serve.sort();
        for name in &serve {
            let operation = &self.model.operations[name];
            let input =
                operation.input.as_ref().with_context(|| format!("{name} without an input is not generated yet"))?;
            let shape = self.model.shape(&input.shape)?;
            let format = if shape.payload.is_some() {
                "Format::Payload"
            } else if shape.members.iter().any(|(member, reference)| in_body(shape, member, reference)) {
                "Format::Body"
            } else {
                "Format::None"
            };
            writeln!(inputs, "{name}({}),", input.shape)?;
            writeln!(decodes, "\"{name}\" => request.read({format}).map(Input::{name}),")?;
            writeln!(names, "Self::{name}(_) => \"{name}\",")?;
            match &operation.output {
                None => {
                    writeln!(outputs, "{name},")?;
                    writeln!(encodes, "Output::{name} => Body::Empty,")?;
                }
                Some(output) => {
                    if let Some(wrapper) = &output.result_wrapper {
                        ensure!(*wrapper == format!("{name}Result"), "{name} wraps its result in {wrapper}");
                    }
                    writeln!(outputs, "{name}({}),", output.shape)?;
                    encodes.push_str(&self.encode(name, &output.shape)?);
                }
            }
        }
        write!(
            self.out,
            "/// What a caller asks for.\n#[derive(Debug, Clone, PartialEq)]\n\
             #[allow(missing_docs, reason = \"the operations are the model's\")]\n\
             #[allow(clippy::large_enum_variant, reason = \"moved a few times a request; a box would burden each user\")]\n\
             pub enum Input {{\n{inputs}}}\n\n\
             impl Input {{\n/// The operation's name.\npub fn operation(&self) -> &'static str {{\nmatch self {{\n{names}}}\n}}\n}}\n\n\
             /// What a caller gets.\n#[derive(Debug, Clone, PartialEq)]\n\
             #[allow(missing_docs, reason = \"the operations are the model's\")]\n\
             #[allow(clippy::large_enum_variant, reason = \"moved a few times a request; a box would burden each user\")]\n\
             pub enum Output {{\n{outputs}}}\n\n\
             pub(crate) fn decode(request: &Request<'_>) -> Result<Option<Input>, Error> {{\n\
             match request.operation.name {{\n{decodes}_ => return Ok(None),\n}}\n.map(Some)\n}}\n\n\
             pub(crate) fn encode(output: Output, reply: &mut Reply) -> Body {{\nmatch output {{\n{encodes}}}\n}}\n\n"
        )?;
        Ok(())
    }

    /// The arm that turns one output into an answer.
    fn encode(&self, operation: &str, shape_name: &str) -> Result<String> {
        let shape = self.model.shape(shape_name)?;
        let mut arm = format!("Output::{operation}(output) => {{\n");
        for (member, reference) in &shape.members {
            let (field, wire) = (snake(member), literal(reference.location_name.as_deref().unwrap_or(member)));
            match reference.location.as_deref() {
                None => {}
                Some("statusCode") => writeln!(arm, "reply.status(output.{field});")?,
                Some("header") => writeln!(arm, "reply.optional_header({wire}, output.{field}.as_deref());")?,
                Some(other) => bail!("{shape_name}.{member} stands in {other}, which is not generated yet"),
            }
        }
        let anything = shape.members.iter().any(|(member, reference)| in_body(shape, member, reference));
        arm.push_str(&match &shape.payload {
            Some(payload) => {
                let kind = self.model.shape(&shape.members[payload].shape)?.kind.as_str();
                ensure!(kind == "blob", "{shape_name}.{payload}: a payload that is a {kind} is not generated yet");
                format!("Body::Raw(output.{})\n", snake(payload))
            }
            None if anything || shape.members.is_empty() => "reply.structure(&output)\n".to_owned(),
            None => "Body::Empty\n".to_owned(),
        });
        arm.push_str("}\n");
        Ok(arm)
    }

    fn exceptions(&mut self) -> Result<()> {
        let mut names = BTreeSet::new();
        for operation in &self.served.serve {
            names.extend(self.model.operations[operation].errors.iter().map(|error| error.shape.as_str()));
        }
        self.out.push_str(
            "/// The exceptions of the operations that are served.\npub mod errors {\nuse super::*;\n\nexceptions! {\n",
        );
        for name in names {
            let shape = self.model.shape(name)?;
            let error = shape.error.as_ref();
            let code = error.and_then(|error| error.code.as_deref()).unwrap_or(name);
            let status = error.and_then(|error| error.http_status_code).unwrap_or(if shape.fault { 500 } else { 400 });
            let message = if shape.members.contains_key("Message") { "Message" } else { "message" };
            let headers: Vec<String> = shape
                .members
                .iter()
                .filter(|(_, reference)| reference.location.as_deref() == Some("header"))
                .map(|(member, reference)| {
                    let header = reference.location_name.as_deref().unwrap_or(member).to_ascii_lowercase();
                    format!("({}, {})", literal(member), literal(&header))
                })
                .collect();
            let constant = constant(name);
            let function = snake(name).trim_end_matches("_exception").trim_end_matches("_fault").to_owned();
            writeln!(
                self.out,
                "    {constant}, {function}: {}, {status}, {}, {}, {}, [{}];",
                literal(code),
                shape.fault,
                literal(message),
                shape.members.contains_key("Type"),
                headers.join(", ")
            )?;
        }
        self.out.push_str("}\n}\n");
        Ok(())
    }
}

/// Whether a member stands in the body as one member among others.
fn in_body(shape: &Shape, member: &String, reference: &Reference) -> bool {
    reference.location.is_none() && shape.payload.as_ref() != Some(member)
}

//! Request URIs of models: literal segments, labels, a greedy label at the end, query parameters.

use crate::operation::Operation;
use crate::percent::{decode, raw_pairs};
use crate::request::Parts;
use crate::route::has_parameter;

/// An operation whose template fits a request.
#[derive(Debug)]
pub(crate) struct Found<'a> {
    pub(crate) operation: &'static Operation,
    /// Name of the label, and its text, not decoded.
    pub(crate) labels: Vec<(&'static str, &'a str)>,
}

/// How well a template fits; greater is better. A literal beats a label, a named parameter beats none, and an operation whose required
/// parameters are there beats one that would miss some.
type Fit = (usize, usize, bool, usize);

/// The operations that fit best: one, none, or several where only the host tells them apart (S3).
pub(crate) fn find<'a>(operations: &'static [Operation], parts: &Parts<'a>) -> Vec<Found<'a>> {
    let mut best: Vec<Found<'a>> = Vec::new();
    let mut best_fit = None;
    for operation in operations.iter().filter(|operation| operation.method.as_str() == parts.method.as_str()) {
        let Some((fit, labels)) = fit(operation, parts) else { continue };
        if best_fit < Some(fit) {
            best.clear();
        }
        if best_fit <= Some(fit) {
            best_fit = Some(fit);
            best.push(Found { operation, labels });
        }
    }
    best
}

fn fit<'a>(operation: &'static Operation, parts: &Parts<'a>) -> Option<(Fit, Vec<(&'static str, &'a str)>)> {
    let (path, query) = operation.uri.split_once('?').unwrap_or((operation.uri, ""));
    let (literals, labels) = match_path(path, parts.path)?;
    let mut named = 0;
    for (name, value) in raw_pairs(query) {
        if !has_parameter(parts.query, name, (!value.is_empty()).then_some(value)) {
            return None;
        }
        named += 1;
    }
    let is_there = |name: &&&str| match name.strip_prefix('?') {
        Some(parameter) => has_parameter(parts.query, parameter, None),
        None => parts.headers.contains_key(**name),
    };
    let there = operation.requires.iter().filter(is_there).count();
    let complete = there == operation.requires.len();
    Some(((literals, named, complete, if complete { there } else { 0 }), labels))
}

/// Number of literal segments, and the labels. One slash at the end more or less makes no difference.
fn match_path<'a>(template: &'static str, path: &'a str) -> Option<(usize, Vec<(&'static str, &'a str)>)> {
    let mut rest = path.strip_prefix('/')?;
    let mut labels = Vec::new();
    let mut literals = 0;
    let template = template.trim_matches('/');
    if template.is_empty() {
        return rest.is_empty().then_some((0, labels));
    }
    let mut segments = template.split('/').peekable();
    while let Some(segment) = segments.next() {
        let label = segment.strip_prefix('{').and_then(|segment| segment.strip_suffix('}'));
        if let Some(name) = label.and_then(|label| label.strip_suffix('+')) {
            // Greedy: all that remains. Models have it at the end only.
            labels.push((name, rest));
            return (!rest.is_empty()).then_some((literals, labels));
        }
        let (head, tail) = rest.split_once('/').unwrap_or((rest, ""));
        match label {
            // A signature does not tell paths with dot segments apart, so none of them may name anything.
            Some(_) if matches!(head, "" | "." | "..") => return None,
            Some(name) => labels.push((name, head)),
            None if head == segment || decode(head, false) == segment => literals += 1,
            None => return None,
        }
        rest = tail;
        if rest.is_empty() && segments.peek().is_some() {
            return None;
        }
    }
    rest.is_empty().then_some((literals, labels))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_paths() {
        #[track_caller]
        fn check(template: &'static str, path: &str, expected: Option<&[(&str, &str)]>) {
            assert_eq!(
                match_path(template, path).map(|(_, labels)| labels),
                expected.map(<[_]>::to_vec),
                "{template} {path}"
            );
        }
        check("/2015-03-31/functions", "/2015-03-31/functions", Some(&[]));
        check("/2015-03-31/functions", "/2015-03-31/functions/", Some(&[]));
        check("/2015-03-31/functions", "/2015-03-31/functions//", None);
        check("/2015-03-31/functions/{F}", "/2015-03-31/functions/", None);
        check("/2015-03-31/functions/{F}", "/2015-03-31/functions/a%2Fb", Some(&[("F", "a%2Fb")]));
        check("/functions/{F}/code", "/functions/x/code/", Some(&[("F", "x")]));
        check("/functions/{F}/code", "/functions//code", None);
        check("/functions/{F}/code", "/functions/../code", None);
        check("/functions/{F}/code", "/functions/%2E%2E/code", Some(&[("F", "%2E%2E")]));
        check("/functions/{F}/code", "/functions/x/code/y", None);
        check("/insights/{M}/", "/insights/x", Some(&[("M", "x")]));
        check("/@connections/{C}", "/%40connections/x", Some(&[("C", "x")]));
        check("/{B}/{K+}", "/b/k/1//2/", Some(&[("B", "b"), ("K", "k/1//2/")]));
        check("/{B}/{K+}", "/b/", None);
        check("/", "/", Some(&[]));
        check("/", "/x", None);
        check("/x", "x", None);
    }
}

//! Functions: create, get, list, delete.

use std::sync::Arc;
use std::time::Duration;

use ::functions::{CreateFunction, Entry};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use invoke::resolve::{self, LATEST};
use model::ids::FunctionId;
use model::limits::{PACKAGE_BODY_BYTES_MAX, PACKAGE_ZIPPED_BYTES_MAX};
use model::names::FunctionName;
use wire::Common;
use wire::Error;
use wire::lambda::{self as shapes, Output, errors};

use super::errors::{not_found, of_change};
use super::name::{Named, check_new, named};
use super::shape::{View, configuration};
use super::{answer, properties};
use crate::{Answer, Caller, ServicesParts, authorize};

/// Functions on one page of a list, at most and by default (Lambda API reference, ListFunctions).
const PAGE_MAX: usize = 50;
/// How long the link to a package's zip file works (Lambda API reference, GetFunction: ten minutes).
const LINK_LIFETIME: Duration = Duration::from_secs(600);

/// Where a package's zip file can be fetched with a signed link.
const CODE_PATH: &str = "/_pinfold/code/";

/// `CreateFunction`.
pub(crate) async fn create(
    parts: &ServicesParts,
    caller: &Caller,
    request: shapes::CreateFunctionRequest,
) -> Result<Answer, Error> {
    check_new(&request.function_name)?;
    let Named { id, qualifier } = named(caller, "lambda:CreateFunction", &request.function_name, None)?;
    if qualifier.is_some() {
        return Err(errors::invalid_parameter_value("A function is created without a qualifier in its name."));
    }
    let (settings, mut warnings) = properties::read_create(&request)?;
    let tags = request.tags.unwrap_or_default();
    properties::check_tags(&tags)?;
    let zip = check_zip(request.code.zip_file, "CreateFunction")?;
    let create = CreateFunction { id: id.clone(), settings, zip, tags };
    let updated = parts.catalogue.create(create).await.map_err(|error| of_change(&id, error))?;
    warnings.extend(updated.warnings);
    let shape = configuration(&updated.entry, None, View::Whole);
    Ok(Answer { warnings, ..answer(Output::CreateFunction(shape)) })
}

/// The zip file of a request, if it is there and not too large.
pub(super) fn check_zip(zip: Option<Bytes>, operation: &str) -> Result<Bytes, Error> {
    let zip = zip.filter(|zip| !zip.is_empty());
    let zip = zip.ok_or_else(|| errors::invalid_parameter_value("Please provide a source for function code."))?;
    if zip.len() > PACKAGE_ZIPPED_BYTES_MAX {
        return Err(Common::TooLarge.error(format!(
            "Request must be smaller than {PACKAGE_BODY_BYTES_MAX} bytes for the {operation} operation"
        )));
    }
    Ok(zip)
}

/// `GetFunction`.
pub(crate) fn get(
    parts: &ServicesParts,
    caller: &Caller,
    request: &shapes::GetFunctionRequest,
) -> Result<Answer, Error> {
    let (entry, qualifier) =
        find(parts, caller, "lambda:GetFunction", &request.function_name, request.qualifier.as_deref())?;
    let path = format!("{CODE_PATH}{}/{}", entry.function.id.account, entry.function.package);
    let query = parts.identity.sign_link(&path, parts.clock.now().plus(LINK_LIFETIME));
    let tags = &entry.function.tags;
    Ok(answer(Output::GetFunction(shapes::GetFunctionResponse {
        code: Some(shapes::FunctionCodeLocation {
            repository_type: Some("S3".to_owned()),
            location: Some(format!("http://{}{path}?{query}", caller.host)),
            ..shapes::FunctionCodeLocation::default()
        }),
        configuration: Some(configuration(&entry, qualifier.as_deref(), View::Whole)),
        tags: (!tags.is_empty()).then(|| tags.clone()),
        ..shapes::GetFunctionResponse::default()
    })))
}

/// `GetFunctionConfiguration`.
pub(crate) fn get_configuration(
    parts: &ServicesParts,
    caller: &Caller,
    request: &shapes::GetFunctionConfigurationRequest,
) -> Result<Answer, Error> {
    let action = "lambda:GetFunctionConfiguration";
    let (entry, qualifier) = find(parts, caller, action, &request.function_name, request.qualifier.as_deref())?;
    Ok(answer(Output::GetFunctionConfiguration(configuration(&entry, qualifier.as_deref(), View::Whole))))
}

fn find(
    parts: &ServicesParts,
    caller: &Caller,
    action: &str,
    name: &str,
    qualifier: Option<&str>,
) -> Result<(Arc<Entry>, Option<String>), Error> {
    let Named { id, qualifier } = named(caller, action, name, qualifier)?;
    let snapshot = parts.catalogue.snapshot();
    let entry = resolve::resolve(&snapshot, &id, qualifier.as_deref());
    let entry = entry.map_err(|_| not_found(&qualified_arn(&id, qualifier.as_deref())))?;
    Ok((entry, qualifier))
}

pub(super) fn qualified_arn(id: &FunctionId, qualifier: Option<&str>) -> String {
    match qualifier {
        Some(qualifier) => format!("{}:{qualifier}", id.arn()),
        None => id.arn(),
    }
}

/// `ListFunctions`.
pub(crate) fn list(
    parts: &ServicesParts,
    caller: &Caller,
    request: &shapes::ListFunctionsRequest,
) -> Result<Answer, Error> {
    authorize::allow(caller, "lambda:ListFunctions", "*")?;
    let after = request.marker.as_deref().filter(|marker| !marker.is_empty()).map(read_marker).transpose()?;
    let limit = request.max_items.and_then(|it| usize::try_from(it).ok()).unwrap_or(PAGE_MAX).clamp(1, PAGE_MAX);
    let account = caller.principal.account();
    let listed = parts.catalogue.snapshot().list(account, &caller.region, after.as_ref(), limit);
    // With `FunctionVersion=ALL` each version is listed by its own ARN; `$LATEST` is the only one there is.
    let qualifier = request.function_version.map(|_| LATEST);
    let shapes = listed.entries.iter().map(|entry| configuration(entry, qualifier, View::Listed)).collect();
    Ok(answer(Output::ListFunctions(shapes::ListFunctionsResponse {
        functions: Some(shapes),
        next_marker: listed.next.map(|name| URL_SAFE_NO_PAD.encode(name.as_str())),
    })))
}

fn read_marker(marker: &str) -> Result<FunctionName, Error> {
    let name = URL_SAFE_NO_PAD.decode(marker).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    name.and_then(|name| FunctionName::parse(&name).ok())
        .ok_or_else(|| errors::invalid_parameter_value("The Marker is not one that ListFunctions has answered."))
}

/// `DeleteFunction`.
pub(crate) async fn delete(
    parts: &ServicesParts,
    caller: &Caller,
    request: &shapes::DeleteFunctionRequest,
) -> Result<Answer, Error> {
    let Named { id, qualifier } =
        named(caller, "lambda:DeleteFunction", &request.function_name, request.qualifier.as_deref())?;
    if parts.catalogue.get(&id).is_none() {
        return Err(not_found(&id.arn()));
    }
    match qualifier.as_deref() {
        None => {}
        Some(LATEST) => {
            return Err(errors::invalid_parameter_value(
                "$LATEST version cannot be deleted without deleting the function.",
            ));
        }
        Some(other) => return Err(not_found(&qualified_arn(&id, Some(other)))),
    }
    parts.catalogue.delete(&id).await.map_err(|error| of_change(&id, error))?;
    Ok(answer(Output::DeleteFunction(shapes::DeleteFunctionResponse { status_code: Some(204) })))
}

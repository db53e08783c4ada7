//! Functions: update code and configuration.

use std::sync::Arc;

use ::functions::{ChangeError, Entry, UpdateCode};
use invoke::resolve::LATEST;
use wire::Error;
use wire::lambda::{self as shapes, Output};

use super::errors::{not_found, of_change};
use super::functions::{check_zip, qualified_arn};
use super::name::{Named, named};
use super::shape::{View, configuration};
use super::{answer, properties};
use crate::{Answer, Caller, ServicesParts};

/// `UpdateFunctionCode`.
pub(crate) async fn code(
    parts: &ServicesParts,
    caller: &Caller,
    request: shapes::UpdateFunctionCodeRequest,
) -> Result<Answer, Error> {
    let named = named(caller, "lambda:UpdateFunctionCode", &request.function_name, None)?;
    let id = latest(parts, named)?.function.id.clone();
    properties::read_update_code(&request)?;
    let update = UpdateCode {
        zip: check_zip(request.zip_file, "UpdateFunctionCode")?,
        architecture: properties::read_architecture(request.architectures.as_deref()),
        expected: request.revision_id,
        dry_run: request.dry_run == Some(true),
    };
    let updated = parts.catalogue.update_code(&id, update).await.map_err(|error| of_change(&id, error))?;
    let mut warnings = updated.warnings;
    properties::warn_of_architecture(&updated.entry.function.settings, &mut warnings);
    let shape = configuration(&updated.entry, None, View::Whole);
    Ok(Answer { warnings, ..answer(Output::UpdateFunctionCode(shape)) })
}

/// `UpdateFunctionConfiguration`.
pub(crate) async fn configuration_of(
    parts: &ServicesParts,
    caller: &Caller,
    request: shapes::UpdateFunctionConfigurationRequest,
) -> Result<Answer, Error> {
    let named = named(caller, "lambda:UpdateFunctionConfiguration", &request.function_name, None)?;
    let entry = latest(parts, named)?;
    let id = entry.function.id.clone();
    let expected = request.revision_id.clone();
    let (change, mut warnings) = properties::read_update(request)?;
    // What is wrong with the values must be known before the function is taken for the change.
    change.apply(&mut entry.function.settings.clone())?;
    let updated = parts
        .catalogue
        .update_settings(&id, expected.as_deref(), |settings| {
            // It fitted a moment ago. Levels that fit no longer, since another update came between, are not shown.
            let _ = change.apply(settings);
        })
        .await
        .map_err(|error| of_change(&id, error))?;
    warnings.extend(updated.warnings);
    let shape = configuration(&updated.entry, None, View::Whole);
    Ok(Answer { warnings, ..answer(Output::UpdateFunctionConfiguration(shape)) })
}

/// Only what is being edited can be updated.
fn latest(parts: &ServicesParts, named: Named) -> Result<Arc<Entry>, Error> {
    let Named { id, qualifier } = named;
    let entry = parts.catalogue.get(&id).ok_or_else(|| of_change(&id, ChangeError::NotFound))?;
    match qualifier.as_deref() {
        None | Some(LATEST) => Ok(entry),
        other => Err(not_found(&qualified_arn(&id, other))),
    }
}

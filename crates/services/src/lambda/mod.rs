//! AWS Lambda.

mod errors;
mod functions;
mod invoke;
mod name;
mod properties;
mod shape;
mod update;

use wire::Output;
use wire::lambda::Input;

use crate::{Answer, Caller, ServicesParts};

pub use properties::{PROPERTIES, Property};

/// Performs an operation of Lambda.
pub(crate) async fn handle(parts: &ServicesParts, caller: &Caller, input: Input) -> Result<Answer, wire::Error> {
    let answer = match input {
        Input::CreateFunction(request) => functions::create(parts, caller, request).await?,
        Input::GetFunction(request) => functions::get(parts, caller, &request)?,
        Input::GetFunctionConfiguration(request) => functions::get_configuration(parts, caller, &request)?,
        Input::ListFunctions(request) => functions::list(parts, caller, &request)?,
        Input::DeleteFunction(request) => functions::delete(parts, caller, &request).await?,
        Input::UpdateFunctionCode(request) => update::code(parts, caller, request).await?,
        Input::UpdateFunctionConfiguration(request) => update::configuration_of(parts, caller, request).await?,
        Input::Invoke(request) => invoke::invoke(parts, caller, request).await?,
        Input::InvokeAsync(request) => invoke::invoke_async(parts, caller, request).await?,
    };
    Ok(answer)
}

fn answer(output: wire::lambda::Output) -> Answer {
    Answer::of(Output::Lambda(output))
}

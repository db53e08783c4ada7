//! A function as Lambda's API shows it.

use ::functions::{Entry, package_digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use invoke::resolve::LATEST;
use model::function::{Architecture, Function, FunctionState, UpdateStatus};
use model::names::Region;
use wire::lambda as shapes;

use super::properties::ENVIRONMENT;

/// How much is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum View {
    /// All of it.
    Whole,
    /// Without states, as `ListFunctions` answers.
    Listed,
}

/// The configuration; with a qualifier the ARN carries it.
pub(crate) fn configuration(entry: &Entry, qualifier: Option<&str>, view: View) -> shapes::FunctionConfiguration {
    let function = &entry.function;
    let settings = &function.settings;
    let inert = |part: &str| settings.inert.get(part).cloned();
    let arn = match qualifier {
        Some(qualifier) => format!("{}:{qualifier}", function.id.arn()),
        None => function.id.arn(),
    };
    let mut shape = shapes::FunctionConfiguration {
        architectures: Some(vec![architecture(settings.architecture)]),
        code_sha256: Some(STANDARD.encode(function.package.0)),
        code_size: i64::try_from(function.package_bytes).ok(),
        description: Some(settings.description.clone()),
        environment: (!settings.environment.is_empty() || inert(ENVIRONMENT).is_some())
            .then(|| shapes::EnvironmentResponse { error: None, variables: Some(settings.environment.clone()) }),
        ephemeral_storage: Some(shapes::EphemeralStorage { size: as_i32(settings.ephemeral_mib) }),
        function_arn: Some(arn),
        function_name: Some(function.id.name.to_string()),
        handler: Some(settings.handler.clone()),
        kms_key_arn: inert("KMSKeyArn"),
        last_modified: Some(function.modified.format("%Y-%m-%dT%H:%M:%S.%3f+0000")),
        logging_config: Some(logging(function)),
        memory_size: Some(as_i32(settings.memory_mib)),
        package_type: shapes::PackageType::from_name("Zip"),
        revision_id: Some(function.revision.to_string()),
        role: Some(settings.role.clone()),
        runtime: Some(settings.runtime.clone()),
        snap_start: Some(shapes::SnapStartResponse {
            apply_on: shapes::SnapStartApplyOn::from_name(&inert("SnapStart.ApplyOn").unwrap_or("None".to_owned())),
            optimization_status: shapes::SnapStartOptimizationStatus::from_name("Off"),
        }),
        timeout: Some(as_i32(settings.timeout_secs)),
        tracing_config: Some(shapes::TracingConfigResponse {
            mode: shapes::TracingMode::from_name(&inert("TracingConfig.Mode").unwrap_or("PassThrough".to_owned())),
        }),
        version: Some(LATEST.to_owned()),
        vpc_config: inert("VpcConfig.SubnetIds").map(|subnets| shapes::VpcConfigResponse {
            ipv6_allowed_for_dual_stack: Some(false),
            security_group_ids: Some(split(&inert("VpcConfig.SecurityGroupIds").unwrap_or_default())),
            subnet_ids: Some(split(&subnets)),
            vpc_id: Some(String::new()),
        }),
        ..shapes::FunctionConfiguration::default()
    };
    if view == View::Whole {
        shape.runtime_version_config = Some(shapes::RuntimeVersionConfig {
            runtime_version_arn: Some(runtime_version(&function.id.region, &settings.runtime)),
            error: None,
        });
        show_states(function, &mut shape);
    }
    shape
}

/// Levels go with the format JSON, which has some of its own accord (Lambda API reference, LoggingConfig).
fn logging(function: &Function) -> shapes::LoggingConfig {
    let inert = |part: &str| function.settings.inert.get(part).map(String::as_str);
    let format = inert("LoggingConfig.LogFormat").and_then(shapes::LogFormat::from_name);
    let format = format.unwrap_or(shapes::LogFormat::Text);
    let level = |part: &str| (format == shapes::LogFormat::Json).then(|| inert(part).unwrap_or("INFO"));
    shapes::LoggingConfig {
        application_log_level: level("LoggingConfig.ApplicationLogLevel")
            .and_then(shapes::ApplicationLogLevel::from_name),
        log_format: Some(format),
        log_group: Some(
            inert("LoggingConfig.LogGroup").map_or_else(|| format!("/aws/lambda/{}", function.id.name), str::to_owned),
        ),
        system_log_level: level("LoggingConfig.SystemLogLevel").and_then(shapes::SystemLogLevel::from_name),
    }
}

/// The runtime's version, which is always the one that is installed: the same for all functions of a runtime.
fn runtime_version(region: &Region, runtime: &str) -> String {
    format!("arn:aws:lambda:{region}::runtime:{}", package_digest(runtime.as_bytes()))
}

fn show_states(function: &Function, shape: &mut shapes::FunctionConfiguration) {
    match &function.state {
        FunctionState::Pending => {
            shape.state = shapes::State::from_name("Pending");
            shape.state_reason = Some("The function is being created.".to_owned());
            shape.state_reason_code = shapes::StateReasonCode::from_name("Creating");
            // A function that is being created has had no update.
            return;
        }
        FunctionState::Active => shape.state = shapes::State::from_name("Active"),
        FunctionState::Failed { code, reason } => {
            shape.state = shapes::State::from_name("Failed");
            shape.state_reason = Some(reason.clone());
            shape.state_reason_code = shapes::StateReasonCode::from_name(code);
        }
    }
    match &function.update {
        UpdateStatus::InProgress => {
            shape.last_update_status = shapes::LastUpdateStatus::from_name("InProgress");
            // Lambda says so of an update too.
            shape.last_update_status_reason = Some("The function is being created.".to_owned());
            shape.last_update_status_reason_code = shapes::LastUpdateStatusReasonCode::from_name("Creating");
        }
        UpdateStatus::Successful => shape.last_update_status = shapes::LastUpdateStatus::from_name("Successful"),
        UpdateStatus::Failed { code, reason } => {
            shape.last_update_status = shapes::LastUpdateStatus::from_name("Failed");
            shape.last_update_status_reason = Some(reason.clone());
            shape.last_update_status_reason_code = shapes::LastUpdateStatusReasonCode::from_name(code);
        }
    }
}

fn architecture(architecture: Architecture) -> shapes::Architecture {
    let name = match architecture {
        Architecture::X86_64 => "x86_64",
        Architecture::Arm64 => "arm64",
    };
    shapes::Architecture::from_name(name).expect("the model lists both architectures")
}

fn split(list: &str) -> Vec<String> {
    list.split(',').filter(|item| !item.is_empty()).map(str::to_owned).collect()
}

fn as_i32(value: u32) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

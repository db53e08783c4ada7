//! One table says what becomes of each property of a function, and one road reads them from a request.

use std::collections::BTreeMap;

use model::function::{Architecture, FunctionSettings};
use model::limits::{
    ENVIRONMENT_BYTES_MAX, EPHEMERAL_MIB_MAX, EPHEMERAL_MIB_MIN, MEMORY_MIB_MAX, MEMORY_MIB_MIN, TIMEOUT_SECS_MAX,
};
use model::runtime::Language;
use wire::lambda::{self, errors};
use wire::{Common, Error, lambda as shapes};

/// What becomes of a property of a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Property {
    /// Does what Lambda does.
    Works,
    /// Kept and shown, without effect; the text is the warning.
    Inert(&'static str),
    /// Answered with 501; the text says what to do.
    Refused(&'static str),
}

use Property::{Inert, Refused, Works};

/// Every property of `CreateFunction` and `UpdateFunctionConfiguration`, in order.
pub const PROPERTIES: &[(&str, Property)] = &[
    ("AcceleratorConfig", Refused("accelerators are not available")),
    ("Architectures", Works),
    ("CapacityProviderConfig", Refused("functions run on this platform's own machines")),
    ("Code.ImageUri", Refused("deploy a zip file instead of a container image")),
    ("Code.S3Bucket", Refused("send the zip file inline as ZipFile")),
    ("Code.ZipFile", Works),
    ("CodeSigningConfigArn", Refused("code signing is not available")),
    (
        "DeadLetterConfig",
        Refused("events that fail for good are dropped with a log line; dead-letter queues come later"),
    ),
    ("Description", Works),
    ("DurableConfig", Refused("durable functions come later")),
    ("Environment", Works),
    ("EphemeralStorage", Works),
    ("FileSystemConfigs", Refused("shared file systems are not available")),
    ("FunctionName", Works),
    ("Handler", Works),
    ("ImageConfig", Refused("deploy a zip file instead of a container image")),
    ("KMSKeyArn", Inert("environments are sealed under the platform's own master key")),
    ("Layers", Refused("put the layer's files into the package")),
    ("LoggingConfig", Inert("logs are written as plain text to the function's own group")),
    ("MemorySize", Works),
    ("PackageType=Image", Refused("deploy a zip file instead of a container image")),
    ("PackageType=Zip", Works),
    ("Publish", Refused("versions cannot be published yet")),
    ("PublishTo", Refused("versions cannot be published yet")),
    ("Role", Works),
    ("Runtime", Works),
    ("RuntimeConfig", Inert("the nearest interpreter that is installed serves the runtime")),
    ("SnapStart", Inert("instances start from scratch")),
    ("Tags", Works),
    ("TenancyConfig", Refused("tenant isolation is not available")),
    ("Timeout", Works),
    ("TracingConfig", Inert("no traces are sent anywhere; the trace header is passed on")),
    ("VpcConfig", Inert("functions have no network but the platform's own API")),
];

fn property(name: &str) -> Property {
    let found = PROPERTIES.iter().find(|(known, _)| *known == name);
    found.map_or(Refused("it is not known here"), |(_, property)| *property)
}

/// Collects what a request asks for beyond what works.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    pub(crate) warnings: Vec<String>,
    inert: BTreeMap<String, String>,
    refused: Option<Error>,
}

impl Reading {
    /// Notes that the request sets a property; `parts` are its values by name, for those that are kept.
    fn saw(&mut self, name: &'static str, parts: impl IntoIterator<Item = (&'static str, String)>) {
        match property(name) {
            Works => {}
            Inert(why) => {
                self.warnings.push(format!("{name} has no effect: {why}."));
                self.inert.extend(parts.into_iter().map(|(part, value)| (part.to_owned(), value)));
            }
            Refused(what_to_do) => {
                self.refused.get_or_insert_with(|| refuse(name, what_to_do));
            }
        }
    }

    fn saw_if(&mut self, name: &'static str, set: bool) {
        if set {
            self.saw(name, []);
        }
    }

    fn check(&mut self) -> Result<(), Error> {
        self.refused.take().map_or(Ok(()), Err)
    }
}

fn refuse(name: &str, what_to_do: &str) -> Error {
    Common::NotImplemented.error(format!("{name} is not supported: {what_to_do}."))
}

/// Reads what both requests have in common, by the same names but in types of their own.
macro_rules! read_shared {
    ($reading:ident, $request:ident) => {
        $reading.saw_if("AcceleratorConfig", $request.accelerator_config.is_some());
        $reading.saw_if("CapacityProviderConfig", $request.capacity_provider_config.is_some());
        $reading.saw_if("DeadLetterConfig", has_dead_letter($request.dead_letter_config.as_ref()));
        $reading.saw_if("DurableConfig", $request.durable_config.is_some());
        $reading.saw_if("FileSystemConfigs", $request.file_system_configs.as_ref().is_some_and(|it| !it.is_empty()));
        $reading.saw_if("ImageConfig", $request.image_config.is_some());
        $reading.saw_if("Layers", $request.layers.as_ref().is_some_and(|it| !it.is_empty()));
        $reading.saw_if("RuntimeConfig", $request.runtime_config.is_some());
        read_inert(
            &mut $reading,
            $request.kms_key_arn.as_deref(),
            $request.logging_config.as_ref(),
            $request.snap_start.as_ref(),
            $request.tracing_config.as_ref(),
            $request.vpc_config.as_ref(),
        );
    };
}

/// The settings of a new function, and what to warn of.
pub(crate) fn read_create(request: &shapes::CreateFunctionRequest) -> Result<(FunctionSettings, Vec<String>), Error> {
    let mut reading = Reading::default();
    read_shared!(reading, request);
    reading.saw_if("CodeSigningConfigArn", request.code_signing_config_arn.is_some());
    reading.saw_if("TenancyConfig", request.tenancy_config.is_some());
    reading.saw_if("PackageType=Image", request.package_type == Some(lambda::PackageType::Image));
    read_code_source(
        &mut reading,
        request.code.image_uri.is_some(),
        request.code.s3_bucket.is_some() || request.code.s3_key.is_some(),
        request.publish == Some(true),
        request.publish_to.is_some(),
    );
    reading.check()?;
    let (Some(runtime), Some(handler)) = (&request.runtime, &request.handler) else {
        return Err(errors::invalid_parameter_value(
            "Runtime and Handler are mandatory parameters for functions created with deployment packages.",
        ));
    };
    let mut settings = FunctionSettings {
        description: request.description.clone().unwrap_or_default(),
        role: request.role.clone(),
        runtime: check_runtime(runtime)?,
        handler: handler.clone(),
        inert: std::mem::take(&mut reading.inert),
        ..default_settings()
    };
    set_numbers(&mut settings, request.timeout, request.memory_size, request.ephemeral_storage.as_ref())?;
    set_environment(&mut settings, request.environment.as_ref())?;
    if let Some(architecture) = read_architecture(request.architectures.as_deref()) {
        settings.architecture = architecture;
    }
    warn_of_architecture(&settings, &mut reading.warnings);
    Ok((settings, reading.warnings))
}

/// What an update of the configuration changes, checked; to be applied to the settings that are there.
pub(crate) struct SettingsChange {
    request: shapes::UpdateFunctionConfigurationRequest,
    runtime: Option<String>,
    inert: BTreeMap<String, String>,
}

/// Reads an update of the configuration.
pub(crate) fn read_update(
    request: shapes::UpdateFunctionConfigurationRequest,
) -> Result<(SettingsChange, Vec<String>), Error> {
    let mut reading = Reading::default();
    read_shared!(reading, request);
    reading.check()?;
    let runtime = request.runtime.as_deref().map(check_runtime).transpose()?;
    let change = SettingsChange { request, runtime, inert: reading.inert };
    // What is wrong with the values must be known before the function is looked up for the change.
    change.apply(&mut default_settings())?;
    Ok((change, reading.warnings))
}

impl SettingsChange {
    /// Changes what the request sets, leaves all else.
    pub(crate) fn apply(&self, settings: &mut FunctionSettings) -> Result<(), Error> {
        let request = &self.request;
        if let Some(description) = &request.description {
            settings.description.clone_from(description);
        }
        if let Some(role) = &request.role {
            settings.role.clone_from(role);
        }
        if let Some(handler) = &request.handler {
            settings.handler.clone_from(handler);
        }
        if let Some(runtime) = &self.runtime {
            settings.runtime.clone_from(runtime);
        }
        set_numbers(settings, request.timeout, request.memory_size, request.ephemeral_storage.as_ref())?;
        set_environment(settings, request.environment.as_ref())?;
        settings.inert.extend(self.inert.clone());
        Ok(())
    }
}

/// Lambda's defaults (API reference, CreateFunction).
fn default_settings() -> FunctionSettings {
    FunctionSettings {
        description: String::new(),
        role: String::new(),
        runtime: String::new(),
        handler: String::new(),
        timeout_secs: 3,
        memory_mib: MEMORY_MIB_MIN,
        ephemeral_mib: EPHEMERAL_MIB_MIN,
        architecture: Architecture::X86_64,
        environment: BTreeMap::new(),
        inert: BTreeMap::new(),
    }
}

/// What of an update of the code is refused, and the zip file.
pub(crate) fn read_update_code(request: &shapes::UpdateFunctionCodeRequest) -> Result<(), Error> {
    let mut reading = Reading::default();
    read_code_source(
        &mut reading,
        request.image_uri.is_some(),
        request.s3_bucket.is_some() || request.s3_key.is_some(),
        request.publish == Some(true),
        request.publish_to.is_some(),
    );
    reading.check()
}

/// The first architecture of the list; Lambda allows one.
pub(crate) fn read_architecture(architectures: Option<&[lambda::Architecture]>) -> Option<Architecture> {
    architectures?.first().map(|architecture| match architecture.as_str() {
        "arm64" => Architecture::Arm64,
        _ => Architecture::X86_64,
    })
}

/// Interpreted code runs on whatever processor is here.
pub(crate) fn warn_of_architecture(settings: &FunctionSettings, warnings: &mut Vec<String>) {
    let here = if cfg!(target_arch = "aarch64") { Architecture::Arm64 } else { Architecture::X86_64 };
    let interpreted = Language::of_runtime(&settings.runtime).is_some_and(Language::is_interpreted);
    if settings.architecture != here && interpreted {
        warnings.push("Architectures has no effect: interpreted code runs on this machine's processor.".to_owned());
    }
}

fn read_code_source(reading: &mut Reading, image: bool, bucket: bool, publish: bool, publish_to: bool) {
    reading.saw_if("Code.ImageUri", image);
    reading.saw_if("Code.S3Bucket", bucket);
    reading.saw_if("Publish", publish);
    reading.saw_if("PublishTo", publish_to);
}

fn has_dead_letter(config: Option<&lambda::DeadLetterConfig>) -> bool {
    config.and_then(|config| config.target_arn.as_ref()).is_some_and(|arn| !arn.is_empty())
}

fn read_inert(
    reading: &mut Reading,
    kms_key_arn: Option<&str>,
    logging: Option<&lambda::LoggingConfig>,
    snap_start: Option<&lambda::SnapStart>,
    tracing: Option<&lambda::TracingConfig>,
    vpc: Option<&lambda::VpcConfig>,
) {
    if let Some(arn) = kms_key_arn.filter(|arn| !arn.is_empty()) {
        reading.saw("KMSKeyArn", [("KMSKeyArn", arn.to_owned())]);
    }
    if let Some(logging) = logging {
        let parts = [
            ("LoggingConfig.LogFormat", logging.log_format.map(|it| it.to_string())),
            ("LoggingConfig.LogGroup", logging.log_group.clone()),
            ("LoggingConfig.ApplicationLogLevel", logging.application_log_level.map(|it| it.to_string())),
            ("LoggingConfig.SystemLogLevel", logging.system_log_level.map(|it| it.to_string())),
        ];
        reading.saw("LoggingConfig", parts.into_iter().filter_map(|(part, value)| Some((part, value?))));
    }
    if let Some(apply_on) = snap_start.and_then(|it| it.apply_on).filter(|it| it.as_str() != "None") {
        reading.saw("SnapStart", [("SnapStart.ApplyOn", apply_on.to_string())]);
    }
    if let Some(mode) = tracing.and_then(|it| it.mode) {
        match mode.as_str() {
            "PassThrough" => drop(reading.inert.insert("TracingConfig.Mode".to_owned(), mode.to_string())),
            _ => reading.saw("TracingConfig", [("TracingConfig.Mode", mode.to_string())]),
        }
    }
    if let Some(vpc) = vpc {
        let list = |ids: &Option<Vec<String>>| ids.clone().unwrap_or_default().join(",");
        let parts = [
            ("VpcConfig.SubnetIds", list(&vpc.subnet_ids)),
            ("VpcConfig.SecurityGroupIds", list(&vpc.security_group_ids)),
        ];
        reading.saw("VpcConfig", parts);
    }
}

/// Names that AWS gave to runtimes and that no pack here serves: their refusal is "not supported", not "unknown".
const RUNTIMES_UNSERVED: &[&str] = &["java", "dotnet", "ruby", "go1.x", "python2.7"];

fn check_runtime(runtime: &str) -> Result<String, Error> {
    if Language::of_runtime(runtime).is_some() {
        return Ok(runtime.to_owned());
    }
    Err(unserved_runtime(runtime))
}

/// The error for a runtime that is not served, or that nobody knows.
pub(crate) fn unserved_runtime(runtime: &str) -> Error {
    if RUNTIMES_UNSERVED.iter().any(|prefix| runtime.starts_with(prefix)) {
        return refuse(
            &format!("Runtime {runtime}"),
            "python3.*, nodejs* and provided* are served; others can bring a bootstrap as provided.al2023",
        );
    }
    errors::invalid_parameter_value(format!(
        "Value {} at 'runtime' failed to satisfy constraint: Member must satisfy enum value set: [nodejs*, python3.*, \
         provided, provided.al2, provided.al2023] or be a valid ARN",
        runtime.chars().take(100).collect::<String>()
    ))
}

fn set_numbers(
    settings: &mut FunctionSettings,
    timeout: Option<i32>,
    memory: Option<i32>,
    ephemeral: Option<&lambda::EphemeralStorage>,
) -> Result<(), Error> {
    if let Some(timeout) = timeout {
        settings.timeout_secs = within("timeout", timeout, 1, TIMEOUT_SECS_MAX)?;
    }
    if let Some(memory) = memory {
        settings.memory_mib = within("memorySize", memory, MEMORY_MIB_MIN, MEMORY_MIB_MAX)?;
    }
    if let Some(ephemeral) = ephemeral {
        settings.ephemeral_mib = within("ephemeralStorage.size", ephemeral.size, EPHEMERAL_MIB_MIN, EPHEMERAL_MIB_MAX)?;
    }
    Ok(())
}

fn within(name: &str, value: i32, min: u32, max: u32) -> Result<u32, Error> {
    let fail = |rule: &str, bound: u32| {
        Err(errors::invalid_parameter_value(format!(
            "1 validation error detected: Value '{value}' at '{name}' failed to satisfy constraint: Member must have \
             value {rule} than or equal to {bound}"
        )))
    };
    match u32::try_from(value) {
        Ok(value) if value > max => fail("less", max),
        Ok(value) if value >= min => Ok(value),
        _ => fail("greater", min),
    }
}

/// Names that Lambda sets itself (Lambda developer guide, "Defined runtime environment variables").
const RESERVED: &[&str] = &[
    "_HANDLER",
    "_X_AMZN_TRACE_ID",
    "AWS_ACCESS_KEY",
    "AWS_ACCESS_KEY_ID",
    "AWS_DEFAULT_REGION",
    "AWS_EXECUTION_ENV",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
    "AWS_LAMBDA_FUNCTION_NAME",
    "AWS_LAMBDA_FUNCTION_VERSION",
    "AWS_LAMBDA_INITIALIZATION_TYPE",
    "AWS_LAMBDA_LOG_GROUP_NAME",
    "AWS_LAMBDA_LOG_STREAM_NAME",
    "AWS_LAMBDA_RUNTIME_API",
    "AWS_REGION",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "LAMBDA_RUNTIME_DIR",
    "LAMBDA_TASK_ROOT",
];

fn set_environment(settings: &mut FunctionSettings, environment: Option<&lambda::Environment>) -> Result<(), Error> {
    let Some(environment) = environment else { return Ok(()) };
    let variables = environment.variables.clone().unwrap_or_default();
    let reserved: Vec<&str> = variables.keys().map(String::as_str).filter(|name| RESERVED.contains(name)).collect();
    if !reserved.is_empty() {
        return Err(errors::invalid_parameter_value(format!(
            "Lambda was unable to configure your environment variables because the environment variables you have \
             provided contains reserved keys that are currently not supported for modification. Reserved keys used in \
             this request: {}",
            reserved.join(", ")
        )));
    }
    let bytes: usize = variables.iter().map(|(name, value)| name.len() + value.len()).sum();
    if bytes > ENVIRONMENT_BYTES_MAX {
        return Err(errors::invalid_parameter_value(format!(
            "Lambda was unable to configure your environment variables because the environment variables you have \
             provided exceeded the 4KB limit. String measured: {bytes} bytes"
        )));
    }
    if variables.values().any(|value| value.contains('\0')) {
        return Err(errors::invalid_parameter_value("The value of an environment variable holds a NUL byte."));
    }
    settings.environment = variables;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_order_and_says_each_once() {
        assert!(PROPERTIES.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }

    #[test]
    fn unknown_runtimes_are_told_from_unserved_ones() {
        assert_eq!(unserved_runtime("java21").status, 501);
        assert_eq!(unserved_runtime("python9").status, 400);
        assert!(check_runtime("nodejs4.3").is_ok());
    }

    #[test]
    fn numbers_are_checked_in_lambdas_words() {
        let error = within("memorySize", 64, MEMORY_MIB_MIN, MEMORY_MIB_MAX).expect_err("too small");
        assert!(error.message.ends_with("greater than or equal to 128"), "{}", error.message);
        let error = within("timeout", 901, 1, TIMEOUT_SECS_MAX).expect_err("too large");
        assert!(error.message.ends_with("less than or equal to 900"), "{}", error.message);
        assert_eq!(within("timeout", -1, 1, 900).expect_err("negative").status, 400);
    }
}

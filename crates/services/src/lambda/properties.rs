//! One table says what becomes of each property of a function, and one road reads them from a request.

use std::collections::BTreeMap;

use model::function::{Architecture, FunctionSettings};
use model::limits::{
    ENVIRONMENT_BYTES_MAX, EPHEMERAL_MIB_MAX, EPHEMERAL_MIB_MIN, MEMORY_MIB_MAX, MEMORY_MIB_MIN, TAGS_MAX,
    TIMEOUT_SECS_MAX,
};
use model::runtime::Language;
use wire::lambda::{self as shapes, LogFormat, SnapStartApplyOn, TracingMode, errors};
use wire::{Common, Error, lambda};

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

/// Among what is kept and shown: there once was an environment, though it may have become empty.
pub(crate) const ENVIRONMENT: &str = "Environment";

/// What a request makes of the properties that are kept and shown: a value, or none where it takes one away.
type InertChange = BTreeMap<&'static str, Option<String>>;

/// Collects what a request asks for beyond what works.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    pub(crate) warnings: Vec<String>,
    inert: InertChange,
    refused: Option<Error>,
}

impl Reading {
    /// Notes that the request sets a property; `parts` are its values by name, for those that are kept.
    fn saw(&mut self, name: &'static str, parts: impl IntoIterator<Item = (&'static str, String)>) {
        match property(name) {
            Works => {}
            Inert(why) => {
                self.warnings.push(format!("{name} has no effect: {why}."));
                self.inert.extend(parts.into_iter().map(|(part, value)| (part, Some(value))));
            }
            Refused(what_to_do) => {
                self.refused.get_or_insert_with(|| refuse(name, what_to_do));
            }
        }
    }

    /// Notes that the request sets parts of a property back to what they are without it.
    fn cleared(&mut self, parts: impl IntoIterator<Item = &'static str>) {
        self.inert.extend(parts.into_iter().map(|part| (part, None)));
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
        $reading.saw_if("ImageConfig", has_image_config($request.image_config.as_ref()));
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
        ..default_settings()
    };
    set_numbers(&mut settings, request.timeout, request.memory_size, request.ephemeral_storage.as_ref());
    set_inert(&mut settings, &reading.inert)?;
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
    inert: InertChange,
}

/// Reads an update of the configuration.
pub(crate) fn read_update(
    request: shapes::UpdateFunctionConfigurationRequest,
) -> Result<(SettingsChange, Vec<String>), Error> {
    let mut reading = Reading::default();
    read_shared!(reading, request);
    reading.check()?;
    let runtime = request.runtime.as_deref().map(check_runtime).transpose()?;
    Ok((SettingsChange { request, runtime, inert: reading.inert }, reading.warnings))
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
        set_numbers(settings, request.timeout, request.memory_size, request.ephemeral_storage.as_ref());
        set_environment(settings, request.environment.as_ref())?;
        set_inert(settings, &self.inert)
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

/// Settings of an image that set nothing say nothing.
fn has_image_config(config: Option<&lambda::ImageConfig>) -> bool {
    let has_words = |words: &Option<Vec<String>>| words.as_ref().is_some_and(|words| !words.is_empty());
    config.is_some_and(|config| {
        has_words(&config.command)
            || has_words(&config.entry_point)
            || config.working_directory.as_ref().is_some_and(|directory| !directory.is_empty())
    })
}

const LOG_LEVELS: [&str; 2] = ["LoggingConfig.ApplicationLogLevel", "LoggingConfig.SystemLogLevel"];

fn set_inert(settings: &mut FunctionSettings, change: &InertChange) -> Result<(), Error> {
    for (part, value) in change {
        match value {
            Some(value) => drop(settings.inert.insert((*part).to_owned(), value.clone())),
            None => drop(settings.inert.remove(*part)),
        }
    }
    if settings.inert.get("LoggingConfig.LogFormat").map(String::as_str) != Some("JSON") {
        if LOG_LEVELS.iter().any(|part| change.get(part).is_some_and(Option::is_some)) {
            return Err(errors::invalid_parameter_value(
                "ApplicationLogLevel and SystemLogLevel can only be set together with the LogFormat JSON.",
            ));
        }
        settings.inert.retain(|part, _| !LOG_LEVELS.contains(&part.as_str()));
    }
    Ok(())
}

fn read_inert(
    reading: &mut Reading,
    kms_key_arn: Option<&str>,
    logging: Option<&lambda::LoggingConfig>,
    snap_start: Option<&lambda::SnapStart>,
    tracing: Option<&lambda::TracingConfig>,
    vpc: Option<&lambda::VpcConfig>,
) {
    match kms_key_arn {
        None => {}
        Some("") => reading.cleared(["KMSKeyArn"]),
        Some(arn) => reading.saw("KMSKeyArn", [("KMSKeyArn", arn.to_owned())]),
    }
    if let Some(logging) = logging {
        let [application, system] = LOG_LEVELS;
        let parts = [
            ("LoggingConfig.LogFormat", logging.log_format.map(|it| it.to_string())),
            ("LoggingConfig.LogGroup", logging.log_group.clone()),
            (application, logging.application_log_level.map(|it| it.to_string())),
            (system, logging.system_log_level.map(|it| it.to_string())),
        ];
        if *logging == (shapes::LoggingConfig { log_format: Some(LogFormat::Text), ..shapes::LoggingConfig::default() })
        {
            // That is what logs are.
            reading.cleared(["LoggingConfig.LogFormat"]);
        } else {
            reading.saw("LoggingConfig", parts.into_iter().filter_map(|(part, value)| Some((part, value?))));
        }
    }
    match snap_start.and_then(|it| it.apply_on) {
        None => {}
        Some(SnapStartApplyOn::None) => reading.cleared(["SnapStart.ApplyOn"]),
        Some(apply_on) => reading.saw("SnapStart", [("SnapStart.ApplyOn", apply_on.to_string())]),
    }
    match tracing.and_then(|it| it.mode) {
        None => {}
        Some(TracingMode::PassThrough) => reading.cleared(["TracingConfig.Mode"]),
        Some(mode) => reading.saw("TracingConfig", [("TracingConfig.Mode", mode.to_string())]),
    }
    if let Some(vpc) = vpc {
        let lists = [
            ("VpcConfig.SubnetIds", vpc.subnet_ids.as_ref()),
            ("VpcConfig.SecurityGroupIds", vpc.security_group_ids.as_ref()),
        ];
        let given = lists.iter().filter_map(|(part, list)| Some((*part, list.as_ref()?.join(","))));
        let given: Vec<(&str, String)> = given.collect();
        match (&given[..], given.iter().all(|(_, list)| list.is_empty())) {
            ([], _) => {}
            // A function leaves its network by giving up all that ties it to one.
            (_, true) => reading.cleared(lists.map(|(part, _)| part)),
            (_, false) => reading.saw("VpcConfig", given),
        }
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
) {
    // Reading the request has refused what lies outside.
    let within = |value: i32, min: u32, max: u32| u32::try_from(value).unwrap_or(min).clamp(min, max);
    if let Some(timeout) = timeout {
        settings.timeout_secs = within(timeout, 1, TIMEOUT_SECS_MAX);
    }
    if let Some(memory) = memory {
        settings.memory_mib = within(memory, MEMORY_MIB_MIN, MEMORY_MIB_MAX);
    }
    if let Some(ephemeral) = ephemeral {
        settings.ephemeral_mib = within(ephemeral.size, EPHEMERAL_MIB_MIN, EPHEMERAL_MIB_MAX);
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

/// Characters of too large an environment that its refusal repeats.
const MEASURED_CHARS_MAX: usize = 2 * ENVIRONMENT_BYTES_MAX;

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
    let json = serde_json::to_string(&variables).expect("a map of text to text is JSON");
    if json.len() > ENVIRONMENT_BYTES_MAX {
        return Err(errors::invalid_parameter_value(format!(
            "Lambda was unable to configure your environment variables because the environment variables you have \
             provided exceeded the 4KB limit. String measured: {}",
            json.chars().take(MEASURED_CHARS_MAX).collect::<String>()
        )));
    }
    if variables.values().any(|value| value.contains('\0')) {
        return Err(errors::invalid_parameter_value("The value of an environment variable holds a NUL byte."));
    }
    settings.environment = variables;
    settings.inert.insert(ENVIRONMENT.to_owned(), "{}".to_owned());
    Ok(())
}

/// Tags of a new function (Lambda developer guide, "Tag requirements").
pub(crate) fn check_tags(tags: &BTreeMap<String, String>) -> Result<(), Error> {
    if tags.len() > TAGS_MAX {
        return Err(errors::invalid_parameter_value(format!(
            "Number of tags exceeds resource tag limit: {} of at most {TAGS_MAX}.",
            tags.len()
        )));
    }
    match tags.keys().find(|key| key.starts_with("aws:")) {
        Some(key) => {
            Err(errors::invalid_parameter_value(format!("Tag keys beginning with aws: are reserved for AWS: {key}")))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use wire::lambda::Input;

    use super::*;

    #[test]
    fn the_table_is_in_order_and_says_each_once() {
        assert!(PROPERTIES.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }

    /// The input of a request of Lambda.
    fn read(method: &http::Method, path: &str, body: &Value) -> Input {
        let headers = http::HeaderMap::new();
        let parts = wire::Parts { method, path, query: "", headers: &headers };
        let body = body.to_string().into_bytes();
        let route = wire::route(&parts, &body).expect("a route");
        match wire::decode(&route, &parts, body.into()).expect("an input") {
            wire::Input::Lambda(input) => input,
            other => panic!("{other:?} is no operation of Lambda"),
        }
    }

    fn create(more: &Value) -> Result<FunctionSettings, Error> {
        let mut body = json!({
            "FunctionName": "f", "Role": "arn:aws:iam::000000000000:role/r", "Code": {}, "Runtime": "python3.13", "Handler": "a.b",
        });
        body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        match read(&http::Method::POST, "/2015-03-31/functions", &body) {
            Input::CreateFunction(request) => Ok(read_create(&request)?.0),
            other => panic!("{other:?}"),
        }
    }

    fn update(mut settings: FunctionSettings, body: &Value) -> Result<FunctionSettings, Error> {
        match read(&http::Method::PUT, "/2015-03-31/functions/f/configuration", body) {
            Input::UpdateFunctionConfiguration(request) => {
                read_update(request)?.0.apply(&mut settings)?;
                Ok(settings)
            }
            other => panic!("{other:?}"),
        }
    }

    /// What is kept of a function that is created and then updated, or the refusal.
    #[track_caller]
    fn check(created: Value, updated: Value, expected: Result<Value, &str>) {
        let settings = create(&created).and_then(|settings| update(settings, &updated));
        match (settings, expected) {
            (Ok(settings), Ok(expected)) => assert_eq!(json!(settings.inert), expected, "{created} {updated}"),
            (Err(error), Err(text)) => assert!(error.to_string().contains(text), "{error}"),
            (other, _) => panic!("{created} {updated}: {other:?}"),
        }
    }

    #[test]
    fn what_was_set_can_be_taken_away() {
        let key = json!({"KMSKeyArn": "arn:aws:kms:us-east-1:000000000000:key/k"});
        check(key.clone(), json!({}), Ok(key.clone()));
        check(key, json!({"KMSKeyArn": ""}), Ok(json!({})));
        check(
            json!({"SnapStart": {"ApplyOn": "PublishedVersions"}}),
            json!({}),
            Ok(json!({"SnapStart.ApplyOn": "PublishedVersions"})),
        );
        let snap_start = json!({"SnapStart": {"ApplyOn": "PublishedVersions"}});
        check(snap_start, json!({"SnapStart": {"ApplyOn": "None"}}), Ok(json!({})));
        check(
            json!({"TracingConfig": {"Mode": "Active"}}),
            json!({"TracingConfig": {"Mode": "PassThrough"}}),
            Ok(json!({})),
        );
        let vpc = json!({"VpcConfig": {"SubnetIds": ["subnet-1"], "SecurityGroupIds": ["sg-1"]}});
        let kept = json!({"VpcConfig.SubnetIds": "subnet-1", "VpcConfig.SecurityGroupIds": "sg-1"});
        check(vpc.clone(), json!({"VpcConfig": {}}), Ok(kept));
        check(vpc, json!({"VpcConfig": {"SubnetIds": [], "SecurityGroupIds": []}}), Ok(json!({})));
    }

    #[test]
    fn levels_go_with_the_format_of_logs() {
        let with_levels = json!({"LoggingConfig": {"LogFormat": "JSON", "ApplicationLogLevel": "DEBUG"}});
        let kept = json!({"LoggingConfig.LogFormat": "JSON", "LoggingConfig.ApplicationLogLevel": "DEBUG"});
        check(with_levels.clone(), json!({}), Ok(kept));
        check(with_levels.clone(), json!({"LoggingConfig": {"LogFormat": "Text"}}), Ok(json!({})));
        check(
            with_levels,
            json!({"LoggingConfig": {"SystemLogLevel": "WARN"}}),
            Ok(json!({
                "LoggingConfig.LogFormat": "JSON", "LoggingConfig.ApplicationLogLevel": "DEBUG",
                "LoggingConfig.SystemLogLevel": "WARN",
            })),
        );
        let refused =
            || Err("InvalidParameterValueException: ApplicationLogLevel and SystemLogLevel can only be set together");
        let text = json!({"LoggingConfig": {"LogFormat": "Text", "ApplicationLogLevel": "DEBUG"}});
        check(text.clone(), json!({}), refused());
        check(json!({}), text, refused());
        check(json!({}), json!({"LoggingConfig": {"SystemLogLevel": "WARN"}}), refused());
    }

    #[test]
    fn an_environment_that_was_ever_given_is_remembered() {
        let given = json!({"Environment": "{}"});
        check(json!({}), json!({}), Ok(json!({})));
        check(json!({"Environment": {"Variables": {}}}), json!({}), Ok(given.clone()));
        let one = json!({"Environment": {"Variables": {"AA": "b"}}});
        check(one, json!({"Environment": {"Variables": {}}}), Ok(given));
    }

    #[test]
    fn an_environment_is_measured_as_json() {
        // {"AA":"x…"} has nine bytes around the value.
        let of = |bytes: usize| json!({"Environment": {"Variables": {"AA": "x".repeat(bytes - 9)}}});
        check(json!({}), of(ENVIRONMENT_BYTES_MAX), Ok(json!({"Environment": "{}"})));
        check(json!({}), of(ENVIRONMENT_BYTES_MAX + 1), Err("exceeded the 4KB limit. String measured: {\"AA\":\"xxx"));
        let huge = create(&of(1_000_000)).expect_err("too large");
        assert!(huge.message.len() < 3 * ENVIRONMENT_BYTES_MAX);
    }

    #[test]
    fn what_is_empty_asks_for_nothing() {
        let nothing = json!({
            "DeadLetterConfig": {}, "FileSystemConfigs": [], "ImageConfig": {}, "Layers": [],
        });
        check(nothing.clone(), nothing, Ok(json!({})));
        check(json!({"ImageConfig": {"EntryPoint": [], "WorkingDirectory": ""}}), json!({}), Ok(json!({})));
        check(json!({"ImageConfig": {"Command": ["x"]}}), json!({}), Err("ImageConfig is not supported"));
        check(
            json!({}),
            json!({"DeadLetterConfig": {"TargetArn": "arn:aws:sqs:us-east-1:000000000000:q"}}),
            Err("DeadLetterConfig is"),
        );
    }

    #[test]
    fn tags_have_their_own_rules() {
        let tags = |keys: &[String]| check_tags(&keys.iter().map(|key| (key.clone(), String::new())).collect());
        let many: Vec<String> = (0..=TAGS_MAX).map(|n| format!("k{n}")).collect();
        assert!(tags(&many[1..]).is_ok());
        for refused in [&many[..], &["aws:x".to_owned()]] {
            let error = tags(refused).expect_err("refused");
            assert_eq!((error.status, &*error.code), (400, "InvalidParameterValueException"), "{error}");
        }
    }

    #[test]
    fn unknown_runtimes_are_told_from_unserved_ones() {
        assert_eq!(unserved_runtime("java21").status, 501);
        assert_eq!(unserved_runtime("python9").status, 400);
        assert!(check_runtime("nodejs4.3").is_ok());
    }
}

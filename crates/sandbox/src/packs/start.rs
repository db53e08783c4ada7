//! How a guest is started: program, arguments, files and the environment that Lambda's documentation promises.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use model::runtime::Language;

use crate::packs::Interpreter;
use crate::spec::InstanceSpec;
use crate::wall::{RUNTIME_ADDRESS, RUNTIME_DIR, SDK_ADDRESS, TASK_DIR};

const PYTHON_PACK: &[u8] = include_bytes!("../../packs/python/bootstrap.py");
const NODE_PACK: &[u8] = include_bytes!("../../packs/node/bootstrap.cjs");

/// How a guest is spoken with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Talk {
    /// Frames on descriptor 3: the language packs.
    Frames,
    /// The Runtime API: a `bootstrap` that the package brings.
    Http,
}

/// Everything about a guest's process but its limits.
#[derive(Debug, Clone)]
pub(crate) struct Start {
    pub(crate) argv: Vec<String>,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) runtime_files: Vec<(String, Bytes)>,
    pub(crate) interpreter_prefix: Option<PathBuf>,
    pub(crate) talk: Talk,
}

/// How to start this function on this interpreter; `None` for a `bootstrap` of the package's own.
pub(crate) fn start(spec: &InstanceSpec, interpreter: Option<&Interpreter>) -> Start {
    let (argv, runtime_files, talk) = match (spec.language, interpreter) {
        (Language::Python { .. }, Some(python)) => {
            // No user site, no bytecode: the package is read-only, and its folder may be shared.
            let argv =
                vec![text(&python.path), "-s".to_owned(), "-B".to_owned(), format!("{RUNTIME_DIR}/bootstrap.py")];
            (argv, vec![file("bootstrap.py", PYTHON_PACK)], Talk::Frames)
        }
        (Language::Node { .. }, Some(node)) => {
            // The shares of the memory are Lambda's own.
            let heap = format!("--max-old-space-size={}", spec.memory_mib * 9 / 10);
            let young = format!("--max-semi-space-size={}", (spec.memory_mib / 20).max(1));
            let argv = vec![text(&node.path), heap, young, format!("{RUNTIME_DIR}/bootstrap.cjs")];
            (argv, vec![file("bootstrap.cjs", NODE_PACK)], Talk::Frames)
        }
        _ => (vec![format!("{TASK_DIR}/bootstrap")], Vec::new(), Talk::Http),
    };
    // What lies in the system's own folders is visible anyway.
    let interpreter_prefix = interpreter.map(|found| found.prefix.clone()).filter(|prefix| !prefix.starts_with("/usr"));
    let env = environment(spec, interpreter).into_iter().collect();
    Start { argv, env, runtime_files, interpreter_prefix, talk }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn file(name: &str, content: &'static [u8]) -> (String, Bytes) {
    (name.to_owned(), Bytes::from_static(content))
}

/// Lambda's environment variables (developer guide, "Defined runtime environment variables"): what a user may set wins
/// over the defaults, what is reserved wins over the user.
fn environment(spec: &InstanceSpec, interpreter: Option<&Interpreter>) -> BTreeMap<String, String> {
    let mut environment = BTreeMap::new();
    let mut set = |name: &str, value: &str| {
        environment.insert(name.to_owned(), value.to_owned());
    };
    set("LANG", language_of_the_system());
    set("TZ", ":UTC");
    let bin = interpreter.and_then(|found| found.path.parent()).map(text).filter(|bin| bin != "/usr/bin");
    let bin = bin.map(|bin| format!("{bin}:")).unwrap_or_default();
    set("PATH", &format!("{bin}/usr/local/bin:/usr/bin/:/bin:/opt/bin"));
    let lib = "/lib64:/usr/lib64:/var/runtime:/var/runtime/lib:/var/task:/var/task/lib:/opt/lib";
    set("LD_LIBRARY_PATH", lib);
    set("AWS_XRAY_CONTEXT_MISSING", "LOG_ERROR");
    set("AWS_ENDPOINT_URL", &format!("http://{SDK_ADDRESS}"));
    set("AWS_DISABLE_HOST_PREFIX_INJECTION", "true");
    match interpreter.map(|found| found.language) {
        Some(Language::Python { .. }) => set("PYTHONPATH", RUNTIME_DIR),
        Some(Language::Node { major }) => {
            let modules = format!(
                "/opt/nodejs/node{major}/node_modules:/opt/nodejs/node_modules:{RUNTIME_DIR}/node_modules:{RUNTIME_DIR}:{TASK_DIR}"
            );
            set("NODE_PATH", &modules);
        }
        _ => {}
    }
    environment.extend(spec.environment.clone());

    let mut reserve = |name: &str, value: &str| {
        environment.insert(name.to_owned(), value.to_owned());
    };
    reserve("_HANDLER", &spec.handler);
    reserve("AWS_REGION", spec.function.region.as_str());
    reserve("AWS_DEFAULT_REGION", spec.function.region.as_str());
    reserve("AWS_ACCESS_KEY_ID", &spec.credentials.access_key_id);
    reserve("AWS_SECRET_ACCESS_KEY", &spec.credentials.secret_access_key);
    reserve("AWS_SESSION_TOKEN", &spec.credentials.session_token);
    reserve("AWS_LAMBDA_FUNCTION_NAME", spec.function.name.as_str());
    reserve("AWS_LAMBDA_FUNCTION_VERSION", &spec.version);
    reserve("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", &spec.memory_mib.to_string());
    reserve("AWS_LAMBDA_LOG_GROUP_NAME", &spec.log_group);
    reserve("AWS_LAMBDA_LOG_STREAM_NAME", &spec.log_stream);
    reserve("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand");
    reserve("AWS_LAMBDA_RUNTIME_API", RUNTIME_ADDRESS);
    reserve("LAMBDA_TASK_ROOT", TASK_DIR);
    reserve("LAMBDA_RUNTIME_DIR", RUNTIME_DIR);
    if interpreter.is_some() {
        reserve("AWS_EXECUTION_ENV", &format!("AWS_Lambda_{}", spec.runtime));
    } else {
        environment.remove("AWS_EXECUTION_ENV");
    }
    environment.remove("_X_AMZN_TRACE_ID");
    environment
}

/// Lambda's is `en_US.UTF-8`; where that locale is not installed programs warn about it, and `C.UTF-8` always is.
fn language_of_the_system() -> &'static str {
    if Path::new("/usr/lib/locale/en_US.utf8").is_dir() { "en_US.UTF-8" } else { "C.UTF-8" }
}

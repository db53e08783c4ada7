//! Functions from sources in a test, and results as text.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base::time::{Clock, SystemClock, Timestamp};
use bytes::Bytes;
use model::ids::{AccountId, FunctionId, InstanceId, InvocationId};
use model::invocation::{Invocation, Outcome};
use model::names::{FunctionName, Region};
use model::runtime::Language;
use sandbox::{GuestCredentials, InstanceSpec, LogSink, Ran, Work};
use serde_json::Value;
use tempfile::TempDir;

/// Remembers what a guest wrote.
#[derive(Default)]
pub(crate) struct Lines(Mutex<Vec<String>>);

impl LogSink for Lines {
    fn line(&self, _at: Timestamp, text: Bytes) {
        self.0.lock().unwrap().push(String::from_utf8(text.to_vec()).expect("events are valid UTF-8"));
    }
}

impl Lines {
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

/// A function in a folder of its own.
pub(crate) struct Function {
    pub(crate) spec: InstanceSpec,
    pub(crate) lines: Arc<Lines>,
    _folder: TempDir,
}

pub(crate) fn function(runtime: &str, handler: &str, files: &[(&str, &str)]) -> Function {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (name, content) in files {
        write_file(&folder.path().join(name), content);
    }
    let spec = InstanceSpec {
        instance: InstanceId(1),
        function: FunctionId {
            account: AccountId::DEFAULT,
            region: Region::parse("us-east-1").unwrap(),
            name: FunctionName::parse("greet").unwrap(),
        },
        version: "$LATEST".to_owned(),
        runtime: runtime.to_owned(),
        language: Language::of_runtime(runtime).expect("a runtime that is known"),
        handler: handler.to_owned(),
        environment: BTreeMap::from([("GREETING".to_owned(), "hello".to_owned())]),
        credentials: GuestCredentials {
            access_key_id: "ASIAEXAMPLE".to_owned(),
            secret_access_key: "secret".to_owned(),
            session_token: "token".to_owned(),
        },
        memory_mib: 256,
        ephemeral_mib: 512,
        timeout_secs: 20,
        code_dir: fs::canonicalize(folder.path()).expect("the folder exists"),
        log_group: "/aws/lambda/greet".to_owned(),
        log_stream: "2026/01/02/[$LATEST]abc".to_owned(),
    };
    Function { spec, lines: Arc::default(), _folder: folder }
}

fn write_file(path: &Path, content: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
    if content.starts_with("#!") {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
}

impl Function {
    pub(crate) fn work(&self, event: &str) -> Work {
        work(event, Duration::from_secs(self.spec.timeout_secs.into()))
    }
}

pub(crate) fn work(event: &str, time: Duration) -> Work {
    Work {
        invocation: Invocation {
            id: InvocationId::from_random([7; 16]),
            payload: Bytes::copy_from_slice(event.as_bytes()),
            client_context: None,
            trace_header: "Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=0".to_owned(),
            deadline: SystemClock.now().plus(time),
        },
        function_arn: "arn:aws:lambda:us-east-1:000000000000:function:greet".to_owned(),
        cognito_identity: None,
    }
}

pub(crate) fn shown(ran: &Ran) -> String {
    match &ran.outcome {
        Outcome::Success(payload) if payload.len() > 2000 => format!("answer: {} bytes", payload.len()),
        Outcome::Success(payload) => format!("answer: {}", String::from_utf8_lossy(payload)),
        Outcome::FunctionError(error) => format!("{:?}: {}", error.kind, shown_error(&error.payload)),
        Outcome::PlatformFailure(reason) => format!("platform failure: {reason}, delivered {}", ran.delivered),
    }
}

/// An error document on several lines, stack traces without what belongs to the language pack or the interpreter.
pub(crate) fn shown_error(document: &[u8]) -> String {
    let mut document: Value = serde_json::from_slice(document).expect("an error document is JSON");
    drop_own_frames(&mut document);
    // Serialized documents hold their keys in the order that the guest sent them.
    serde_json::to_string_pretty(&document).unwrap()
}

/// Which lines of the language pack or of the interpreter were running is not behaviour.
pub(crate) fn is_own_frame(line: &str) -> bool {
    ["(/tmp/", "at /tmp/", "node:", "importlib", "_bootstrap."]
        .iter()
        .any(|own| line.contains(own) && !line.contains("app."))
}

pub(crate) fn drop_own_frames(document: &mut Value) {
    match document {
        Value::Array(stack) => stack.retain(|line| !line.as_str().is_some_and(is_own_frame)),
        Value::Object(parts) => parts.values_mut().for_each(drop_own_frames),
        _ => {}
    }
}

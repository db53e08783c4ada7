//! Starts guests from sources in a test, runs invocations, and writes down what happened.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use base::time::{Clock, SystemClock, Timestamp};
use bytes::Bytes;
use expect_test::Expect;
use model::ids::{AccountId, FunctionId, InstanceId, InvocationId};
use model::invocation::{Invocation, Outcome};
use model::names::{FunctionName, Region};
use model::runtime::Language;
use sandbox::{GuestCredentials, Instance, InstanceSpec, LaunchError, LogSink, Packs, Ran, Work, bare};
use serde_json::Value;
use tempfile::TempDir;

pub(crate) static PACKS: LazyLock<Packs> = LazyLock::new(Packs::new);

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
    folder: TempDir,
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
    Function { spec, lines: Arc::default(), folder }
}

fn write_file(path: &Path, content: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
    if content.starts_with("#!") {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
}

impl Function {
    pub(crate) async fn launch(&self) -> Result<Instance, LaunchError> {
        bare::launch(&PACKS, self.spec.clone(), Arc::clone(&self.lines) as Arc<dyn LogSink>).await
    }

    pub(crate) async fn ready(&self) -> Instance {
        self.launch().await.unwrap_or_else(|error| panic!("{error:?}\n{}", self.lines.take().join("\n")))
    }

    pub(crate) fn work(&self, event: &str) -> Work {
        work(event, Duration::from_secs(self.spec.timeout_secs.into()))
    }

    /// Launches, runs each event, and writes down everything that a caller or a reader of the log sees.
    pub(crate) async fn transcript(&self, events: &[&str]) -> String {
        let mut text = String::new();
        let launched = self.launch().await;
        self.write_lines(&mut text);
        let mut instance = match launched {
            Ok(instance) => instance,
            Err(LaunchError::Init(failure)) => {
                writeln!(text, "init failed: {}", shown_error(&failure.error.payload)).unwrap();
                return self.normal(text);
            }
            Err(error) => panic!("{error:?}"),
        };
        for event in events {
            let ran = instance.run(self.work(event)).await;
            self.write_lines(&mut text);
            writeln!(text, "{}", shown(&ran)).unwrap();
            if !ran.reusable {
                writeln!(text, "ended").unwrap();
                break;
            }
        }
        instance.stop().await;
        self.normal(text)
    }

    fn write_lines(&self, text: &mut String) {
        for line in self.lines.take() {
            let line = without_own_frames(&line);
            writeln!(text, "log: {}", line.replace('\n', "\n   | ")).unwrap();
        }
    }

    fn normal(&self, text: String) -> String {
        let text = text.replace(self.folder.path().to_str().unwrap(), "/var/task");
        let text = without_runtime_dir(&without_times(&text));
        // How Python points into a line depends on its version.
        let is_pointer = |line: &str| line.contains('^') && line.chars().all(|c| "^~| ".contains(c));
        text.lines().filter(|line| !is_pointer(line)).map(|line| line.trim_end().to_owned() + "\n").collect()
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
fn shown_error(document: &[u8]) -> String {
    let mut document: Value = serde_json::from_slice(document).expect("an error document is JSON");
    drop_own_frames(&mut document);
    // Serialized documents hold their keys in the order that the guest sent them.
    serde_json::to_string_pretty(&document).unwrap()
}

/// Which lines of the language pack or of the interpreter were running is not behaviour.
fn is_own_frame(line: &str) -> bool {
    ["(/tmp/", "at /tmp/", "node:", "importlib", "_bootstrap."]
        .iter()
        .any(|own| line.contains(own) && !line.contains("app."))
}

fn drop_own_frames(document: &mut Value) {
    match document {
        Value::Array(stack) => stack.retain(|line| !line.as_str().is_some_and(is_own_frame)),
        Value::Object(parts) => parts.values_mut().for_each(drop_own_frames),
        _ => {}
    }
}

fn without_own_frames(line: &str) -> String {
    if let Some((start, json)) = line.rsplit_once('\t')
        && let Ok(mut document @ Value::Object(_)) = serde_json::from_str::<Value>(json)
    {
        drop_own_frames(&mut document);
        return format!("{start}\t{document}");
    }
    line.lines().filter(|line| !is_own_frame(line)).collect::<Vec<_>>().join("\n")
}

/// Where a bare guest's language pack lies is chance.
fn without_runtime_dir(text: &str) -> String {
    let temporary = std::env::temp_dir().to_str().unwrap().to_owned();
    let mut parts = text.split("/bootstrap.");
    let mut out = parts.next().unwrap().to_owned();
    for part in parts {
        if let Some(at) = out.rfind(&temporary) {
            out.truncate(at);
            out.push_str("/var/runtime");
        }
        out.push_str("/bootstrap.");
        out.push_str(part);
    }
    out
}

/// `2026-01-02T03:04:05.678Z` becomes `TIME`, and `Init Duration: 12.34 ms` loses its number.
fn without_times(text: &str) -> String {
    const DURATION: &str = "Init Duration: ";
    let mut parts = text.split(DURATION);
    let mut durationless = parts.next().unwrap().to_owned();
    for part in parts {
        durationless.push_str(DURATION);
        durationless.push_str(part.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.'));
    }
    without_instants(&durationless)
}

fn without_instants(text: &str) -> String {
    const SHAPE: &[u8] = b"dddd-dd-ddTdd:dd:dd.dddZ";
    let mut out = String::new();
    let mut rest = text;
    while !rest.is_empty() {
        let is_time = rest.len() >= SHAPE.len()
            && rest
                .bytes()
                .zip(SHAPE)
                .all(|(byte, shape)| if *shape == b'd' { byte.is_ascii_digit() } else { byte == *shape });
        if is_time {
            out.push_str("TIME");
            rest = &rest[SHAPE.len()..];
        } else {
            let first = rest.chars().next().unwrap();
            out.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    out
}

/// One function, some events, and what is to be seen.
pub(crate) async fn check(runtime: &str, handler: &str, files: &[(&str, &str)], events: &[&str], expected: Expect) {
    expected.assert_eq(&function(runtime, handler, files).transcript(events).await);
}

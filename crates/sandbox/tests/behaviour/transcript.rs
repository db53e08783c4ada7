//! Starts bare guests, runs invocations, and writes down what happened.

use std::fmt::Write;
use std::sync::{Arc, LazyLock};

use expect_test::Expect;
use model::ids::InvocationId;
use sandbox::{Instance, LaunchError, LogSink, Packs, bare};
use serde_json::Value;

use crate::support::{Function, drop_own_frames, function, is_own_frame, shown, shown_error};

pub(crate) static PACKS: LazyLock<Packs> = LazyLock::new(Packs::new);

impl Function {
    pub(crate) async fn launch(&self) -> Result<Instance, LaunchError> {
        bare::launch(&PACKS, self.spec.clone(), Arc::clone(&self.lines) as Arc<dyn LogSink>).await
    }

    pub(crate) async fn ready(&self) -> Instance {
        self.launch().await.unwrap_or_else(|error| panic!("{error:?}\n{}", self.lines.take().join("\n")))
    }

    /// Launches, runs each event, and writes down everything that a caller or a reader of the log sees.
    pub(crate) async fn transcript(&self, events: &[&str]) -> String {
        let mut text = String::new();
        let launched = self.launch().await;
        self.write_lines(&mut text);
        let mut instance = match launched {
            Ok(instance) => instance,
            Err(LaunchError::Init(failure)) => {
                writeln!(
                    text,
                    "init failed: {}",
                    shown_error(&failure.error_for(InvocationId::from_random([7; 16])).payload)
                )
                .unwrap();
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
        let text = text.replace(self.spec.code_dir.to_str().unwrap(), "/var/task");
        let text = without_runtime_dir(&without_times(&text));
        // How Python points into a line depends on its version.
        let is_pointer = |line: &str| line.contains('^') && line.chars().all(|c| "^~| ".contains(c));
        text.lines().filter(|line| !is_pointer(line)).map(|line| line.trim_end().to_owned() + "\n").collect()
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

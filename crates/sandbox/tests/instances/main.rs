//! Instances behind the wall: the same language packs and Runtime API as bare ones, in a cell.
//!
//! This program is its own launcher, so it brings its own `main`.

#![allow(clippy::unwrap_used)]

#[path = "../behaviour/support.rs"]
mod support;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use sandbox::{Instance, LaunchError, LogSink, Sandbox, SandboxOptions, SdkConnection, SdkDoor};
use serde_json::{Value, json};
use support::{Function, function, shown};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const PYTHON: &str = r#"
import json, os, sys, urllib.request
print("loading")
def handler(event, context):
    what = event["do"]
    if what == "where":
        return [__file__, os.getcwd(), sys.executable, os.environ["AWS_LAMBDA_RUNTIME_API"], os.environ["AWS_ENDPOINT_URL"]]
    if what == "sdk":
        return urllib.request.urlopen(os.environ["AWS_ENDPOINT_URL"] + "/hello").read().decode()
    if what == "memory":
        held = []
        while True:
            held.append(bytearray(8 << 20))
    if what == "sleep":
        import time
        time.sleep(60)
    if what == "abort":
        os.abort()
    print("a line")
    return {"remaining": context.get_remaining_time_in_millis() > 0, "event": event}
"#;

const NODE: &str = r#"
console.log("loading");
exports.handler = async (event) => {
  switch (event.do) {
    case "where":
      return [__filename, process.cwd(), process.execPath, process.env.AWS_LAMBDA_RUNTIME_API, process.env.AWS_ENDPOINT_URL];
    case "sdk":
      return await (await fetch(process.env.AWS_ENDPOINT_URL + "/hello")).text();
    case "memory": {
      const held = [];
      for (;;) held.push(Buffer.alloc(8 << 20, 1));
    }
    case "sleep":
      await new Promise((resolve) => setTimeout(resolve, 60000));
    case "abort":
      process.abort();
  }
  console.log("a line");
  return { remaining: true, event };
};
"#;

const SHELL: &str = "#!/bin/sh\nwhile true; do\n  sleep 60\ndone\n";

fn functions() -> Vec<(&'static str, Function)> {
    vec![
        ("python", function("python3.11", "app.handler", &[("app.py", PYTHON)])),
        ("node", function("nodejs20.x", "app.handler", &[("app.js", NODE)])),
    ]
}

async fn launch(sandbox: &Sandbox, function: &Function) -> Result<Instance, LaunchError> {
    sandbox.launch(function.spec.clone(), Arc::clone(&function.lines) as Arc<dyn LogSink>).await
}

async fn ask(sandbox: &Sandbox, function: &Function, event: Value) -> (String, bool) {
    let mut instance = match launch(sandbox, function).await {
        Ok(instance) => instance,
        Err(error) => panic!("{error:?}: {:?}", function.lines.take()),
    };
    let ran = instance.run(function.work(&event.to_string())).await;
    instance.stop().await;
    (shown(&ran), ran.reusable)
}

async fn guests_answer_and_are_used_again(sandbox: &Sandbox) {
    for (language, function) in functions() {
        let mut instance = launch(sandbox, &function).await.unwrap_or_else(|error| panic!("{language}: {error:?}"));
        for _ in 0..3 {
            let ran = instance.run(function.work(r#"{"do":"nothing"}"#)).await;
            let answer = shown(&ran);
            let answer: Value = serde_json::from_str(answer.strip_prefix("answer: ").expect(&answer)).expect(&answer);
            assert_eq!(answer, json!({ "remaining": true, "event": { "do": "nothing" } }), "{language}");
            assert!(ran.reusable && ran.measured.memory_used_mib > 0, "{language}: {:?}", ran.measured);
        }
        let lines = function.lines.take();
        assert_eq!(lines.len(), 4, "{language}: {lines:?}");
        let cold = instance.cold_start();
        println!("  {language}: sandbox {:?}, interpreter {:?}, init {:?}", cold.sandbox, cold.interpreter, cold.init);
        instance.stop().await;
    }
}

async fn places_are_lambdas(sandbox: &Sandbox) {
    for (language, function) in functions() {
        let (seen, _) = ask(sandbox, &function, json!({ "do": "where" })).await;
        let seen: Vec<String> = serde_json::from_str(seen.strip_prefix("answer: ").unwrap_or(&seen)).expect(&seen);
        assert_eq!(seen[1], "/var/task", "{language}");
        assert!(seen[0].starts_with("/var/task/app."), "{language}: {seen:?}");
        assert_eq!(seen[3..], ["127.0.0.1:9001", "http://127.0.0.1:4566"], "{language}");
    }
}

async fn too_much_memory_is_told_as_such(sandbox: &Sandbox) {
    for (language, function) in functions() {
        let (seen, reusable) = ask(sandbox, &function, json!({ "do": "memory" })).await;
        assert!(seen.starts_with("OutOfMemory") && seen.contains("Runtime.OutOfMemory"), "{language}: {seen}");
        assert!(!reusable, "{language}");
    }
}

async fn a_time_out_and_a_crash_are_told(sandbox: &Sandbox) {
    for (language, mut function) in functions() {
        function.spec.timeout_secs = 1;
        let (seen, _) = ask(sandbox, &function, json!({ "do": "sleep" })).await;
        assert!(
            seen.starts_with("TimedOut") && seen.contains("Task timed out after 1.00 seconds"),
            "{language}: {seen}"
        );
        let (seen, _) = ask(sandbox, &function, json!({ "do": "abort" })).await;
        assert!(seen.contains("Runtime exited with error: signal: aborted"), "{language}: {seen}");
    }
}

async fn a_bootstrap_that_asks_for_nothing_is_ended(sandbox: &Sandbox) {
    let mut function = function("provided.al2023", "x", &[("bootstrap", SHELL)]);
    function.spec.timeout_secs = 1;
    let began = Instant::now();
    let mut instance = launch(sandbox, &function).await.expect("its init is run again within an invocation");
    assert!((10..60).contains(&began.elapsed().as_secs()));
    let ran = instance.run(function.work("1")).await;
    assert!(shown(&ran).starts_with("TimedOut"), "{}", shown(&ran));
    instance.stop().await;
}

async fn a_bootstrap_that_cannot_be_run_is_told(sandbox: &Sandbox) {
    let function = function("provided.al2023", "x", &[("bootstrap", "no program")]);
    match launch(sandbox, &function).await.err() {
        Some(LaunchError::Init(failure)) => {
            let document = String::from_utf8_lossy(&failure.error.payload).into_owned();
            assert!(document.contains("Runtime.ExitError"), "{document}");
        }
        other => panic!("{other:?}"),
    }
}

/// Answers each connection with who made it.
#[derive(Default)]
struct Door(Mutex<u32>);

impl SdkDoor for Door {
    fn connection(&self, connection: SdkConnection) {
        *self.0.lock().unwrap() += 1;
        tokio::spawn(async move {
            let SdkConnection { function, instance, mut stream, slot } = connection;
            let mut request = [0; 4096];
            let count = stream.read(&mut request).await.unwrap_or(0);
            assert!(request[..count].starts_with(b"GET /hello"));
            let body = format!("{} of {instance}", function.name);
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
            stream.write_all(head.as_bytes()).await.expect("the guest reads the answer");
            drop(slot);
        });
    }
}

async fn sdk_calls_arrive_at_the_door(sandbox: &Sandbox) {
    let door = Arc::new(Door::default());
    sandbox.open_sdk_door(Arc::clone(&door) as Arc<dyn SdkDoor>);
    for (language, function) in functions() {
        let (seen, _) = ask(sandbox, &function, json!({ "do": "sdk" })).await;
        assert_eq!(seen, "answer: \"greet of 1\"", "{language}");
    }
    assert_eq!(*door.0.lock().unwrap(), 2);
}

/// What a test runner that asks for a list is told; any other word chooses tests by their names.
const ALL: &str = "memory_and_instances";

fn main() {
    if std::env::args().nth(1).as_deref() == Some("__launcher") {
        sandbox::launcher_main();
    }
    if std::env::args().any(|word| word == "--list") {
        if std::env::args().all(|word| word != "--ignored") {
            println!("{ALL}: test");
        }
        return;
    }
    let state = tempfile::tempdir().expect("a temporary folder");
    let label = format!("instances-{}", std::process::id());
    let sandbox = Sandbox::start(SandboxOptions::new(label, state.path())).expect("the launcher starts");
    println!("tier {}", sandbox.tier());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let wanted = std::env::args().nth(1).filter(|argument| !argument.starts_with('-') && argument != ALL);
    macro_rules! run {
        ($($name:ident),* $(,)?) => {$(
            if wanted.as_deref().is_none_or(|wanted| stringify!($name).contains(wanted)) {
                let began = Instant::now();
                let limit = Duration::from_secs(120);
                let test = async { tokio::time::timeout(limit, $name(&sandbox)).await };
                runtime.block_on(test).expect(stringify!($name));
                println!("test {} ... ok ({:?})", stringify!($name), began.elapsed());
            }
        )*};
    }
    run!(
        guests_answer_and_are_used_again,
        places_are_lambdas,
        too_much_memory_is_told_as_such,
        a_time_out_and_a_crash_are_told,
        a_bootstrap_that_asks_for_nothing_is_ended,
        a_bootstrap_that_cannot_be_run_is_told,
        sdk_calls_arrive_at_the_door,
    );
}

//! The behaviour table's handlers on `provided.al2023`, over the official runtime crate: `do` in the event says which.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lambda_runtime::{Context, Diagnostic, Error, LambdaEvent, service_fn};
use serde_json::{Value, json};

/// Invocations that this instance has had.
static CALLS: AtomicU64 = AtomicU64::new(0);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    // What a function prints while it starts belongs to its log as well.
    println!("init says hello");
    match std::env::var("INIT").as_deref() {
        Ok("exit") => std::process::exit(7),
        Ok("panic") => panic!("init failed on purpose"),
        _ => lambda_runtime::run(service_fn(handle)).await,
    }
}

async fn handle(event: LambdaEvent<Value>) -> Result<Value, Diagnostic> {
    let calls = CALLS.fetch_add(1, Ordering::Relaxed) + 1;
    let (event, context) = (event.payload, event.context);
    match event["do"].as_str().unwrap_or("echo") {
        "echo" => Ok(event["value"].clone()),
        "calls" => Ok(json!(calls)),
        "context" => Ok(describe(&context)),
        "environment" => Ok(json!(std::env::vars().collect::<BTreeMap<_, _>>())),
        "remaining" => Ok(json!(remaining_ms(&context))),
        "raise" => Err(Diagnostic { error_type: "Boom".into(), error_message: text(&event, "message").into() }),
        "print" => {
            for line in event["lines"].as_array().into_iter().flatten() {
                println!("{}", line.as_str().unwrap_or_default());
            }
            Ok(Value::Null)
        }
        "sleep" => {
            tokio::time::sleep(Duration::from_secs_f64(event["seconds"].as_f64().unwrap_or(60.0))).await;
            Ok(json!("slept"))
        }
        "exit" => std::process::exit(i32::try_from(event["code"].as_i64().unwrap_or(1)).unwrap_or(1)),
        "answer" => Ok(json!("x".repeat(usize::try_from(event["bytes"].as_u64().unwrap_or(0)).unwrap_or(0)))),
        "memory" => {
            let bytes = usize::try_from(event["mib"].as_u64().unwrap_or(0)).unwrap_or(0) << 20;
            let mut filled = vec![0_u8; bytes];
            for page in filled.chunks_mut(4096) {
                page[0] = 1;
            }
            Ok(json!(filled.iter().filter(|byte| **byte == 1).count()))
        }
        "keep" => {
            let path = "/tmp/kept";
            let before = std::fs::read_to_string(path).ok();
            std::fs::write(path, text(&event, "text")).map_err(|error| failed(&error))?;
            Ok(json!(before))
        }
        other => Err(Diagnostic { error_type: "Unknown".into(), error_message: format!("do what? {other}") }),
    }
}

fn describe(context: &Context) -> Value {
    json!({
        "request_id": context.request_id,
        "function_name": context.env_config.function_name,
        "version": context.env_config.version,
        "arn": context.invoked_function_arn,
        "memory": context.env_config.memory.to_string(),
        "log_group": context.env_config.log_group,
        "log_stream": context.env_config.log_stream,
        "trace": context.xray_trace_id,
        "client_context": context.client_context.as_ref().map(|client| &client.custom),
        "remaining_ms": remaining_ms(context),
    })
}

fn remaining_ms(context: &Context) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    context.deadline.saturating_sub(u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
}

fn text<'a>(event: &'a Value, name: &str) -> &'a str {
    event[name].as_str().unwrap_or_default()
}

fn failed(error: &std::io::Error) -> Diagnostic {
    Diagnostic { error_type: "Io".into(), error_message: error.to_string() }
}

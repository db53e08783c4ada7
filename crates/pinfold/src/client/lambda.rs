//! The Lambda API as the command line needs it.

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};

use super::{Call, Client, ClientError, encode};

const FUNCTIONS: &str = "/2015-03-31/functions";
/// Longest time-out of a function, its init, and the wait for an instance.
const INVOKE_DEADLINE: Duration = Duration::from_secs(model::limits::TIMEOUT_SECS_MAX as u64 + 120);
/// A package of 50 MB on a slow disk.
const UPLOAD_DEADLINE: Duration = Duration::from_secs(300);
/// The server gives as many at once at most (Lambda API reference, ListFunctions).
const PAGE_ITEMS: u32 = 50;

/// Who waits for the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    /// The caller; the last 4 KiB of the log come with the answer.
    Caller,
    /// Nobody: the event is accepted and run later.
    Nobody,
}

/// What came of an invocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invoked {
    /// 200, or 202 for an event.
    pub status: u16,
    /// The invocation's id.
    pub request_id: String,
    /// `Unhandled` if the function failed; then `payload` says how.
    pub function_error: Option<String>,
    /// What the function answered.
    pub payload: Bytes,
    /// The end of the invocation's log.
    pub log_tail: String,
}

/// A function as it was created or changed, and what the server warns of: properties without effect, another
/// interpreter than the one asked for.
pub type Changed = (Value, Vec<String>);

impl Invoked {
    /// The payload as JSON; as a text if it is none, and null if it is empty.
    pub fn payload_json(&self) -> Value {
        match serde_json::from_slice(&self.payload) {
            Ok(value) => value,
            Err(_) if self.payload.is_empty() => Value::Null,
            Err(_) => String::from_utf8_lossy(&self.payload).into(),
        }
    }
}

impl Client {
    /// A function's configuration; `None` if there is no such function.
    pub async fn function(&self, name: &str) -> Result<Option<Value>, ClientError> {
        let call = Call::new("lambda", Method::GET, format!("{FUNCTIONS}/{}/configuration", encode(name)));
        match self.ask(call).await {
            Err(error) if error.code() == Some("ResourceNotFoundException") => Ok(None),
            answer => answer.map(Some),
        }
    }

    /// Every function's configuration, page by page.
    pub async fn functions(&self) -> Result<Vec<Value>, ClientError> {
        let mut all = Vec::new();
        let mut marker: Option<String> = None;
        loop {
            let after = marker.as_deref().map(|marker| format!("&Marker={}", encode(marker))).unwrap_or_default();
            let call = Call::new("lambda", Method::GET, format!("{FUNCTIONS}?MaxItems={PAGE_ITEMS}{after}"));
            let mut page = self.ask(call).await?;
            if let Value::Array(functions) = page["Functions"].take() {
                all.extend(functions);
            }
            let next = page["NextMarker"].as_str().filter(|next| !next.is_empty()).map(str::to_owned);
            if next.is_none() {
                return Ok(all);
            }
            if next == marker {
                return Err(self.strange("the same page twice"));
            }
            marker = next;
        }
    }

    /// Creates a function from `properties` (CreateFunction without `Code`) and a zip file.
    pub async fn create_function(&self, mut properties: Value, zip: &[u8]) -> Result<Changed, ClientError> {
        properties["Code"] = json!({ "ZipFile": BASE64_STANDARD.encode(zip) });
        self.change(Call::new("lambda", Method::POST, FUNCTIONS).json(&properties).within(UPLOAD_DEADLINE)).await
    }

    /// Replaces a function's code.
    pub async fn update_code(&self, name: &str, zip: &[u8]) -> Result<Changed, ClientError> {
        let body = json!({ "ZipFile": BASE64_STANDARD.encode(zip) });
        let call = Call::new("lambda", Method::PUT, format!("{FUNCTIONS}/{}/code", encode(name)));
        self.change(call.json(&body).within(UPLOAD_DEADLINE)).await
    }

    /// Changes what `properties` names of a function's configuration.
    pub async fn update_configuration(&self, name: &str, properties: &Value) -> Result<Changed, ClientError> {
        let call = Call::new("lambda", Method::PUT, format!("{FUNCTIONS}/{}/configuration", encode(name)));
        self.change(call.json(properties)).await
    }

    async fn change(&self, call: Call) -> Result<Changed, ClientError> {
        let answer = self.call(call).await?;
        let warnings = answer.headers.get_all("x-pinfold-warning").iter().filter_map(|warning| warning.to_str().ok());
        let warnings = warnings.map(str::to_owned).collect();
        Ok((self.read_json(&answer.body)?, warnings))
    }

    /// Deletes a function.
    pub async fn delete_function(&self, name: &str) -> Result<(), ClientError> {
        let call = Call::new("lambda", Method::DELETE, format!("{FUNCTIONS}/{}", encode(name)));
        self.call(call).await.map(drop)
    }

    /// Invokes a function with any bytes as its event.
    pub async fn invoke(&self, name: &str, event: Bytes, waiting: Waiting) -> Result<Invoked, ClientError> {
        let call = Call::new("lambda", Method::POST, format!("{FUNCTIONS}/{}/invocations", encode(name)));
        let mut call = match waiting {
            Waiting::Caller => call.header("x-amz-invocation-type", "RequestResponse").header("x-amz-log-type", "Tail"),
            Waiting::Nobody => call.header("x-amz-invocation-type", "Event"),
        };
        call.body = event;
        let answer = self.call(call.header("content-type", "application/json").within(INVOKE_DEADLINE)).await?;
        let tail = BASE64_STANDARD.decode(answer.header("x-amz-log-result")).unwrap_or_default();
        let function_error = answer.header("x-amz-function-error");
        Ok(Invoked {
            status: answer.status,
            request_id: answer.header("x-amzn-requestid").to_owned(),
            function_error: (!function_error.is_empty()).then(|| function_error.to_owned()),
            log_tail: String::from_utf8_lossy(&tail).into_owned(),
            payload: answer.body,
        })
    }
}

//! Every public operation: authorize, ask, answer. One folder a service, one file a resource.

#![forbid(unsafe_code)]

mod authorize;
mod lambda;
mod logs;
mod sts;

use std::sync::Arc;

use base::time::Clock;
use functions::Catalogue;
use identity::Identity;
use invoke::Invoker;
use invoke::events::Events;
use model::ids::RequestId;
use model::names::Region;
use model::principal::Principal;

pub use lambda::{PROPERTIES, Property};

/// What the operations act on.
pub struct ServicesParts {
    /// What is deployed.
    pub catalogue: Arc<Catalogue>,
    /// Runs invocations.
    pub invoker: Invoker,
    /// Keeps invocations for later.
    pub events: Events,
    /// Log groups, streams and events.
    pub logs: Arc<::logs::Logs>,
    /// Signs links.
    pub identity: Arc<Identity>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
}

/// Who asks, and how; the request is authenticated already.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Who it is.
    pub principal: Principal,
    /// The region that the request is for.
    pub region: Region,
    /// The request's id; an invocation takes it over.
    pub request_id: RequestId,
    /// The address by which the caller reached the platform, such as `127.0.0.1:4566`.
    pub host: String,
    /// `Content-Type`, if the caller sent one.
    pub content_type: Option<String>,
    /// `X-Amzn-Trace-Id`, if the caller sent one.
    pub trace_header: Option<String>,
}

/// What is answered.
#[derive(Debug)]
pub struct Answer {
    /// The operation's output.
    pub output: wire::Output,
    /// Headers besides those of the output, such as `X-Amzn-Trace-Id`.
    pub headers: Vec<(&'static str, String)>,
    /// What the caller should know though it worked.
    pub warnings: Vec<String>,
}

impl Answer {
    fn of(output: wire::Output) -> Self {
        Self { output, headers: Vec::new(), warnings: Vec::new() }
    }
}

/// All operations.
pub struct Services {
    parts: ServicesParts,
}

impl Services {
    /// Puts the operations on what they act on.
    pub fn new(parts: ServicesParts) -> Self {
        Self { parts }
    }

    /// Authorizes and performs one operation.
    pub async fn call(&self, caller: &Caller, input: wire::Input) -> Result<Answer, wire::Error> {
        match input {
            wire::Input::Lambda(input) => lambda::handle(&self.parts, caller, input).await,
            wire::Input::Logs(input) => {
                authorize::allow(caller, &format!("logs:{}", input.operation()), "*")?;
                let account = caller.principal.account();
                let output = logs::handle(&self.parts.logs, account, &caller.region, input).await?;
                Ok(Answer::of(wire::Output::Logs(output)))
            }
            wire::Input::Sts(input) => {
                authorize::allow(caller, &format!("sts:{}", input.operation()), "*")?;
                Ok(Answer::of(wire::Output::Sts(sts::handle(&caller.principal, input))))
            }
        }
    }
}

//! What AWS has no API for: `/_pinfold/…`.

use http::Method;
use model::usage::UsageFact;
use serde_json::Value;

use super::{Call, Client, ClientError, encode};

impl Client {
    /// The server's account of itself: version, uptime, tier, counts.
    pub async fn status(&self) -> Result<Value, ClientError> {
        self.ask(Call::new("lambda", Method::GET, "/_pinfold/status")).await
    }

    /// The newest usage facts of a function.
    pub async fn usage(&self, function: &str, limit: u32) -> Result<Vec<UsageFact>, ClientError> {
        let path = format!("/_pinfold/usage?function={}&limit={limit}", encode(function));
        let mut answer = self.ask(Call::new("lambda", Method::GET, path)).await?;
        let facts = if answer.is_array() { answer } else { answer["facts"].take() };
        serde_json::from_value(facts).map_err(|error| self.strange(format!("usage facts with a mistake ({error})")))
    }
}

/// A text or number in an answer, as people read it; a dash if it is absent.
pub fn shown(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

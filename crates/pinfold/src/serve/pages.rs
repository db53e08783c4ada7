//! What the platform's own pages show.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use base::chain::Chain;
use base::time::Timestamp;
use bytes::Bytes;
use functions::Catalogue;
use gateway::{Health, PlatformPages};
use invoke::Invoker;
use invoke::events::Events;
use meter::Meter;
use model::ids::{AccountId, PackageDigest};
use model::names::{FunctionName, Region};
use serde_json::{Value, json};
use store::DataDir;

/// Answers from the parts themselves.
pub struct Pages {
    pub begun: Instant,
    pub data_dir: Arc<DataDir>,
    pub tier: String,
    pub catalogue: Arc<Catalogue>,
    pub invoker: Invoker,
    pub events: Events,
    pub meter: Arc<Meter>,
}

impl PlatformPages for Pages {
    fn health(&self) -> Health {
        if self.invoker.is_stopping() {
            return Health::Failing("the platform is stopping".to_owned());
        }
        self.data_dir.trouble().map_or(Health::Ok, Health::Failing)
    }

    fn status(&self) -> Pin<Box<dyn Future<Output = Value> + Send + '_>> {
        Box::pin(async {
            let census = self.invoker.instances();
            let events_waiting = match self.events.depth().await {
                Ok(depth) => json!(depth),
                Err(error) => json!(Chain(&error).to_string()),
            };
            json!({
                "version": env!("CARGO_PKG_VERSION"),
                "uptime_secs": self.begun.elapsed().as_secs(),
                "tier": self.tier,
                "functions": self.catalogue.snapshot().len(),
                "instances": { "starting": census.starting, "idle": census.idle, "busy": census.busy },
                "instances_memory_mib": census.memory_mib,
                "invocations_waiting": census.waiting,
                "events_waiting": events_waiting,
            })
        })
    }

    fn usage(
        &self,
        account: AccountId,
        region: &Region,
        function: Option<&str>,
        limit: usize,
    ) -> Pin<Box<dyn Future<Output = Result<Value, String>> + Send + '_>> {
        let region = region.clone();
        let function = function.map(FunctionName::parse);
        Box::pin(async move {
            let function = function.transpose().map_err(|error| error.to_string())?;
            let facts = self.meter.facts(account, function.as_ref(), Timestamp::EPOCH, Timestamp::MAX, limit).await;
            let facts = facts.map_err(|error| Chain(&error).to_string())?;
            let facts: Vec<_> = facts.into_iter().filter(|fact| fact.function.region == region).collect();
            Ok(json!({ "facts": facts }))
        })
    }

    fn code(&self, digest: PackageDigest) -> Pin<Box<dyn Future<Output = Result<Bytes, String>> + Send + '_>> {
        Box::pin(async move { self.catalogue.zip(digest).await.map_err(|error| Chain(&error).to_string()) })
    }
}

//! Facts into segments of their own, and out again, newest first.

use std::sync::Arc;
use std::time::Duration;

use base::chain::Chain;
use base::time::Timestamp;
use bytes::Bytes;
use model::ids::AccountId;
use model::names::FunctionName;
use model::usage::UsageFact;
use store::PageLimit;
use store::segments::{SegmentError, SegmentScan, Segments, Streams};

use crate::encoding;
use crate::metrics::Metrics;

/// Facts in one answer.
pub const FACTS_PER_PAGE_MAX: usize = 1000;
/// Whoever must know that facts are written waits so long for a disk that does not take them.
const WRITTEN_WAIT_MAX: Duration = Duration::from_secs(2);
/// Scans for one answer; each is a bounded amount of work.
const SCANS_MAX: usize = 64;

/// Facts cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("read usage facts")]
pub struct MeterError(#[from] SegmentError);

/// Keeps usage facts.
pub struct Meter {
    segments: Arc<Segments>,
    metrics: Arc<Metrics>,
}

impl Meter {
    /// Facts go into these segments, which hold nothing else; what is dropped is counted in the metrics.
    pub fn open(segments: Arc<Segments>, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self { segments, metrics })
    }

    /// Keeps a fact. Never blocks: one that finds too many before it waiting to be written is dropped and counted.
    pub fn record(&self, fact: UsageFact) {
        if self.segments.append(encoding::stream(&fact), fact.at, encoding::encode(&fact)).is_err() {
            self.metrics.usage_facts_dropped.inc();
        }
    }

    /// Returns when every fact kept so far survives the death of the process, though not yet a power cut. `false` if the disk
    /// has not taken them for two seconds: then they wait to be written.
    pub async fn written(&self) -> bool {
        self.segments.flush_within(WRITTEN_WAIT_MAX).await.is_ok()
    }

    /// An account's facts, the newest first: of one function (in every region) or of all, of attempts that ended at or
    /// after `from` and before `to`, at most `limit` of them and at most [`FACTS_PER_PAGE_MAX`]. Everything that was
    /// recorded before is there, unless the disk does not take it. Facts of a version that this binary does not know are left out, with a warning.
    ///
    /// # Errors
    /// The segments cannot be read.
    pub async fn facts(
        &self,
        account: AccountId,
        function: Option<&FunctionName>,
        from: Timestamp,
        to: Timestamp,
        limit: usize,
    ) -> Result<Vec<UsageFact>, MeterError> {
        // What the disk refuses to take is found later; the facts that it has are shown meanwhile.
        let _ = self.segments.flush().await;
        let limit = limit.min(FACTS_PER_PAGE_MAX);
        let streams = Streams::Prefix(encoding::prefix(account, function).freeze());
        let mut scan = SegmentScan { from, to, newest_first: true, ..SegmentScan::new(streams) };
        let mut facts: Vec<UsageFact> = Vec::new();
        for _ in 0..SCANS_MAX {
            if facts.len() >= limit {
                break;
            }
            scan.limit = PageLimit::items(limit - facts.len());
            let page = self.segments.scan(scan.clone()).await?;
            facts.extend(page.entries.iter().filter_map(|entry| read(&entry.payload)));
            match page.next {
                Some(next) => scan.after = Some(next),
                None => break,
            }
        }
        // Attempts that ended at once may have been recorded in either order.
        facts.sort_by_key(|fact| std::cmp::Reverse(fact.at));
        Ok(facts)
    }
}

fn read(payload: &Bytes) -> Option<UsageFact> {
    let fact = encoding::decode(payload);
    if let Err(bad) = &fact {
        tracing::warn!("leave out a usage fact: {}", Chain(bad));
    }
    fact.ok()
}

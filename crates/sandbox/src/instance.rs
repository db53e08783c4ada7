//! One running instance: takes an invocation at a time, gives back what became of it.

use std::time::Duration;

use model::ids::InstanceId;
use model::invocation::{Measured, Outcome};

use crate::spec::{ColdStart, Ran, Work};

/// A guest that is ready for work. Dropping it ends the guest.
pub struct Instance {
    id: InstanceId,
    cold_start: ColdStart,
}

impl Instance {
    /// Unique while the platform runs.
    pub fn id(&self) -> InstanceId {
        self.id
    }

    /// What its start took. All zero if its init timed out and is run again within the first invocation.
    pub fn cold_start(&self) -> ColdStart {
        self.cold_start
    }

    /// Gives the guest one invocation and returns what became of it, after the output that the guest wrote before its
    /// answer has reached the sink. If the future is dropped the guest is ended.
    pub async fn run(&mut self, _work: Work) -> Ran {
        Ran {
            outcome: Outcome::PlatformFailure(String::new()),
            measured: Measured { duration: Duration::ZERO, ..Measured::default() },
            delivered: false,
            reusable: false,
        }
    }

    /// Returns when the guest has ended by itself while it had nothing to do. Costs nothing while it waits.
    pub async fn lost(&mut self) {
        std::future::pending().await
    }

    /// Ends the guest and returns once nothing of it is left.
    pub async fn stop(self) {}
}

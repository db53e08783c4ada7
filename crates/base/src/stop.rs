//! One word for "end now, in order": a stop that every long-lived part listens to.

use tokio_util::sync::CancellationToken;

/// Cheap to clone; once requested it stays requested.
#[derive(Debug, Clone, Default)]
pub struct Stop(CancellationToken);

impl Stop {
    /// A stop that nobody has requested yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks every holder to end.
    pub fn request(&self) {
        self.0.cancel();
    }

    /// Whether an end was asked for.
    pub fn is_requested(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Returns once an end was asked for; at once if it already was.
    pub async fn requested(&self) {
        self.0.cancelled().await;
    }

    /// A stop of its own that also ends with this one.
    pub fn child(&self) -> Self {
        Self(self.0.child_token())
    }
}

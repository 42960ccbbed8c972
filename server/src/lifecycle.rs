//! Where the server is between its start and its end, shared by every part that has to know.

use tokio_util::sync::CancellationToken;

/// The three signals of a stop. Each follows the one before it and is never taken back.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lifecycle {
    /// Readiness is off; every answer asks the client to leave.
    pub(crate) stopping: CancellationToken,
    /// No new connection is accepted; those that are open end after their request.
    pub(crate) draining: CancellationToken,
    /// The grace period is over; what is left is given up.
    pub(crate) expired: CancellationToken,
}

impl Lifecycle {
    /// Whether a stop has begun.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.is_cancelled()
    }
}

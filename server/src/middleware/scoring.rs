//! Observes every scoring request once in the histogram, whatever becomes of it.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::app::App;
use crate::call::Call;
use crate::deadline;
use crate::error::ApiError;
use crate::metrics::Protocol;

/// Stands around a scoring route.
pub(crate) async fn scoring(
    State((app, protocol)): State<(App, Protocol)>,
    call: Call,
    request: Request,
    next: Next,
) -> Response {
    let asked = deadline::asked(request.headers());
    if let Ok(Some(limit)) = asked {
        call.shorten(limit);
    }
    let mut observation = Observation { app, call, protocol, outcome: "cancelled" };
    let response = match asked {
        Ok(_) => next.run(request).await,
        Err(error) => error.into_response(),
    };
    observation.outcome = response.extensions().get::<ApiError>().map_or("ok", |error| error.kind().label());
    response
}

/// Observes when dropped, so that a client that leaves and a handler that panics are counted too.
struct Observation {
    app: App,
    call: Call,
    protocol: Protocol,
    outcome: &'static str,
}

impl Drop for Observation {
    fn drop(&mut self) {
        let outcome = if std::thread::panicking() { "internal" } else { self.outcome };
        self.app.metrics.scored(self.call.model(), self.protocol, outcome, self.call.received().elapsed());
    }
}

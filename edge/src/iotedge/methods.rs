//! What can be asked of a module directly.

use std::sync::Arc;

use hedef_core::Kind;
use hedef_core::repository::{Overrides, Repository};
use serde_json::{Map, Value, json};

use super::control::{Surroundings, short};
use crate::selftest;
use crate::updates::NotDone;

/// An answer: a status as in HTTP, and a document.
pub(super) type Answer = (u16, Value);

/// A call that takes a while, of which one is made at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Long {
    /// Loads a model anew, or all.
    Reload(Option<String>),
    /// Asks the models what they should know.
    SelfTest,
}

/// What a call is: answered at once, or a longer matter.
pub(super) enum Call {
    Ping,
    Status,
    Long(Long),
    /// Takes a version of a model.
    Activate(Map<String, Value>),
    /// Goes back to the version of before.
    RollBack(Map<String, Value>),
}

/// Reads a call. Fails with the answer to one that is none.
pub(super) fn read(name: &str, payload: &[u8]) -> Result<Call, Answer> {
    let arguments = arguments(payload)?;
    match name {
        "ping" => Ok(Call::Ping),
        "status" => Ok(Call::Status),
        "activate" => Ok(Call::Activate(arguments)),
        "rollback" => Ok(Call::RollBack(arguments)),
        "selftest" => Ok(Call::Long(Long::SelfTest)),
        "reload" => match arguments.get("model") {
            None | Some(Value::Null) => Ok(Call::Long(Long::Reload(None))),
            Some(Value::String(model)) => Ok(Call::Long(Long::Reload(Some(model.clone())))),
            Some(other) => Err(refusal(400, &format!("`model`: expected a name, found {other}"))),
        },
        other => {
            let known = "ping, status, reload, selftest, activate or rollback";
            Err(refusal(404, &format!("there is no method `{other}`: expected {known}")))
        }
    }
}

/// Nothing, `null` and an object are arguments.
fn arguments(payload: &[u8]) -> Result<Map<String, Value>, Answer> {
    if payload.iter().all(u8::is_ascii_whitespace) {
        return Ok(Map::new());
    }
    match serde_json::from_slice(payload) {
        Ok(Value::Object(arguments)) => Ok(arguments),
        Ok(Value::Null) => Ok(Map::new()),
        Ok(other) => Err(refusal(400, &format!("the payload: expected a JSON object, found {other}"))),
        Err(error) => Err(refusal(400, &format!("the payload is no JSON: {error}"))),
    }
}

/// The answer to a call that comes while another goes on.
pub(super) fn busy() -> Answer {
    refusal(409, "another call is being worked on: try again later")
}

/// The answer to a call about updates: what follows is told by the twin.
pub(super) fn update(done: Result<Value, NotDone>) -> Answer {
    match done {
        Ok(told) => (202, told),
        Err(NotDone::Wrong(error)) => refusal(400, &error),
        Err(NotDone::Unknown(error)) => refusal(404, &error),
        Err(NotDone::Busy(error)) => refusal(409, &error),
    }
}

fn refusal(status: u16, message: &str) -> Answer {
    (status, json!({ "error": short(message) }))
}

/// Does what takes a while.
pub(super) async fn run(call: Long, surroundings: &Surroundings) -> Answer {
    match call {
        Long::SelfTest => {
            let (well, models) = selftest::run(&surroundings.repository).await;
            (if well { 200 } else { 500 }, json!({ "passed": well, "models": models }))
        }
        Long::Reload(model) => {
            let repository = Arc::clone(&surroundings.repository);
            let reloaded = tokio::task::spawn_blocking(move || reload(&repository, model)).await;
            reloaded.unwrap_or_else(|_| refusal(500, "loading did not come to an end"))
        }
    }
}

/// Blocks.
fn reload(repository: &Repository, model: Option<String>) -> Answer {
    repository.refresh();
    let names = match model {
        Some(model) => vec![model],
        None => {
            let mut names: Vec<_> = repository.index().into_iter().map(|entry| entry.name.to_string()).collect();
            names.dedup();
            names
        }
    };
    let (mut status, mut models) = (200, Map::new());
    for name in names {
        let loaded = repository.load(&name, Overrides::default());
        if let Err(error) = &loaded {
            status = status.max(of_kind(error.kind()));
        }
        models.insert(name, loaded.map_or_else(|error| short(&error.to_string()).into(), |()| "loaded".into()));
    }
    (status, json!({ "models": models }))
}

/// The one table from kinds to statuses of methods.
const fn of_kind(kind: Kind) -> u16 {
    match kind {
        Kind::InvalidArgument => 400,
        Kind::NotFound => 404,
        Kind::Unsupported => 501,
        Kind::ResourceExhausted => 429,
        Kind::Unavailable => 503,
        Kind::DeadlineExceeded => 504,
        Kind::Internal => 500,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(name: &str, payload: &str) -> u16 {
        read(name, payload.as_bytes()).map_or_else(|(status, _)| status, |_| 200)
    }

    #[test]
    fn unknown_methods_and_wrong_payloads_are_refused() {
        for payload in ["", " ", "null", "{}", r#"{"model": "iris"}"#] {
            assert_eq!(status("reload", payload), 200, "{payload}");
        }
        assert_eq!(status("ping", ""), 200);
        assert_eq!([status("nothing", ""), status("ping", "{"), status("reload", "[1]")], [404, 400, 400]);
        assert_eq!(status("reload", r#"{"model": 7}"#), 400);
        assert_eq!(busy().0, 409);
    }

    #[test]
    fn every_kind_has_its_status() {
        assert_eq!(Kind::ALL.map(of_kind), [400, 404, 501, 429, 503, 504, 500]);
    }
}

//! A server that speaks Open Inference Protocol v2 over HTTP/1.1, under load.
//!
//! One thread drives all connections with requests whose bytes were made before, and looks at no more of an answer than
//! it has to: the server under test shall have the other processors for itself.

pub(crate) mod ask;
mod connection;
mod driver;
mod incoming;
mod pace;
mod pool;
#[cfg(test)]
mod tests;
mod wait;
mod window;

use std::time::Duration;

use serde_json::{Value, json};

use crate::declared::{Declared, declared};
use crate::expect::{self, Expect, Expected};
use crate::inputs::Inputs;
use crate::measured::Measured;
use crate::prepare::{Prepared, prepare};
use crate::progress::Progress;
use crate::subject::{Subject, Trial};
use crate::{Address, Error};

use driver::Driver;

/// As many callers as keep most servers busy.
const SATURATING_CALLERS: usize = 64;

/// How tensors are sent and asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// As JSON.
    #[default]
    Json,
    /// With the binary tensor extension.
    Binary,
}

/// A model on a server, and how it is asked.
#[derive(Clone, Debug)]
pub struct Target {
    /// The server.
    pub address: Address,
    /// The model's name.
    pub model: String,
    /// Its version; the server's choice where there is none.
    pub version: Option<String>,
    /// How tensors are sent and asked for.
    pub format: Format,
    /// The time that each request says it may take.
    pub timeout: Option<Duration>,
}

/// How callers behave.
#[derive(Clone, Debug)]
pub struct Callers {
    /// The most connections at once of an open load. What is due beyond them waits, and its waiting counts.
    pub most_connections: usize,
    /// Whether the generator asks for answers without pause instead of sleeping until there are some: the server then
    /// need not wake it.
    pub busy_poll: bool,
    /// The share of callers who close their connection before the answer.
    pub leave: f64,
    /// They leave within this time of their request, at a moment as random as the rest.
    pub leave_within: Duration,
    /// After this time without an answer a caller gives up.
    pub give_up: Duration,
    /// What answers are compared with.
    pub expect: Expect,
}

impl Default for Callers {
    fn default() -> Self {
        Self {
            most_connections: 1024,
            busy_poll: false,
            leave: 0.0,
            leave_within: Duration::from_millis(10),
            give_up: Duration::from_secs(30),
            expect: Expect::Anything,
        }
    }
}

/// A model on a server, ready to be put under load.
#[derive(Debug)]
pub struct HttpSubject {
    target: Target,
    callers: Callers,
    declared: Declared,
    requests: Vec<Prepared>,
    /// For each request, the answer that was there first or in a file.
    expected: Vec<Option<Expected>>,
}

impl HttpSubject {
    /// Asks the server about the model, makes the requests, and sends one of them to see that it works.
    pub fn new(target: Target, inputs: &Inputs, callers: Callers) -> Result<Self, Error> {
        let declared = declared(&target.address, &target.model, target.version.as_deref())?;
        let samples = inputs.samples(&declared.signature)?;
        let requests = samples.iter().map(|sample| prepare(&target, &declared.signature, sample));
        let requests = requests.collect::<Result<Vec<_>, _>>()?;
        let mut expected = vec![None; requests.len()];
        if let Expect::File(file) = &callers.expect {
            let all = expect::of_file(file)?;
            expected.iter_mut().zip(all.into_iter().cycle()).for_each(|(slot, answer)| *slot = Some(answer));
        }
        if let Some(first) = requests.first() {
            let answer = ask::send(&target.address, &first.wire)?;
            if answer.status != 200 {
                let request = format!("a first request to model `{}`", target.model);
                let message = ask::message(&answer.body);
                return Err(Error::Refused { request, status: answer.status, message });
            }
        }
        Ok(Self { target, callers, declared, requests, expected })
    }
}

impl Subject for HttpSubject {
    fn run(&mut self, trial: &Trial, progress: &Progress) -> Result<Measured, Error> {
        Driver::new(self, trial)?.run(progress)
    }

    fn describe(&self) -> Value {
        let target = &self.target;
        json!({
            "server": target.address.to_string(),
            "model": target.model,
            "version": target.version,
            "platform": self.declared.platform,
            "max_batch_size": self.declared.max_batch_size,
            "format": match target.format { Format::Json => "json", Format::Binary => "binary" },
            "timeout_us": target.timeout.map(|timeout| crate::clock::nanoseconds(timeout) / 1000),
            "rows": self.requests.first().map(|request| request.rows),
            "request_bytes": self.requests.first().map(|request| request.wire.len()),
            "distinct_requests": self.requests.len(),
            "most_connections": self.callers.most_connections,
            "busy_poll": self.callers.busy_poll,
            "leave": self.callers.leave,
        })
    }

    fn saturating_callers(&self) -> usize {
        SATURATING_CALLERS
    }

    fn rows_a_request(&self) -> usize {
        self.requests.first().map_or(1, |request| request.rows)
    }
}

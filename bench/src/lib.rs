//! Measures what serves models: any server that speaks Open Inference Protocol v2, or the bare runtime in this process.
//!
//! Both are put under the same loads ([`Load`]) by the same plans ([`Plan`]), so that a figure of one over a figure of
//! the other is a ratio and not a story. Open loads count an answer's time from the moment at which its request was
//! due, so a server that stalls cannot hide it by holding back the load.

mod address;
mod arrivals;
mod clock;
mod declared;
mod error;
mod expect;
mod find;
mod http;
mod in_process;
mod inputs;
mod measured;
mod numbers;
mod plan;
mod prepare;
mod progress;
mod report;
mod subject;
mod table;

pub use address::Address;
pub use clock::parse_duration;
pub use error::Error;
pub use expect::Expect;
pub use http::{Callers, Format, HttpSubject, Target};
pub use in_process::{BareSubject, Layout, Sweep, sweep};
pub use inputs::{FreeShape, Inputs};
pub use measured::Measured;
pub use plan::{Plan, Settings, run};
pub use progress::Progress;
pub use report::Report;
pub use subject::{Length, Load, Subject, Trial};

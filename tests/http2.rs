//! HTTP/2 by its rules (RFC 9113 and RFC 7541), frame by frame. Where they allow for several outcomes, so do these tests.

mod answer;
mod bodies;
mod calls;
mod chance;
mod client;
mod frames;
pub(crate) mod hpack;
mod requests;
mod states;
mod verdicts;
mod windows;
pub(crate) mod wire;

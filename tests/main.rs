//! End-to-end tests of the built command, and the checks that hold the house's rules true. One binary.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "everything here is a test: what goes wrong ends it"
)]

mod binary;
mod certificates;
mod config;
mod http;
mod load;
mod models;
mod numbers;
mod python;
mod wait;

mod azure;
mod bench;
mod broken;
mod budget;
mod clients;
mod command;
mod cuda;
mod dashboard;
mod explain;
mod floods;
mod golden;
mod graph_cache;
mod grpc;
mod hostile;
mod http1;
mod http2;
mod images;
mod keys;
mod limits;
mod logging;
mod memory;
mod metrics;
mod mixing;
mod openvino;
mod package;
mod quarantine;
mod readme;
mod reload;
mod settings;
mod shutdown;
mod streams;
mod structure;
mod tensors;
mod tls;
mod tokens;
mod traces;
mod transport;
mod v1;
mod v2;
mod watch;

//! End-to-end tests of the built command, and the checks that hold the house's rules true. One binary.

mod binary;
mod config;
mod http;
mod models;
mod numbers;
mod python;
mod wait;

mod azure;
mod broken;
mod golden;
mod memory;
mod metrics;
mod readme;
mod reload;
mod shutdown;
mod structure;
mod transport;
mod v1;
mod v2;

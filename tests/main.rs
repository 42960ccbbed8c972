//! End-to-end tests of the built command, and the checks that hold the house's rules true. One binary.

mod binary;
mod config;
mod http;
mod models;
mod numbers;
mod python;
mod wait;

mod broken;
mod golden;
mod readme;
mod structure;
mod transport;
mod v2;

//! What the device's binary is made of: message in, scored message out.
//!
//! Messages come through a connection ([`broker`], [`iotedge`]) into the queue on disk ([`queue`]), from where [`worker`] has them
//! scored and puts the answers back into the queue, from where [`relay`] sends them. HTTP is the server's.

#![cfg(unix)]

pub mod broker;
pub mod care;
pub mod check;
pub mod config;
pub mod device;
pub mod filter;
pub mod iotedge;
pub mod link;
pub mod message;
pub mod metrics;
pub mod mqtt;
pub mod queue;
pub mod relay;
pub mod scoring;
pub mod selftest;
pub mod steps;
pub mod thermal;
pub mod updates;
pub mod watchdog;
pub mod websocket;
pub mod worker;

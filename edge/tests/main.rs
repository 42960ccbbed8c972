//! The device's binary, started, asked and ended, beside a real MQTT broker and an emulator of Azure IoT Edge.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "everything here is a test: what goes wrong ends it"
)]

mod azure;
mod broker;
mod bundles;
mod command;
mod config;
mod depot;
mod device;
mod http;
mod hub;
#[cfg(feature = "images")]
mod images;
mod module;
mod module_on_broker;
mod mosquitto;
mod offline;
mod queue_killed;
mod thermal;
mod unwritable;
mod updates;
mod updates_by_hand;
mod updates_damaged;
mod updates_fetched;
mod updates_killed;
mod updates_tried;
#[path = "../../tests/wait.rs"]
#[expect(dead_code, reason = "not all of it is of use here")]
mod wait;
mod watchdog;
mod websocket;

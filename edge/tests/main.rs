//! The device's binary, started, asked and ended, beside a real MQTT broker.

mod broker;
mod config;
mod device;
mod http;
mod hub;
mod module;
mod mosquitto;
mod wait;

//! The device's binary, started, asked and ended, beside a real MQTT broker.

mod broker;
mod config;
mod device;
mod http;
mod mosquitto;
mod wait;

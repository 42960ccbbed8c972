//! What this machine, and the container around this process, allow: processors, memory, locales.

mod cgroup;
mod clock;
mod cpus;
mod denormals;
mod files;
mod locale;
mod memory;
mod processor;
#[cfg(unix)]
mod system;
mod telemetry;
mod turns;

#[cfg(test)]
pub(crate) use cgroup::machine;
pub use clock::time_of_day;
pub(crate) use clock::{process_time, thread_time};
pub use cpus::Cpus;
pub use denormals::Denormals;
pub use files::open_files;
pub use locale::locale_available;
pub use memory::{configure_malloc, memory_limit, memory_of, own_bytes, release_free_memory, resident_bytes};
pub use processor::processor;
#[cfg(unix)]
pub(crate) use system::effective_user;
#[cfg(target_os = "linux")]
pub use system::wake_at;
pub(crate) use telemetry::switch_off_telemetry;
pub(crate) use turns::usual_turns;
pub use turns::{at_length, short_turns};

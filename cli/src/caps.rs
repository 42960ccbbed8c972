//! What the machine allows of what strangers may take.

use std::path::Path;
use std::time::Duration;

use hedef_core::host::{memory_limit, open_files};

use crate::arguments::Caps;

/// Files that the process opens beside connections: models, libraries, the log, connections beyond the limit.
const OTHER_FILES: u64 = 256;

/// Resolves the settings against the machine.
pub(crate) fn resolve(caps: &Caps) -> hedef_server::Caps {
    let wanted = u64::from(caps.max_connections);
    let files = open_files(wanted.saturating_add(OTHER_FILES));
    let connections = wanted.min(files.saturating_sub(OTHER_FILES).max(1));
    if connections < wanted {
        tracing::warn!(connections, files, "at most {connections} connections: the process may open {files} files");
    }
    let memory = request_memory(caps.request_memory_mib, memory_limit(Path::new("/")));
    tracing::info!(
        connections,
        memory,
        "at most {connections} connections, {} MiB for requests under way",
        memory >> 20
    );
    let size = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    hedef_server::Caps {
        connections: size(connections),
        header_bytes: size(u64::from(caps.header_limit_kib) << 10),
        headers: size(caps.max_headers.into()),
        header_timeout: Duration::from_millis(caps.header_timeout_ms),
        body_rate: size(caps.body_min_rate.into()),
        answer_timeout: Duration::from_millis(caps.answer_timeout_ms),
        elements: size(caps.max_elements.into()),
        request_memory: size(memory),
    }
}

/// The bytes that requests under way may hold where the process may use `limit`.
fn request_memory(mib: Option<u32>, limit: Option<u64>) -> u64 {
    match (mib, limit) {
        (Some(mib), _) => u64::from(mib) << 20,
        (None, Some(limit)) => (limit / 4).max(256 << 20),
        (None, None) => 1 << 30,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_get_a_quarter_of_the_memory_unless_somebody_says_otherwise() {
        assert_eq!(request_memory(None, Some(4 << 30)), 1 << 30);
        assert_eq!(request_memory(None, Some(512 << 20)), 256 << 20);
        assert_eq!(request_memory(None, None), 1 << 30);
        assert_eq!(request_memory(Some(3), Some(4 << 30)), 3 << 20);
    }
}

//! The door for the fuzzer to what no user of this crate sees.

/// Runs a session of HTTP/1.1: eight bytes that say how the client goes about it, and then what it says, or what its requests
/// are made of.
///
/// # Panics
/// If the server breaks one of its rules.
pub fn http1_session(bytes: &[u8]) {
    crate::listen::http1_session(bytes);
}

/// Runs a session of HTTP/2: eight bytes that say how the client goes about it, and then its frames.
///
/// # Panics
/// If the server breaks one of its rules.
pub fn http2_session(bytes: &[u8]) {
    crate::listen::http2_session(bytes);
}

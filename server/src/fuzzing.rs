//! The door for the fuzzer to what no user of this crate sees.

/// Runs a session of HTTP/2: eight bytes that say how the client goes about it, and then its frames.
///
/// # Panics
/// If the server breaks one of its rules.
pub fn http2_session(bytes: &[u8]) {
    crate::listen::http2_session(bytes);
}

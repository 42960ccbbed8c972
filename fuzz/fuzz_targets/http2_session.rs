//! Whatever a client of HTTP/2 says, however its bytes are cut and however slowly it takes the answers: the server keeps the
//! protocol's rules and the client's windows, comes to an end, and keeps nothing of it.
//!
//! Input: eight bytes that say how the client reads, writes and leaves; then its frames, without the preface.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| hedef_server::fuzzing::http2_session(bytes));

//! Whatever a client of HTTP/1.1 says, however its bytes are cut and however slowly it takes the answers: each request that
//! keeps the rules is answered as it asked, in its turn, nothing else is taken for one, and the server comes to an end and
//! keeps nothing of it.
//!
//! Input: eight bytes that say how the client reads, writes and leaves; then what it says, or what its requests are made of.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| hedef_server::fuzzing::http1_session(bytes));

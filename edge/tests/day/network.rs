//! The kernel's network beside a clock that moves by itself.
//!
//! A clock that is paused moves to whatever is due next when there is nothing to do, also while bytes are on their way.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use tokio::time::interval;

/// How far the clock moves at most while bytes are on their way.
const MOMENT: Duration = Duration::from_millis(250);

/// Has the clock wait every moment until what was sent before is there.
pub(crate) async fn keep_pace() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let mut far = listener.accept().unwrap().0;
    near.set_nodelay(true).unwrap();
    let mut moments = interval(MOMENT);
    loop {
        moments.tick().await;
        // It goes the same way, and is the last; all else is sent by this thread too.
        near.write_all(b".").unwrap();
        far.read_exact(&mut [0]).unwrap();
    }
}

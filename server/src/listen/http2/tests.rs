use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use axum::body::Body as AnyBody;
use socket2::MaybeUninitSlice;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufWriter, DuplexStream, duplex};
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::frame::{DATA, END_HEADERS, END_STREAM, HEAD, HEADERS, Head, SETTINGS};
use super::{Connection, Duration, ends::Connection as _};
use crate::config::Caps;
use crate::lifecycle::Lifecycle;
use crate::listen::scatter::Scatter;
use crate::listen::young::Streams;

impl Scatter for BufWriter<DuplexStream> {
    fn poll_scatter(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &mut [MaybeUninitSlice<'_>],
    ) -> Option<Poll<io::Result<usize>>> {
        None
    }
}

/// Within TLS what was taken may stay where it is until somebody asks for it to be written.
#[tokio::test(start_paused = true)]
async fn what_a_stream_keeps_is_flushed() {
    let (mut client, server) = duplex(64 << 10);
    let answer = |_| async { axum::response::Response::new(AnyBody::from("all of it")) };
    let streams = Streams::new(TaskTracker::new(), Lifecycle::default());
    let server = BufWriter::with_capacity(1 << 20, server);
    let connection =
        Connection::new(server, bytes::BytesMut::new(), answer, std::sync::Arc::default(), streams, &Caps::default());
    let mut connection = pin!(connection);
    let talk = async {
        let frame = |kind, flags, stream, payload: &[u8]| {
            [&Head { length: payload.len(), kind, flags, stream }.bytes(), payload].concat()
        };
        let get = frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0x82, 0x84, 0x86]);
        client.write_all(&[frame(SETTINGS, 0, 0, &[]), get].concat()).await.unwrap();
        loop {
            let mut head = [0; HEAD];
            client.read_exact(&mut head).await.unwrap();
            let head = Head::read(head);
            let mut payload = vec![0; head.length];
            client.read_exact(&mut payload).await.unwrap();
            if head.kind == DATA {
                return payload;
            }
        }
    };
    let run = poll_fn(|context| connection.as_mut().poll_end(context));
    let said = tokio::select! {
        ended = run => panic!("{ended:?}"),
        said = timeout(Duration::from_secs(1), talk) => said,
    };
    assert_eq!(said.as_deref(), Ok(&b"all of it"[..]));
}

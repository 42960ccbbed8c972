use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use axum::body::Body as AnyBody;
use socket2::MaybeUninitSlice;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufWriter, DuplexStream, duplex};
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::frame::{DATA, END_HEADERS, END_STREAM, HEAD, HEADERS, Head, SETTINGS, STREAM_WINDOW, WINDOW_UPDATE};
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

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    [&Head { length: payload.len(), kind, flags, stream }.bytes(), payload].concat()
}

fn get() -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0x82, 0x84, 0x86])
}

/// Reads until `count` bytes of data have come.
async fn data(client: &mut DuplexStream, count: usize) -> Vec<u8> {
    let mut all = vec![];
    while all.len() < count {
        let mut head = [0; HEAD];
        client.read_exact(&mut head).await.unwrap();
        let head = Head::read(head);
        let mut payload = vec![0; head.length];
        client.read_exact(&mut payload).await.unwrap();
        if head.kind == DATA {
            all.extend(payload);
        }
    }
    all
}

/// The connection of a server that says `text` to whoever asks, on one that keeps so much before it is written.
async fn saying(text: &'static [u8], server: DuplexStream, kept: usize) -> io::Result<()> {
    let answer = move |_| async move { axum::response::Response::new(AnyBody::from(text)) };
    let streams = Streams::new(TaskTracker::new(), Lifecycle::default());
    let server = BufWriter::with_capacity(kept, server);
    let connection =
        Connection::new(server, bytes::BytesMut::new(), answer, std::sync::Arc::default(), streams, &Caps::default());
    let mut connection = pin!(connection);
    poll_fn(|context| connection.as_mut().poll_end(context)).await
}

/// Within TLS what was taken may stay where it is until somebody asks for it to be written.
#[tokio::test(start_paused = true)]
async fn what_a_stream_keeps_is_flushed() {
    let (mut client, server) = duplex(64 << 10);
    let talk = async {
        client.write_all(&[frame(SETTINGS, 0, 0, &[]), get()].concat()).await.unwrap();
        data(&mut client, 9).await
    };
    let said = tokio::select! {
        ended = saying(b"all of it", server, 1 << 20) => panic!("{ended:?}"),
        said = timeout(Duration::from_secs(1), talk) => said,
    };
    assert_eq!(said.as_deref(), Ok(&b"all of it"[..]));
}

/// Who ends its side counts as one who leaves, but for what it has room for by then.
#[tokio::test(start_paused = true)]
async fn who_ends_its_side_gets_what_there_is_room_for() {
    static MUCH: [u8; 1 << 20] = [7; 1 << 20];
    let (mut client, server) = duplex(4 << 20);
    let window = (1_u32 << 24).to_be_bytes();
    let settings = frame(SETTINGS, 0, 0, &[&STREAM_WINDOW.to_be_bytes()[..], &window].concat());
    client.write_all(&[settings, frame(WINDOW_UPDATE, 0, 0, &window), get()].concat()).await.unwrap();
    client.shutdown().await.unwrap();
    saying(&MUCH, server, 0).await.unwrap();
    assert_eq!(data(&mut client, MUCH.len()).await, MUCH);
}

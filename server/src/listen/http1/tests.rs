use std::future::{pending, poll_fn};
use std::pin::pin;

use axum::body::Body as AnyBody;
use axum::response::Response;
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufWriter, DuplexStream, duplex};
use tokio::sync::oneshot;

use super::ends::Connection as _;
use super::*;

/// Runs a connection that answers so, and meanwhile its client.
async fn talk<F: Future<Output = Response>, T>(
    answer: impl Fn(Request<Body>) -> F + Unpin,
    client: impl AsyncFnOnce(DuplexStream) -> T,
) -> (T, io::Result<()>) {
    let (ours, theirs) = duplex(64 << 10);
    // Within TLS what was taken may stay where it is until somebody asks for it to be written.
    let theirs = BufWriter::with_capacity(1 << 20, theirs);
    let connection = Connection::new(theirs, BytesMut::new(), answer, Arc::default(), false, &Caps::default());
    let run = async move {
        let mut connection = pin!(connection);
        poll_fn(|context| connection.as_mut().poll_end(context)).await
    };
    tokio::join!(client(ours), run)
}

const POST: &[u8] = b"POST / HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n";

#[tokio::test(start_paused = true)]
async fn what_the_stream_keeps_is_flushed() {
    let answer =
        |request: Request<Body>| async { Response::new(AnyBody::new(request.into_body().collect().await.unwrap())) };
    let (said, ended) = talk(answer, async |mut client| {
        client.write_all(POST).await.unwrap();
        client.read_exact(&mut [0; CONTINUE.len()]).await.unwrap();
        client.write_all(b"hello").await.unwrap();
        let mut said = Vec::new();
        while !said.ends_with(b"hello") {
            said.push(client.read_u8().await.unwrap());
        }
        String::from_utf8(said).unwrap()
    })
    .await;
    assert!(said.starts_with("HTTP/1.1 200 OK\r\n"), "{said}");
    ended.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_client_that_asks_nothing_for_too_long_is_left_however_slowly_it_begins() {
    let answer = |_| async { Response::new(AnyBody::empty()) };
    let begun = Instant::now();
    let (asked, ended) = talk(answer, async |mut client| {
        tokio::time::sleep(SILENCE / 2).await;
        client.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let asked = Instant::now();
        // It would take minutes.
        while client.write_all(b"\r").await.is_ok() && client.write_all(b"\n").await.is_ok() {
            tokio::time::sleep(SILENCE / 10).await;
        }
        asked
    })
    .await;
    ended.unwrap();
    assert!(asked - begun >= SILENCE / 2 && asked.elapsed() >= SILENCE, "{:?}", asked.elapsed());
    assert!(asked.elapsed() <= SILENCE * 2);
}

#[tokio::test(start_paused = true)]
async fn who_reads_a_body_elsewhere_is_told_why_it_does_not_come() {
    for (leaves, told) in [(true, Cut::Left), (false, Cut::Answered)] {
        let (tell, hear) = oneshot::channel();
        let tell = std::cell::Cell::new(Some(tell));
        let answer = |request: Request<Body>| {
            let reading = tokio::spawn(request.into_body().collect());
            tell.take().unwrap().send(reading).unwrap();
            async move { if leaves { pending().await } else { Response::new(AnyBody::empty()) } }
        };
        let (read, _) = talk(answer, async |mut client| {
            client.write_all(POST).await.unwrap();
            let reading = hear.await.unwrap();
            if leaves {
                drop(client);
            }
            reading.await.unwrap()
        })
        .await;
        let error = read.unwrap_err();
        assert_eq!(error.downcast_ref(), Some(&told), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_has_only_ended_what_it_sends_gets_an_answer_that_is_soon_there() {
    let answer = |_| async {
        tokio::task::yield_now().await;
        Response::new(AnyBody::from("there"))
    };
    let (said, ended) = talk(answer, async |mut client| {
        client.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        client.shutdown().await.unwrap();
        let mut said = String::new();
        client.read_to_string(&mut said).await.unwrap();
        said
    })
    .await;
    ended.unwrap();
    assert!(said.ends_with("\r\n\r\nthere"), "{said}");
}

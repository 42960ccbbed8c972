//! Connections through a pipe, on a clock that is moved by hand.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, BufWriter, DuplexStream, duplex};

use super::connection::{Connection, Lost};
use super::packet::{Connect, Packet, Publish, decode, encode};
use super::session::Event;

/// The server's end.
struct Server(DuplexStream, Vec<u8>);

impl Server {
    async fn packet(&mut self) -> Packet {
        loop {
            if let Some((packet, length)) = decode(&self.1, 1 << 20).unwrap() {
                self.1.drain(..length);
                return packet;
            }
            assert!(self.0.read_buf(&mut self.1).await.unwrap() > 0, "the client is gone");
        }
    }

    async fn send(&mut self, packet: &Packet) {
        let mut bytes = Vec::new();
        encode(packet, &mut bytes).unwrap();
        // Byte by byte, as bad networks do.
        for byte in bytes {
            self.0.write_all(&[byte]).await.unwrap();
        }
    }
}

async fn connected() -> (Connection<DuplexStream, u32>, Server) {
    let (near, far) = duplex(64);
    let connect = Connect { client_id: "c".into(), keep_alive: 60, ..Connect::default() };
    let server = tokio::spawn(async move {
        let mut server = Server(far, Vec::new());
        assert!(matches!(server.packet().await, Packet::Connect(_)));
        server.send(&Packet::ConnAck { session_present: false, code: 0 }).await;
        server
    });
    let connection = Connection::open(near, connect, 1000).await.unwrap();
    (connection, server.await.unwrap())
}

fn message(id: Option<u16>) -> Packet {
    Packet::Publish(Publish { topic: "t".into(), id, duplicate: false, retain: false, body: vec![9; 100] })
}

#[tokio::test(start_paused = true)]
async fn messages_go_both_ways() {
    let (mut connection, mut server) = connected().await;
    connection.publish("out".into(), vec![1; 200], 7).unwrap();
    let serving = tokio::spawn(async move {
        let Packet::Publish(Publish { id: Some(id), .. }) = server.packet().await else { panic!() };
        server.send(&message(Some(1))).await;
        server.send(&Packet::PubAck(id)).await;
        assert_eq!(server.packet().await, Packet::PubAck(1));
        server
    });
    let Event::Message { ticket: Some(ticket), .. } = connection.event().await.unwrap() else { panic!() };
    assert_eq!(connection.event().await.unwrap(), Event::Acknowledged(7));
    connection.accept(ticket).unwrap();
    let idle = connection.event();
    tokio::select! { _ = idle => panic!("nothing more comes"), server = serving => drop(server) }
}

#[tokio::test(start_paused = true)]
async fn silence_is_broken_by_pings_and_a_server_that_does_not_answer_them_is_gone() {
    let (mut connection, mut server) = connected().await;
    let serving = tokio::spawn(async move {
        for _ in 0..5 {
            assert_eq!(server.packet().await, Packet::PingReq);
            server.send(&Packet::PingResp).await;
        }
        server
    });
    let lost = connection.event().await.unwrap_err();
    assert!(matches!(lost, Lost::Silent(151)), "{lost}");
    drop(serving);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_not_acknowledged_ends_the_connection() {
    let (mut connection, mut server) = connected().await;
    connection.publish("out".into(), vec![], 1).unwrap();
    let serving = tokio::spawn(async move {
        loop {
            if server.packet().await == Packet::PingReq {
                server.send(&Packet::PingResp).await;
            }
        }
    });
    assert!(matches!(connection.event().await, Err(Lost::Unacknowledged)));
    serving.abort();
}

#[tokio::test(start_paused = true)]
async fn waiting_for_an_event_can_be_given_up_at_any_time() {
    let (mut connection, mut server) = connected().await;
    let serving = tokio::spawn(async move {
        for _ in 0..50 {
            server.send(&message(None)).await;
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
        server
    });
    let mut found = 0;
    while found < 50 {
        if let Ok(event) = tokio::time::timeout(Duration::from_millis(1), connection.event()).await {
            assert!(matches!(event.unwrap(), Event::Message { body, .. } if body == [9; 100]));
            found += 1;
        }
    }
    drop(serving);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_sends_more_than_can_be_accepted_waits_and_so_do_its_acknowledgements() {
    let (mut connection, mut server) = connected().await;
    connection.publish("out".into(), vec![], 1).unwrap();
    let serving = tokio::spawn(async move {
        let Packet::Publish(Publish { id: Some(id), .. }) = server.packet().await else { panic!() };
        for _ in 0..300 {
            server.send(&message(Some(1))).await;
        }
        server.send(&Packet::PubAck(id)).await;
        server
    });
    let mut tickets = std::collections::VecDeque::new();
    // It is silent for longer than it may be silent for, and than a message may be unacknowledged.
    while let Ok(event) = tokio::time::timeout(Duration::from_secs(1000), connection.event()).await {
        let Event::Message { ticket: Some(ticket), .. } = event.unwrap() else { panic!() };
        tickets.push_back(ticket);
    }
    assert_eq!(tickets.len(), 256);
    let mut came = tickets.len();
    loop {
        if let Some(ticket) = tickets.pop_front() {
            connection.accept(ticket).unwrap();
        }
        match connection.event().await.unwrap() {
            Event::Message { ticket: Some(ticket), .. } => tickets.push_back(ticket),
            Event::Acknowledged(1) => break,
            other => panic!("{other:?}"),
        }
        came += 1;
    }
    assert_eq!(came, 300);
    drop(serving);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_too_large_is_told_of_and_what_follows_is_heard() {
    let (mut connection, mut server) = connected().await;
    let large = |id| {
        Packet::Publish(Publish { topic: "large".into(), id, duplicate: false, retain: false, body: vec![0x30; 5000] })
    };
    let serving = tokio::spawn(async move {
        for packet in [large(Some(1)), large(None), message(Some(1)), large(Some(1))] {
            server.send(&packet).await;
        }
        for _ in 0..3 {
            assert_eq!(server.packet().await, Packet::PubAck(1));
        }
        server
    });
    for expected in [Some(true), None, Some(false), Some(true)] {
        let ticket = match connection.event().await.unwrap() {
            Event::Oversized { topic, size, ticket } => {
                assert!(topic == "large" && size > 5000 && expected != Some(false));
                ticket
            }
            Event::Message { body, ticket, .. } => {
                assert!(body.len() == 100 && expected == Some(false));
                ticket
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(ticket.is_some(), expected.is_some());
        if let Some(ticket) = ticket {
            connection.accept(ticket).unwrap();
        }
    }
    tokio::select! { _ = connection.event() => panic!("nothing more comes"), server = serving => drop(server) }
}

/// A stream that keeps what is written until it is flushed, as TLS may.
#[tokio::test(start_paused = true)]
async fn what_is_held_back_goes_out_though_waiting_is_given_up_and_the_server_writes_first() {
    let (near, far) = duplex(64);
    let connect = Connect { client_id: "c".into(), keep_alive: 60, ..Connect::default() };
    let greeting = tokio::spawn(async move {
        let mut server = Server(far, Vec::new());
        assert!(matches!(server.packet().await, Packet::Connect(_)));
        server.send(&Packet::ConnAck { session_present: false, code: 0 }).await;
        server
    });
    let stream = BufWriter::with_capacity(4096, near);
    let mut connection = Connection::open(stream, connect, 1000).await.unwrap();
    let mut server = greeting.await.unwrap();
    connection.publish("out".into(), vec![1; 1000], 7_u32).unwrap();
    for _ in 0..3 {
        assert!(tokio::time::timeout(Duration::from_millis(1), connection.event()).await.is_err());
    }
    let serving = tokio::spawn(async move {
        // It reads nothing before it has written more than fits on the way.
        server.send(&message(None)).await;
        assert!(matches!(server.packet().await, Packet::Publish(_)));
        server
    });
    assert!(matches!(connection.event().await.unwrap(), Event::Message { .. }));
    let limit = tokio::time::timeout(Duration::from_secs(10), serving);
    tokio::select! { lost = connection.event() => panic!("{lost:?}"), served = limit => drop(served.unwrap()) }
}

#[tokio::test(start_paused = true)]
async fn refusals_and_nonsense_are_told_apart() {
    for (answer, expected) in [
        (&b"\x20\x02\0\x05"[..], "the server does not let this client in: it does not know the name and password"),
        (b"\xd0\0", "the server said something else before it let the client in"),
        (b"\x20\xff", "the server did not answer within 30 s"),
        (b"\x48\x02\0\x01", "a packet of type 4 has flags 0b1000, which it must not have"),
    ] {
        let (near, mut far) = duplex(64);
        far.write_all(answer).await.unwrap();
        let lost = Connection::<_, ()>::open(near, Connect::default(), 1000);
        let lost = tokio::time::timeout(Duration::from_secs(100), lost).await.unwrap().unwrap_err();
        assert_eq!(lost.to_string(), expected);
    }
}

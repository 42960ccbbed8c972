//! The relay between a queue and a pipe.

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::*;
use crate::care::Working;
use crate::metrics::Metrics;
use crate::mqtt::packet::{Connect, Packet, Publish, decode, encode};
use crate::queue::{LaneSettings, Place, WhenFull};
use crate::steps::Steps;

/// Sends and takes everything as it is.
struct Plain;

impl Port for Plain {
    fn incoming(&mut self, topic: &str, body: Vec<u8>) -> Option<Message> {
        Some(Message { place: topic.into(), properties: Vec::new(), body })
    }

    fn outgoing(&self, message: Message) -> Option<(String, Vec<u8>)> {
        Some((message.place, message.body))
    }
}

async fn packet(server: &mut DuplexStream, bytes: &mut Vec<u8>) -> Option<Packet> {
    loop {
        if let Some((packet, length)) = decode(bytes, 1 << 20).unwrap() {
            bytes.drain(..length);
            return Some(packet);
        }
        if server.read_buf(bytes).await.unwrap() == 0 {
            return None;
        }
    }
}

async fn send(server: &mut DuplexStream, packet: &Packet) {
    let mut bytes = Vec::new();
    encode(packet, &mut bytes).unwrap();
    server.write_all(&bytes).await.unwrap();
}

/// The last answer comes into the queue when the stop comes, and which is seen first is luck: so try often.
#[tokio::test]
async fn what_is_in_the_queue_when_the_stop_comes_is_sent_before_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let all = Metrics::new(&prometheus::Registry::new()).unwrap();
    let lane = |name: &str| LaneSettings {
        name: name.into(),
        priority: 0,
        when_full: WhenFull::DropNew,
        share: 1,
        max_age: None,
    };
    let lanes = [lane("in"), lane("out")];
    let place = Place {
        working: Arc::new(Working::begin(folder.path()).unwrap()),
        folder: folder.path().into(),
        lanes: lanes.to_vec(),
        capacity: 1 << 20,
        steps: Steps::default(),
    };
    let (queue, _thread) = Queue::open(place, &all, Beat::unwatched()).unwrap();
    for _ in 0..40 {
        let stop = Stop { intake: CancellationToken::new(), all: CancellationToken::new() };
        let (near, mut server) = duplex(1 << 16);
        let mut bytes = Vec::new();
        send(&mut server, &Packet::ConnAck { session_present: false, code: 0 }).await;
        let connection = Connection::open(near, Connect::default(), 1 << 16).await.unwrap();
        let metrics = all.link("test");
        let relay = Relay {
            queue: &queue,
            input: LaneId(0),
            outputs: &[LaneId(1)],
            acknowledge: Acknowledge::Written,
            due: None,
            largest: 1 << 16,
            metrics: &metrics,
            stop: &stop,
            beat: &Beat::unwatched(),
        };
        let (_none, mut tellings) = mpsc::channel(1);
        let mut port = Plain;
        let serving = async {
            // It is said by the relay, which waits for what comes next then.
            assert!(matches!(packet(&mut server, &mut bytes).await, Some(Packet::Connect(_))));
            let answer = Message { place: "out".into(), properties: Vec::new(), body: b"last".to_vec() };
            queue.push(LaneId(1), answer.encode().unwrap()).await.unwrap();
            stop.all.cancel();
            let Some(Packet::Publish(Publish { id: Some(id), body, .. })) = packet(&mut server, &mut bytes).await
            else {
                panic!("the answer was left behind")
            };
            assert_eq!(body, b"last");
            send(&mut server, &Packet::PubAck(id)).await;
            assert_eq!(packet(&mut server, &mut bytes).await, Some(Packet::Disconnect));
        };
        let (end, ()) = tokio::join!(relay.run(connection, &mut port, &mut tellings), serving);
        assert!(matches!(end, End::Stopped));
        assert_eq!(queue.states().await[1].messages, 0);
    }
}

//! Any bytes from a server are packets or refused, however they are cut; what is read can be written and read again; and a
//! session acknowledges each message exactly once. What comes by a topic of Azure IoT Edge is read or left.

#![no_main]

use hedef_edge::iotedge::topics;
use hedef_edge::message::Message;
use hedef_edge::mqtt::packet::{Packet, decode, encode};
use hedef_edge::mqtt::session::{Event, Session};
use libfuzzer_sys::fuzz_target;

const LIMIT: usize = 1 << 16;

fuzz_target!(|bytes: &[u8]| {
    let _ = Message::decode(bytes);
    let mut session = Session::default();
    let (mut came, mut acknowledged) = (0, 0);
    let mut rest = bytes;
    for number in 0_u32.. {
        let Ok(Some((packet, length))) = decode(rest, LIMIT) else { break };
        assert_eq!(decode(&rest[..length - 1], LIMIT), Ok(None));
        let mut again = Vec::new();
        if encode(&packet, &mut again).is_ok() {
            assert_eq!(decode(&again, LIMIT), Ok(Some((packet.clone(), again.len()))));
        }
        rest = &rest[length..];
        if let Packet::Publish(publish) = &packet {
            let _ = topics::read(&publish.topic, "d", "m");
        }
        if session.has_room() {
            session.publish("t".into(), Vec::new(), number).unwrap();
        }
        match session.receive(packet) {
            Ok(Event::Message { ticket: Some(ticket), .. }) => {
                came += 1;
                acknowledged += session.accept(ticket).len();
                assert_eq!(came, acknowledged);
                assert!(session.accept(ticket).is_empty());
            }
            Ok(_) => (),
            Err(_) => break,
        }
    }
});

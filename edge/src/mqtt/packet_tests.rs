//! Packets as bytes: worked examples, whatever can be said, and whatever cannot.

use proptest::collection::vec;
use proptest::prelude::*;

use super::packet::{Connect, Malformed, Packet, Publish, decode, encode};

const LIMIT: usize = 1 << 20;

fn bytes(packet: &Packet) -> Vec<u8> {
    let mut out = Vec::new();
    encode(packet, &mut out).unwrap();
    out
}

fn publish(topic: &str, id: Option<u16>, body: &[u8]) -> Packet {
    Packet::Publish(Publish { topic: topic.into(), id, duplicate: false, retain: false, body: body.into() })
}

#[test]
fn the_specification_s_packets_have_their_bytes() {
    let connect = Connect {
        client_id: "d/m".into(),
        clean_session: true,
        keep_alive: 60,
        username: Some("u".into()),
        password: Some(b"p".to_vec()),
    };
    assert_eq!(bytes(&Packet::Connect(connect)), b"\x10\x15\0\x04MQTT\x04\xc2\0\x3c\0\x03d/m\0\x01u\0\x01p");
    assert_eq!(bytes(&publish("a/b", Some(10), b"x")), b"\x32\x08\0\x03a/b\0\x0ax");
    assert_eq!(bytes(&publish("a/b", None, b"x")), b"\x30\x06\0\x03a/bx");
    assert_eq!(bytes(&Packet::PubAck(258)), b"\x40\x02\x01\x02");
    let subscribe = Packet::Subscribe { id: 10, filters: vec![("a/b".into(), 1), ("c/d".into(), 0)] };
    assert_eq!(bytes(&subscribe), b"\x82\x0e\0\x0a\0\x03a/b\x01\0\x03c/d\0");
    assert_eq!(bytes(&Packet::SubAck { id: 10, codes: vec![0, 128] }), b"\x90\x04\0\x0a\0\x80");
    assert_eq!(bytes(&Packet::ConnAck { session_present: false, code: 5 }), b"\x20\x02\0\x05");
    let short = [Packet::PingReq, Packet::PingResp, Packet::Disconnect].map(|packet| bytes(&packet));
    assert_eq!(short, [[0xc0, 0], [0xd0, 0], [0xe0, 0]]);
}

/// The lengths that Azure's own client for Python was seen to send.
#[test]
fn azure_s_own_packets_have_the_length_that_was_captured() {
    let remaining = |packet: &Packet| bytes(packet).len() - 2;
    let subscribe = |filter: &str| Packet::Subscribe { id: 1, filters: vec![(filter.into(), 1)] };
    assert_eq!(remaining(&subscribe("devices/edge1/modules/mod1/inputs/#")), 40);
    assert_eq!(remaining(&subscribe("$iothub/methods/POST/#")), 27);
    assert_eq!(remaining(&subscribe("$iothub/twin/PATCH/properties/desired/#")), 44);
    assert_eq!(remaining(&subscribe("$iothub/twin/res/#")), 23);
    assert_eq!(remaining(&publish("devices/edge1/modules/mod1/messages/events/%24.on=output1", Some(7), b"plain")), 66);
}

#[test]
fn what_breaks_the_rules_is_refused() {
    let refused = |bytes: &[u8]| decode(bytes, LIMIT).unwrap_err();
    assert_eq!(refused(b"\x34\x05\0\x01t\0\x01"), Malformed::Flags(3, 4));
    assert_eq!(refused(b"\x41\x02\0\x01"), Malformed::Flags(4, 1));
    assert_eq!(refused(b"\x40\x02\0\0"), Malformed::Id);
    assert_eq!(refused(b"\x40\x03\0\x01\0"), Malformed::Size(4));
    assert_eq!(refused(b"\x30\x03\0\x01\xff"), Malformed::Text);
    assert_eq!(refused(b"\x30\x03\0\x01#"), Malformed::Text);
    assert_eq!(refused(b"\x82\x02\0\x01"), Malformed::Size(8));
    assert_eq!(refused(b"\x50\x02\0\x01"), Malformed::Type(5));
    assert_eq!(refused(b"\x30\xff\xff\xff\xff\x01"), Malformed::Length);
    assert_eq!(refused(b"\x10\x0c\0\x04MQTT\x05\x02\0\0\0\0"), Malformed::Protocol);
    assert_eq!(decode(b"\x30\xff\xff\xff\x7f", LIMIT), Err(Malformed::TooLarge { found: 268_435_460, limit: LIMIT }));
    for wrong in [publish("", Some(1), b""), publish("a/+", None, b""), publish("a\0b", None, b""), Packet::PubAck(0)] {
        let mut out = vec![7];
        assert!(encode(&wrong, &mut out).is_err() && out == [7], "{wrong:?}");
    }
    assert_eq!(encode(&publish(&"x".repeat(65536), None, b""), &mut Vec::new()), Err(Malformed::TooLong));
}

fn text() -> impl Strategy<Value = String> {
    "[^\u{0}+#]{1,40}"
}

fn packet() -> impl Strategy<Value = Packet> {
    let id = 1_u16..;
    let connect = (text(), any::<bool>(), any::<u16>(), text(), prop::option::of(vec(any::<u8>(), 0..40)));
    let connect = connect.prop_map(|(client_id, clean_session, keep_alive, name, password)| {
        Packet::Connect(Connect { client_id, clean_session, keep_alive, username: Some(name), password })
    });
    let publish = (text(), prop::option::of(id.clone()), any::<bool>(), any::<bool>(), vec(any::<u8>(), 0..300));
    let publish = publish.prop_map(|(topic, id, duplicate, retain, body)| {
        Packet::Publish(Publish { topic, id, duplicate: duplicate && id.is_some(), retain, body })
    });
    prop_oneof![
        connect,
        publish,
        (any::<bool>(), any::<u8>()).prop_map(|(session_present, code)| Packet::ConnAck { session_present, code }),
        id.clone().prop_map(Packet::PubAck),
        (id.clone(), vec((text(), 0_u8..=2), 1..5)).prop_map(|(id, filters)| Packet::Subscribe { id, filters }),
        (id, vec(any::<u8>(), 0..5)).prop_map(|(id, codes)| Packet::SubAck { id, codes }),
        Just(Packet::PingReq),
        Just(Packet::PingResp),
        Just(Packet::Disconnect),
    ]
}

proptest! {
    #[test]
    fn a_packet_is_read_as_it_was_written_however_it_is_cut(packet in packet(), behind in vec(any::<u8>(), 0..9)) {
        let mut out = bytes(&packet);
        let whole = out.len();
        for cut in 0..whole {
            prop_assert_eq!(decode(&out[..cut], LIMIT), Ok(None));
        }
        out.extend(behind);
        prop_assert_eq!(decode(&out, LIMIT), Ok(Some((packet, whole))));
    }

    #[test]
    fn any_bytes_are_a_packet_or_refused(bytes in vec(any::<u8>(), 0..80)) {
        if let Ok(Some((packet, whole))) = decode(&bytes, LIMIT) {
            prop_assert!(whole <= bytes.len());
            let mut again = Vec::new();
            if encode(&packet, &mut again).is_ok() {
                prop_assert_eq!(decode(&again, LIMIT), Ok(Some((packet, again.len()))));
            }
        }
    }
}

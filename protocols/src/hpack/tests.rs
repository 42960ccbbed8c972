use std::cell::Cell;
use std::ops::ControlFlow;

use proptest::prelude::*;

use super::*;

/// A field, as a pair of its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pair(Vec<u8>, Vec<u8>);

impl Field for Pair {
    fn new(name: &[u8], value: &[u8]) -> Self {
        Self(name.to_vec(), value.to_vec())
    }

    fn with_value(&self, value: &[u8]) -> Self {
        Self(self.0.clone(), value.to_vec())
    }
}

fn decode(decoder: &mut Decoder<Pair>, block: &[u8]) -> Result<Vec<Pair>, Error> {
    let mut fields = Vec::new();
    let take = |field: Pair, size| {
        assert_eq!(size, field.0.len() + field.1.len() + 32);
        fields.push(field);
        ControlFlow::Continue(())
    };
    decoder.decode(block, take).map(|()| fields)
}

fn refusal(block: &[u8]) -> Error {
    decode(&mut Decoder::new(4096), block).unwrap_err()
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<_> = hex.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    digits.chunks(2).map(|two| u8::from_str_radix(str::from_utf8(two).unwrap(), 16).unwrap()).collect()
}

/// Decodes `blocks` one after another: each says what `expected` holds, a field a line, and leaves a table of its size.
fn agrees(decoder: &mut Decoder<Pair>, blocks: [&str; 3], expected: [(&str, usize); 3]) {
    for (block, (lines, size)) in blocks.into_iter().zip(expected) {
        let lines = lines.lines().map(|line| line.trim().split_once(": ").unwrap());
        let fields: Vec<_> = lines.map(|(name, value)| Pair::new(name.as_bytes(), value.as_bytes())).collect();
        assert_eq!((decode(decoder, &bytes(block)), decoder.table_size()), (Ok(fields), size), "{block}");
    }
}

#[test]
fn every_representation_of_the_rfc_is_decoded() {
    let examples = [
        ("400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572", "custom-key", "custom-header", 55),
        ("040c 2f73 616d 706c 652f 7061 7468", ":path", "/sample/path", 0),
        ("1008 7061 7373 776f 7264 0673 6563 7265 74", "password", "secret", 0),
        ("82", ":method", "GET", 0),
    ];
    for (block, name, value, size) in examples {
        let mut decoder = Decoder::new(4096);
        let field = Pair::new(name.as_bytes(), value.as_bytes());
        assert_eq!((decode(&mut decoder, &bytes(block)), decoder.table_size()), (Ok(vec![field]), size), "{block}");
    }
}

/// RFC 7541, C.3 and C.4.
#[test]
fn the_rfc_s_requests_are_decoded_plain_and_with_huffman_s_code() {
    let expected = [
        (":method: GET\n:scheme: http\n:path: /\n:authority: www.example.com", 57),
        (":method: GET\n:scheme: http\n:path: /\n:authority: www.example.com\ncache-control: no-cache", 110),
        (
            ":method: GET\n:scheme: https\n:path: /index.html\n:authority: www.example.com\ncustom-key: custom-value",
            164,
        ),
    ];
    let plain = [
        "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "8286 84be 5808 6e6f 2d63 6163 6865",
        "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
    ];
    agrees(&mut Decoder::new(4096), plain, expected);
    let coded = [
        "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
        "8286 84be 5886 a8eb 1064 9cbf",
        "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
    ];
    agrees(&mut Decoder::new(4096), coded, expected);
}

/// RFC 7541, C.5 and C.6.
#[test]
fn the_rfc_s_responses_are_decoded_while_the_table_drops_what_has_no_room() {
    let expected = [
        (
            ":status: 302\ncache-control: private\ndate: Mon, 21 Oct 2013 20:13:21 GMT\n\
             location: https://www.example.com",
            222,
        ),
        (
            ":status: 307\ncache-control: private\ndate: Mon, 21 Oct 2013 20:13:21 GMT\n\
             location: https://www.example.com",
            222,
        ),
        (
            ":status: 200\ncache-control: private\ndate: Mon, 21 Oct 2013 20:13:22 GMT\n\
             location: https://www.example.com\ncontent-encoding: gzip\n\
             set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
            215,
        ),
    ];
    let plain = [
        "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3120
         474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "4803 3330 37c1 c0bf",
        "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a 6970 7738
         666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d 6178 2d61 6765 3d33
         3630 303b 2076 6572 7369 6f6e 3d31",
    ];
    let coded = [
        "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad 1718
         63c7 8f0b 97c8 e9ae 82ae 43d3",
        "4883 640e ffc1 c0bf",
        "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2 e6c7
         b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07",
    ];
    for blocks in [plain, coded] {
        let mut decoder = Decoder::new(256);
        assert_eq!(decode(&mut decoder, &bytes("3fe1 01")), Ok(vec![]));
        agrees(&mut decoder, blocks, expected);
    }
}

#[test]
fn what_is_broken_is_refused_and_named() {
    for truncated in ["ff", "40", "4001", "4001 61", "4001 6105 62", "04", "3f", "4086 a8eb", "50", "0f80"] {
        assert_eq!(refusal(&bytes(truncated)), Error::Truncated, "{truncated}");
    }
    assert_eq!(refusal(&bytes("ff80 8080 8001")), Error::TooLarge);
    assert_eq!(refusal(&bytes("007f ffff ffff ffff")), Error::TooLarge);
    assert_eq!(refusal(&bytes("80")), Error::NoSuchField { index: 0 });
    assert_eq!(refusal(&bytes("be")), Error::NoSuchField { index: 62 });
    assert_eq!(refusal(&bytes("7e00")), Error::NoSuchField { index: 62 });
    assert_eq!(refusal(&bytes("4001 6101 62bf")), Error::NoSuchField { index: 63 });
    // The end of a string in a value, and a code of 8 bits and of 9 that are one.
    assert_eq!(refusal(&bytes("0484 ffff fffc")), Error::EndOfString);
    assert_eq!(refusal(&bytes("0484 ffff ffff")), Error::EndOfString);
    assert_eq!(refusal(&bytes("0481 ff")), Error::Padding);
    assert_eq!(refusal(&bytes("0482 1fff")), Error::Padding);
    // `a` has the code 00011: what follows is not all ones.
    assert_eq!(refusal(&bytes("0481 18")), Error::Padding);
    assert_eq!(refusal(&bytes("0481 1b")), Error::Padding);
    assert_eq!(refusal(&bytes("82 20")), Error::LateResize);
    assert_eq!(refusal(&bytes("3fe2 1f")), Error::TableTooLarge { size: 4097, most: 4096 });
}

#[test]
fn the_table_grows_only_to_what_was_announced_and_when_the_peer_says_so() {
    let mut decoder = Decoder::new(64);
    let long = [bytes("4001 617f 49").as_slice(), &[b'x'; 200]].concat();
    assert_eq!(decode(&mut decoder, &long).map(|fields| fields.len()), Ok(1));
    assert_eq!(decoder.table_size(), 233);
    assert_eq!((decode(&mut decoder, &bytes("3f21")), decoder.table_size()), (Ok(vec![]), 0));
    assert_eq!(decode(&mut decoder, &bytes("3f22")), Err(Error::TableTooLarge { size: 65, most: 64 }));
}

#[test]
fn a_field_larger_than_the_table_empties_it() {
    let mut decoder = Decoder::new(4096);
    let small = Pair::new(b"a", b"b");
    assert_eq!(decode(&mut decoder, &bytes("3f09 4001 6101 62")), Ok(vec![small]));
    assert_eq!(decoder.table_size(), 34);
    let fields = decode(&mut decoder, &bytes("7e08 6262 6262 6262 6262"));
    assert_eq!((fields, decoder.table_size()), (Ok(vec![Pair::new(b"a", b"bbbbbbbb")]), 0));
}

/// A literal with the name of the static table's `:path`, which is not kept: `first` says so, with or without "never".
fn path(first: u8, value: &str) -> Vec<u8> {
    [&[first, u8::try_from(value.len()).unwrap()], value.as_bytes()].concat()
}

#[test]
fn what_comes_again_without_being_kept_is_read_as_it_stands() {
    thread_local!(static MADE: Cell<usize> = const { Cell::new(0) });
    #[derive(Clone, Debug, PartialEq, Eq)]
    struct Made(Pair);
    impl Field for Made {
        fn new(name: &[u8], value: &[u8]) -> Self {
            MADE.set(MADE.get() + 1);
            Self(Pair::new(name, value))
        }

        fn with_value(&self, value: &[u8]) -> Self {
            Self(self.0.with_value(value))
        }
    }
    let mut decoder = Decoder::<Made>::new(4096);
    let mut read = |block: &[u8]| {
        let (before, mut found) = (MADE.get(), vec![]);
        decoder.decode(block, |field, size| (found.push((field.0, size)), ControlFlow::Continue(())).1).unwrap();
        (found, MADE.get() - before)
    };
    let is = |value: &str| (Pair::new(b":path", value.as_bytes()), 5 + value.len() + 32);
    for (value, made) in [("/a", 1), ("/ab", 1), ("/a", 0), ("/ab", 0), ("/abc", 1), ("/a", 1), ("/abc", 0), ("/", 1)] {
        assert_eq!(read(&path(0x04, value)), (vec![is(value)], made), "{value}");
    }
    let two = [path(0x04, "/"), path(0x04, "/a")].concat();
    assert_eq!(read(&two), (vec![is("/"), is("/a")], 0));
    // What is never to be kept is not, and `content-length` is no path.
    let (never, other) = (path(0x14, "/"), [&[0x0f, 13][..], &path(0, "/")[1..]].concat());
    assert_eq!((read(&never), read(&never)), ((vec![is("/")], 1), (vec![is("/")], 1)));
    assert_eq!(read(&other), (vec![(Pair::new(b"content-length", b"/"), 14 + 1 + 32)], 1));
    let long = "x".repeat(126);
    assert_eq!((read(&path(0x04, &long)).1, read(&path(0x04, &long)).1), (1, 0));
}

#[test]
fn whoever_takes_the_fields_may_end_it() {
    let mut taken = 0;
    let stopped = Decoder::<Pair>::new(4096).decode(&bytes("82 8482"), |_, _| {
        taken += 1;
        if taken == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert_eq!((stopped, taken), (Err(Error::Stopped), 2));
}

fn encoded(encoder: &mut Encoder, fields: &[(&str, &str, Indexing)]) -> Vec<u8> {
    let mut out = Vec::new();
    encoder.begin(&mut out);
    for (name, value, indexing) in fields {
        encoder.field(name.as_bytes(), value.as_bytes(), *indexing, &mut out);
    }
    out
}

#[test]
fn what_comes_again_takes_one_byte() {
    let mut encoder = Encoder::default();
    let fields = [("content-type", "application/grpc", Indexing::Keep), ("grpc-status", "0", Indexing::Keep)];
    assert_eq!(
        encoded(&mut encoder, &fields),
        [&b"\x5f\x10application/grpc"[..], b"\x40\x0bgrpc-status\x010"].concat()
    );
    assert_eq!(encoded(&mut encoder, &fields), bytes("bf be"));
    assert_eq!(encoded(&mut encoder, &[("grpc-status", "5", Indexing::Plain)]), bytes("0f2f 0135"));
    assert_eq!(encoded(&mut encoder, &[("grpc-status", "0", Indexing::Never)]), bytes("1f2f 0130"));
    let mut out = Vec::new();
    for code in [200, 404, 503] {
        encoder.status(code, &mut out);
    }
    assert_eq!(out, bytes("88 8d 0803 3530 33"));
}

#[test]
fn what_has_no_room_is_written_and_not_kept() {
    let mut encoder = Encoder::default();
    for number in 0..40 {
        let name = format!("name-{number}");
        let first = encoded(&mut encoder, &[(&name, "x", Indexing::Keep)]);
        assert_eq!(first[0], if number < 16 { 0x40 } else { 0 });
    }
    encoder.resize(100);
    let fields = [("a", "b", Indexing::Keep), ("c", "d", Indexing::Keep), ("e", "f", Indexing::Keep)];
    assert_eq!(encoded(&mut encoder, &fields), bytes("20 3f45 4001 6101 62 4001 6301 64 0001 6501 66"));
    let large = "x".repeat(300);
    encoder.resize(5000);
    assert_eq!(encoded(&mut encoder, &[("a", &large, Indexing::Keep)])[..5], bytes("20 3fe1 1f00"));
}

#[test]
fn sizes_are_written_once_and_only_if_they_changed() {
    let mut encoder = Encoder::default();
    encoder.resize(65_536);
    assert_eq!(encoded(&mut encoder, &[]), bytes(""));
    encoder.resize(0);
    assert_eq!((encoded(&mut encoder, &[]), encoded(&mut encoder, &[])), (bytes("20"), bytes("")));
    encoder.resize(10);
    encoder.resize(4096);
    assert_eq!((encoded(&mut encoder, &[]), encoded(&mut encoder, &[])), (bytes("20 3fe1 1f"), bytes("")));
}

fn indexing() -> impl Strategy<Value = Indexing> {
    prop_oneof![Just(Indexing::Keep), Just(Indexing::Plain), Just(Indexing::Never)]
}

/// Names and values of which some come again.
fn field() -> impl Strategy<Value = (Vec<u8>, Vec<u8>, Indexing)> {
    let known = (0..61_usize).prop_map(|at| table::FIELDS[at]);
    let known = known.prop_map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()));
    let any = ("[a-z]{0,2}", prop::collection::vec(any::<u8>(), 0..200));
    let few = ("[a-d]", "[a-b]{0,1}").prop_map(|(name, value)| (name.into_bytes(), value.into_bytes()));
    let fields = prop_oneof![known, few, any.prop_map(|(name, value)| (name.into_bytes(), value))];
    (fields, indexing()).prop_map(|((name, value), indexing)| (name, value, indexing))
}

proptest! {
    #[test]
    fn what_was_encoded_is_decoded_whatever_sizes_the_peer_sets(
        blocks in prop::collection::vec(
            (prop::collection::vec(0..6000_usize, 0..3), prop::collection::vec(field(), 0..30)), 1..8
        ),
    ) {
        let (mut encoder, mut decoder) = (Encoder::default(), Decoder::new(6000));
        for (sizes, fields) in blocks {
            sizes.into_iter().for_each(|size| encoder.resize(size));
            let mut out = Vec::new();
            encoder.begin(&mut out);
            for (name, value, indexing) in &fields {
                encoder.field(name, value, *indexing, &mut out);
            }
            let fields: Vec<_> = fields.into_iter().map(|(name, value, _)| Pair(name, value)).collect();
            prop_assert_eq!(decode(&mut decoder, &out), Ok(fields));
        }
    }

    #[test]
    fn any_bytes_are_decoded_or_refused_and_the_table_stays_within_its_size(
        most in 0..6000_usize,
        blocks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..20),
    ) {
        let mut decoder = Decoder::new(most);
        for block in blocks {
            let _ = decode(&mut decoder, &block);
            prop_assert!(decoder.table_size() <= most.max(4096));
        }
    }
}

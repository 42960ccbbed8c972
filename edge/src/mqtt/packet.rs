//! The packets of MQTT 3.1.1 that QoS 0 and 1 need, in both directions.
//!
//! Source: OASIS "MQTT Version 3.1.1 Plus Errata 01". The packets of QoS 2 and UNSUBSCRIBE are refused: nothing here asks
//! for them.

use super::reading::Reader;

/// Why bytes are no packet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum Malformed {
    #[error("a packet has {found} bytes, and at most {limit} are taken")]
    TooLarge { found: usize, limit: usize },
    #[error("the length of a packet has more than four bytes")]
    Length,
    #[error("a packet of type {0} is not expected")]
    Type(u8),
    #[error("a packet of type {0} has flags {1:#06b}, which it must not have")]
    Flags(u8, u8),
    #[error("a packet of type {0} ends too early, or too late")]
    Size(u8),
    #[error("a text in a packet is not UTF-8, or has a NUL in it")]
    Text,
    #[error("a packet has the id 0")]
    Id,
    #[error("the protocol is not MQTT 3.1.1")]
    Protocol,
    #[error("a text or a message is longer than MQTT can say")]
    TooLong,
}

/// A packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet {
    /// A client says who it is.
    Connect(Connect),
    /// The server says whether it may come in.
    ConnAck {
        /// Whether the server has a session of that client.
        session_present: bool,
        /// 0 where it may, else why not.
        code: u8,
    },
    /// A message.
    Publish(Publish),
    /// The other side has that message.
    PubAck(u16),
    /// A client wants messages.
    Subscribe {
        /// The packet's id.
        id: u16,
        /// Filters of topics, each with the highest QoS wanted.
        filters: Vec<(String, u8)>,
    },
    /// The server says for each filter at which QoS, or 128 for a refusal.
    SubAck {
        /// The id of what is answered.
        id: u16,
        /// The QoS granted.
        codes: Vec<u8>,
    },
    /// Is anybody there?
    PingReq,
    /// Yes.
    PingResp,
    /// A client leaves.
    Disconnect,
}

/// Who a client is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Connect {
    /// Its id.
    pub client_id: String,
    /// Whether the server is to forget what it knows of it.
    pub clean_session: bool,
    /// The seconds that it is silent for at most; 0 is no limit.
    pub keep_alive: u16,
    /// Its name, if the server wants one.
    pub username: Option<String>,
    /// Its secret, which takes a name.
    pub password: Option<Vec<u8>>,
}

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    /// Where it goes.
    pub topic: String,
    /// The id under which it is acknowledged, with QoS 1; without it, QoS 0.
    pub id: Option<u16>,
    /// Whether it may have been sent before.
    pub duplicate: bool,
    /// Whether the server keeps it for those who come later.
    pub retain: bool,
    /// What is said.
    pub body: Vec<u8>,
}

/// Reads the packet that `bytes` begin with, and how many of them it has. `None`: there is more to come.
///
/// # Errors
/// [`Malformed`], after which nothing that follows can be understood. A packet that is larger than `limit` is refused as
/// soon as its length is known.
pub fn decode(bytes: &[u8], limit: usize) -> Result<Option<(Packet, usize)>, Malformed> {
    let Some((first, rest)) = bytes.split_first() else { return Ok(None) };
    let mut length = 0_usize;
    let mut width = 0;
    loop {
        let Some(byte) = rest.get(width) else { return if width < 4 { Ok(None) } else { Err(Malformed::Length) } };
        if width == 4 {
            return Err(Malformed::Length);
        }
        length |= usize::from(byte & 0x7f) << (7 * width);
        width += 1;
        if byte & 0x80 == 0 {
            break;
        }
    }
    let whole = 1 + width + length;
    if whole > limit {
        return Err(Malformed::TooLarge { found: whole, limit });
    }
    let Some(body) = rest.get(width..width + length) else { return Ok(None) };
    Ok(Some((decode_body(first >> 4, first & 0x0f, body)?, whole)))
}

fn decode_body(kind: u8, flags: u8, body: &[u8]) -> Result<Packet, Malformed> {
    let wanted = match kind {
        3 => flags,
        8 => 2,
        _ => 0,
    };
    if flags != wanted {
        return Err(Malformed::Flags(kind, flags));
    }
    let mut reader = Reader::new(kind, body);
    let packet = match kind {
        1 => Packet::Connect(decode_connect(&mut reader)?),
        2 => {
            let flags = reader.byte()?;
            if flags > 1 {
                return Err(Malformed::Flags(kind, flags));
            }
            Packet::ConnAck { session_present: flags == 1, code: reader.byte()? }
        }
        3 => return decode_publish(flags, reader),
        4 => Packet::PubAck(reader.id()?),
        8 => {
            let id = reader.id()?;
            let mut filters = Vec::new();
            while !reader.is_empty() {
                let filter = reader.text()?;
                let qos = reader.byte()?;
                if qos > 2 || filter.is_empty() {
                    return Err(Malformed::Size(kind));
                }
                filters.push((filter, qos));
            }
            Packet::Subscribe { id, filters }
        }
        9 => Packet::SubAck { id: reader.id()?, codes: reader.rest().to_vec() },
        12 => Packet::PingReq,
        13 => Packet::PingResp,
        14 => Packet::Disconnect,
        other => return Err(Malformed::Type(other)),
    };
    let nothing = matches!(&packet, Packet::Subscribe { filters, .. } if filters.is_empty());
    if reader.is_empty() && !nothing { Ok(packet) } else { Err(Malformed::Size(kind)) }
}

fn decode_connect(reader: &mut Reader<'_>) -> Result<Connect, Malformed> {
    if reader.text()? != "MQTT" || reader.byte()? != 4 {
        return Err(Malformed::Protocol);
    }
    let flags = reader.byte()?;
    let keep_alive = reader.short()?;
    let client_id = reader.text()?;
    // The lowest bit is reserved; a will is not spoken of here.
    if flags & 0b0011_1101 != 0 || flags & 0b1100_0000 == 0b0100_0000 {
        return Err(Malformed::Flags(1, flags));
    }
    let username = (flags & 0x80 != 0).then(|| reader.text()).transpose()?;
    let password = (flags & 0x40 != 0).then(|| reader.bytes()).transpose()?.map(<[u8]>::to_vec);
    Ok(Connect { client_id, clean_session: flags & 2 != 0, keep_alive, username, password })
}

fn decode_publish(flags: u8, mut reader: Reader<'_>) -> Result<Packet, Malformed> {
    let topic = reader.text()?;
    let id = match flags >> 1 & 3 {
        0 if flags & 8 == 0 => None,
        1 => Some(reader.id()?),
        _ => return Err(Malformed::Flags(3, flags)),
    };
    if topic.contains(['+', '#']) {
        return Err(Malformed::Text);
    }
    let (duplicate, retain) = (flags & 8 != 0, flags & 1 != 0);
    Ok(Packet::Publish(Publish { topic, id, duplicate, retain, body: reader.rest().to_vec() }))
}

/// Writes a packet at the end of `out`.
///
/// # Errors
/// [`Malformed::TooLong`] where a text has more than 65,535 bytes or the packet more than 256 MiB; [`Malformed::Id`] and
/// [`Malformed::Text`] where it breaks the rules. `out` is left as it was then.
pub fn encode(packet: &Packet, out: &mut Vec<u8>) -> Result<(), Malformed> {
    let mut body = Vec::new();
    let first = match packet {
        Packet::Connect(connect) => {
            encode_connect(connect, &mut body)?;
            0x10
        }
        Packet::ConnAck { session_present, code } => {
            body.extend_from_slice(&[u8::from(*session_present), *code]);
            0x20
        }
        Packet::Publish(publish) => {
            if publish.topic.is_empty() || publish.topic.contains(['+', '#']) {
                return Err(Malformed::Text);
            }
            text(&publish.topic, &mut body)?;
            if let Some(number) = publish.id {
                id(number, &mut body)?;
            }
            body.extend_from_slice(&publish.body);
            let duplicate = publish.duplicate && publish.id.is_some();
            0x30 | u8::from(duplicate) << 3 | u8::from(publish.id.is_some()) << 1 | u8::from(publish.retain)
        }
        Packet::PubAck(number) => {
            id(*number, &mut body)?;
            0x40
        }
        Packet::Subscribe { id: number, filters } => {
            id(*number, &mut body)?;
            for (filter, qos) in filters {
                text(filter, &mut body)?;
                body.push(*qos);
            }
            0x82
        }
        Packet::SubAck { id: number, codes } => {
            id(*number, &mut body)?;
            body.extend_from_slice(codes);
            0x90
        }
        Packet::PingReq => 0xc0,
        Packet::PingResp => 0xd0,
        Packet::Disconnect => 0xe0,
    };
    let mut length = u32::try_from(body.len()).ok().filter(|length| *length < 1 << 28).ok_or(Malformed::TooLong)?;
    out.push(first);
    loop {
        let [low, ..] = length.to_le_bytes();
        length >>= 7;
        out.push(if length > 0 { low | 0x80 } else { low & 0x7f });
        if length == 0 {
            break;
        }
    }
    out.extend_from_slice(&body);
    Ok(())
}

fn encode_connect(connect: &Connect, out: &mut Vec<u8>) -> Result<(), Malformed> {
    text("MQTT", out)?;
    let flags = [(connect.clean_session, 2), (connect.username.is_some(), 0x80), (connect.password.is_some(), 0x40)];
    out.extend_from_slice(&[4, flags.iter().filter(|(set, _)| *set).map(|(_, flag)| flag).sum()]);
    out.extend_from_slice(&connect.keep_alive.to_be_bytes());
    text(&connect.client_id, out)?;
    if let Some(username) = &connect.username {
        text(username, out)?;
    }
    if let Some(password) = &connect.password {
        bytes(password, out)?;
    }
    Ok(())
}

fn id(number: u16, out: &mut Vec<u8>) -> Result<(), Malformed> {
    if number == 0 {
        return Err(Malformed::Id);
    }
    out.extend_from_slice(&number.to_be_bytes());
    Ok(())
}

fn text(text: &str, out: &mut Vec<u8>) -> Result<(), Malformed> {
    if text.contains('\0') { Err(Malformed::Text) } else { bytes(text.as_bytes(), out) }
}

fn bytes(bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    let length = u16::try_from(bytes.len()).map_err(|_| Malformed::TooLong)?;
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(bytes);
    Ok(())
}

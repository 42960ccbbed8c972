//! What a client has to remember of a connection, without any input or output.
//!
//! Azure IoT Edge's hub is no ordinary broker (its `MessagingServiceClient` and the protocol gateway underneath): every
//! QoS 1 message that it sends has the packet id 1, and it matches acknowledgements first in, first out. So each message is
//! acknowledged exactly once, in the order of arrival, and nothing is concluded from its id. Ordinary brokers do not mind.

use std::collections::VecDeque;

use super::packet::{Packet, Publish};

/// The most messages of one side that may wait for their acknowledgement. A hub stops reading at 100.
pub const WINDOW: usize = 16;

/// The most messages that may wait here to be accepted: some servers know no limit.
const MOST_UNACCEPTED: usize = 256;

/// The most bytes that their bodies may have, so that memory is bounded too; one message may be larger.
const MOST_BYTES: usize = 2 << 20;

/// What a packet means for the application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event<T> {
    /// A message came. With a ticket it has to be accepted, however late.
    Message {
        /// Where it was sent to.
        topic: String,
        /// What it says.
        body: Vec<u8>,
        /// For [`Session::accept`]; messages of QoS 0 have none.
        ticket: Option<Ticket>,
    },
    /// A message came that is too large to be taken. With a ticket it has to be accepted all the same.
    Oversized {
        /// Where it was sent to.
        topic: String,
        /// The bytes of its packet.
        size: usize,
        /// For [`Session::accept`]; messages of QoS 0 have none.
        ticket: Option<Ticket>,
    },
    /// The other side has the message with that tag.
    Acknowledged(T),
    /// A subscription was answered, with the QoS granted for each filter, or 128 for a refusal.
    Subscribed(Vec<u8>),
    /// Nothing for the application.
    Nothing,
}

/// A message of QoS 1 that was not yet accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(u64);

/// What must not happen; the connection is of no use any more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum Violation {
    #[error("the server acknowledged message {0}, which was not sent")]
    Unsolicited(u16),
    #[error("the server sent a packet that only clients send")]
    WrongWay,
    #[error("no more messages may be sent before one is acknowledged")]
    WindowFull,
}

/// The state of one connection, whose messages the application knows by tags of type `T`.
#[derive(Debug)]
pub struct Session<T> {
    last_id: u16,
    /// What was sent and not acknowledged.
    sent: VecDeque<(u16, T)>,
    /// What came and was not acknowledged.
    came: VecDeque<Unacknowledged>,
    /// The bytes of their bodies.
    bytes: usize,
    /// The ticket of the first of them.
    first: u64,
}

/// A message that came and was not acknowledged.
#[derive(Clone, Copy, Debug)]
struct Unacknowledged {
    id: u16,
    bytes: usize,
    accepted: bool,
}

impl<T> Default for Session<T> {
    fn default() -> Self {
        Self { last_id: 0, sent: VecDeque::new(), came: VecDeque::new(), bytes: 0, first: 0 }
    }
}

impl<T> Session<T> {
    /// Takes a packet in, and says what it means.
    pub fn receive(&mut self, packet: Packet) -> Result<Event<T>, Violation> {
        match packet {
            Packet::Publish(Publish { topic, id, body, .. }) => {
                let ticket = id.map(|id| self.note(id, body.len()));
                Ok(Event::Message { topic, body, ticket })
            }
            Packet::PubAck(id) => {
                let at = self.sent.iter().position(|(sent, _)| *sent == id);
                let sent = at.and_then(|at| self.sent.remove(at));
                sent.map(|(_, tag)| Event::Acknowledged(tag)).ok_or(Violation::Unsolicited(id))
            }
            Packet::SubAck { codes, .. } => Ok(Event::Subscribed(codes)),
            Packet::PingResp | Packet::ConnAck { .. } => Ok(Event::Nothing),
            Packet::Connect(_) | Packet::Subscribe { .. } | Packet::PingReq | Packet::Disconnect => {
                Err(Violation::WrongWay)
            }
        }
    }

    /// Takes in that a message came which is too large to be taken.
    pub(super) fn receive_oversized(&mut self, topic: String, id: Option<u16>, size: usize) -> Event<T> {
        Event::Oversized { topic, size, ticket: id.map(|id| self.note(id, 0)) }
    }

    fn note(&mut self, id: u16, bytes: usize) -> Ticket {
        self.came.push_back(Unacknowledged { id, bytes, accepted: false });
        self.bytes += bytes;
        Ticket(self.first + self.came.len() as u64 - 1)
    }

    /// Accepts a message, and returns the acknowledgements that can be sent now: its own has to wait for those before it.
    pub fn accept(&mut self, ticket: Ticket) -> Vec<Packet> {
        let at = ticket.0.checked_sub(self.first).and_then(|at| usize::try_from(at).ok());
        if let Some(message) = at.and_then(|at| self.came.get_mut(at)) {
            message.accepted = true;
            self.bytes -= std::mem::take(&mut message.bytes);
        }
        let mut answers = Vec::new();
        while let Some(message) = self.came.front().filter(|message| message.accepted) {
            answers.push(Packet::PubAck(message.id));
            self.came.pop_front();
            self.first += 1;
        }
        answers
    }

    /// Makes a message of QoS 1, which [`Event::Acknowledged`] will tell of.
    pub fn publish(&mut self, topic: String, body: Vec<u8>, tag: T) -> Result<Packet, Violation> {
        if !self.has_room() {
            return Err(Violation::WindowFull);
        }
        let id = self.next_id();
        self.sent.push_back((id, tag));
        Ok(Packet::Publish(Publish { topic, id: Some(id), duplicate: false, retain: false, body }))
    }

    /// Makes a subscription.
    pub fn subscribe(&mut self, filters: Vec<(String, u8)>) -> Packet {
        Packet::Subscribe { id: self.next_id(), filters }
    }

    /// Whether one more message may be sent.
    pub fn has_room(&self) -> bool {
        self.sent.len() < WINDOW
    }

    /// Whether nothing should be read before a message is accepted. Acknowledgements have to wait too then, which is of no
    /// harm: what makes room is the scoring of messages, not the sending of answers.
    pub fn is_full(&self) -> bool {
        self.came.len() >= MOST_UNACCEPTED || self.bytes >= MOST_BYTES
    }

    /// Whether nothing that was sent waits to be acknowledged.
    pub fn is_quiet(&self) -> bool {
        self.sent.is_empty()
    }

    /// An id that nothing under way has; 0 is none.
    fn next_id(&mut self) -> u16 {
        loop {
            self.last_id = self.last_id.checked_add(1).unwrap_or(1);
            if !self.sent.iter().any(|(id, _)| *id == self.last_id) {
                return self.last_id;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn came(session: &mut Session<&str>, id: u16) -> Ticket {
        let publish = Publish { topic: "t".into(), id: Some(id), duplicate: false, retain: false, body: vec![] };
        match session.receive(Packet::Publish(publish)).unwrap() {
            Event::Message { ticket: Some(ticket), .. } => ticket,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn messages_with_the_same_id_are_acknowledged_once_each_in_the_order_of_arrival() {
        let mut session = Session::default();
        let tickets: Vec<_> = [1, 1, 7, 1].into_iter().map(|id| came(&mut session, id)).collect();
        assert_eq!(session.accept(tickets[2]), []);
        assert_eq!(session.accept(tickets[1]), []);
        assert_eq!(session.accept(tickets[0]), [Packet::PubAck(1), Packet::PubAck(1), Packet::PubAck(7)]);
        assert_eq!(session.accept(tickets[0]), []);
        assert_eq!(session.accept(tickets[3]), [Packet::PubAck(1)]);
        let next = came(&mut session, 1);
        assert_eq!(session.accept(next), [Packet::PubAck(1)]);
    }

    #[test]
    fn what_was_sent_is_known_by_its_tag_when_it_is_acknowledged() {
        let mut session = Session::default();
        let mut id = |tag| match session.publish("t".into(), vec![], tag).unwrap() {
            Packet::Publish(publish) => publish.id.unwrap(),
            other => panic!("{other:?}"),
        };
        let (a, b) = (id("a"), id("b"));
        assert_eq!(session.receive(Packet::PubAck(b)), Ok(Event::Acknowledged("b")));
        assert_eq!(session.receive(Packet::PubAck(b)), Err(Violation::Unsolicited(b)));
        assert_eq!(session.receive(Packet::PubAck(a)), Ok(Event::Acknowledged("a")));
        assert!(session.is_quiet());
    }

    #[test]
    fn ids_are_never_zero_nor_used_twice_at_a_time() {
        let mut session = Session { last_id: u16::MAX - 1, ..Session::default() };
        for tag in 0..WINDOW {
            session.publish("t".into(), vec![], tag).unwrap();
        }
        assert_eq!(session.publish("t".into(), vec![], 99), Err(Violation::WindowFull));
        let mut ids: Vec<_> = session.sent.iter().map(|(id, _)| *id).collect();
        ids.dedup();
        assert!(ids.len() == WINDOW && !ids.contains(&0), "{ids:?}");
    }

    #[test]
    fn large_messages_are_fewer() {
        let mut session: Session<&str> = Session::default();
        let body = vec![0; MOST_BYTES / 2];
        let publish = Publish { topic: "t".into(), id: Some(1), duplicate: false, retain: false, body };
        let mut tickets = Vec::new();
        while !session.is_full() {
            let Ok(Event::Message { ticket, .. }) = session.receive(Packet::Publish(publish.clone())) else { panic!() };
            tickets.extend(ticket);
        }
        assert_eq!(tickets.len(), 2);
        session.accept(tickets[1]);
        assert!(!session.is_full());
    }

    #[test]
    fn of_a_server_that_knows_no_limit_no_more_is_read_before_a_message_is_accepted() {
        let mut session = Session::default();
        session.publish("t".into(), vec![], "sent").unwrap();
        let tickets: Vec<_> = (0..MOST_UNACCEPTED).map(|_| came(&mut session, 1)).collect();
        assert!(session.is_full());
        session.accept(tickets[0]);
        assert!(!session.is_full());
    }
}

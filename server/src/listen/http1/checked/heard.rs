//! What a client hears, and has to be able to rely on: answers one after the other, each as its request has it.

use std::collections::HashMap;

use super::CONTINUE;
use super::said::{Asked, Said};
use crate::listen::checked::answer::{Fields, check_bytes, check_end};

/// What comes next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum At {
    /// A head, or the end.
    #[default]
    Head,
    /// So much of a body.
    Length(usize),
    Chunk,
    /// What comes before the connection ends.
    Close,
    /// Nothing.
    Over,
}

#[derive(Debug, Default)]
pub(super) struct Heard {
    /// What is no whole part of anything.
    bytes: Vec<u8>,
    /// How far the end of a head was looked for.
    looked: usize,
    at: At,
    /// How many requests are answered to the end.
    pub(super) answered: usize,
    /// Whether the client was told to go on with the next one.
    pub(super) may_go_on: bool,
    /// The head of the answer that comes, and how much of its body has come.
    fields: Fields,
    had: usize,
    /// The status of an answer to what is no request, and what it tells.
    pub(super) refused: Option<u16>,
    told: Vec<u8>,
    /// Whether nothing follows the answer.
    pub(super) closes: bool,
    /// Whether its client may still be sending.
    pub(super) lingers: bool,
    /// Whether any answer closes the connection, or may do so.
    pub(super) is_single: bool,
    pub(super) may_close: bool,
}

impl Heard {
    pub(super) fn take(&mut self, bytes: &[u8], said: &Said) {
        self.bytes.extend_from_slice(bytes);
        while let Some(taken) = self.part(said) {
            self.bytes.drain(..taken);
            self.looked = 0;
        }
    }

    /// The end of all. It is one of an answer's that has no other.
    pub(super) fn end(&mut self, said: &Said) {
        if self.at == At::Close {
            self.ends(said);
        }
        assert!(matches!(self.at, At::Head | At::Over) && self.bytes.is_empty(), "it ends within an answer: {self:?}");
    }

    /// Takes the next part, if it is there; says how many bytes it has.
    fn part(&mut self, said: &Said) -> Option<usize> {
        match self.at {
            At::Head => {
                let from = self.looked.saturating_sub(3);
                self.looked = self.bytes.len();
                let end = from + 4 + self.bytes[from..].windows(4).position(|four| four == b"\r\n\r\n")?;
                let head = self.bytes[..end].to_vec();
                self.head(&head, said);
                Some(end)
            }
            At::Chunk => {
                let line = self.bytes.windows(2).position(|pair| pair == b"\r\n")?;
                let digits = str::from_utf8(&self.bytes[..line]).unwrap();
                let size = usize::from_str_radix(digits, 16).unwrap();
                assert_eq!(format!("{size:x}"), digits);
                let (from, to) = (line + 2, line + 2 + size);
                assert_eq!(self.bytes.get(to..to + 2)?, b"\r\n");
                let data = self.bytes[from..to].to_vec();
                self.data(&data, said);
                if size == 0 {
                    self.ends(said);
                }
                Some(to + 2)
            }
            _ if self.bytes.is_empty() => None,
            At::Length(left) => {
                let count = left.min(self.bytes.len());
                let data = self.bytes[..count].to_vec();
                self.data(&data, said);
                self.at = At::Length(left - count);
                if count == left {
                    self.ends(said);
                }
                Some(count)
            }
            At::Close => {
                let data = self.bytes.clone();
                self.data(&data, said);
                Some(data.len())
            }
            At::Over => unreachable!("something stands behind the end: {:?}", String::from_utf8_lossy(&self.bytes)),
        }
    }

    fn head(&mut self, head: &[u8], said: &Said) {
        let asked = said.asked.get(self.answered);
        if head == CONTINUE {
            assert!(asked.unwrap().waits && !self.may_go_on, "nobody waits for {asked:?}");
            self.may_go_on = true;
            return;
        }
        let text = str::from_utf8(head).unwrap();
        let mut lines = text.strip_suffix("\r\n\r\n").unwrap().split("\r\n");
        let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")?.split_at_checked(3));
        let (status, reason) = status.unwrap();
        let status: u16 = status.parse().unwrap();
        assert!(reason.starts_with(' '), "{text:?}");
        self.fields = HashMap::new();
        for line in lines {
            let (name, value) = line.split_once(": ").unwrap();
            let is_name = |byte: u8| byte.is_ascii_lowercase() || byte == b'-';
            assert!(name.bytes().all(is_name) && value.trim() == value && !value.contains('\n'), "{line:?}");
            assert!(self.fields.insert(name.to_string(), value.to_string()).is_none(), "{name} stands there twice");
        }
        assert!(self.fields.contains_key("date"));
        self.had = 0;
        self.closes = self.says("connection", "close");
        if self.says("content-type", "application/json") {
            self.refusal(status);
        } else {
            self.answer(status, asked.unwrap_or_else(|| unreachable!("nobody has asked for {text:?}")));
        }
        self.at = match self.fields.get("content-length") {
            _ if self.refused.is_none() && !asked.is_some_and(Asked::wants_body) => At::Length(0),
            Some(length) => At::Length(length.parse().unwrap()),
            None if self.says("transfer-encoding", "chunked") => At::Chunk,
            None => At::Close,
        };
        if self.at == At::Length(0) {
            self.ends(said);
        }
    }

    fn says(&self, name: &str, value: &str) -> bool {
        self.fields.get(name).is_some_and(|other| other == value)
    }

    /// What is no request is told so, and nothing behind it is looked at.
    fn refusal(&mut self, status: u16) {
        assert!(self.closes && [400, 414, 431, 501, 505].contains(&status), "{status}: {:?}", self.fields);
        assert!(self.fields.contains_key("content-length") && !self.fields.contains_key("size"));
        self.refused = Some(status);
        self.lingers = true;
    }

    /// An answer suits its request.
    fn answer(&mut self, status: u16, asked: &Asked) {
        assert_eq!(asked.unfit, None, "{asked:?} is answered");
        let [length, coding] = ["content-length", "transfer-encoding"].map(|name| self.fields.contains_key(name));
        if self.fields.contains_key("size") {
            assert_eq!(status, asked.status());
        } else {
            assert!(status == 400 && (asked.is_odd || !asked.is_whole()), "{asked:?} is refused: {status}");
        }
        assert!(!coding || (self.says("transfer-encoding", "chunked") && asked.is_http11 && asked.wants_body()));
        assert!(!length || (status != 204 && status != 304), "{status} has a length");
        let ends_with_connection = !length && !coding && asked.wants_body();
        assert!(!length || !coding, "{:?}", self.fields);
        assert!(!ends_with_connection || !asked.is_http11, "{:?}", self.fields);
        // What was not read of a request would be taken for the next.
        let has_to = self.is_single || ends_with_connection || !asked.keeps_alive || !asked.is_whole();
        assert!(self.closes || !has_to, "it goes on behind {asked:?}");
        assert!(!self.closes || has_to || asked.is_odd || self.may_close, "it does not go on behind {asked:?}");
        let keeps = self.says("connection", "keep-alive");
        assert_eq!(keeps, !self.closes && !asked.is_http11, "{:?}", self.fields);
        self.lingers = !asked.is_whole() || (self.closes && asked.keeps_alive);
    }

    fn data(&mut self, data: &[u8], said: &Said) {
        if self.refused.is_some() {
            self.told.extend_from_slice(data);
            return;
        }
        let asked = &said.asked[self.answered];
        check_bytes(&self.fields, self.had, data, asked.is_whole().then_some(&asked.body));
        self.had += data.len();
    }

    fn ends(&mut self, said: &Said) {
        self.at = if self.closes { At::Over } else { At::Head };
        if self.refused.is_some() {
            let told: serde_json::Value = serde_json::from_slice(&self.told).unwrap();
            assert!(told["error"].is_string());
            return;
        }
        let asked = &said.asked[self.answered];
        if asked.wants_body() {
            check_end(&self.fields, self.had, &asked.body);
        } else if let (Some(length), Some(size)) = (self.fields.get("content-length"), self.fields.get("size")) {
            assert_eq!(length, size);
        }
        self.answered += 1;
        self.may_go_on = false;
    }
}

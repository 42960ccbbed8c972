//! Requests that keep the rules, made of any bytes.

use super::said::Said;

const SIZES: [usize; 16] = [0, 0, 1, 2, 15, 16, 17, 100, 255, 256, 1000, 4096, 8192, 10_000, 20_000, 70_000];

const CHUNKS: [usize; 8] = [1, 2, 15, 16, 100, 4096, 8192, usize::MAX];

/// More chunks take too long.
const MOST_CHUNKS: usize = 300;

const MOST_REQUESTS: usize = 12;

/// What bodies are made of: what shows where it is taken for anything else.
const TEXT: &[u8] = b"\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: x\r\n\r\n7\r\n\n\n";

/// When a client says more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gate {
    /// So many of its requests were answered.
    Answered(usize),
    /// It may go on with the one behind these, or that is answered too.
    Continue(usize),
}

/// What a client says.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) bytes: Vec<u8>,
    /// What it waits for, and before which byte.
    pub(super) gates: Vec<(usize, Gate)>,
    /// The body of each request.
    pub(super) bodies: Vec<Vec<u8>>,
}

/// Bytes that decide, and zeros behind them.
struct Dice<'a>(&'a [u8]);

impl Dice<'_> {
    fn next(&mut self) -> u8 {
        self.0.split_off_first().copied().unwrap_or_default()
    }
}

impl Plan {
    pub(super) fn new(bytes: &[u8]) -> Self {
        let (mut plan, mut dice) = (Self::default(), Dice(bytes));
        while !dice.0.is_empty() && plan.bodies.len() < MOST_REQUESTS {
            plan.request(&mut dice);
        }
        plan
    }

    fn request(&mut self, dice: &mut Dice<'_>) {
        let count = self.bodies.len();
        let (how, what, style) = (dice.next(), dice.next(), dice.next());
        let [has_gate, expects, waits] = [1, 2, 4].map(|bit| how & bit != 0);
        if has_gate {
            self.gates.push((self.bytes.len(), Gate::Answered(count)));
        }
        let (version, connection) = match how >> 3 & 15 {
            0 => (0, ""),
            1 | 2 => (0, "Connection: Keep-Alive\r\n"),
            3 => (1, "connection: close\r\n"),
            4 => (1, "Connection: a, keep-alive\r\n"),
            _ => (1, ""),
        };
        let size = SIZES[usize::from(what & 15)];
        let from = usize::from(style) % TEXT.len();
        let body = TEXT.repeat(size / TEXT.len() + 2)[from..from + size].to_vec();
        let is_chunked = version == 1 && what & 16 != 0;
        let (length, fields) = if is_chunked {
            (String::new(), "Transfer-Encoding: chunked\r\n")
        } else if size == 0 && what & 32 != 0 {
            (String::new(), "")
        } else if what & 64 != 0 {
            (format!("content-length:{size}\r\nContent-Length: {size}\r\n"), "")
        } else {
            (format!("Content-Length:  00{size} \t\r\n"), "")
        };
        let waits_for_it = if expects { "Expect: 100-Continue\r\n" } else { "" };
        let method = ["GET", "POST", "HEAD", "M-SEARCH"][usize::from(dice.next() & 3)];
        let path = path(dice);
        let end = if what & 128 != 0 { "\n" } else { "\r\n" };
        let head = format!(
            "{method} /{path} HTTP/1.{version}\r\nHost: x\r\n{connection}{fields}{length}empty:\r\n{waits_for_it}{end}"
        );
        if style & 192 == 192 {
            self.bytes.extend_from_slice(b"\r\n");
        }
        self.bytes.extend_from_slice(head.as_bytes());
        if expects && waits && version == 1 && (is_chunked || size > 0) {
            self.gates.push((self.bytes.len(), Gate::Continue(count)));
        }
        if is_chunked {
            self.chunks(&body, style);
        } else {
            self.bytes.extend_from_slice(&body);
        }
        self.bodies.push(body);
    }

    fn chunks(&mut self, body: &[u8], style: u8) {
        let extension = ["", ";a", " ; a=\"b;c\"", ";x=y;z"][usize::from(style >> 3 & 3)];
        for chunk in body.chunks(CHUNKS[usize::from(style & 7)].max(body.len() / MOST_CHUNKS)) {
            let size = chunk.len();
            let size = if style & 64 != 0 { format!("00{size:X}") } else { format!("{size:x}") };
            self.bytes.extend_from_slice(format!("{size}{extension}\r\n").as_bytes());
            self.bytes.extend_from_slice(chunk);
            self.bytes.extend_from_slice(b"\r\n");
        }
        let trailers = if style & 32 != 0 { "A: 1\r\nGET /smuggled HTTP/1.1: x\r\n" } else { "" };
        self.bytes.extend_from_slice(format!("0{extension}\r\n{trailers}\r\n").as_bytes());
    }

    /// Checks that what was `said` is what was planned.
    pub(super) fn check(&self, said: &Said) {
        assert!(!said.is_lost && said.asked.len() <= self.bodies.len(), "{said:?}");
        for (asked, body) in said.asked.iter().zip(&self.bodies) {
            assert!(
                asked.unfit.is_none()
                    && if asked.is_whole() { asked.body == *body } else { body.starts_with(&asked.body) }
            );
        }
    }
}

/// A path whose answer comes at last.
fn path(dice: &mut Dice<'_>) -> String {
    let [size, piece, mut reads, waits, kind] = std::array::from_fn(|_| dice.next());
    if reads & 15 == 3 {
        reads += 1;
    }
    // Few break off or have a large head, and few have no body.
    let kind = if kind >= 0xe8 { kind } else { kind & 3 };
    let status = dice.next();
    let status = if status >= 0xf0 { status & 3 } else { 0 };
    [size, piece, reads, waits, kind, status].map(|digit| char::from(b'@' | digit & 15)).iter().collect()
}

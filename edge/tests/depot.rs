//! A server of bundles, with the faults that servers have.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

/// What is wrong with the server.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    /// It knows no ranges.
    pub(crate) no_ranges: bool,
    /// It ends each answer after so many bytes.
    pub(crate) cut_after: Option<usize>,
    /// It says nothing of the length.
    pub(crate) no_length: bool,
    /// It sends everybody elsewhere first.
    pub(crate) redirects: bool,
}

#[derive(Default)]
struct State {
    files: HashMap<String, Vec<u8>>,
    faults: Faults,
    log: Vec<String>,
}

/// The server.
#[derive(Clone)]
pub(crate) struct Depot {
    state: Arc<Mutex<State>>,
    port: u16,
}

impl Depot {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let depot = Self { state: Arc::default(), port: listener.local_addr().unwrap().port() };
        let state = Arc::clone(&depot.state);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let state = Arc::clone(&state);
                // Who goes away misses the rest.
                thread::spawn(move || drop(answer(stream, &state)));
            }
        });
        depot
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Puts a file there, and tells its URL.
    pub(crate) fn put(&self, name: &str, content: &[u8]) -> String {
        self.state().files.insert(format!("/{name}"), content.into());
        format!("http://127.0.0.1:{}/{name}", self.port)
    }

    pub(crate) fn fail(&self, faults: Faults) {
        self.state().faults = faults;
    }

    /// The requests: path, range and condition.
    pub(crate) fn log(&self) -> Vec<String> {
        self.state().log.clone()
    }
}

fn answer(mut stream: TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? <= 2 {
            break;
        }
        lines.push(line.trim().to_owned());
    }
    let header = |name: &str| {
        lines.iter().find_map(|line| line.to_lowercase().strip_prefix(name).map(|value| value.trim().to_owned()))
    };
    let path = lines.first().and_then(|line| line.split(' ').nth(1)).unwrap_or_default().to_owned();
    let (range, condition) = (header("range:"), header("if-range:"));
    let mut state = state.lock().unwrap();
    state.log.push(format!(
        "{path} range={} if={}",
        range.as_deref().unwrap_or("none"),
        condition.as_deref().unwrap_or("none")
    ));
    let faults = state.faults;
    if faults.redirects && !path.contains("moved") {
        return write!(stream, "HTTP/1.1 302 Found\r\nlocation: {path}?moved\r\ncontent-length: 0\r\n\r\n");
    }
    let content = state.files.get(path.split('?').next().unwrap()).cloned();
    drop(state);
    let Some(content) = content else {
        return write!(stream, "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n");
    };
    let tag = format!("\"{}\"", hedef_protocols::bundle::Sha256::of(&content));
    let from = range.and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok());
    let from = from.filter(|_| !faults.no_ranges && condition.is_none_or(|condition| condition == tag));
    let rest = &content[from.unwrap_or(0).min(content.len())..];
    match from {
        None => write!(stream, "HTTP/1.1 200 OK\r\netag: {tag}\r\n")?,
        Some(from) => {
            let (last, all) = (content.len() - 1, content.len());
            write!(
                stream,
                "HTTP/1.1 206 Partial Content\r\netag: {tag}\r\ncontent-range: bytes {from}-{last}/{all}\r\n"
            )?;
        }
    }
    if faults.no_length {
        write!(stream, "connection: close\r\n\r\n")?;
    } else {
        write!(stream, "content-length: {}\r\n\r\n", rest.len())?;
    }
    stream.write_all(&rest[..faults.cut_after.unwrap_or(rest.len()).min(rest.len())])
}

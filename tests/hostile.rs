//! Hostile input: what it may take is bounded, and who is well behaved does not notice it.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use rustix::process::setpriority_process;
use rustix::thread::{CpuSet, gettid, sched_setaffinity};

use crate::binary::Server;
use crate::config;
use crate::http::Wire;
use crate::models::Models;
use crate::wait::{every, until};

const IRIS: &str = "/v2/models/iris/infer";
const GOOD: &str = r#"{"inputs":[{"name":"features","shape":[1,4],"datatype":"FP32","data":[5.1,3.5,1.4,0.2]}]}"#;
const LANGUAGE: &str = "/v2/models/language/infer";
const MIB: u64 = 1 << 10;

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

/// A request for so many empty strings, packed.
fn strings(count: usize) -> Vec<u8> {
    let data = "\"\",".repeat(count);
    let head = format!(r#"{{"inputs":[{{"name":"text","shape":[{count},1],"datatype":"BYTES","data":["#);
    gzip(format!("{head}{}]}}]}}", data.trim_end_matches(',')).as_bytes())
}

fn post(path: &str, headers: &str, length: usize) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n{headers}\r\n")
}

/// Sends one request on a connection of its own, and reads what comes until it is closed or answered.
fn send(server: &Server, head: &str, body: &[u8]) -> Option<crate::http::Answer> {
    let mut wire = server.wire();
    wire.send(head);
    wire.send(body);
    wire.answer()
}

#[test]
fn beyond_the_limit_on_connections_health_is_told_and_all_else_asked_to_come_again() {
    let server = Server::start(&config::samples(), &["--max-connections", "8"]);
    let get = |wire: &mut Wire, path: &str| {
        wire.send(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"));
        wire.answer().unwrap()
    };
    let mut inside: Vec<_> = (0..8).map(|_| server.wire()).collect();
    for wire in &mut inside {
        assert_eq!(get(wire, "/v2/health/live").status, 200);
    }
    for path in ["/v2/health/live", "/v2/health/ready", "/metrics"] {
        let answer = get(&mut server.wire(), path);
        assert_eq!((answer.status, answer.header("connection")), (200, Some("close")), "{path}");
    }
    let refused = send(&server, &post(IRIS, "", GOOD.len()), GOOD.as_bytes()).unwrap();
    assert_eq!(
        (refused.status, refused.header("retry-after"), refused.header("connection")),
        (503, Some("1"), Some("close"))
    );
    assert!(refused.text().contains("as many connections are open as the server allows"), "{}", refused.text());
    // Those inside go on, and a place that comes free is taken.
    assert_eq!(get(&mut inside[0], "/v2/models").status, 200);
    drop(inside);
    until("a place", || {
        let answer = send(&server, &post(IRIS, "", GOOD.len()), GOOD.as_bytes())?;
        (answer.status == 200).then_some(())
    });
    assert!(!server.client().get("/metrics").text().contains("hedef_http_refused_connections_total 0\n"));
}

#[test]
fn more_connections_than_anybody_could_look_after_are_closed_and_probes_get_through_again() {
    let server = Server::start(&config::samples(), &["--max-connections", "4", "--header-timeout-ms", "1000"]);
    // None of them ever says what it wants.
    let silent: Vec<_> = (0..200).map(|_| server.wire()).collect();
    until("a probe to get through", || {
        let mut wire = server.wire();
        wire.send("GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n");
        wire.answer().filter(|answer| answer.status == 200)
    });
    for mut wire in silent {
        assert!(wire.rest().is_empty(), "it was closed");
    }
}

#[test]
fn a_head_has_its_limits() {
    let server = Server::start(&config::samples(), &["--header-limit-kib", "16", "--max-headers", "20"]);
    let live = |headers: &str| send(&server, &format!("GET /v2/health/live HTTP/1.1\r\nHost: x\r\n{headers}\r\n"), b"");
    let long = |bytes| live(&format!("x-long: {}\r\n", "x".repeat(bytes))).map(|answer| answer.status);
    assert_eq!((long(8 << 10), long(64 << 10)), (Some(200), Some(431)));
    let many = |count| live(&"x-many: 1\r\n".repeat(count)).map(|answer| answer.status);
    assert_eq!((many(15), many(40)), (Some(200), Some(431)));
}

#[test]
fn a_packed_request_may_not_unpack_to_more_elements_than_allowed() {
    let server = Server::start(&config::samples(), &[]);
    let bomb = strings(22_000_000);
    assert!(bomb.len() < 128 << 10);
    let before = server.resident_kb();
    let headers = [("content-encoding", "gzip"), ("content-type", "application/json")];
    let refused = server.client().post_with(LANGUAGE, &headers, &bomb).expect(413).json();
    let told = "input `text`: too many elements: at most 1048576 more are allowed in a request of its size";
    assert_eq!(refused["error"], told);
    let zeros = gzip(format!(r#"{{"instances":[[{}0]]}}"#, "0,".repeat(20_000_000)).as_bytes());
    for (path, body) in [("/v1/models/iris:predict", &zeros), ("/score", &zeros)] {
        let headers = [headers[0], headers[1], ("azureml-model-deployment", "iris")];
        let refused = server.client().post_with(path, &headers, body).expect(413).text();
        assert!(refused.contains("the body: too many elements"), "{refused}");
    }
    let grown = server.resident_kb().saturating_sub(before);
    assert!(grown < 300 * MIB, "{grown} kB");
    // As many as fit are well, packed or not.
    let few = strings(1000);
    server.client().post_with(LANGUAGE, &headers, &few).expect(200);
}

#[test]
fn requests_share_a_memory_that_small_ones_do_not_need() {
    let flags = ["--request-memory-mib", "1", "--header-timeout-ms", "60000"];
    let server = Server::start(&config::samples(), &flags);
    let never = send(&server, &post(IRIS, "", 4 << 20), b"{").unwrap();
    assert_eq!(never.status, 413);
    assert!(never.text().contains("more than the 786432 that all of them may hold"), "{}", never.text());
    // One that announces much and takes its time.
    let mut slow = server.wire();
    slow.send(post(IRIS, "", 500 << 10));
    slow.send("{");
    // Else the second might come first. The scrape is under way too.
    until("it to be under way", || {
        server.client().get("/metrics").text().contains("hedef_http_requests_in_flight 2\n").then_some(())
    });
    let second = || send(&server, &post(IRIS, "", 500 << 10), b"{").filter(|answer| answer.status == 503);
    let refused = until("the memory to be taken", second);
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert!(refused.text().contains("try again later"), "{}", refused.text());
    for _ in 0..100 {
        server.client().post(IRIS, GOOD).expect(200);
    }
    drop(slow);
    let large = format!("{GOOD}{}", " ".repeat(500 << 10));
    until("the memory to be free", || (server.client().post(IRIS, &large).status == 200).then_some(()));
}

#[test]
fn a_client_that_does_not_read_its_answer_is_cut() {
    const ROWS: usize = 2_000_000;
    let models = Models::empty();
    models.make("external");
    let server = Server::start(models.path(), &["--answer-timeout-ms", "1000", "--log", "info,hedef_server=debug"]);
    let head = format!(
        r#"{{"inputs":[{{"name":"x","shape":[{ROWS},4],"datatype":"FP32","parameters":{{"binary_data_size":{}}}}}],"parameters":{{"binary_data_output":true}}}}"#,
        ROWS * 16
    );
    let mut stream = TcpStream::connect(server.address).unwrap();
    let length = format!("Inference-Header-Content-Length: {}\r\n", head.len());
    stream.write_all(post("/v2/models/external/infer", &length, head.len() + ROWS * 16).as_bytes()).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&vec![0; ROWS * 16]).unwrap();
    let sent = |server: &Server| server.client().get("/metrics").text().contains("hedef_http_requests_in_flight 1\n");
    until("the answer to be given", || sent(&server).then_some(()));
    until("the client to be given up", || server.log().contains("took nothing of its answer").then_some(()));
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    assert!(rest.starts_with(b"HTTP/1.1 200 OK") && rest.len() < ROWS * 16, "{} bytes", rest.len());
}

/// Numbers that look random, the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % sides.max(1)
    }
}

/// The seeds of the fuzz targets.
fn seeds() -> Vec<Vec<u8>> {
    let folders = fs::read_dir(config::root().join("fuzz/seeds")).unwrap().flatten();
    let files = folders.flat_map(|folder| fs::read_dir(folder.path()).unwrap().flatten());
    files.map(|file| fs::read(file.path()).unwrap()).collect()
}

/// Something like `seed`, broken somewhere.
fn broken(seed: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut body = seed.to_vec();
    for _ in 0..=dice.roll(4) {
        let (at, byte) = (dice.roll(body.len()), u8::try_from(dice.roll(256)).unwrap());
        match dice.roll(4) {
            0 => body.truncate(at),
            1 => body.insert(at, byte),
            2 if !body.is_empty() => body[at] = byte,
            _ => body.extend(seed.iter().skip(at)),
        }
    }
    body
}

/// Everything at once, at least so many rounds of it, until all who attack are done with theirs.
fn attack(server: &Server, bombs: &[Vec<u8>], rounds: usize, over: &AtomicBool) {
    let busy = AtomicUsize::new(4);
    let going_on = |done: usize, quota: usize| {
        if done == quota {
            busy.fetch_sub(1, Ordering::Relaxed);
        }
        (done < quota || busy.load(Ordering::Relaxed) > 0) && !over.load(Ordering::Relaxed)
    };
    let keep = |quota: usize, act: &mut dyn FnMut()| {
        let all = || (0..).take_while(|done| going_on(*done, quota)).for_each(|_| act());
        if let Err(panic) = std::panic::catch_unwind(std::panic::AssertUnwindSafe(all)) {
            over.store(true, Ordering::Relaxed);
            std::panic::resume_unwind(panic);
        }
    };
    thread::scope(|scope| {
        let work: Vec<thread::ScopedJoinHandle<'_, ()>> = vec![
            scope.spawn(|| {
                let mut slow: Vec<_> = (0..200).map(|_| server.wire()).collect();
                let head = post(IRIS, "x-slow: 1\r\n", 1 << 20);
                for piece in head.as_bytes().chunks(head.len() / 8) {
                    slow.iter_mut().for_each(|wire| wire.send(piece));
                    server.client().get("/v2/health/live").expect(200);
                }
                until("the others to be done", || over.load(Ordering::Relaxed).then_some(()));
            }),
            scope.spawn(|| {
                let long = format!("GET / HTTP/1.1\r\nHost: x\r\nx-long: {}\r\n\r\n", "x".repeat(1 << 20));
                let many = format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "x-many: 1\r\n".repeat(1000));
                keep(rounds, &mut || {
                    assert!(send(server, &long, b"").is_none_or(|answer| answer.status == 431));
                    assert!(send(server, &many, b"").is_none_or(|answer| answer.status == 431));
                });
            }),
            scope.spawn(|| {
                let deep = "[".repeat(1 << 20);
                // The server waits two seconds for more of such a body.
                keep(rounds.div_ceil(8), &mut || {
                    let refused = send(server, &post(IRIS, "", 10 << 30), b"{");
                    assert_eq!(refused.map(|answer| answer.status), Some(413));
                    for path in [IRIS, LANGUAGE, "/v1/models/iris:predict", "/v2/repository/index"] {
                        let refused = send(server, &post(path, "", deep.len()), deep.as_bytes()).unwrap();
                        assert!(matches!(refused.status, 400 | 413 | 503), "{}", refused.text());
                    }
                });
            }),
            scope.spawn(|| {
                keep(rounds.div_ceil(4), &mut || {
                    for bomb in bombs {
                        let head = post(LANGUAGE, "content-encoding: gzip\r\n", bomb.len());
                        let refused = send(server, &head, bomb).unwrap();
                        assert!(matches!(refused.status, 400 | 413 | 503), "{}", refused.text());
                    }
                });
            }),
            scope.spawn(|| {
                let (seeds, mut dice) = (seeds(), Dice(7));
                let paths = [IRIS, LANGUAGE, "/v1/models/iris:predict", "/score", "/v2/repository/index"];
                keep(rounds * 250, &mut || {
                    let body = broken(&seeds[dice.roll(seeds.len())], &mut dice);
                    let mut head = post(paths[dice.roll(paths.len())], "", body.len());
                    if dice.roll(4) == 0 {
                        head = String::from_utf8_lossy(&broken(head.as_bytes(), &mut dice)).into_owned();
                    }
                    let mut wire = server.wire();
                    wire.send(&head);
                    wire.send(&body);
                    wire.finish();
                    assert!(wire.answer().is_none_or(|answer| answer.status != 500));
                });
            }),
        ];
        let mut attackers = work.into_iter();
        let slow = attackers.next();
        let ended: Vec<_> = attackers.map(thread::ScopedJoinHandle::join).collect();
        over.store(true, Ordering::Relaxed);
        let ended = ended.into_iter().chain(slow.map(thread::ScopedJoinHandle::join));
        ended.for_each(|end| end.unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
    });
}

/// Keeps this thread, and those and the processes that it starts, on one processor.
fn pin(processor: usize) {
    let mut set = CpuSet::new();
    set.set(processor);
    sched_setaffinity(None, &set).unwrap();
}

/// Asks as four well-behaved callers do, with pauses, until `done`; returns when each answer came and how long it took.
fn ask(server: &Server, done: impl Fn() -> bool + Sync) -> Vec<(Instant, Duration)> {
    let caller = || {
        let (client, mut times) = (server.client(), Vec::new());
        every(Duration::from_millis(5), &done, || {
            let asked = Instant::now();
            client.post(IRIS, GOOD).expect(200);
            times.push((Instant::now(), asked.elapsed()));
        });
        times
    };
    thread::scope(|scope| {
        let callers: Vec<_> = (0..4).map(|_| scope.spawn(caller)).collect();
        callers.into_iter().flat_map(|caller| caller.join().unwrap()).collect()
    })
}

/// How many there are, and what 99 of 100 stay below, in milliseconds.
fn p99<'a>(answers: impl Iterator<Item = &'a (Instant, Duration)>) -> (usize, f64) {
    let mut times: Vec<_> = answers.map(|(_, took)| *took).collect();
    times.sort_unstable();
    (times.len(), times[times.len() * 99 / 100].as_secs_f64() * 1e3)
}

#[test]
fn good_callers_are_all_answered_while_everything_hostile_comes_at_once() {
    let (rounds, calm) = if config::full() { (40, Duration::from_secs(5)) } else { (4, Duration::from_secs(1)) };
    let flags = ["--max-connections", "400", "--request-memory-mib", "256", "--score-model", "iris"];
    let bombs = [strings(20_000_000), gzip(&vec![0; 1 << 30]), gzip(&vec![b'['; 60 << 20])];
    // In the long form, those who attack take nothing but by what they send: the server has a processor of its own, and on
    // the other one they let the good callers go first. Asked before the first pin: a pinned thread sees no other processor.
    let apart = config::full() && thread::available_parallelism().is_ok_and(|count| count.get() > 1);
    if apart {
        pin(0);
    }
    let server = Server::start(&config::samples(), &flags);
    let before = server.resident_kb();
    let (over, most) = (AtomicBool::new(false), AtomicU64::new(0));
    let done = || over.load(Ordering::Relaxed);
    let begun = Instant::now();
    let answers = thread::scope(|scope| {
        scope.spawn(|| {
            if apart {
                pin(1);
            }
            every(Duration::from_millis(20), done, || {
                most.fetch_max(server.resident_kb(), Ordering::Relaxed);
            });
        });
        let callers = scope.spawn(|| {
            if apart {
                pin(1);
            }
            ask(&server, done)
        });
        let attack = scope.spawn(|| {
            if apart {
                pin(1);
                setpriority_process(Some(gettid()), 19).unwrap();
            }
            until("some time without it", || (begun.elapsed() > calm).then_some(()));
            let all = || attack(&server, &bombs, rounds, &over);
            let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(all));
            over.store(true, Ordering::Relaxed);
            ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        });
        attack.join().unwrap();
        callers.join().unwrap()
    });
    let (calm, under_attack): (Vec<_>, Vec<_>) = answers.iter().partition(|(came, _)| *came < begun + calm);
    let [calm, under_attack] = [calm, under_attack].map(|answers| p99(answers.into_iter()));
    println!(
        "p99 of good callers: {:.2} ms alone, {:.2} ms under attack: x {:.2} (of {} and {} requests)",
        calm.1,
        under_attack.1,
        under_attack.1 / calm.1,
        calm.0,
        under_attack.0
    );
    assert!(under_attack.0 > 100, "{}", under_attack.0);
    let grown = most.load(Ordering::Relaxed).saturating_sub(before);
    assert!(grown < 512 * MIB, "{} MiB more than the {} at rest", grown / MIB, before / MIB);
    // The log has been read by the drop of the server: it must not tell of a panic.
    server.client().post(IRIS, GOOD).expect(200);
}

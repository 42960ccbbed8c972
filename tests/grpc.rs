//! gRPC while something happens: callers leave, the server stops, a port is taken.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Stdio};

use rustix::process::Signal;

use crate::binary::Server;
use crate::models::Models;
use crate::wait::until;
use crate::{config, python};

fn waiting(what: &str, server: &Server) -> Child {
    let mut command = python::command("grpc_waiting.py");
    command.args([what, "--url", &server.address.to_string()]).stdin(Stdio::piped());
    command.spawn().unwrap()
}

fn metric(server: &Server, series: &str) -> u64 {
    let text = server.client().get("/metrics").text();
    text.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok()).unwrap_or(0)
}

#[test]
fn a_call_that_is_given_up_ends_its_run() {
    let models = Models::empty();
    models.make("patient");
    models.settings("patient", "instances = 1\nthreads = 1\ninline = false\n");
    let server = Server::start(models.path(), &[]);
    let busy = || metric(&server, "hedef_instances_busy{model=\"patient\",version=\"1\"} ");
    let mut client = waiting("leave", &server);
    until("the run to begin", || (busy() == 1).then_some(()));
    client.stdin.as_mut().unwrap().write_all(b"leave\n").unwrap();
    until("the run to end", || (busy() == 0).then_some(()));
    assert_eq!(metric(&server, "hedef_stopped_runs_total{model=\"patient\",version=\"1\"} "), 1);
    drop(client.stdin.take());
    assert!(client.wait().unwrap().success());
}

#[test]
fn calls_under_way_are_answered_and_streams_ended_when_the_server_stops() {
    let models = Models::empty();
    models.make("slow");
    models.settings("slow", "instances = 1\nthreads = 1\n[batching]\nenabled = false\n");
    let server = Server::start(models.path(), &["--lame-duck-ms", "0"]);
    let mut client = waiting("stop", &server);
    // The scrape itself is one of them.
    until("the calls to be with the server", || (metric(&server, "hedef_http_requests_in_flight ") >= 5).then_some(()));
    server.signal(Signal::TERM);
    let ended = server.ended();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
    assert!(client.wait().unwrap().success(), "{}", ended.log);
}

#[test]
fn a_stop_under_the_load_of_triton_s_client_costs_no_call() {
    for _ in 0..config::rounds().unwrap_or(1) {
        let server = Server::samples();
        let mut command = python::command("grpc_load.py");
        let mut client = command.args(["--url", &server.address.to_string()]).stdout(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(client.stdout.take().unwrap());
        let mut line = String::new();
        said.read_line(&mut line).unwrap();
        assert_eq!(line, "loaded\n");
        server.signal(Signal::TERM);
        let ended = server.ended();
        assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
        line.clear();
        said.read_to_string(&mut line).unwrap();
        println!("{}", line.trim());
        assert!(client.wait().unwrap().success(), "{line}{}", ended.log);
    }
}

#[test]
fn the_port_for_grpc_speaks_http_too_and_must_be_free() {
    let server = Server::start(&config::samples(), &["--grpc-listen", "127.0.0.1:0"]);
    let address = server.address_for("gRPC");
    crate::http::Client::new(address).get("/v2/health/ready").expect(200);
    let taken = address.to_string();
    let arguments = ["serve", "models", "--listen", "127.0.0.1:0", "--grpc-listen", &taken];
    let said = crate::binary::run(&arguments, b"");
    assert!(said.code != Some(0) && said.stderr.contains(&format!("cannot listen on {taken}")), "{}", said.stderr);
    assert_eq!(server.stop().status.code(), Some(0));
}

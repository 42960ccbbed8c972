//! TLS: versions, certificates that change, and those of clients.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

use rustix::process::Signal;
use tempfile::TempDir;
use ureq::http::Method;

use crate::binary::{Server, run};
use crate::certificates::{Authority, Pair};
use crate::config;
use crate::http::Client;
use crate::load::{Load, Peer, Protocol, while_asking};
use crate::python;
use crate::wait::until;

const INFER: &str = "/v2/models/iris/infer";
const BODY: &[u8] = br#"{"inputs":[{"name":"features","shape":[1,4],"datatype":"FP32","data":[5.1,3.5,1.4,0.2]}]}"#;

/// A server with the files `cert.pem` and `key.pem` of a folder.
fn start(folder: &Path, more: &[&str]) -> Server {
    start_looking_every(20, folder, more)
}

fn start_looking_every(milliseconds: u32, folder: &Path, more: &[&str]) -> Server {
    let path = |name: &str| folder.join(name).to_str().unwrap().to_string();
    let (certificate, key) = (path("cert.pem"), path("key.pem"));
    let interval = milliseconds.to_string();
    let flags = ["--tls-cert", &certificate, "--tls-key", &key, "--reload-interval-ms", &interval];
    Server::start(&config::samples(), &[&flags, more].concat())
}

fn folder_of(pair: &Pair) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    pair.write(folder.path());
    folder
}

fn live(client: &Client) -> Result<u16, ureq::Error> {
    client.send(Method::GET, "/v2/health/live", &[], b"").map(|answer| answer.status)
}

#[test]
fn tls_is_offered_in_versions_1_2_and_1_3_alone_and_http_in_both() {
    let authority = Authority::new();
    let folder = folder_of(&authority.server());
    let server = start(folder.path(), &[]);
    let root = folder.path().join("root.pem");
    fs::write(&root, &authority.pem).unwrap();
    let found =
        python::script("tls_offers.py", &["--url", &server.address.to_string(), "--root", root.to_str().unwrap()]);
    let found: serde_json::Value = serde_json::from_str(&found).unwrap();
    let expected = serde_json::json!({
        "able": ["TLSv1", "TLSv1_1", "TLSv1_2", "TLSv1_3"],
        "versions": ["TLSv1_2", "TLSv1_3"],
        "alpn": { "h2,http/1.1": "h2", "http/1.1": "http/1.1", "": null },
        "answer": "HTTP/1.1 200 OK",
    });
    assert_eq!(found, expected);

    // Who does not speak TLS gets no answer, and nobody else is disturbed.
    let mut plain = TcpStream::connect(server.address).unwrap();
    plain.write_all(b"GET /v2/health/live HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    let client = server.secure_client(&[&authority], None);
    client.post(INFER, BODY).expect(200);
    let metrics = client.get("/metrics").text();
    // Two old versions and one without TLS.
    assert!(metrics.contains("\nhedef_tls_refused_handshakes_total 3\n"), "{metrics}");
    assert!(server.secure_client(&[&Authority::new()], None).send(Method::GET, "/", &[], b"").is_err());
}

#[test]
fn health_is_told_within_tls_and_without() {
    let health =
        |server: &Server, flags: &[&str]| run(&[&["health", server.address.to_string().as_str()], flags].concat(), b"");
    let folder = folder_of(&Authority::new().server());
    let (secure, plain) = (start(folder.path(), &[]), Server::samples());
    let certificate = folder.path().join("cert.pem");
    let within = ["--tls-cert", certificate.to_str().unwrap()];
    for (server, flags, expected) in
        [(&plain, &[][..], 0), (&secure, &within, 0), (&secure, &[], 1), (&plain, &within, 1)]
    {
        let said = health(server, flags);
        assert_eq!(said.code, Some(expected), "{flags:?}: {}", said.stderr);
    }
}

#[test]
fn grpc_is_spoken_within_tls() {
    let authority = Authority::new();
    let folder = folder_of(&authority.server());
    let keys = folder.path().join("keys.toml");
    let made = run(&["keys", "new", "caller"], b"");
    fs::write(&keys, &made.stdout).unwrap();
    let root = folder.path().join("root.pem");
    fs::write(&root, &authority.pem).unwrap();
    let server = start(folder.path(), &["--api-keys", keys.to_str().unwrap()]);
    let key = made.stderr.trim().rsplit(' ').next().unwrap();
    let url = server.address.to_string();
    let found = python::script("grpc_secure.py", &["--url", &url, "--root", root.to_str().unwrap(), "--key", key]);
    assert_eq!(found.trim(), "ok");
}

#[test]
fn a_certificate_that_changes_under_load_costs_no_request() {
    let authorities = [Authority::new(), Authority::new()];
    let folder = folder_of(&authorities[0].server());
    let server = start(folder.path(), &[]);
    let trusting: Vec<_> = authorities.iter().collect();
    let own = |keep_open: bool| {
        let (server, trusting) = (&server, &trusting);
        move |load: &Load| {
            let kept = server.secure_client(trusting, None);
            while !load.is_done() {
                let fresh = if keep_open { None } else { Some(server.secure_client(trusting, None)) };
                load.note(match fresh.as_ref().unwrap_or(&kept).send(Method::POST, INFER, &[], BODY) {
                    Ok(answer) if answer.status == 200 => None,
                    Ok(answer) => Some(answer.text()),
                    Err(error) => Some(error.to_string()),
                });
            }
        }
    };
    let (keeping, reconnecting) = (own(true), own(false));
    let callers = [
        (Protocol::Http2, 2, usize::MAX),
        (Protocol::Http2, 2, 3),
        (Protocol::Grpc, 2, 3),
        (Protocol::GrpcStream, 1, usize::MAX),
        (Protocol::GrpcStream, 2, 3),
    ];
    let peer = Peer::new(server.address).trusting(&authorities);
    while_asking(&peer, &callers, &[&keeping, &keeping, &reconnecting, &reconnecting], |load| {
        for turn in 1..=6 {
            let (new, old) = (&authorities[turn % 2], &authorities[(turn + 1) % 2]);
            let pair = new.server();
            // A certificate without its key is passed over, and told.
            fs::write(folder.path().join("cert.pem"), &pair.certificate).unwrap();
            until("the odd pair to be told", || {
                (server.log().matches("keys may not be consistent").count() >= turn).then_some(())
            });
            live(&server.secure_client(&[old], None)).unwrap();
            pair.write(folder.path());
            until("the new certificate", || live(&server.secure_client(&[new], None)).ok());
            assert!(live(&server.secure_client(&[old], None)).is_err());
            load.goes_on();
        }
    });
    let log = server.log();
    assert!(log.contains("keys may not be consistent") && !log.contains("PRIVATE KEY"), "{log}");
    assert!(server.stop().status.success());
}

#[test]
fn a_hangup_makes_the_server_look_at_its_files_at_once() {
    let (old, new) = (Authority::new(), Authority::new());
    let folder = folder_of(&old.server());
    // By itself it would look in an hour.
    let server = start_looking_every(3_600_000, folder.path(), &[]);
    live(&server.secure_client(&[&old], None)).unwrap();
    new.server().write(folder.path());
    server.signal(Signal::HUP);
    until("the new certificate", || live(&server.secure_client(&[&new], None)).ok());
    assert!(server.stop().status.success());
}

#[test]
fn clients_show_a_certificate_where_one_is_needed() {
    let (authority, clients, strangers) = (Authority::new(), Authority::new(), Authority::new());
    let folder = folder_of(&authority.server());
    let file = folder.path().join("clients.pem");
    fs::write(&file, &clients.pem).unwrap();
    let (known, stranger) = (clients.client().shown(), strangers.client().shown());
    for (auth, without) in [("required", false), ("optional", true)] {
        let server = start(folder.path(), &["--tls-client-ca", file.to_str().unwrap(), "--tls-client-auth", auth]);
        let reach = |shown: Option<&_>| live(&server.secure_client(&[&authority], shown)).is_ok();
        let found = [reach(Some(&known)), reach(None), reach(Some(&stranger))];
        assert_eq!(found, [true, without, false], "{auth}");
        // Other authorities, and the old ones are not asked any more.
        fs::write(&file, &strangers.pem).unwrap();
        until("the other authorities", || reach(Some(&stranger)).then_some(()));
        assert!(!reach(Some(&known)), "{auth}");
        fs::write(&file, &clients.pem).unwrap();
    }
}

#[test]
fn health_shows_a_certificate_where_one_is_needed() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let (folder, own) = (folder_of(&authority.server()), folder_of(&clients.client()));
    let path = |folder: &Path, name: &str| folder.join(name).to_str().unwrap().to_owned();
    let file = path(folder.path(), "clients.pem");
    fs::write(&file, &clients.pem).unwrap();
    let server = start(folder.path(), &["--tls-client-ca", &file]);
    let address = server.address.to_string();
    let within = ["health", &address, "--tls-cert", &path(folder.path(), "cert.pem")];
    let (certificate, key) = (path(own.path(), "cert.pem"), path(own.path(), "key.pem"));
    let shown = ["--client-cert", &certificate, "--client-key", &key];
    assert_eq!(run(&within, b"").code, Some(1));
    let said = run(&[&within[..], &shown].concat(), b"");
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    let said = run(&[&within[..], &["--client-cert", &key, "--client-key", &key]].concat(), b"");
    assert!(said.code == Some(1) && said.stderr.contains("the client's certificate"), "{}", said.stderr);
}

#[test]
fn a_wrong_file_stops_the_start_with_the_reason() {
    let (one, other) = (Authority::new().server(), Authority::new().server());
    let folder = folder_of(&Pair { certificate: one.certificate.clone(), key: other.key });
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    let (certificate, key, missing) = (path("cert.pem"), path("key.pem"), path("nothing.pem"));
    let root = config::samples();
    let refusal = |flags: &[&str]| {
        let said = run(&[&["serve", root.to_str().unwrap(), "--listen", "127.0.0.1:0"], flags].concat(), b"");
        assert!(said.code != Some(0) && !said.stderr.contains("PRIVATE KEY"), "{said:?}");
        said.stderr
    };
    let cases: [(&[&str], &str); 7] = [
        (&["--tls-cert", &certificate, "--tls-key", &key], "the TLS certificate: keys may not be consistent"),
        (&["--tls-cert", &missing, "--tls-key", &key], "nothing.pem cannot be read"),
        (&["--tls-cert", &key, "--tls-key", &key], "expected a certificate in PEM, found none"),
        (&["--tls-cert", &certificate], "--tls-key <FILE>"),
        (&["--api-keys", &certificate], "the API keys: line 1: "),
        (&["--jwt-keys", &certificate], "--jwt-issuer <ISSUER>"),
        (
            &["--jwt-keys", &certificate, "--jwt-issuer", "x", "--jwt-audience", "y"],
            "the keys of tokens: expected a JSON Web Key Set, see line 1",
        ),
    ];
    for (flags, expected) in cases {
        let told = refusal(flags);
        assert!(told.contains(expected), "{expected}: {told}");
    }
}

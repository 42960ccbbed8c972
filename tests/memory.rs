//! Memory goes back when a model is unloaded.

use crate::binary::Server;
use crate::config;
use crate::models::Models;

/// Every cycle loads and runs 100 MB of weights, so all 1,000 run where the long forms do: in CI.
fn cycles() -> usize {
    if config::full() { 1000 } else { 30 }
}

#[test]
fn memory_after_many_loads_of_a_100_mb_model_is_within_a_twentieth_of_that_after_ten() {
    let models = Models::empty();
    let file = models.make_as("large", "cnn", &["--mb", "100"]);
    assert!(file.metadata().unwrap().len() > 95_000_000);
    // The trial in a process of its own is none of this: it brings threads and pipes, whose memory settles later.
    let flags = ["--model-control", "explicit", "--log", "warn", "--quarantine", "off"];
    let server = Server::start(models.path(), &flags);
    let client = server.client();
    let cycle = || {
        client.post("/v2/repository/models/large/load", "").expect(200);
        let loaded = server.resident_kb();
        client.post("/v2/repository/models/large/unload", "").expect(200);
        (loaded, server.resident_kb())
    };
    let idle = server.resident_kb();
    // The first cycles fill the heap's lists; what comes after them must not grow.
    for _ in 0..9 {
        cycle();
    }
    let (loaded, first) = cycle();
    assert!(loaded > idle + 80_000, "loaded, the model took only {} kB", loaded - idle);
    let mut last = (loaded, first);
    for _ in 1..cycles() {
        last = cycle();
    }
    println!("kB resident: idle {idle}, loaded {loaded}, after the tenth {first}, after {} {}", cycles(), last.1);
    assert!(last.1 * 20 <= first * 21, "after {} cycles {} kB, after the tenth {first} kB", cycles(), last.1);
    assert!(last.0 * 20 <= loaded * 21, "loaded for the last time {} kB, for the first {loaded} kB", last.0);
}

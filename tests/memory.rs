//! Memory goes back when a model is unloaded.

use crate::binary::Server;
use crate::config;
use crate::models::Models;

/// Every cycle loads and runs 100 MB of weights, so all 300 run where the long forms do: in CI.
fn cycles() -> usize {
    if config::full() { 300 } else { 30 }
}

/// The cycles that are looked at from near.
const FEW: usize = 5;

#[test]
fn memory_after_many_loads_of_a_100_mb_model_is_within_a_tenth_of_that_after_the_first() {
    let models = Models::empty();
    let file = models.make_as("large", "cnn", &["--mb", "100"]);
    assert!(file.metadata().unwrap().len() > 95_000_000);
    let flags = ["--model-control", "explicit", "--log", "warn"];
    let server = Server::start(models.path(), &flags);
    let client = server.client();
    let cycle = || {
        client.post("/v2/repository/models/large/load", "").expect(200);
        let loaded = server.resident_kb();
        client.post("/v2/repository/models/large/unload", "").expect(200);
        (loaded, server.resident_kb())
    };
    let idle = server.resident_kb();
    // The C library gives back 10 MB more at some unloads than at others, whatever went before; growth shows all the
    // same between the median of the first few and the least of the last few.
    let few = || (0..FEW).map(|_| cycle()).collect::<Vec<_>>();
    let (first, middle) = (few(), cycles() - 2 * FEW);
    (0..middle).for_each(|_| {
        cycle();
    });
    let last = few();
    let usual = |of: fn(&(u64, u64)) -> u64| {
        let mut all: Vec<_> = first.iter().map(of).collect();
        all.sort_unstable();
        all[FEW / 2]
    };
    let least = |of: fn(&(u64, u64)) -> u64| last.iter().map(of).min().unwrap();
    let (loaded, unloaded) = (usual(|kb| kb.0), usual(|kb| kb.1));
    assert!(loaded > idle + 80_000, "loaded, the model took only {} kB", loaded - idle);
    println!("kB resident, loaded and unloaded: idle {idle}, first {first:?}, last {last:?}");
    assert!(least(|kb| kb.1) * 10 <= unloaded * 11, "unloaded after {} cycles: {last:?}, first {first:?}", cycles());
    assert!(least(|kb| kb.0) * 10 <= loaded * 11, "loaded after {} cycles: {last:?}, first {first:?}", cycles());
}

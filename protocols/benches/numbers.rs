//! What numbers cost on their way through the v2 protocol, as ratios of runs that took turns:
//! `cargo bench -p hedef-protocols`.
//!
//! A tensor `[1,3,224,224]` of FP32 is decoded from JSON of two widths, with `serde_json`'s typed parse beside it, and
//! from its binary form; and it is encoded. Each ratio is the median over the turns.

#![expect(clippy::print_stdout, clippy::expect_used, reason = "a program for people")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use hedef_core::{DataType, Dim, ModelId, ModelName, Response, Signature, Tensor, TensorSpec, Timings};
use hedef_protocols::v2;

const SHAPE: [usize; 4] = [1, 3, 224, 224];
const TURNS: usize = 21;

#[derive(serde::Deserialize)]
#[expect(dead_code, reason = "filled to be measured")]
struct Message<'a> {
    #[serde(borrow)]
    inputs: Vec<Input<'a>>,
}

#[derive(serde::Deserialize)]
#[expect(dead_code, reason = "filled to be measured")]
struct Input<'a> {
    name: &'a str,
    datatype: &'a str,
    shape: Vec<usize>,
    data: Vec<f32>,
}

#[derive(serde::Serialize)]
struct Answer<'a> {
    model_name: &'a str,
    model_version: &'a str,
    outputs: [Output<'a>; 1],
}

#[derive(serde::Serialize)]
struct Output<'a> {
    name: &'a str,
    datatype: &'a str,
    shape: [usize; 4],
    data: &'a [f32],
}

fn main() {
    let elements = elements();
    let signature = signature();
    // As Python writes the FP32 it has, and as people round pixels.
    let long: Vec<String> = elements.iter().map(|value| f64::from(*value).to_string()).collect();
    let short: Vec<String> = elements.iter().map(|value| format!("{value:.5}")).collect();
    let mut binary = message(r#""parameters":{"binary_data_size":602112}"#).into_bytes();
    let json_length = binary.len();
    binary.extend(elements.iter().flat_map(|value| value.to_le_bytes()));

    for (words, texts) in [("20 characters a number", &long), ("8.5 characters a number", &short)] {
        let body = message(&format!("\"data\":[{}]", texts.join(","))).into_bytes();
        let ours = || drop(black_box(v2::decode(black_box(&body), None, &signature).expect("it is right")));
        let theirs = || drop(black_box(serde_json::from_slice::<Message<'_>>(black_box(&body)).expect("it is right")));
        let raw = || drop(black_box(v2::decode(black_box(&binary), Some(json_length), &signature).expect("right")));
        compare(&format!("decode, {words}: serde_json's time over ours"), &theirs, &ours);
        compare(&format!("decode, {words}: JSON's time over that of binary"), &ours, &raw);
    }

    let tensor = Tensor::from_elements(SHAPE, elements.clone()).expect("it fits");
    let model = ModelId { name: ModelName::new("image").expect("a name"), version: 1 };
    let response = Response { model, outputs: vec![("y".into(), tensor)], timings: Timings::default() };
    let reply = |binary| v2::Reply { binary, ..v2::Reply::default() };
    let ours = || drop(black_box(v2::encode(black_box(&response), &signature, &reply(false)).expect("it is right")));
    let raw = || drop(black_box(v2::encode(black_box(&response), &signature, &reply(true)).expect("it is right")));
    let output = || Output { name: "y", datatype: "FP32", shape: SHAPE, data: &elements };
    let answer = || Answer { model_name: "image", model_version: "1", outputs: [output()] };
    let theirs = || drop(black_box(serde_json::to_vec(black_box(&answer())).expect("it is right")));
    compare("encode: serde_json's time over ours", &theirs, &ours);
    compare("encode: JSON's time over that of binary", &ours, &raw);
}

/// Values like those of a normalised image, the same in every run.
fn elements() -> Vec<f32> {
    let mut state = 1_u32;
    let mut uniform = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f32::from_bits(0x3F80_0000 | state >> 9) - 1.5
    };
    (0..SHAPE.iter().product()).map(|_| (0..4).map(|_| uniform()).sum::<f32>() * 1.7).collect()
}

fn signature() -> Signature {
    let dims = [Dim::Free, Dim::Fixed(3), Dim::Fixed(224), Dim::Fixed(224)];
    let spec = |name| TensorSpec::new(name, DataType::Fp32, Some(dims.to_vec()));
    Signature { inputs: vec![spec("x")], outputs: vec![spec("y")], batch_axis: true }
}

fn message(rest: &str) -> String {
    format!(r#"{{"inputs":[{{"name":"x","datatype":"FP32","shape":[1,3,224,224],{rest}}}]}}"#)
}

/// Prints the ratio of two pieces of work that take turns.
fn compare(what: &str, one: &dyn Fn(), other: &dyn Fn()) {
    let mut ratios = Vec::with_capacity(TURNS);
    let mut fastest = [Duration::MAX; 2];
    for _ in 0..TURNS {
        let times = [time(one), time(other)];
        ratios.push(times[0].as_secs_f64() / times[1].as_secs_f64());
        fastest = [fastest[0].min(times[0]), fastest[1].min(times[1])];
    }
    ratios.sort_by(f64::total_cmp);
    let median = ratios.get(TURNS / 2).copied().unwrap_or(f64::NAN);
    println!("{what:<62} {median:>7.2}   ({:.0} µs, {:.0} µs)", micros(fastest[0]), micros(fastest[1]));
}

/// The time of one piece of work: the best of three, as others use this machine too.
fn time(work: &dyn Fn()) -> Duration {
    let once = || {
        let started = Instant::now();
        work();
        started.elapsed()
    };
    once().min(once()).min(once())
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

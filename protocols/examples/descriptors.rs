//! Compiles the `.proto` files anew: `cargo run -p hedef-protocols --example descriptors`, after they were changed.

#![expect(clippy::expect_used, reason = "a tool for developers")]

use std::path::Path;

/// The compiled files, as server reflection tells them.
fn main() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto");
    let files = [
        "inference.proto",
        "grpc/health/v1/health.proto",
        "grpc/reflection/v1/reflection.proto",
        "grpc/reflection/v1alpha/reflection.proto",
    ];
    let mut compiler = protox::Compiler::new([&folder]).expect("the folder is there");
    compiler.open_files(files).expect("the files are right");
    std::fs::write(folder.join("descriptors.bin"), compiler.encode_file_descriptor_set())
        .expect("a file can be written");
}

//! A server that answers every request with the same bytes: what is left of a server when there is no model in it.
//!
//! `benches/run` holds Hedef beside it on the same processor. It listens on a free port of this machine, says the
//! address on standard output, and ends when its standard input does.

#![expect(clippy::print_stdout, reason = "whoever starts it reads the address there")]

use std::io::Read;

use axum::Router;
use axum::body::Bytes;
use axum::http::header;
use axum::routing::{get, post};

/// What the model `tiny` of `benches/models.py` answers to one row.
const ANSWER: &str = r#"{"model_name":"tiny","model_version":"1","outputs":[{"name":"y","shape":[1,4],"datatype":"FP32","data":[0.15131104,-0.11405144,0.96130455,-0.2731043]}]}"#;
const METADATA: &str = r#"{"name":"tiny","versions":["1"],"platform":"onnxruntime_onnx","inputs":[{"name":"x","datatype":"FP32","shape":[-1,4]}],"outputs":[{"name":"y","datatype":"FP32","shape":[-1,4]}]}"#;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // As many threads as Hedef would take on the same processors: one on one.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let json = || [(header::CONTENT_TYPE, "application/json")];
        let router = Router::new()
            .route("/v2/models/{model}", get(move || async move { (json(), METADATA) }))
            .route("/v2/models/{model}/infer", post(move |_: Bytes| async move { (json(), ANSWER) }));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        println!("http://{}", listener.local_addr()?);
        std::thread::spawn(|| {
            let _ = std::io::stdin().read_to_end(&mut Vec::new());
            std::process::exit(0);
        });
        axum::serve(listener, router).await?;
        Ok(())
    })
}

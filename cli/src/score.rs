//! `hedef score`: one file through one model, without a server.

use std::io::Read;
use std::path::Path;

use anyhow::Context;

use hedef_protocols::{azure, csv, npy, rows};

use crate::arguments::{CsvHeader, Engine, InputFormat, Score};
use crate::engine::one_model;
use crate::logging::print;

/// Scores the input and prints the answer as JSON.
pub(crate) fn run(score: &Score, engine: &Engine) -> anyhow::Result<()> {
    let bytes = read(&score.input)?;
    let one = one_model(engine, &score.model, false)?;
    let model = one.repository.model(&one.name, None)?;
    let request = match format(score) {
        InputFormat::Json => rows::decode(&bytes, model.signature()),
        InputFormat::Csv => csv::decode(&bytes, header(score.header), model.signature()),
        InputFormat::Npy => npy::decode(&bytes, model.signature()),
    }?;
    let waiting = tokio::runtime::Builder::new_current_thread().build()?;
    let response = waiting.block_on(model.infer(request))?;
    let mut answer = azure::encode(&response, model.signature());
    answer.push(b'\n');
    print(&String::from_utf8_lossy(&answer));
    Ok(())
}

const fn header(header: CsvHeader) -> csv::Header {
    match header {
        CsvHeader::Auto => csv::Header::Auto,
        CsvHeader::Present => csv::Header::Present,
        CsvHeader::Absent => csv::Header::Absent,
    }
}

fn read(input: &Path) -> anyhow::Result<Vec<u8>> {
    if input == Path::new("-") {
        let mut bytes = Vec::new();
        std::io::stdin().lock().read_to_end(&mut bytes).context("standard input")?;
        return Ok(bytes);
    }
    std::fs::read(input).with_context(|| input.display().to_string())
}

fn format(score: &Score) -> InputFormat {
    let ending = score.input.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    score.format.unwrap_or_else(|| match ending.to_ascii_lowercase().as_str() {
        "csv" => InputFormat::Csv,
        "npy" => InputFormat::Npy,
        _ => InputFormat::Json,
    })
}

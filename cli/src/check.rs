//! `hedef check`: the verdict on one model.

use std::fmt::Write;

use hedef_core::{Model, TensorSpec};

use crate::arguments::{Check, Engine};
use crate::engine::one_model;
use crate::logging::print;

/// Loads the model, runs it once, and prints what it is.
pub(crate) fn run(check: &Check, engine: &Engine) -> anyhow::Result<()> {
    let one = one_model(engine, &check.model, true)?;
    for version in one.repository.versions(&one.name)? {
        let model = one.repository.model(&one.name, Some(&version.to_string()))?;
        print(&verdict(&model));
    }
    Ok(())
}

fn verdict(model: &Model) -> String {
    let (signature, status) = (model.signature(), model.status());
    let mut text = format!("{}: can be served\n", model.id());
    if let Some(description) = &status.description {
        let _ = writeln!(text, "  {description}");
    }
    let mut section = |title: &str, specs: &[TensorSpec]| {
        for spec in specs {
            let labels =
                spec.labels.as_ref().map_or_else(String::new, |labels| format!("  labels: {}", labels.join(", ")));
            let _ = writeln!(text, "  {title:<7} {} {spec}{labels}", spec.name);
        }
    };
    section("input", &signature.inputs);
    section("output", &signature.outputs);
    if let Some(plan) = model.image() {
        let [images, answers] = plan.summary(signature);
        let _ = writeln!(text, "  images  {images}");
        let _ = writeln!(text, "  answers {answers}");
    }
    let batching = if signature.batch_axis { "on axis 0" } else { "off" };
    let _ = writeln!(text, "  batching {batching}: {}", status.batching_reason);
    let report = model.report();
    for learned in &report.learned {
        let each: Vec<_> =
            learned.row_seconds.iter().map(|(rows, seconds)| format!("{rows}: {:.1}", seconds * 1e6)).collect();
        let _ = writeln!(text, "  a row in a run of so many takes µs {}", each.join(", "));
        let _ = writeln!(text, "  at most {} rows share a run: {}", learned.max_rows, learned.reason);
    }
    if let Some(padding) = &status.padding {
        let _ = writeln!(text, "  padding {padding}");
    }
    if let Some(objective) = report.objective {
        let _ = writeln!(text, "  requests that cannot be answered within {} ms are refused", objective.as_millis());
    }
    let road = if report.inline { "at once, on the thread that reads them" } else { "from a queue" };
    let _ = writeln!(text, "  requests run {road}: {}", report.inline_reason);
    let _ = writeln!(
        text,
        "  {} profile: {} instances of {} threads, a queue for {}",
        status.profile.name(),
        report.instances,
        status.threads,
        report.capacity
    );
    let _ = writeln!(text, "  device  {}: {}", status.device, status.device_reason);
    let _ = writeln!(text, "  graph   {}", status.graph);
    let mib = |bytes: u64| bytes >> 20;
    let (mapped, private) = (mib(status.memory.mapped), mib(status.memory.private));
    let _ = writeln!(text, "  memory  {mapped} MiB mapped, {private} MiB of its own");
    let _ = writeln!(text, "  loaded and run once in {} ms", status.load_time.as_millis());
    text
}

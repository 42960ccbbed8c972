//! Figures for a person.

use std::fmt::Write;
use std::time::Duration;

use crate::measured::{Measured, QUANTILES};
use crate::report::Verdict;

/// From here on a generator that sleeps between events hardly ever slept.
const BUSY: f64 = 0.9;

/// A generator that sends this late measures itself.
const LATE: Duration = Duration::from_millis(2);

/// Writes what one trial found, a figure a line.
pub(crate) fn write(out: &mut String, measured: &Measured) {
    let mut line = |name: &str, value: String| {
        let _ = writeln!(out, "{name:<14} {value:>14}");
    };
    line("requests", measured.requests().to_string());
    line("seconds", format!("{:.2}", measured.elapsed.as_secs_f64()));
    line("requests/s", rate(measured.throughput()));
    line("goodput/s", rate(measured.goodput()));
    line("rows/s", rate(measured.rows_per_second()));
    if measured.right() > 0 {
        line("latency mean", time(crate::clock::seconds(measured.latency.mean() / 1e9)));
        for (name, quantile) in QUANTILES {
            line(&format!("latency {name}"), time(measured.quantile(quantile)));
        }
        line("latency max", time(measured.quantile(1.0)));
    }
    if !measured.refusals.is_empty() {
        line("refusal p99", time(Duration::from_nanos(measured.refusals.value_at_quantile(0.99))));
    }
    if measured.left > 0 {
        line("left early", measured.left.to_string());
    }
    if let Some(rows) = measured.mean_rows {
        line("rows a run", format!("{rows:.1}"));
    }
    line("errors", measured.errors().to_string());
    for (what, times, message) in measured.complaints() {
        let _ = writeln!(out, "  {times} times {what}{}{message}", if message.is_empty() { "" } else { ": " });
    }
    let late = Duration::from_nanos(measured.late.value_at_quantile(0.99));
    if late > LATE {
        let _ = writeln!(
            out,
            "  one request in 100 was sent {} late or more: the generator is too slow for this",
            time(late)
        );
    }
    if let Some(busy) = measured.generator_busy.filter(|busy| *busy > BUSY) {
        let _ =
            writeln!(out, "  the generator was busy {:.0} % of the time: it may be what was measured", busy * 100.0);
    }
}

/// Writes the figure that the plan is about.
pub(crate) fn verdict(out: &mut String, verdict: &Verdict, plan: &str) {
    let value = match verdict.name {
        name if name.ends_with("_us") => time(crate::clock::seconds(verdict.value / 1e6)),
        _ => rate(verdict.value),
    };
    let valid = match verdict.valid {
        None => "",
        Some(true) => ": holds",
        Some(false) => ": does not hold",
    };
    let _ = writeln!(out, "{plan}: {} {value}{valid}", verdict.name.trim_end_matches("_us").replace('_', " "));
}

/// A rate with as many digits as mean something.
pub(crate) fn rate(rate: f64) -> String {
    if rate < 100.0 { format!("{rate:.2}") } else { format!("{rate:.0}") }
}

/// A time in the unit that suits it.
pub(crate) fn time(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    if seconds < 1e-3 {
        format!("{:.1} µs", seconds * 1e6)
    } else if seconds < 1.0 {
        format!("{:.2} ms", seconds * 1e3)
    } else {
        format!("{seconds:.2} s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measured::Outcome;

    #[test]
    fn the_table_says_what_was_found_and_what_went_wrong() {
        let mut measured = Measured::new(None);
        measured.elapsed = Duration::from_secs(1);
        measured.record(Outcome::Right, Duration::from_micros(1500), 4);
        measured.record(Outcome::Status(400, "expected FP32".into()), Duration::from_micros(10), 4);
        let mut text = String::new();
        write(&mut text, &measured);
        verdict(&mut text, &Verdict { valid: Some(false), ..Verdict::figure("latency_p90_us", 12.34) }, "x");
        for expected in
            ["requests/s", "1.50 ms", "1 times status 400: expected FP32", "x: latency p90 12.3 µs: does not"]
        {
            assert!(text.contains(expected), "{expected} is not in\n{text}");
        }
    }
}

//! `metrics`: how it goes, in the text format that Prometheus reads. The worker opens no port for it:
//! a timer writes it where a node exporter collects text files.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Value, json};

use super::ask;
use super::exit::{Exit, Failure};
use super::output::Output;
use crate::worker::oddity::Oddity;
use crate::worker::report::Question;

/// A measure, and its values by their labels.
struct Measure {
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    values: Vec<(String, u64)>,
}

pub(super) fn run(config: &Path, out: Output) -> Result<Exit, Failure> {
    let ask::Answer { value, running } = ask::answer(config, &Question::Status)?;
    let measures = measures(&value, running);
    let list: Vec<Value> = measures.iter().map(to_json).collect();
    out.answer(&json!({ "measures": list }), text(&measures).trim_end());
    Ok(Exit::Done)
}

fn measures(status: &Value, running: bool) -> Vec<Measure> {
    let alone = |value: u64| vec![(String::new(), value)];
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    let stages = status["stages"].as_object().into_iter().flatten();
    let outcomes = Oddity::ALL.map(|oddity| {
        let name = oddity.name();
        (format!("{{outcome=\"{name}\"}}"), number(&status["payment_outcomes"][name]))
    });
    vec![
        measure("up", "gauge", "Whether the worker runs.", alone(u64::from(running))),
        measure(
            "open_jobs",
            "gauge",
            "Jobs to which something is owed.",
            alone(number(&status["open_jobs"])),
        ),
        measure(
            "stage_jobs",
            "gauge",
            "Open jobs by stage.",
            stages.map(|(stage, count)| (format!("{{stage=\"{stage}\"}}"), number(count))).collect(),
        ),
        measure("payment_outcomes_total", "counter", "Jobs by how their payment was odd.", outcomes.to_vec()),
        measure(
            "payments_unknown",
            "gauge",
            "Payments that the nodes do not settle.",
            alone(number(&status["unknown_payments"]["count"])),
        ),
        measure(
            "owed_back_blocks",
            "gauge",
            "Blocks of which something is owed back.",
            alone(number(&status["owed_back"]["count"])),
        ),
        measure(
            "offers_refused",
            "gauge",
            "Offers that the relay does not take.",
            alone(status["offers_refused"].as_array().map_or(0, |offers| offers.len() as u64)),
        ),
        measure(
            "events_passed_over_total",
            "counter",
            "Events of the relay that were too long to be read.",
            alone(number(&status["events_passed_over"])),
        ),
    ]
}

const fn measure(
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    values: Vec<(String, u64)>,
) -> Measure {
    Measure { name, kind, help, values }
}

fn to_json(measure: &Measure) -> Value {
    let values: Vec<Value> =
        measure.values.iter().map(|(labels, value)| json!({ "labels": labels, "value": value })).collect();
    json!({ "name": measure.name, "kind": measure.kind, "values": values })
}

fn text(measures: &[Measure]) -> String {
    let mut text = String::new();
    for Measure { name, kind, help, values } in measures {
        // Writing to a text cannot fail.
        let _ = writeln!(text, "# HELP worker_{name} {help}\n# TYPE worker_{name} {kind}");
        for (labels, value) in values {
            let _ = writeln!(text, "worker_{name}{labels} {value}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_odd_payment_is_counted_by_its_name() {
        let status = json!({ "stages": { "awaiting": 2 }, "payment_outcomes": { "dust": 3 } });
        let text = text(&measures(&status, true));
        for oddity in Oddity::ALL {
            let count = if oddity == Oddity::Dust { 3 } else { 0 };
            let line = format!("worker_payment_outcomes_total{{outcome=\"{}\"}} {count}\n", oddity.name());
            assert!(text.contains(&line), "{text}");
        }
        assert!(text.contains("worker_stage_jobs{stage=\"awaiting\"} 2\n") && text.contains("worker_up 1\n"));
    }
}

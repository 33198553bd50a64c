//! What is printed while the sale happens, and remembered for the timeline.

use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;
use serde_json::{Value, json};

use super::super::output::line;
use super::parts::Part;
use super::story::Sale;
use crate::edge::Clock;
use crate::protocol::Timestamp;

/// Tells the story.
#[derive(Debug)]
pub(super) struct Telling {
    clock: Clock,
    began: Timestamp,
    silent: bool,
    moments: Vec<(Timestamp, &'static str, String)>,
}

impl Telling {
    pub(super) fn begin(clock: Clock, silent: bool) -> Self {
        let began = clock.now();
        let telling = Self { clock, began, silent, moments: Vec::new() };
        telling.say(
            "A whole sale between four programs on this machine; the money is a development network's.\n",
        );
        telling
    }

    /// Something happened just now.
    pub(super) fn moment(&mut self, part: Part, what: impl Into<String>) {
        let (now, what) = (self.clock.now(), what.into());
        self.say(format_args!("{}  {:<7} {what}", self.since(now), part.name()));
        self.moments.push((now, part.name(), what));
    }

    /// Something that the worker wrote down happened at a known moment.
    pub(super) fn recall(&mut self, at: Timestamp, what: String) {
        self.moments.push((at, "worker", what));
    }

    /// The invoice as text and as what a wallet's camera reads.
    pub(super) fn invoice(&self, address: &str, raw: &str, xno: &str) {
        let uri = format!("nano:{address}?amount={raw}");
        self.say(format_args!("\n  invoice   {xno} XNO\n  to        {address}\n  {uri}\n"));
        // An address and an amount always fit into a code.
        if let Ok(code) = QrCode::new(&uri) {
            let picture =
                code.render::<Dense1x2>().dark_color(Dense1x2::Light).light_color(Dense1x2::Dark).build();
            let indented: Vec<String> = picture.lines().map(|row| format!("  {row}")).collect();
            self.say(format_args!("{}\n", indented.join("\n")));
        }
    }

    /// The result and the timeline.
    pub(super) fn end(&mut self, sale: &Sale) {
        self.moments.sort_by_key(|(at, ..)| *at);
        self.say(format_args!("\nresult    {}\n\ntimeline", sale.result));
        for (at, who, what) in &self.moments {
            self.say(format_args!("{}  {who:<7} {what}", self.since(*at)));
        }
        self.say(format_args!("\npaid to delivered in {:.1} ms", millis(sale.paid_to_delivered)));
    }

    /// The timeline for machines.
    pub(super) fn timeline(&self) -> Value {
        let moments = self.moments.iter().map(|(at, who, what)| {
            json!({ "at": at, "ms": millis(at.since(self.began)), "who": who, "what": what })
        });
        moments.collect()
    }

    fn since(&self, at: Timestamp) -> String {
        format!("{:>9.1} ms", millis(at.since(self.began)))
    }

    fn say(&self, text: impl std::fmt::Display) {
        if !self.silent {
            line(text);
        }
    }
}

fn millis(duration: std::time::Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

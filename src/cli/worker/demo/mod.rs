//! `demo`: a whole sale between real processes on loopback, told as it happens.
//!
//! This program plays every part: it starts itself under other names. [`parts`] is who it can be,
//! [`place`] the directory that everything lives in, [`cast`] the processes, [`story`] the sale.

pub(super) mod parts;

mod cast;

mod place;

mod story;

mod telling;

use serde_json::json;

use self::cast::Cast;
use self::place::Place;
use self::telling::Telling;
use super::exit::{Exit, Failure};
use super::output::Output;
use super::run::on_signal;
use crate::edge::{Clock, Entropy};

/// Plays the sale, and leaves nothing behind however it ends.
pub(super) fn run(out: Output) -> Result<Exit, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(Failure::other)?.block_on(async {
        let interrupted = on_signal()?;
        let clock = Clock::system();
        let place = Place::make(&Entropy::system())?;
        let mut cast = Cast::new(place.dir())?;
        let mut telling = Telling::begin(clock, out.is_json());
        let ended = tokio::select! {
            ended = story::play(&place, &mut cast, &mut telling) => ended,
            () = interrupted.cancelled() => Err(Failure::text(Exit::Interrupted, "interrupted; nothing is left behind")),
        };
        cast.dismiss().await;
        let sale = match ended {
            Ok(sale) => sale,
            Err(failure) if failure.exit == Exit::Interrupted => return Err(failure),
            Err(failure) => return Err(failure.hint(place.last_words())),
        };
        telling.end(&sale);
        if out.is_json() {
            let whole = json!({ "job": sale.job, "result": sale.result,
                "paid_to_delivered_ms": sale.paid_to_delivered.as_secs_f64() * 1_000.0, "timeline": telling.timeline() });
            out.answer(&whole, "");
        }
        Ok(Exit::Done)
    })
}

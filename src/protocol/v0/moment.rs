//! Moments with nanoseconds: signatures cover their text, so none may be lost.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcOffset};

use super::super::Timestamp;

/// A moment to the nanosecond, between the years 0 and 9999.
///
/// Written as Go's `RFC3339Nano` writes UTC: `Z`, and up to nine decimals without zeros at their
/// end. `FromStr` reads any RFC 3339 text; [`Moment::canonical`] reads only what would be written.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(i128);

/// The last nanosecond of the year 9999.
const NANOS_MAX: i128 = 253_402_300_799_999_999_999;
/// The first one of the year 0.
const NANOS_MIN: i128 = -62_167_219_200_000_000_000;

/// The text is not a moment in the form that is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a moment is written like 2026-02-01T12:00:00Z (RFC 3339)")]
pub struct MomentError;

impl Moment {
    /// The moment so many nanoseconds after 1970, kept within the calendar.
    #[must_use]
    pub fn from_nanos(nanos: i128) -> Self {
        Self(nanos.clamp(NANOS_MIN, NANOS_MAX))
    }

    /// Nanoseconds since 1970.
    #[must_use]
    pub const fn nanos(self) -> i128 {
        self.0
    }

    /// Reads a text only if it is the one that this moment is written as.
    ///
    /// # Errors
    /// If it is another, or none.
    pub fn canonical(text: &str) -> Result<Self, MomentError> {
        let moment: Self = text.parse()?;
        if moment.to_string() == text { Ok(moment) } else { Err(MomentError) }
    }

    /// The moment `duration` later.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self::from_nanos(self.0.saturating_add(i128::try_from(duration.as_nanos()).unwrap_or(NANOS_MAX)))
    }

    /// The moment `duration` earlier.
    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        Self::from_nanos(self.0.saturating_sub(i128::try_from(duration.as_nanos()).unwrap_or(NANOS_MAX)))
    }

    /// How far apart two moments are.
    #[must_use]
    pub fn distance(self, other: Self) -> Duration {
        Duration::from_nanos(u64::try_from(self.0.abs_diff(other.0)).unwrap_or(u64::MAX))
    }
}

impl From<Timestamp> for Moment {
    fn from(timestamp: Timestamp) -> Self {
        Self::from_nanos(i128::from(timestamp.micros()) * 1_000)
    }
}

/// Rounded down to the microsecond, and kept after 1970.
impl From<Moment> for Timestamp {
    fn from(moment: Moment) -> Self {
        Self::from_micros(i64::try_from(moment.0.div_euclid(1_000)).unwrap_or(i64::MAX))
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = OffsetDateTime::from_unix_timestamp_nanos(self.0).map_err(|_| fmt::Error)?;
        let (date, hour, minute, second) = (at.date(), at.hour(), at.minute(), at.second());
        let (year, month, day) = (date.year(), u8::from(date.month()), date.day());
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")?;
        match at.nanosecond() {
            0 => f.write_str("Z"),
            nanos => write!(f, ".{}Z", format!("{nanos:09}").trim_end_matches('0')),
        }
    }
}

impl fmt::Debug for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Moment {
    type Err = MomentError;

    fn from_str(text: &str) -> Result<Self, MomentError> {
        // A leap second has no number here, as it has none in Go.
        if text.get(17..19) == Some("60") {
            return Err(MomentError);
        }
        let moment = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| MomentError)?;
        let nanos = moment.to_offset(UtcOffset::UTC).unix_timestamp_nanos();
        if (NANOS_MIN..=NANOS_MAX).contains(&nanos) { Ok(Self(nanos)) } else { Err(MomentError) }
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn canonical_is_what_go_writes() {
        let good = [
            "2026-02-01T12:00:00Z",
            "2026-02-01T12:00:00.34Z",
            "2026-02-01T12:00:00.000000001Z",
            "9999-12-31T23:59:59.999999999Z",
            "0000-01-01T00:00:00Z",
        ];
        for text in good {
            assert_eq!(Moment::canonical(text).map(|moment| moment.to_string()).as_deref(), Ok(text));
        }
    }

    #[test]
    fn everything_else_is_not_canonical_though_it_may_be_a_moment() {
        let loose = [
            "2026-02-01T12:00:00.340Z",
            "2026-02-01T12:00:00.0Z",
            "2026-02-01T12:00:00+00:00",
            "2026-02-01T13:00:00+01:00",
        ];
        for text in loose {
            assert_eq!(Moment::canonical(text), Err(MomentError), "{text}");
            assert!(text.parse::<Moment>().is_ok(), "{text}");
        }
        for text in ["", "2026-02-01", "2026-02-30T00:00:00Z", "2016-12-31T23:59:60Z", "1769947200", "é"] {
            assert!(text.parse::<Moment>().is_err(), "{text}");
        }
    }

    #[test]
    fn distance_and_sum_stay_within_the_calendar() {
        let (first, last) = (Moment::from_nanos(i128::MIN), Moment::from_nanos(i128::MAX));
        assert_eq!(first.to_string(), "0000-01-01T00:00:00Z");
        assert_eq!(last.plus(Duration::MAX), last);
        assert_eq!(Moment::from_nanos(-1).distance(Moment::from_nanos(1)), Duration::from_nanos(2));
    }

    #[test]
    fn it_is_added_to_and_shown_to_the_nanosecond() {
        let at: Moment = "2026-02-01T12:00:00.000000001Z".parse().unwrap();
        assert_eq!(at.nanos(), 1_769_947_200_000_000_001);
        assert_eq!(format!("{at:?}"), "2026-02-01T12:00:00.000000001Z");
        assert_eq!(at.plus(Duration::from_nanos(9)).to_string(), "2026-02-01T12:00:00.00000001Z");
        assert_eq!(at.minus(Duration::from_nanos(2)).to_string(), "2026-02-01T11:59:59.999999999Z");
        assert_eq!(at.minus(Duration::MAX), Moment::from_nanos(i128::MIN));
        assert_eq!(serde_json::to_value(at).unwrap(), "2026-02-01T12:00:00.000000001Z");
        assert_eq!(
            serde_json::from_value::<Moment>("2026-02-01T13:00:00.000000001+01:00".into()).unwrap(),
            at
        );
        assert!(serde_json::from_value::<Moment>("today".into()).is_err());
    }

    #[test]
    fn the_other_dialects_moments_have_microseconds_and_begin_in_1970() {
        for (text, micros, back) in [
            ("2026-02-01T12:00:00Z", 1_769_947_200_000_000, "2026-02-01T12:00:00Z"),
            ("2026-02-01T12:00:00.000001999Z", 1_769_947_200_000_001, "2026-02-01T12:00:00.000001Z"),
            ("9999-12-31T23:59:59.999999999Z", 253_402_300_799_999_999, "9999-12-31T23:59:59.999999Z"),
            ("1969-12-31T23:59:59Z", 0, "1970-01-01T00:00:00Z"),
        ] {
            let timestamp = Timestamp::from(text.parse::<Moment>().unwrap());
            assert_eq!(timestamp.micros(), micros, "{text}");
            assert_eq!(Moment::from(timestamp).to_string(), back, "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_moment_survives_its_text(nanos in NANOS_MIN..=NANOS_MAX) {
            let moment = Moment::from_nanos(nanos);
            prop_assert_eq!(Moment::canonical(&moment.to_string()), Ok(moment));
        }

        #[test]
        fn garbage_never_panics(text: String, near in "[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9:.,]{0,20}[Zz+0-9:-]{0,6}") {
            let _ = Moment::canonical(&text);
            let _ = Moment::canonical(&near);
        }
    }
}

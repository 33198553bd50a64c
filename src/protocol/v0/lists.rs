//! Lists: what may be asked of them, and the cursors between their pages.
//!
//! A cursor is opaque to clients. It is bound to what was asked, so that it cannot be used to go on
//! with another question.

use serde::{Deserialize, Serialize};

use super::identity::{decode_base64, encode_base64};
use super::limits::{CURSOR_BYTES_MAX, ID_BYTES_MAX, PAGE, PAGE_MAX, QUERY_BYTES_MAX};
use super::{JobId, Moment, PayloadId, Refusal, Status};

/// The parameters of a query as they were sent, decoded, in their order.
#[derive(Debug, Clone, Copy)]
pub struct Params<'a>(pub &'a [(String, String)]);

impl<'a> Params<'a> {
    /// The first value of this name that is not empty.
    #[must_use]
    pub fn get(self, name: &str) -> Option<&'a str> {
        self.all(name).next()
    }

    /// All values of this name that are not empty.
    pub fn all(self, name: &str) -> impl Iterator<Item = &'a str> {
        let values = self.0.iter().filter(move |(key, _)| key == name);
        values.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// How many entries are wanted: 50 if not said, 200 at most.
    ///
    /// # Errors
    /// 400 for anything but a number above zero.
    pub fn limit(self) -> Result<usize, Refusal> {
        match self.get("limit").map(str::parse::<i64>) {
            None => Ok(PAGE),
            Some(Ok(limit)) if limit > 0 => Ok(usize::try_from(limit).unwrap_or(PAGE_MAX).min(PAGE_MAX)),
            Some(_) => Err(Refusal::invalid("invalid limit")),
        }
    }

    /// A yes or no, as Go reads one.
    ///
    /// # Errors
    /// 400 for anything else.
    pub fn flag(self, name: &'static str) -> Result<bool, Refusal> {
        match self.get(name) {
            None => Ok(false),
            Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(true),
            Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(false),
            Some(_) => Err(Refusal::invalid(format!("invalid {name}"))),
        }
    }
}

/// On which side of a job the caller is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Pays.
    Buyer,
    /// Works.
    Seller,
}

/// Which of the caller's jobs are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobQuery {
    /// On which side.
    pub role: Role,
    /// In which states; empty for all.
    pub statuses: Vec<Status>,
    /// Made at this moment or later.
    pub created_since: Option<Moment>,
    /// How many at most.
    pub limit: usize,
    /// Made before this one: the last of the page before.
    pub after: Option<(Moment, JobId)>,
}

impl JobQuery {
    /// Reads the parameters of a list of jobs.
    ///
    /// # Errors
    /// The 400 that the caller is to see.
    pub fn parse(params: Params<'_>) -> Result<Self, Refusal> {
        let role = match params.get("role") {
            Some("buyer") => Role::Buyer,
            Some("seller") => Role::Seller,
            Some(_) => return Err(Refusal::invalid("invalid role")),
            None => return Err(Refusal::invalid("missing role")),
        };
        let statuses = params.all("status").map(Status::parse).collect::<Option<Vec<_>>>();
        let created_since = params.get("created_since").map(Moment::canonical).transpose();
        let after = params.get("cursor").map(|cursor| job_place(cursor).ok_or(())).transpose();
        Ok(Self {
            role,
            statuses: statuses.ok_or_else(|| Refusal::invalid("invalid status"))?,
            created_since: created_since.map_err(|_| Refusal::invalid("invalid created_since"))?,
            limit: params.limit()?,
            after: after.map_err(|()| bad_cursor())?,
        })
    }
}

/// The cursor behind a job: its making and its name, in base64url.
#[must_use]
pub fn job_cursor(created_at: Moment, job_id: &JobId) -> String {
    encode_base64(format!("{created_at}|{job_id}").as_bytes())
}

fn job_place(cursor: &str) -> Option<(Moment, JobId)> {
    let text = String::from_utf8(decode_bounded(cursor)?).ok()?;
    let (created_at, job_id) = text.split_once('|')?;
    let job_id = JobId::new(job_id);
    Some((Moment::canonical(created_at).ok()?, job_id)).filter(|(_, id)| id.is_valid())
}

/// Whether a payload was fetched before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fetched {
    /// Never.
    Unfetched,
    /// At least once.
    Fetched,
    /// No matter.
    All,
}

/// Which of the caller's payloads are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PayloadQuery {
    /// Fetched before, or not.
    pub status: Fetched,
    /// Of which job.
    pub job_id: Option<JobId>,
    /// How many at most.
    pub limit: usize,
    /// Made before this one: the last of the page before.
    pub after: Option<(Moment, PayloadId)>,
}

#[derive(Serialize, Deserialize)]
struct PayloadPlace {
    status: Fetched,
    job_id: Option<JobId>,
    at: Moment,
    id: PayloadId,
}

impl PayloadQuery {
    /// Reads the parameters of a list of payloads.
    ///
    /// # Errors
    /// The 400 that the caller is to see.
    pub fn parse(params: Params<'_>) -> Result<Self, Refusal> {
        let status = match params.get("status") {
            None | Some("unfetched") => Fetched::Unfetched,
            Some("fetched") => Fetched::Fetched,
            Some("all") => Fetched::All,
            Some(_) => return Err(Refusal::invalid("invalid status")),
        };
        let job_id = params.get("job_id").map(JobId::new);
        if job_id.as_ref().is_some_and(|id| id.as_str().len() > ID_BYTES_MAX) {
            return Err(Refusal::invalid("invalid job_id"));
        }
        let mut query = Self { status, job_id, limit: params.limit()?, after: None };
        if let Some(cursor) = params.get("cursor") {
            query.after = Some(query.place(cursor).ok_or_else(bad_cursor)?);
        }
        Ok(query)
    }

    /// The cursor behind a payload on a page of this query.
    #[must_use]
    pub fn cursor(&self, created_at: Moment, payload_id: &PayloadId) -> String {
        let Self { status, job_id, .. } = self;
        let (at, id) = (created_at, payload_id.clone());
        to_cursor(&PayloadPlace { status: *status, job_id: job_id.clone(), at, id })
    }

    fn place(&self, cursor: &str) -> Option<(Moment, PayloadId)> {
        let place: PayloadPlace = from_cursor(cursor)?;
        (place.status == self.status && place.job_id == self.job_id).then_some((place.at, place.id))
    }
}

/// What is asked of the event log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PollQuery {
    /// After which event; the acknowledged one if absent.
    pub since: Option<u64>,
    /// How many at most.
    pub limit: usize,
    /// Of which types; empty for all. Types that do not exist match nothing.
    pub types: Vec<String>,
}

impl PollQuery {
    /// Reads the parameters of a poll.
    ///
    /// # Errors
    /// The 400 that the caller is to see.
    pub fn parse(params: Params<'_>) -> Result<Self, Refusal> {
        let since = params
            .get("since_event_id")
            .map(|text| text.parse::<i64>().ok().and_then(|id| id.try_into().ok()));
        let types = params.get("types").unwrap_or_default();
        if types.len() > QUERY_BYTES_MAX {
            return Err(Refusal::invalid("invalid types"));
        }
        Ok(Self {
            since: since
                .map(|id| id.ok_or_else(|| Refusal::invalid("invalid since_event_id")))
                .transpose()?,
            limit: params.limit()?,
            types: types
                .split(',')
                .map(str::trim)
                .filter(|kind| !kind.is_empty())
                .map(str::to_owned)
                .collect(),
        })
    }
}

pub(super) fn bad_cursor() -> Refusal {
    Refusal::invalid("invalid cursor")
}

pub(super) fn to_cursor(place: &impl Serialize) -> String {
    encode_base64(&serde_json::to_vec(place).unwrap_or_default())
}

pub(super) fn from_cursor<T: serde::de::DeserializeOwned>(cursor: &str) -> Option<T> {
    serde_json::from_slice(&decode_bounded(cursor)?).ok()
}

fn decode_bounded(cursor: &str) -> Option<Vec<u8>> {
    if cursor.len() > CURSOR_BYTES_MAX { None } else { decode_base64(cursor) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn params(query: &[(&str, &str)]) -> Vec<(String, String)> {
        query.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn at() -> Moment {
        "2026-02-01T12:00:00.5Z".parse().unwrap()
    }

    #[test]
    fn limits_are_cut_at_the_top_and_refused_below_one() {
        for (text, expected) in [
            ("", Some(50)),
            ("1", Some(1)),
            ("200", Some(200)),
            ("99999", Some(200)),
            ("0", None),
            ("-5", None),
            ("x", None),
            ("1.5", None),
        ] {
            let params = params(&[("limit", text)]);
            assert_eq!(Params(&params).limit().ok(), expected, "{text}");
        }
    }

    #[test]
    fn jobs_are_asked_for_by_role() {
        let told = |query: &[(&str, &str)]| JobQuery::parse(Params(&params(query)));
        let query = told(&[("role", "seller"), ("status", "paid"), ("status", "EXPIRED")]).unwrap();
        assert_eq!((query.role, query.statuses), (Role::Seller, vec![Status::Paid, Status::Expired]));
        for (query, message) in [
            (vec![], "missing role"),
            (vec![("role", "both")], "invalid role"),
            (vec![("role", "buyer"), ("status", "LOST")], "invalid status"),
            (vec![("role", "buyer"), ("created_since", "2026-02-01T12:00:00.50Z")], "invalid created_since"),
            (vec![("role", "buyer"), ("cursor", "!")], "invalid cursor"),
            (vec![("role", "buyer"), ("limit", "0")], "invalid limit"),
        ] {
            assert_eq!(told(&query).unwrap_err(), Refusal::invalid(message));
        }
        let cursor = job_cursor(at(), &JobId::new("a|b"));
        assert_eq!(cursor, encode_base64(b"2026-02-01T12:00:00.5Z|a|b"));
        let query = told(&[("role", "buyer"), ("cursor", &cursor)]).unwrap();
        assert_eq!(query.after, Some((at(), JobId::new("a|b"))));
    }

    #[test]
    fn a_payload_cursor_is_bound_to_its_question() {
        let told = |query: &[(&str, &str)]| PayloadQuery::parse(Params(&params(query)));
        let first = told(&[("job_id", "j")]).unwrap();
        assert_eq!((first.status, first.limit), (Fetched::Unfetched, 50));
        let cursor = first.cursor(at(), &PayloadId::new("p"));
        let next = told(&[("job_id", "j"), ("cursor", &cursor)]).unwrap();
        assert_eq!(next.after, Some((at(), PayloadId::new("p"))));
        for query in
            [vec![("cursor", cursor.as_str())], vec![("job_id", "j"), ("status", "all"), ("cursor", &cursor)]]
        {
            assert_eq!(told(&query).unwrap_err(), bad_cursor());
        }
        assert_eq!(told(&[("status", "new")]).unwrap_err(), Refusal::invalid("invalid status"));
    }

    #[test]
    fn a_poll_takes_whole_numbers_from_zero() {
        let told = |query: &[(&str, &str)]| PollQuery::parse(Params(&params(query)));
        assert_eq!(told(&[("since_event_id", "0")]).unwrap().since, Some(0));
        assert_eq!(told(&[]).unwrap(), PollQuery { since: None, limit: 50, types: vec![] });
        assert_eq!(
            told(&[("types", "job.paid, job.requested,")]).unwrap().types,
            ["job.paid", "job.requested"]
        );
        for bad in ["-1", "1.0", "x", "9223372036854775808"] {
            assert_eq!(
                told(&[("since_event_id", bad)]).unwrap_err(),
                Refusal::invalid("invalid since_event_id")
            );
        }
    }

    #[test]
    fn a_flag_is_read_as_go_reads_one() {
        for (text, expected) in [
            ("1", Some(true)),
            ("t", Some(true)),
            ("T", Some(true)),
            ("true", Some(true)),
            ("TRUE", Some(true)),
            ("True", Some(true)),
            ("", Some(false)),
            ("0", Some(false)),
            ("f", Some(false)),
            ("F", Some(false)),
            ("false", Some(false)),
            ("FALSE", Some(false)),
            ("False", Some(false)),
            ("tRUE", None),
            ("yes", None),
            ("2", None),
        ] {
            let params = params(&[("mine", text)]);
            let told = Params(&params).flag("mine");
            assert_eq!(told, expected.ok_or_else(|| Refusal::invalid("invalid mine")), "{text}");
        }
        assert_eq!(Params(&[]).flag("mine"), Ok(false));
    }

    #[test]
    fn names_types_and_cursors_are_bounded_at_the_byte() {
        let text = |bytes: usize| "x".repeat(bytes);
        let payloads = |name, value: &str| {
            PayloadQuery::parse(Params(&params(&[(name, value)])))
                .map_err(|refusal| refusal.message.into_owned())
        };
        assert_eq!(payloads("job_id", &text(256)).unwrap().job_id, Some(JobId::new(text(256))));
        for bytes in [257, 300] {
            assert_eq!(payloads("job_id", &text(bytes)).unwrap_err(), "invalid job_id");
        }
        let poll = |types: &str| {
            PollQuery::parse(Params(&params(&[("types", types)])))
                .map_err(|refusal| refusal.message.into_owned())
        };
        assert_eq!(poll(&text(512)).unwrap().types, [text(512)]);
        for bytes in [513, 600] {
            assert_eq!(poll(&text(bytes)).unwrap_err(), "invalid types");
        }
        // A name of 256 bytes is in the cursor behind its job; a longer one is no job's.
        let place = |bytes: usize| job_place(&job_cursor(at(), &JobId::new(text(bytes))));
        assert_eq!(place(256), Some((at(), JobId::new(text(256)))));
        assert_eq!((place(0), place(257)), (None, None));
        // What is blank in JSON says nothing, so that a cursor can be made as long as the limit.
        let padded = |bytes: usize| {
            let mut place = serde_json::to_vec(&PayloadPlace {
                status: Fetched::Unfetched,
                job_id: None,
                at: at(),
                id: PayloadId::new("p"),
            })
            .unwrap();
            place.resize(bytes / 4 * 3, b' ');
            encode_base64(&place)
        };
        assert_eq!((padded(8192).len(), padded(8196).len()), (8192, 8196));
        assert_eq!(payloads("cursor", &padded(8192)).unwrap().after, Some((at(), PayloadId::new("p"))));
        assert_eq!(payloads("cursor", &padded(8196)).unwrap_err(), "invalid cursor");
    }

    #[test]
    fn the_payloads_that_are_wanted_were_fetched_or_not() {
        for (text, expected) in [
            ("", Fetched::Unfetched),
            ("unfetched", Fetched::Unfetched),
            ("fetched", Fetched::Fetched),
            ("all", Fetched::All),
        ] {
            let query = PayloadQuery::parse(Params(&params(&[("status", text)]))).unwrap();
            assert_eq!((query.status, query.after), (expected, None), "{text}");
        }
    }

    /// No relay may refuse its own cursor, whatever names it was asked for.
    #[test]
    fn the_longest_cursor_there_can_be_comes_back() {
        let escaped = "\u{1}".repeat(ID_BYTES_MAX);
        let wanted = [("status", "all"), ("job_id", escaped.as_str())];
        let query = PayloadQuery::parse(Params(&params(&wanted))).unwrap();
        let cursor = query.cursor(at(), &PayloadId::new(escaped.clone()));
        assert!(cursor.len() > CURSOR_BYTES_MAX / 2, "{}", cursor.len());
        let next = [wanted[0], wanted[1], ("cursor", cursor.as_str())];
        let next = PayloadQuery::parse(Params(&params(&next))).unwrap();
        assert_eq!(next.after, Some((at(), PayloadId::new(escaped))));
    }

    proptest! {
        #[test]
        fn cursors_survive(nanos in 0i128..4_000_000_000_000_000_000, id in "[ -~é]{1,40}") {
            let at = Moment::from_nanos(nanos);
            prop_assert_eq!(job_place(&job_cursor(at, &JobId::new(id.clone()))), Some((at, JobId::new(id))));
        }

        #[test]
        fn garbage_never_panics(name: String, value: String) {
            let params = [("role".to_owned(), "buyer".to_owned()), (name, value.clone()), ("cursor".to_owned(), value)];
            let _ = JobQuery::parse(Params(&params));
            let _ = PayloadQuery::parse(Params(&params));
            let _ = PollQuery::parse(Params(&params));
        }
    }
}

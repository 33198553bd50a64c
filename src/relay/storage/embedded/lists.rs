//! The /v0 half: lists of jobs and payloads, newest first. A page looks at a bounded number of records.

use super::Embedded;
use super::bazaar::nanos;
use super::keys::{BAZAAR_JOBS, BAZAAR_JOBS_OF, PAYLOADS_OF, side};
use crate::protocol::v0::lists::{Fetched, JobQuery, PayloadQuery, Role};
use crate::protocol::v0::payload::PayloadHead;
use crate::protocol::v0::{BotId, Docket, Moment, PayloadId};
use crate::relay::v0::model::Page;
use crate::store::StoreError;

/// Records that one page looks at: some dozens of milliseconds. A page that finds less than was wanted
/// among them says where to go on.
const LOOKS_MAX: usize = 10_000;

impl Embedded {
    pub(super) fn list_dockets(&self, bot: &BotId, query: &JobQuery) -> Result<Page<Docket>, StoreError> {
        let side = match query.role {
            Role::Seller => side::SELLER,
            Role::Buyer => side::BUYER,
        };
        let shelf = (*bot.as_bytes(), side);
        let listed = match &query.after {
            Some((at, id)) => {
                BAZAAR_JOBS_OF.prefix_before(&self.store, &shelf, &(shelf, nanos(*at), id.to_string()))
            }
            None => BAZAAR_JOBS_OF.prefix(&self.store, &shelf),
        };
        let since = query.created_since.map_or(0, nanos);
        let newest_first = listed.rev().map(|entry| entry.map(|((_, at, id), ())| (at, id, ())));
        collect(newest_first, query.limit, |at, id, ()| {
            if at < since {
                return Ok(Look::End);
            }
            let docket = BAZAAR_JOBS.get(&self.store, &id.to_owned())?;
            let wanted =
                |docket: &Docket| query.statuses.is_empty() || query.statuses.contains(&docket.job.status);
            Ok(docket.filter(wanted).map_or(Look::Past, Look::Found))
        })
    }

    pub(super) fn list_payloads(
        &self,
        bot: &BotId,
        query: &PayloadQuery,
    ) -> Result<Page<PayloadHead>, StoreError> {
        let shelf = *bot.as_bytes();
        let listed = match &query.after {
            Some((at, id)) => {
                PAYLOADS_OF.prefix_before(&self.store, &shelf, &(shelf, nanos(*at), id.to_string()))
            }
            None => PAYLOADS_OF.prefix(&self.store, &shelf),
        };
        let newest_first = listed.rev().map(|entry| entry.map(|((_, at, id), mark)| (at, id, mark)));
        collect(newest_first, query.limit, |at, id, mark| {
            let wanted = match query.status {
                Fetched::All => true,
                Fetched::Fetched => mark.fetched_at.is_some(),
                Fetched::Unfetched => mark.fetched_at.is_none(),
            };
            if !wanted || query.job_id.as_ref().is_some_and(|job_id| *job_id != mark.job_id) {
                return Ok(Look::Past);
            }
            Ok(Look::Found(PayloadHead {
                payload_id: PayloadId::new(id),
                job_id: mark.job_id,
                payload_kind: mark.kind,
                created_at: moment(at),
            }))
        })
    }
}

/// What a look at one record came to.
enum Look<T> {
    Found(T),
    Past,
    End,
}

fn collect<T, R>(
    records: impl Iterator<Item = Result<(u64, String, R), StoreError>>,
    limit: usize,
    mut look: impl FnMut(u64, &str, R) -> Result<Look<T>, StoreError>,
) -> Result<Page<T>, StoreError> {
    let (mut items, mut last) = (Vec::new(), None);
    for (looks, record) in records.enumerate() {
        let (at, id, rest) = record?;
        let found = look(at, &id, rest)?;
        match found {
            Look::End => break,
            // There is one more, so that the place of the last one shown is where to go on.
            Look::Found(_) if items.len() >= limit => {
                return Ok(Page { items, next: last });
            }
            Look::Found(item) => {
                items.push(item);
                last = Some((moment(at), id));
            }
            Look::Past if looks + 1 >= LOOKS_MAX => {
                return Ok(Page { items, next: Some((moment(at), id)) });
            }
            Look::Past => {}
        }
    }
    Ok(Page { items, next: None })
}

fn moment(nanos: u64) -> Moment {
    Moment::from_nanos(i128::from(nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(count: u64, limit: usize, wanted: impl Fn(u64) -> bool) -> (Vec<u64>, Option<i128>) {
        let records = (0..count).rev().map(|number| Ok((number, number.to_string(), number)));
        let page = collect(records, limit, |_, _, number| {
            Ok(if wanted(number) { Look::Found(number) } else { Look::Past })
        });
        let Page { items, next } = page.unwrap();
        (items, next.map(|(at, _)| at.nanos()))
    }

    #[test]
    fn a_page_says_where_to_go_on_only_if_there_is_more() {
        assert_eq!(numbers(3, 2, |_| true), (vec![2, 1], Some(1)));
        assert_eq!(numbers(2, 2, |_| true), (vec![1, 0], None));
        assert_eq!(numbers(5, 2, |number| number != 0 && number != 2), (vec![4, 3], Some(3)));
        assert_eq!(numbers(3, 2, |number| number > 0), (vec![2, 1], None));
    }

    #[test]
    fn a_page_ends_where_it_has_looked_enough() {
        let many = LOOKS_MAX as u64 + 5;
        assert_eq!(numbers(many, 9, |number| number == 0), (vec![], Some(5)));
        assert_eq!(numbers(5, 9, |number| number == 0), (vec![0], None));
    }
}

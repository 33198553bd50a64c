//! The relay's lists of our jobs, whatever their buyers have called them.

use std::collections::HashMap;

use nano_currency::Account;

use super::bazaar::Bazaar;
use super::ticket::job_id;
use crate::client::CallError;
use crate::client::v0::JobsQuery;
use crate::protocol::JobId;
use crate::protocol::v0::Status;
use crate::protocol::v0::job::JobPage;
use crate::protocol::v0::limits::PAGE_MAX;
use crate::protocol::v0::lists::Role;

/// Each status is listed for itself, in this order. A job that is too long to be read ends its list, and
/// none such is ever charged for, so that it hides no open job that is paid; of what expired or was
/// cancelled it may, and what came to an address of which no job is known is left alone. What is charged
/// for moves on to a later list; and the addresses that were used come before the first new one is given
/// to anybody.
pub(super) const LISTS: [Status; 6] = [
    Status::ChargeCreated,
    Status::Paid,
    Status::Delivered,
    Status::Expired,
    Status::Cancelled,
    Status::Requested,
];

/// Our jobs with this status, newest first.
pub(super) fn ours(status: Status) -> JobsQuery {
    JobsQuery {
        role: Role::Seller,
        statuses: vec![status],
        created_since: None,
        limit: Some(PAGE_MAX),
        cursor: None,
    }
}

impl Bazaar {
    /// A page of our jobs. One that is too long to be read ends the list: what comes after it has no
    /// other name than its page's.
    pub(super) async fn jobs_page(&self, query: &JobsQuery) -> Result<JobPage, CallError> {
        let Some((page, unreadable)) = self.client.jobs_any(query).await? else {
            tracing::error!(
                "a job in the list is too long to be read: it and the older ones are passed over"
            );
            return Ok(JobPage { jobs: Vec::new(), next_cursor: None });
        };
        if unreadable > 0 {
            tracing::error!(unreadable, "some jobs cannot be read and are passed over");
        }
        Ok(page)
    }

    /// The addresses of all jobs that the relay has of us; nothing if they are too many.
    pub(in crate::worker) async fn addresses(
        &self,
        jobs_max: usize,
    ) -> Result<Option<HashMap<Account, JobId>>, CallError> {
        let (mut addresses, mut count) = (HashMap::new(), 0);
        for status in LISTS {
            let mut query = ours(status);
            loop {
                let page = self.page_or_renewal(&query).await?;
                count += page.jobs.len();
                for job in &page.jobs {
                    let address = job.charge.as_ref().and_then(|charge| Account::parse(&charge.address).ok());
                    if let Some(account) = address {
                        addresses.entry(account).or_insert(job_id(&job.job_id));
                    }
                }
                match page.next_cursor {
                    Some(_) if count > jobs_max => return Ok(None),
                    Some(next) => query.cursor = Some(next),
                    None => break,
                }
            }
        }
        Ok(Some(addresses))
    }

    /// The same for who asks nothing else meanwhile that would find out that the relay knows nobody.
    async fn page_or_renewal(&self, query: &JobsQuery) -> Result<JobPage, CallError> {
        let page = self.jobs_page(query).await;
        if page.as_ref().is_err_and(|error| error.says("unknown bot")) {
            self.renew().await;
        }
        page
    }
}

//! Leases: at most one process at a time does a background job, whatever the clocks say.
//!
//! The record holds no time. The holder renews it by changing it; another process may take it over only after it
//! saw the record unchanged for the lease's duration *by its own monotonic clock*: from when it had read it, since it
//! may have been written after that read began, until when it begins the read that finds it again. The holder in turn
//! trusts the lease only for [`HELD_PERCENT`] of that duration from the moment it began its last successful renewal,
//! which is before anybody could have seen that renewal. Only the rates of the clocks matter then, never their readings.
//!
//! A lease saves duplicate work; it is no fence. What the work commits is checked by value as everything is.

use std::time::Duration;

use crate::codec::{Stored, encode};
use crate::error::MetaError;
use crate::keys;
use crate::kv::Batch;
use crate::meta::{Committed, Meta};
use crate::records::LeaseRecord;

/// How much of its duration a holder trusts a lease: the rest covers clocks that run at different rates.
const HELD_PERCENT: u32 = 75;

/// One process's view of one lease. Call [`Lease::poll`] every quarter of the duration or so.
#[derive(Debug)]
pub struct Lease {
    meta: Meta,
    name: String,
    holder: String,
    duration: Duration,
    /// The record as last seen, and since when, by this process's monotonic clock.
    seen: Option<(LeaseRecord, Duration)>,
    held_until: Option<Duration>,
}

/// Whether this process holds the lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseState {
    /// It does, until this reading of the monotonic clock that was given to [`Lease::poll`].
    Held {
        /// Work must have stopped by then, unless a later poll says otherwise.
        until: Duration,
    },
    /// Another process does, or may.
    Elsewhere,
}

/// What a poll does.
#[derive(Debug, PartialEq, Eq)]
enum Action {
    /// Write the record: to take, renew or take over.
    Write { renewals: u64 },
    /// Wait until the record was unchanged for long enough.
    Wait,
}

impl Lease {
    /// The lease `name`, for a process that calls itself `holder` (unique among processes, and other for each start).
    pub fn new(
        meta: Meta,
        name: impl Into<String>,
        holder: impl Into<String>,
        duration: Duration,
    ) -> Self {
        Self {
            meta,
            name: name.into(),
            holder: holder.into(),
            duration,
            seen: None,
            held_until: None,
        }
    }

    /// Takes, renews, takes over or waits. `now` reads a monotonic clock of this process.
    ///
    /// # Errors
    /// Those of the store; a lease that was held stays so until its time.
    pub async fn poll(&mut self, now: impl Fn() -> Duration) -> Result<LeaseState, MetaError> {
        let begun = now();
        let key = keys::lease(&self.name);
        let stored: Option<Stored<LeaseRecord>> = self.meta.read(&key).await?;
        let found = stored.as_ref().map(|stored| &stored.record);
        self.observe(found, now());
        let Action::Write { renewals } =
            decide(found, &self.holder, self.seen_for(begun), self.duration)
        else {
            self.held_until = None;
            return Ok(LeaseState::Elsewhere);
        };
        let record = LeaseRecord {
            holder: self.holder.clone(),
            renewals,
        };
        let mut batch = Batch::default();
        batch
            .check(key.clone(), stored.map(|stored| stored.bytes))
            .put(key, encode(&record));
        match self.meta.try_commit(batch).await? {
            Committed::Applied => {
                let until = begun + self.duration * HELD_PERCENT / 100;
                self.seen = Some((record, begun));
                self.held_until = Some(until);
                Ok(LeaseState::Held { until })
            }
            Committed::Conflict => {
                self.held_until = None;
                Ok(LeaseState::Elsewhere)
            }
            Committed::Unknown(error) => Err(error.into()),
        }
    }

    /// Whether the lease is held at `now`, by the last poll.
    pub fn is_held(&self, now: Duration) -> bool {
        self.held_until.is_some_and(|until| now < until)
    }

    fn observe(&mut self, found: Option<&LeaseRecord>, now: Duration) {
        if self.seen.as_ref().map(|(record, _)| record) != found {
            self.seen = found.map(|record| (record.clone(), now));
        }
    }

    fn seen_for(&self, now: Duration) -> Duration {
        self.seen
            .as_ref()
            .map_or(Duration::ZERO, |(_, since)| now.saturating_sub(*since))
    }
}

fn decide(
    found: Option<&LeaseRecord>,
    holder: &str,
    unchanged_for: Duration,
    duration: Duration,
) -> Action {
    match found {
        None => Action::Write { renewals: 0 },
        Some(record) if record.holder == holder || unchanged_for >= duration => Action::Write {
            renewals: record.renewals.wrapping_add(1),
        },
        Some(_) => Action::Wait,
    }
}

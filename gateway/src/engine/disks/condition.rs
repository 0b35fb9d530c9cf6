//! What is believed of one disk: a state machine fed by statuses and by the outcomes of calls.
//!
//! A status alone does not show that a disk works: it may come from memory while every call into the disk hangs. So a
//! disk that was unreachable, or has answered no call for long, is doubted: it counts as there again only after a call
//! was answered.

use std::time::Duration;

use cairn_storage_node::{DiskHealth, DiskStatus, ShardError};
use tokio::time::Instant;

/// Whether a disk can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Availability {
    /// Reads and writes.
    Healthy,
    /// Reads and deletes only.
    Full,
    /// It said that it failed.
    Failed,
    /// It does not answer.
    Unreachable,
}

/// After this many calls in a row that had to be replaced, a disk is avoided for a while.
const SLOW_CALL_COUNT_MAX: u32 = 3;
/// How long: enough to spare many requests the wait, short enough to notice that it is well again.
const AVOIDED_FOR: Duration = Duration::from_secs(5);
/// A disk of which calls were late or refused as too many, and none was answered, is doubted after this long: the time
/// after which a call is given up, which those that are replaced earlier never reach.
const SILENT_FOR_MAX: Duration = Duration::from_secs(10);

/// The state of a disk.
#[derive(Debug, Clone)]
pub(super) struct Condition {
    pub(super) availability: Availability,
    /// Since when it is failed or unreachable without a break.
    pub(super) away_since: Option<Instant>,
    /// Why it is failed or unreachable.
    pub(super) failure: Option<String>,
    /// The last status it gave.
    pub(super) status: Option<DiskStatus>,
    /// What the log was told last.
    told: Availability,
    slow_call_count: u32,
    avoided_until: Option<Instant>,
    /// Since when calls were late, refused or given up, and none was answered.
    silent_since: Option<Instant>,
}

impl Condition {
    /// Of a disk that was not asked yet: believed until shown otherwise, since refusing it would refuse writes.
    pub(super) fn new() -> Self {
        Self {
            availability: Availability::Healthy,
            away_since: None,
            failure: None,
            status: None,
            told: Availability::Healthy,
            slow_call_count: 0,
            avoided_until: None,
            silent_since: None,
        }
    }

    /// Whether a status is believed only after a call was answered.
    pub(super) fn is_doubted(&self, now: Instant) -> bool {
        let is_silent = |since| now.saturating_duration_since(since) >= SILENT_FOR_MAX;
        self.availability == Availability::Unreachable || self.silent_since.is_some_and(is_silent)
    }

    /// Learns from a status, or from why there is none; a disk that is doubted and answers no call has none.
    pub(super) fn learn_status(&mut self, status: Result<DiskStatus, String>, now: Instant) {
        match status {
            Ok(status) => {
                let availability = match status.health {
                    DiskHealth::Healthy => Availability::Healthy,
                    DiskHealth::Full => Availability::Full,
                    DiskHealth::Failed => Availability::Failed,
                    DiskHealth::Hung => Availability::Unreachable,
                };
                self.set(availability, now, status.failure.clone());
                self.status = Some(status);
            }
            Err(reason) => self.set(Availability::Unreachable, now, Some(reason)),
        }
    }

    /// What it was and is, where the log was told otherwise last: calls that fail change it too.
    pub(super) fn tell(&mut self) -> Option<(Availability, Availability)> {
        let before = std::mem::replace(&mut self.told, self.availability);
        (before != self.availability).then_some((before, self.availability))
    }

    /// Learns from a call that failed.
    pub(super) fn learn_error(&mut self, error: &ShardError, now: Instant) {
        match error {
            ShardError::DiskFull { .. } => self.set(Availability::Full, now, None),
            ShardError::DiskFailed { .. } => {
                self.set(Availability::Failed, now, Some(error.to_string()));
            }
            ShardError::Unreachable { .. } => {
                self.learn_silence(now);
                self.set(Availability::Unreachable, now, Some(error.to_string()));
            }
            // Of a moment; but of all moments, if nothing else is heard.
            ShardError::Busy { .. } => self.learn_silence(now),
            // These say something of a shard, not of the disk.
            _ => self.learn_answer(),
        }
    }

    /// A call was answered in time.
    pub(super) fn learn_answer(&mut self) {
        self.slow_call_count = 0;
        self.silent_since = None;
    }

    fn learn_silence(&mut self, now: Instant) {
        self.silent_since = self.silent_since.or(Some(now));
    }

    /// A call was still open when another disk had to be asked instead.
    pub(super) fn learn_slow_call(&mut self, now: Instant) {
        self.learn_silence(now);
        self.slow_call_count += 1;
        if self.slow_call_count >= SLOW_CALL_COUNT_MAX {
            self.avoided_until = Some(now + AVOIDED_FOR);
        }
    }

    /// Whether it was slow lately.
    pub(super) fn is_avoided(&self, now: Instant) -> bool {
        self.avoided_until.is_some_and(|until| now < until)
    }

    /// Whether it answers reads.
    pub(super) fn is_readable(&self) -> bool {
        matches!(
            self.availability,
            Availability::Healthy | Availability::Full
        )
    }

    fn set(&mut self, availability: Availability, now: Instant, failure: Option<String>) {
        self.availability = availability;
        self.failure = failure.filter(|_| !self.is_readable());
        self.away_since = if self.is_readable() {
            None
        } else {
            self.away_since.or(Some(now))
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cairn_storage_node::DiskId;

    #[tokio::test]
    async fn absence_is_counted_from_its_beginning_and_ends_with_a_status() {
        let disk_id = DiskId([1; 16]);
        let start = Instant::now();
        let mut condition = Condition::new();
        condition.learn_error(
            &ShardError::Unreachable {
                disk_id,
                detail: String::new(),
            },
            start,
        );
        condition.learn_status(Err("no answer".to_owned()), start + Duration::from_secs(9));
        assert_eq!(condition.away_since, Some(start));
        assert_eq!(condition.failure.as_deref(), Some("no answer"));

        condition.learn_status(Ok(healthy()), start + Duration::from_secs(10));
        assert_eq!(condition.failure, None);
        assert_eq!(
            (condition.away_since, condition.availability),
            (None, Availability::Healthy)
        );
        let hung = DiskStatus {
            health: DiskHealth::Hung,
            ..healthy()
        };
        let hung_at = start + Duration::from_secs(11);
        condition.learn_status(Ok(hung), hung_at);
        assert_eq!(
            (condition.away_since, condition.availability),
            (Some(hung_at), Availability::Unreachable)
        );
    }

    #[tokio::test]
    async fn a_change_is_told_once_whoever_noticed_it() {
        let disk_id = DiskId([1; 16]);
        let mut condition = Condition::new();
        condition.learn_status(Ok(healthy()), Instant::now());
        assert_eq!(condition.tell(), None);
        let detail = "connection refused".to_owned();
        let error = ShardError::Unreachable { disk_id, detail };
        condition.learn_error(&error, Instant::now());
        condition.learn_status(Err("no answer".to_owned()), Instant::now());
        let lost = (Availability::Healthy, Availability::Unreachable);
        assert_eq!(condition.tell(), Some(lost));
        assert_eq!(condition.tell(), None);
        condition.learn_status(Ok(healthy()), Instant::now());
        let back = (Availability::Unreachable, Availability::Healthy);
        assert_eq!(condition.tell(), Some(back));
    }

    fn healthy() -> DiskStatus {
        DiskStatus {
            disk_id: DiskId([1; 16]),
            path: String::new(),
            health: DiskHealth::Healthy,
            failure: None,
            capacity_bytes: 0,
            free_bytes: 0,
            shard_bytes: 0,
            shard_count: 0,
            garbage_bytes: 0,
            counters: std::collections::BTreeMap::new(),
        }
    }

    #[tokio::test]
    async fn a_disk_that_answers_no_call_is_doubted_whatever_it_says_of_itself() {
        let disk_id = DiskId([1; 16]);
        let start = Instant::now();
        for is_late in [false, true] {
            let mut condition = Condition::new();
            for second in 0..10 {
                let now = start + Duration::from_secs(second);
                if is_late {
                    condition.learn_slow_call(now);
                } else {
                    condition.learn_error(&ShardError::Busy { disk_id }, now);
                }
                condition.learn_status(Ok(healthy()), now);
                assert!(!condition.is_doubted(now), "after {second} seconds");
            }
            assert!(condition.is_doubted(start + SILENT_FOR_MAX));
            condition.learn_answer();
            assert!(!condition.is_doubted(start + SILENT_FOR_MAX));
        }
        let mut condition = Condition::new();
        let detail = "no answer".to_owned();
        condition.learn_error(&ShardError::Unreachable { disk_id, detail }, start);
        assert!(condition.is_doubted(start));
    }

    #[tokio::test]
    async fn a_disk_is_avoided_after_slow_calls_in_a_row_only() {
        let now = Instant::now();
        let mut condition = Condition::new();
        condition.learn_slow_call(now);
        condition.learn_slow_call(now);
        condition.learn_answer();
        condition.learn_slow_call(now);
        assert!(!condition.is_avoided(now));
        condition.learn_slow_call(now);
        condition.learn_slow_call(now);
        assert!(condition.is_avoided(now));
        assert!(!condition.is_avoided(now + AVOIDED_FOR));
    }
}

//! When copies are verified, and what becomes of one that is damaged; and the primary before a copy is made of it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::journal_copy::is_of_the_process;
use super::maintenance::{Maintenance, Setback};
use super::shared::{Live, Suspicion};
use super::status::add;
use super::verification::{PAUSE_COUNT, Pace, behind, verify_next};

impl Maintenance {
    /// Reads one file of a copy, if it is time.
    pub(crate) fn verify_if_due(&mut self) {
        if !self.verification.pause().is_zero() {
            return;
        }
        self.verification.postpone(PAUSE_COUNT as usize);
        let live = self.shared.live();
        let mut copies = self.shared.view().holders.clone();
        copies.retain(|place| place.id != live.place.id);
        let Some((place, after)) = self.verification.next(&copies) else {
            return;
        };
        let (copy, cluster_id) = (Arc::clone(place), self.cluster_id);
        let mut rate = self.pace();
        let verified = self.work_on(&[place], move |is_given_up| {
            verify_next(&copy, cluster_id, after.as_deref(), &mut |size_bytes| {
                rate.advance(size_bytes, is_given_up)
            })
        });
        match verified {
            Ok(Some(file)) => {
                add(&self.shared.counters.verified_bytes, file.size_bytes);
                self.verification.postpone(file.file_count * copies.len());
                self.verification.last = Some((place.id, file.name));
            }
            Ok(None) => {
                let next = behind(&copies, place.id).unwrap_or(place);
                self.verification.last = Some((next.id, String::new()));
            }
            Err(Setback::Failed(error))
                if !is_of_the_process(&error) && !self.shared.pause(Duration::ZERO) =>
            {
                tracing::error!(path = %place.path.display(), %error, "a metadata copy is damaged; it is made anew");
                self.give_up(place, live.generation, Suspicion::failed(error));
            }
            Err(_) => {}
        }
    }

    /// Reads all of the primary, and fails with [`Setback::Unread`] if that cannot be done, or if something is damaged
    /// while there is another copy to move to. Without one, a copy of what is left is better than none.
    pub(crate) fn verify_primary(&self, live: &Arc<Live>) -> Result<(), Setback> {
        let database = Arc::clone(live);
        let mut rate = self.pace();
        let read = self.work_on(&[&live.place], move |is_given_up| {
            database
                .database
                .read_all(&mut |size_bytes| rate.advance(size_bytes, is_given_up))
        });
        let error = match read {
            Err(Setback::Failed(error)) if !self.shared.pause(Duration::ZERO) => error,
            other => return other,
        };
        if error.kind() == io::ErrorKind::InvalidData {
            tracing::error!(path = %live.place.path.display(), %error, "the metadata database is damaged");
            if self.shared.view().holders.len() < 2 {
                return Ok(());
            }
        }
        Err(Setback::Unread(error))
    }

    /// What copies and reads in the background keep to.
    pub(crate) fn pace(&self) -> Pace {
        Pace::new(Arc::clone(&self.shared), self.bytes_per_second_max)
    }
}

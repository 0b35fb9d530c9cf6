//! The segment of each class that is appended to: created when it is needed, sealed when it is full.

use std::io;
use std::sync::Arc;

use bytes::Bytes;

use crate::ShardError;
use crate::durable_file;
use crate::index::SegmentStats;
use crate::local_disk::active_segment::ActiveSegment;
use crate::local_disk::state::count;
use crate::segment::{
    FIRST_RECORD_OFFSET, HeaderFault, SEGMENT_HEADER_LEN, SegmentClass, SegmentHeader,
    SegmentNumber,
};

use super::Writer;
use super::free_space::write_error;
use super::group::Group;
use super::sync::check_linked;

impl Writer {
    /// The open segment of a class, with space for a record; closes the present one if the record does not fit.
    ///
    /// Before that it commits what the group has staged so far: from a closed segment nothing is cut off, and a group
    /// that fails must leave nothing behind.
    pub(super) fn make_room(
        &mut self,
        group: &mut Group,
        class: SegmentClass,
        record_len: u64,
    ) -> Result<&mut ActiveSegment, ShardError> {
        if self
            .active
            .get(&class)
            .is_some_and(|active| !active.has_room_for(record_len))
        {
            self.commit(std::mem::take(group))?;
            self.seal(class)?;
        }
        if !self.active.contains_key(&class) {
            self.disk.check_in_place()?;
            let created = self
                .create_segment(class)
                .map_err(|err| self.write_error("creating a segment", &err))?;
            self.active.insert(class, created);
        }
        let disk = Arc::clone(&self.disk);
        let Some(active) = self.active.get_mut(&class) else {
            unreachable!("inserted just above")
        };
        match active.allocate_for(record_len) {
            Ok(()) => Ok(active),
            Err(err) => Err(write_error(&disk, "allocating space", &err)),
        }
    }

    /// The file and its name are durable before anything is appended, hence before anything is acknowledged.
    fn create_segment(&self, class: SegmentClass) -> io::Result<ActiveSegment> {
        let number = SegmentNumber(self.disk.bookkeeping().log.next_segment);
        let header = SegmentHeader {
            class,
            disk_id: self.disk.disk_id(),
            number,
            created_at_ms: self.disk.options.clock.now_ms(),
        };
        self.remove_leftover(number)?;
        let header = Bytes::copy_from_slice(&header.encode());
        let segment = self.disk.segments.create(number, header)?;
        let mut bookkeeping = self.disk.bookkeeping();
        bookkeeping.log.next_segment = number.next().0;
        bookkeeping
            .log
            .stats
            .insert(number, SegmentStats::new(class, FIRST_RECORD_OFFSET));
        bookkeeping.touched.insert(number);
        bookkeeping.active.insert(number);
        bookkeeping.synced_tails.insert(number, FIRST_RECORD_OFFSET);
        Ok(ActiveSegment::new(
            segment,
            class,
            FIRST_RECORD_OFFSET,
            self.disk.options.segment_size_max(),
        ))
    }

    /// Removes what was left by an attempt to create a segment that failed before the number was taken: it cannot hold
    /// anything acknowledged. Any other file stays, and creating the segment fails.
    fn remove_leftover(&self, number: SegmentNumber) -> io::Result<()> {
        let path = self.disk.segments.path(number);
        if !path.exists() {
            return Ok(());
        }
        let found = self.disk.segments.open(number)?;
        self.disk.segments.forget(number);
        let start = found.read_up_to(SEGMENT_HEADER_LEN, 0)?;
        let header = start.first_chunk().map(SegmentHeader::decode);
        match header {
            Some(Ok(header))
                if header.disk_id != self.disk.disk_id() || header.number != number =>
            {
                Ok(())
            }
            Some(Err(HeaderFault::Newer(_))) => Ok(()),
            _ => durable_file::remove_file(&path),
        }
    }

    /// Closes the open segment of a class. It is synced first: recovery relies on every segment but the last of
    /// its class being whole.
    pub(super) fn seal(&mut self, class: SegmentClass) -> Result<(), ShardError> {
        let Some(active) = self.active.remove(&class) else {
            return Ok(());
        };
        let segment = Arc::clone(&active.segment);
        let number = segment.number;
        let tail = active.tail();
        active.seal().map_err(|err| {
            self.disk
                .fail_writes(format!("syncing segment {}: {err}", number.file_name()))
        })?;
        count(&self.disk.counters.sync_count, 1);
        check_linked(&self.disk, &segment)?;
        let mut bookkeeping = self.disk.bookkeeping();
        bookkeeping.active.remove(&number);
        bookkeeping.synced_tails.remove(&number);
        bookkeeping.touched.insert(number);
        if let Some(stats) = bookkeeping.log.stats.get_mut(&number) {
            stats.tail = tail;
        }
        Ok(())
    }
}

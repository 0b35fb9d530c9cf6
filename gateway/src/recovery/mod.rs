//! The last resort: metadata made anew from what the shards say of themselves, when all copies are gone.
//!
//! What is decided is in pure functions: which data are whole ([`crate::engine::found_data`]), which parts make up a
//! completed upload (`completed_parts`), what buckets are called (`buckets`); of two versions of a key the later one
//! stays ([`cairn_meta::Meta::recover_object`]). What runs here reads the disks twice, first all shards, then those
//! without bytes for the completions, and writes as it goes, so that memory does not grow with the store.
//!
//! Invariant: what is written is whole. What it cannot know is in `docs/adr/0016-rebuilding-metadata.md`.

mod buckets;
mod completed_parts;
mod report;
#[cfg(test)]
mod tests;

pub use report::{IncompleteObject, RecoveredBucket, RecoveryReport};

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use cairn_meta::{
    BucketId, BucketRecord, ChecksumKind, DataOwner, DataRecord, FoundObject, ManifestPart, Meta,
    MetaError, NewData, NewObject, ObjectBody, ObjectChecksum, PartOwner, PartRecord, Recovered,
    UploadId,
};
use cairn_storage_node::{DiskId, ShardError, ShardStore};
use futures_util::{StreamExt, TryStreamExt, stream};

use crate::engine::found_data::{Finding, FoundData, IncompleteDatum, Selection, WholeDatum};
use crate::handlers::object_headers;
use crate::keepsake::{Completion, Content, Keepsake, Origin};
use crate::object_of_parts;
use buckets::FoundBuckets;
use completed_parts::{COMBINATION_COUNT_MAX, PartsError, completed_parts};
use report::INCOMPLETE_LISTED_MAX;

/// Writes under way at once: they share commits, and so the disk's syncs. The record of the largest datum has 2 MB, so
/// that these fit into the metadata's queue of 64 MiB.
const WRITES_IN_FLIGHT: usize = 32;
/// Shards between two reports of progress.
const PROGRESS_EVERY: u64 = 1000;

/// Disks to read and metadata to write.
#[derive(Debug)]
pub struct Recovery {
    /// The disks that are there.
    pub disks: Vec<Arc<dyn ShardStore>>,
    /// Disks of the store that are not, and may come back.
    pub awaited: BTreeSet<DiskId>,
    /// Empty, and used by nobody else.
    pub meta: Meta,
    /// In milliseconds since 1970.
    pub now_ms: u64,
}

/// An object as the shards have it.
struct FoundAs {
    owner: DataOwner,
    origin: Option<Origin>,
    new: NewObject,
    at_ms: u64,
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Shards looked at.
    pub seen_count: u64,
    /// Of so many.
    pub shard_count: u64,
}

/// Why it did not come to an end. What was written is not to be used.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    /// A disk cannot be read.
    #[error("{0}; leave the disk out if it cannot be read, and start again")]
    Disk(#[from] ShardError),
    /// The new metadata cannot be written.
    #[error("the new metadata cannot be written: {0}")]
    Meta(#[from] MetaError),
}

/// What became of a datum.
enum Outcome {
    Object {
        bucket: BucketId,
        origin: Option<BucketRecord>,
        size_bytes: u64,
        repair_count: u64,
        /// The upload that it was completed from, if parts of that are in no object.
        left_upload: Option<UploadId>,
        recovered: Recovered,
    },
    Part {
        /// The upload, if it was written before completions were kept.
        without_completion: Option<(UploadId, Lost)>,
        repair_count: u64,
    },
    Lost(Lost),
    /// The parts that are the latest of their numbers are not those of this completion.
    Disagree(Box<Attested>),
    /// Another pass is for it, or it belongs to what is reported anyway.
    Passed,
}

/// That an upload was completed, as it was found.
struct Attested {
    datum: WholeDatum,
    keepsake: Keepsake,
    completion: Completion,
}

impl Attested {
    fn at_ms(&self) -> u64 {
        kept_at_ms(&self.datum, self.keepsake.origin.as_ref())
    }

    fn lost(&self, error: PartsError) -> Lost {
        Lost {
            upload: Some(self.completion.upload_id),
            ..lost(&self.datum, self.keepsake.origin.as_ref(), &error)
        }
    }
}

/// Something that is not there again.
#[derive(Debug, Clone)]
struct Lost {
    owner: DataOwner,
    data_id: cairn_meta::DataId,
    /// The upload that it was completed from.
    upload: Option<UploadId>,
    at_ms: u64,
    reason: String,
}

/// What is known while it runs.
#[derive(Default)]
struct Tally {
    report: RecoveryReport,
    buckets: FoundBuckets,
    lost: Vec<Lost>,
    /// Lost beyond those that are remembered.
    forgotten_count: u64,
    without_completion: BTreeMap<UploadId, Lost>,
    /// Completions that the latest parts are not those of. No more than are listed: others are lost.
    disagreeing: Vec<Attested>,
    /// Uploads that were completed and have parts in no object, because a later one took its place, something is missing
    /// or they were replaced. No more than are listed: beyond those they look unfinished.
    completed: BTreeSet<UploadId>,
    /// Objects that were written and whose place a later one took.
    replaced_count: u64,
    replaced_bytes: u64,
}

impl Recovery {
    /// Reads the disks and writes the metadata; `progress` is told now and then how far it is.
    ///
    /// # Errors
    /// [`RecoveryError`]; then the metadata are unfinished.
    pub async fn run(
        &self,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<RecoveryReport, RecoveryError> {
        let mut shard_count = 0;
        for disk in &self.disks {
            shard_count += disk.status().await?.shard_count;
        }
        let mut tally = Tally::default();
        let unreadable_count = self
            .pass(Selection::All, &mut tally, &|seen_count| {
                progress(Progress {
                    seen_count,
                    shard_count,
                });
            })
            .await?;
        tally.report.unreadable_shard_count = unreadable_count;
        self.pass(Selection::Empty, &mut tally, &|_| {}).await?;
        self.take_disagreeing(&mut tally).await?;
        self.abandon_parts(&mut tally).await?;
        self.meta.note_rebuild(self.now_ms).await?;
        for bucket in tally.buckets.records() {
            self.meta.recover_bucket(&bucket).await?;
            tally.report.buckets.push(RecoveredBucket {
                name: bucket.name.to_string(),
                owner: bucket.owner.to_string(),
            });
        }
        self.list_lost(tally).await
    }

    /// Walks over the data once. Returns how many shards could not be read.
    async fn pass(
        &self,
        selection: Selection,
        tally: &mut Tally,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<u64, RecoveryError> {
        let found = FoundData::new(&self.disks, self.awaited.clone(), selection);
        let findings = stream::try_unfold((found, 0), |(mut found, mut told)| async move {
            let finding = found.next().await?;
            let seen_count = found.seen_count();
            if finding.is_none() || seen_count >= told + PROGRESS_EVERY {
                progress(seen_count);
                told = seen_count;
            }
            let unreadable_count = found.unreadable_count();
            Ok::<_, RecoveryError>(
                finding.map(|finding| ((finding, unreadable_count), (found, told))),
            )
        });
        let mut unreadable_count = 0;
        let outcomes = findings
            .map_ok(|(finding, unreadable_count)| async move {
                let outcome = self.take(finding, selection).await?;
                Ok((outcome, unreadable_count))
            })
            .try_buffer_unordered(WRITES_IN_FLIGHT);
        let mut outcomes = std::pin::pin!(outcomes);
        while let Some((outcome, unreadable)) = outcomes.next().await.transpose()? {
            unreadable_count = unreadable_count.max(unreadable);
            tally.count(outcome);
        }
        Ok(unreadable_count)
    }

    async fn take(&self, finding: Finding, selection: Selection) -> Result<Outcome, RecoveryError> {
        let datum = match (finding, selection) {
            (Finding::Whole(datum), _) => datum,
            // The completion tells whether a part is missed; the first pass has told of the others.
            (Finding::Incomplete(IncompleteDatum { owner, .. }), _) if owner.part.is_some() => {
                return Ok(Outcome::Passed);
            }
            (Finding::Incomplete(_), Selection::Empty) => return Ok(Outcome::Passed),
            (Finding::Incomplete(datum), Selection::All) => {
                return Ok(Outcome::Lost(Lost {
                    owner: datum.owner,
                    data_id: datum.data_id,
                    upload: None,
                    at_ms: datum.created_at_ms,
                    reason: datum.reason.to_string(),
                }));
            }
        };
        let keepsake = match Keepsake::decode(&datum.kept) {
            Ok(keepsake) => keepsake,
            Err(error) if selection == Selection::All => {
                return Ok(Outcome::Lost(lost(&datum, None, &error)));
            }
            Err(_) => return Ok(Outcome::Passed),
        };
        match (
            selection,
            datum.record.owner.part,
            keepsake.completion.clone(),
        ) {
            (Selection::All, Some(part), _) => self.take_part(datum, part, keepsake).await,
            (Selection::All, None, None) => self.take_object(datum, keepsake).await,
            (Selection::Empty, None, Some(completion)) => {
                let attested = Attested {
                    datum,
                    keepsake,
                    completion,
                };
                // Nearly always the latest of each number are the right ones.
                self.take_completion(attested, 1).await
            }
            (Selection::All, None, Some(_)) | (Selection::Empty, _, _) => Ok(Outcome::Passed),
        }
    }

    async fn take_object(
        &self,
        datum: WholeDatum,
        keepsake: Keepsake,
    ) -> Result<Outcome, RecoveryError> {
        let Keepsake {
            content, origin, ..
        } = keepsake;
        let at_ms = kept_at_ms(&datum, origin.as_ref());
        let owner = datum.record.owner.clone();
        let repair_count = repair_count(&datum.record);
        let etag = hex::encode(content.md5);
        let new = new_object(content, origin.as_ref(), etag, None, datum);
        let object = FoundAs {
            owner,
            origin,
            new,
            at_ms,
        };
        self.write_object(object, None, repair_count).await
    }

    /// Writes an object that was found, which is made of the `completed` parts if it was uploaded in parts.
    async fn write_object(
        &self,
        FoundAs {
            owner,
            origin,
            new,
            at_ms,
        }: FoundAs,
        completed: Option<(UploadId, Vec<ManifestPart>)>,
        repair_count: u64,
    ) -> Result<Outcome, RecoveryError> {
        let bucket = bucket_of(owner.bucket, origin.as_ref());
        let found = FoundObject {
            bucket: &bucket,
            key: &owner.key,
            new: &new,
            at_ms,
        };
        let recovered = match completed {
            None => self.meta.recover_object(found, self.now_ms).await?,
            Some((upload, parts)) => {
                self.meta
                    .recover_completed(found, upload, &parts, self.now_ms)
                    .await?
            }
        };
        Ok(Outcome::Object {
            bucket: owner.bucket,
            origin: origin.map(|_| bucket),
            size_bytes: new.size_bytes,
            repair_count,
            left_upload: None,
            recovered,
        })
    }

    async fn take_part(
        &self,
        datum: WholeDatum,
        part: PartOwner,
        keepsake: Keepsake,
    ) -> Result<Outcome, RecoveryError> {
        let content = keepsake.content;
        let record = PartRecord {
            part_number: part.part_number,
            size_bytes: datum.record.size_bytes,
            etag_md5: content.md5,
            checksum: content
                .checksum()
                .map(|checksum| checksum.as_bytes().to_vec()),
            data_id: Some(datum.data_id),
            last_modified_ms: kept_at_ms(&datum, keepsake.origin.as_ref()),
        };
        self.meta
            .recover_part(
                part.upload_id,
                &record,
                &NewData::placed(datum.data_id, datum.record.clone()),
                self.now_ms,
            )
            .await?;
        let without_completion = keepsake.origin.is_none().then(|| {
            let reason = "it was uploaded in parts by a Cairn that did not keep which parts made \
                          an object, or never completed";
            (part.upload_id, lost(&datum, None, &reason))
        });
        Ok(Outcome::Part {
            without_completion,
            repair_count: repair_count(&datum.record),
        })
    }

    async fn take_completion(
        &self,
        attested: Attested,
        combination_count_max: usize,
    ) -> Result<Outcome, RecoveryError> {
        let upload = attested.completion.upload_id;
        let at_ms = attested.at_ms();
        let owner = attested.datum.record.owner.clone();
        let current = self.meta.object(owner.bucket, &owner.key).await?;
        let is_done = current.is_some_and(|current| {
            matches!(current.body, ObjectBody::Parts { manifest, .. } if manifest == upload.into())
        });
        if is_done {
            return Ok(Outcome::Passed);
        }
        let found = self.meta.recovered_parts(upload).await?;
        let found_count = found.len();
        let parts = match completed_parts(
            &attested.completion,
            &attested.keepsake.content,
            found,
            combination_count_max,
        ) {
            Ok(parts) => parts,
            Err(PartsError::Disagree) => return Ok(Outcome::Disagree(Box::new(attested))),
            Err(error) => return Ok(Outcome::Lost(attested.lost(error))),
        };
        let Attested {
            datum,
            keepsake: Keepsake {
                content, origin, ..
            },
            completion,
        } = attested;
        let has_all_parts = parts.len() == found_count;
        let etag = object_of_parts::etag(content.md5, parts.len());
        let composite_of = completion
            .is_composite
            .then(|| u16::try_from(parts.len()).unwrap_or(u16::MAX));
        let new = new_object(content, origin.as_ref(), etag, composite_of, datum);
        let object = FoundAs {
            owner,
            origin,
            new,
            at_ms,
        };
        // Its parts have counted theirs.
        let mut outcome = self.write_object(object, Some((upload, parts)), 0).await?;
        if let Outcome::Object {
            left_upload,
            recovered,
            ..
        } = &mut outcome
        {
            let is_written = matches!(recovered, Recovered::Written { .. });
            *left_upload = (!is_written || !has_all_parts).then_some(upload);
        }
        Ok(outcome)
    }

    /// Looks among the parts that are not the latest of their numbers for those of the completions that the latest are
    /// not of: after all others, which may need them too and have the better claim, and the latest completion first.
    async fn take_disagreeing(&self, tally: &mut Tally) -> Result<(), RecoveryError> {
        let mut disagreeing = std::mem::take(&mut tally.disagreeing);
        disagreeing.sort_by_key(|attested| Reverse(attested.at_ms()));
        for attested in disagreeing {
            match self
                .take_completion(attested, COMBINATION_COUNT_MAX)
                .await?
            {
                Outcome::Disagree(attested) => tally.remember(attested.lost(PartsError::Disagree)),
                outcome => tally.count(outcome),
            }
        }
        Ok(())
    }

    /// Gives up the parts that no object has taken.
    async fn abandon_parts(&self, tally: &mut Tally) -> Result<(), RecoveryError> {
        let mut after = None;
        while let Some(upload) = self
            .meta
            .abandon_recovered_parts(after, self.now_ms)
            .await?
        {
            match tally.without_completion.remove(&upload) {
                Some(lost) => tally.remember(lost),
                None if tally.completed.contains(&upload) => {}
                None => tally.report.unfinished_upload_count += 1,
            }
            after = Some(upload);
        }
        Ok(())
    }

    /// What is lost and was not replaced by something later.
    async fn list_lost(&self, tally: Tally) -> Result<RecoveryReport, RecoveryError> {
        let mut report = tally.report;
        // Subtracted only here: the later one may have been counted first.
        report.object_count -= tally.replaced_count;
        report.object_bytes -= tally.replaced_bytes;
        report.superseded_count += tally.replaced_count;
        report.incomplete_count = tally.forgotten_count;
        for lost in tally.lost {
            let DataOwner { bucket, key, .. } = &lost.owner;
            let current = self.meta.object(*bucket, key).await?;
            let is_replaced = current
                .as_ref()
                .is_some_and(|current| current.last_modified_ms >= lost.at_ms);
            if is_replaced {
                continue;
            }
            report.incomplete_count += 1;
            report.incomplete.push(IncompleteObject {
                bucket: tally.buckets.name(*bucket).to_string(),
                key: key.as_str().to_owned(),
                data_id: hex::encode(lost.data_id.0),
                written_at_ms: lost.at_ms,
                is_earlier_version_there: current.is_some(),
                reason: lost.reason,
            });
        }
        Ok(report)
    }
}

impl Tally {
    fn count(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Passed => {}
            Outcome::Lost(lost) => self.remember(lost),
            Outcome::Disagree(attested) if self.disagreeing.len() < INCOMPLETE_LISTED_MAX => {
                self.disagreeing.push(*attested);
            }
            Outcome::Disagree(attested) => self.remember(attested.lost(PartsError::Disagree)),
            Outcome::Part {
                without_completion,
                repair_count,
            } => {
                self.report.chunks_to_repair_count += repair_count;
                if let Some((upload, lost)) = without_completion
                    && self.without_completion.len() < INCOMPLETE_LISTED_MAX
                {
                    self.without_completion.entry(upload).or_insert(lost);
                }
            }
            Outcome::Object {
                bucket,
                origin,
                size_bytes,
                repair_count,
                left_upload,
                recovered,
            } => {
                self.note_completed(left_upload);
                match recovered {
                    Recovered::Superseded => self.report.superseded_count += 1,
                    Recovered::Written {
                        replaced_size_bytes,
                    } => {
                        self.buckets.note(bucket, origin.as_ref());
                        self.report.chunks_to_repair_count += repair_count;
                        self.report.object_count += 1;
                        self.report.object_bytes += size_bytes;
                        if let Some(replaced) = replaced_size_bytes {
                            self.replaced_count += 1;
                            self.replaced_bytes += replaced;
                        }
                    }
                }
            }
        }
    }

    fn note_completed(&mut self, upload: Option<UploadId>) {
        if self.completed.len() < INCOMPLETE_LISTED_MAX {
            self.completed.extend(upload);
        }
    }

    fn remember(&mut self, lost: Lost) {
        self.note_completed(lost.upload);
        if self.lost.len() < INCOMPLETE_LISTED_MAX {
            self.lost.push(lost);
        } else {
            self.forgotten_count += 1;
        }
    }
}

fn lost(datum: &WholeDatum, origin: Option<&Origin>, reason: &dyn std::fmt::Display) -> Lost {
    Lost {
        owner: datum.record.owner.clone(),
        data_id: datum.data_id,
        upload: None,
        at_ms: kept_at_ms(datum, origin),
        reason: reason.to_string(),
    }
}

/// When it was there whole; its beginning, where that was not kept.
fn kept_at_ms(datum: &WholeDatum, origin: Option<&Origin>) -> u64 {
    origin.map_or(datum.record.created_at_ms, |origin| origin.kept_at_ms)
}

fn bucket_of(id: BucketId, origin: Option<&Origin>) -> BucketRecord {
    origin.map_or_else(
        || buckets::nameless_bucket(id),
        |origin| buckets::bucket(id, origin),
    )
}

fn repair_count(record: &DataRecord) -> u64 {
    record
        .chunks
        .iter()
        .filter(|chunk| chunk.is_reduced())
        .count() as u64
}

/// The object with this content; `composite_of` parts if its checksum is one of their checksums.
fn new_object(
    content: Content,
    origin: Option<&Origin>,
    etag: String,
    composite_of: Option<u16>,
    datum: WholeDatum,
) -> NewObject {
    let checksum = content.checksum().map(|checksum| ObjectChecksum {
        algorithm: object_headers::stored_algorithm(checksum.algorithm()),
        kind: match composite_of {
            Some(_) => ChecksumKind::Composite,
            None => ChecksumKind::FullObject,
        },
        value: checksum.as_bytes().to_vec(),
        part_count: composite_of,
    });
    NewObject {
        modified_ms: None,
        size_bytes: content.size_bytes,
        etag,
        owner: origin.map_or_else(buckets::default_owner, |origin| origin.owner),
        storage_class: content.storage_class,
        headers: content.headers,
        user_metadata: content.user_metadata,
        tags: content.tags,
        checksum,
        data: Some(NewData::placed(datum.data_id, datum.record)),
    }
}

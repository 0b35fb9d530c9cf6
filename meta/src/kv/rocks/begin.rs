//! The last step of opening: a new epoch, with new journal files on all holders, and the writer behind them.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc;

use rocksdb::Cache;

use super::holder::{Holders, OpenJournal};
use super::journal_copy;
use super::journal_log::JournalLog;
use super::options::{OpenError, OpenReport, RocksKvOptions, Start};
use super::place::Place;
use super::recover::Recovered;
use super::roster::{Primary, Roster};
use super::shared::{Live, Shared, Suspicion};
use super::writer::{Request, Writer, WriterSettings};
use crate::durable_file;

/// An opened store whose threads do not run yet.
pub(super) struct Opened {
    pub(super) writer: Writer,
    pub(super) shared: Arc<Shared>,
    pub(super) requests: mpsc::SyncSender<Request>,
    pub(super) wake: mpsc::Receiver<()>,
    pub(super) report: OpenReport,
}

/// What opening found out.
pub(super) struct BeginFrom {
    pub(super) roster: Roster,
    /// How many places there should be.
    pub(super) configured_count: usize,
    pub(super) places: Vec<Arc<Place>>,
    pub(super) missing: Vec<PathBuf>,
    pub(super) notes: Vec<String>,
    pub(super) cache: Cache,
}

/// Begins the new epoch: new journal files on all holders, then the roster on all places.
pub(super) fn begin(
    options: &RocksKvOptions,
    open_journal: OpenJournal,
    queue_len: usize,
    from: BeginFrom,
    recovered: Recovered,
) -> Result<Opened, OpenError> {
    let primary = Arc::clone(&recovered.primary);
    let failed = |source| OpenError::Io {
        path: primary.path.clone(),
        source,
    };
    let applied = recovered
        .database
        .applied()
        .map_err(|error| failed(io::Error::other(error)))?;
    if !journal_continues(options, &from.roster, &recovered, applied.sequence) {
        // RocksDB's own files hold everything; a journal that does not end here would contradict the new one.
        empty_journal(&primary).map_err(failed)?;
    }
    let mut notes = from.notes;
    let new_primary = Some(Primary {
        place: primary.id,
        database: recovered.id,
    });
    remove_leftovers(&from.places, new_primary, &mut notes);

    let roster = Roster {
        primary: new_primary,
        ..from.roster
    };
    let live = Live::new((recovered.id, recovered.database), Arc::clone(&primary), 0);
    let shared = share(options, live, from.places, from.configured_count);
    let holders = Holders::new(
        open_journal,
        options.journal_file_size_bytes,
        Arc::clone(&shared),
    );
    let holders = add_all(holders, &primary, &recovered.copies, &mut notes).map_err(failed)?;
    let (requests, inbox) = mpsc::sync_channel(queue_len);
    let (maintenance, wake) = mpsc::sync_channel(1);
    let mut writer = Writer::behind(
        applied.sequence,
        Arc::clone(&shared),
        (inbox, maintenance),
        holders,
        roster,
        settings(options, from.cache),
    );
    begin_epoch(options, &primary, &mut writer).map_err(failed)?;
    Ok(Opened {
        report: report(&shared, &writer, recovered.start, from.missing, notes),
        writer,
        shared,
        requests,
        wake,
    })
}

fn empty_journal(place: &Place) -> io::Result<()> {
    durable_file::remove_dir_all(&place.journal_dir())?;
    durable_file::create_dir(&place.journal_dir())
}

/// Removes what a crash left unfinished, and every RocksDB but `live`.
pub(super) fn remove_leftovers(
    places: &[Arc<Place>],
    live: Option<Primary>,
    notes: &mut Vec<String>,
) {
    for place in places {
        let live_here = live.filter(|live| live.place == place.id);
        if let Err(error) = place.remove_leftovers(live_here.map(|live| live.database)) {
            notes.push(format!("{}: {error}", place.path.display()));
        }
    }
}

/// What the threads have in common, before any of them runs.
fn share(
    options: &RocksKvOptions,
    live: Live,
    places: Vec<Arc<Place>>,
    configured_count: usize,
) -> Arc<Shared> {
    // Places that are not there are wanted all the same, or nobody would be told that copies are.
    let holder_count_wanted = (options.copy_count + 1).min(configured_count);
    Arc::new(Shared::new(
        live,
        places,
        holder_count_wanted,
        options.copy_timeout,
    ))
}

/// The journals of RocksDB's place, which must take part, and of those copies that can.
fn add_all(
    mut holders: Holders,
    primary: &Arc<Place>,
    copies: &[Arc<Place>],
    notes: &mut Vec<String>,
) -> io::Result<Holders> {
    holders
        .add(Arc::clone(primary))
        .map_err(|Suspicion { detail, .. }| io::Error::other(detail))?;
    for copy in copies {
        if let Err(Suspicion { detail, .. }) = holders.add(Arc::clone(copy)) {
            notes.push(format!("{}: {detail}", copy.path.display()));
        }
    }
    Ok(holders)
}

fn settings(options: &RocksKvOptions, cache: Cache) -> WriterSettings {
    WriterSettings {
        cluster_id: options.cluster_id,
        file_size_bytes: options.journal_file_size_bytes,
        cache,
    }
}

/// Has the writer begin its first files and write its first roster, and tells what it begins with. Where no disk has room
/// for such files they are begun when one has, as while running: until then it serves reads.
fn begin_epoch(options: &RocksKvOptions, primary: &Place, writer: &mut Writer) -> io::Result<()> {
    // The next start would take a journal without any file for damaged.
    let has_files = !journal_copy::list(&primary.journal_dir())?.is_empty();
    match writer.rotate() {
        Err(reason) if has_files && writer.broken.is_none() => writer.tell_no_room(&reason),
        other => other.map_err(io::Error::other)?,
    }
    writer.reorganize().map_err(io::Error::other)?;
    let journal_bytes = closed_journal_bytes(options, primary)?;
    let mut view = writer.shared.view();
    view.sequence = writer.sequence;
    view.journal_bytes = journal_bytes;
    Ok(())
}

/// What stands in the journal already counts towards the next checkpoint, or short runs would never make one.
fn closed_journal_bytes(options: &RocksKvOptions, primary: &Place) -> io::Result<u64> {
    let file_count = journal_copy::list(&primary.journal_dir())?.len();
    let closed_count = file_count.saturating_sub(1) as u64;
    Ok(options.journal_file_size_bytes.saturating_mul(closed_count))
}

/// Whether the primary's journal ends where RocksDB does, so that new files may follow. One that is on the roster is
/// kept then, wherever RocksDB was: until the next roster is written, it may be all that is left of a copy.
fn journal_continues(
    options: &RocksKvOptions,
    roster: &Roster,
    recovered: &Recovered,
    sequence: u64,
) -> bool {
    let primary = &recovered.primary;
    let is_complete = || {
        JournalLog::read(&primary.journal_dir(), options.cluster_id)
            .is_ok_and(|log| log.next() == sequence + 1)
    };
    recovered.start == Start::Fresh || (roster.holders.contains(&primary.id) && is_complete())
}

fn report(
    shared: &Shared,
    writer: &Writer,
    start: Start,
    missing: Vec<PathBuf>,
    notes: Vec<String>,
) -> OpenReport {
    let primary = Arc::clone(&shared.live().place);
    let copies = writer
        .holders
        .places()
        .into_iter()
        .filter(|place| place.id != primary.id);
    OpenReport {
        start,
        sequence: writer.sequence,
        epoch: writer.roster.epoch,
        primary: primary.path.clone(),
        copies: copies.map(|place| place.path.clone()).collect(),
        missing,
        notes,
    }
}

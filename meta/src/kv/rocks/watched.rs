//! Work on places that takes as long as it takes, and is given up when a disk does not answer.
//!
//! Restoring or copying a database takes seconds or minutes, so that no time-out tells by itself whether a disk hangs.
//! While such work goes on, the disks that it is about are asked to write a few bytes now and then.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::place::Place;

/// Why work came to nothing.
#[derive(Debug)]
pub(crate) enum Unfinished {
    /// This place does not answer. The work may go on when it does.
    Silent(Arc<Place>),
    /// There was no thread, or it panicked.
    Failed(io::Error),
}

/// Does `work` on a thread that may be lost, and waits for it as long as all of `places` answer within `limit` (or for
/// ever, if there are none). `work` is given what tells it later that nobody waits any more.
pub(crate) fn watched<T: Send + 'static>(
    places: &[Arc<Place>],
    limit: Duration,
    work: impl FnOnce(&AtomicBool) -> T + Send + 'static,
) -> Result<T, Unfinished> {
    let is_given_up = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&is_given_up);
    let result = on_a_thread("meta-work", move || work(&flag)).map_err(Unfinished::Failed)?;
    loop {
        match result.recv_timeout(limit) {
            Ok(result) => return Ok(result),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                return Err(Unfinished::Failed(io::Error::other("a thread panicked")));
            }
        }
        if let Some(place) = silent(places, limit) {
            // Set before the last look: what it does from here on, it does knowing that nobody waits.
            is_given_up.store(true, Ordering::SeqCst);
            return result.try_recv().map_err(|_| Unfinished::Silent(place));
        }
    }
}

/// Does `work` with each of `paths` at the same time, each on a thread that may be lost, and waits at most `limit` for
/// all. Says why of those that it did not answer for.
pub(crate) fn each_path<T: Send + 'static>(
    paths: &[PathBuf],
    limit: Duration,
    work: impl Fn(PathBuf) -> T + Copy + Send + 'static,
) -> Vec<Result<T, String>> {
    let deadline = Instant::now() + limit;
    let begun: Vec<_> = paths
        .iter()
        .map(|path| {
            let path = path.clone();
            on_a_thread("meta-open", move || work(path))
        })
        .collect();
    let answers = begun.into_iter().map(|answer| {
        let left = deadline.saturating_duration_since(Instant::now());
        let answer = answer.map_err(|error| error.to_string())?;
        answer.recv_timeout(left).map_err(|error| match error {
            RecvTimeoutError::Timeout => "it did not answer in time".to_owned(),
            RecvTimeoutError::Disconnected => "a thread panicked".to_owned(),
        })
    });
    answers.collect()
}

/// Fails if nobody waits for the work any more.
pub(crate) fn still_wanted(is_given_up: &AtomicBool) -> io::Result<()> {
    if is_given_up.load(Ordering::SeqCst) {
        return Err(io::Error::new(
            io::ErrorKind::Interrupted,
            "it was given up meanwhile",
        ));
    }
    Ok(())
}

/// One that does not answer within `limit`.
fn silent(places: &[Arc<Place>], limit: Duration) -> Option<Arc<Place>> {
    let deadline = Instant::now() + limit;
    let probes: Vec<_> = places
        .iter()
        .map(|place| {
            let asked = Arc::clone(place);
            (place, on_a_thread("meta-probe", move || asked.probe()))
        })
        .collect();
    let silent = probes.into_iter().find(|(_, probe)| {
        // That it fails is an answer too: whoever works on it notices by himself.
        probe.as_ref().is_ok_and(|answer| {
            let left = deadline.saturating_duration_since(Instant::now());
            matches!(answer.recv_timeout(left), Err(RecvTimeoutError::Timeout))
        })
    });
    silent.map(|(place, _)| Arc::clone(place))
}

fn on_a_thread<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<Receiver<T>> {
    let (answer, answered) = mpsc::sync_channel(1);
    std::thread::Builder::new()
        .name(name.to_owned())
        // Nobody listens any more when it was given up.
        .spawn(move || answer.send(work()).unwrap_or_default())?;
    Ok(answered)
}

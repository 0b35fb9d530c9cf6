//! Starts that are refused, and damage that is noticed.

use std::fs;

use super::super::place::Place;
use super::super::{OpenError, Start};
use super::harness::{Disks, copy_tree, entries, flip_bit, overwrite, put, until, value};

#[tokio::test]
async fn a_directory_with_other_files_is_left_alone() {
    let disks = Disks::new(2, 1);
    fs::create_dir(disks.place(1)).unwrap();
    overwrite(&disks.place(1).join("thesis.tex"), b"precious");
    let error = disks.try_open().unwrap_err();
    assert!(
        matches!(&error, OpenError::Unrecognized { path } if path.ends_with("thesis.tex")),
        "{error}"
    );
    assert_eq!(fs::read_dir(disks.place(1)).unwrap().count(), 1);
    assert!(!disks.place(0).exists());
}

#[tokio::test]
async fn a_store_is_opened_once() {
    let disks = Disks::new(2, 1);
    let (_store, _) = disks.open();
    assert!(matches!(
        disks.try_open().unwrap_err(),
        OpenError::InUse { .. }
    ));
}

#[tokio::test]
async fn the_directory_of_another_cluster_is_refused() {
    let mut disks = Disks::new(2, 1);
    drop(disks.open());
    disks.options.cluster_id = [8; 16];
    assert!(matches!(
        disks.try_open().unwrap_err(),
        OpenError::ForeignCluster { .. }
    ));
}

#[tokio::test]
async fn a_copied_directory_is_refused() {
    let disks = Disks::new(3, 1);
    drop(disks.open());
    disks.lose(2);
    copy_tree(&disks.place(1), &disks.place(2)).unwrap();
    assert!(matches!(
        disks.try_open().unwrap_err(),
        OpenError::Duplicate { .. }
    ));
}

#[tokio::test]
async fn a_first_start_needs_all_disks() {
    let disks = Disks::new(3, 1);
    disks.take_away(1);
    assert!(matches!(
        disks.try_open().unwrap_err(),
        OpenError::Io { .. }
    ));
}

#[tokio::test]
async fn a_stale_copy_never_wins() {
    let disks = Disks::new(3, 1);
    let (store, _) = disks.open();
    put(&store, "old", "1").await;
    // The copy goes away with what it has; the third disk takes over, and gets one more commit.
    disks.take_away(1);
    put(&store, "new", "2").await;
    until(|| store.status().counters.copies_established == 1).await;
    drop(store);
    disks.bring_back(1);

    // Alone it is refused.
    disks.take_away(0);
    disks.take_away(2);
    let error = disks.try_open().unwrap_err();
    assert!(
        matches!(&error, OpenError::TooManyMissing { missing, allowed: 1, .. } if missing.len() == 2),
        "{error}"
    );

    // Beside the newer copy it counts for nothing.
    disks.bring_back(2);
    let (store, report) = disks.open();
    assert!(
        matches!(&report.start, Start::Restored { from, .. } if *from == disks.place(2)),
        "{report}"
    );
    assert_eq!(value(&store, "new").await.as_deref(), Some("2"));
    assert_eq!(value(&store, "old").await.as_deref(), Some("1"));
}

/// The first disk went on alone, with key `alone` and value `1`, and is away: of `place_count` that count none other may be.
async fn is_refused_without_the_first(disks: &Disks, place_count: usize) {
    let error = disks.try_open().unwrap_err();
    assert!(
        matches!(
            &error,
            OpenError::TooManyMissing { missing, allowed: 0, place_count: counted }
                if missing.len() == 1 && *counted == place_count
        ),
        "{error}"
    );
    disks.bring_back(0);
    let (store, _) = disks.open();
    assert_eq!(value(&store, "alone").await.as_deref(), Some("1"));
}

#[tokio::test]
async fn a_stale_copy_does_not_win_where_as_many_disks_may_be_lost() {
    let mut disks = Disks::new(3, 2);
    disks.options.accept_missing_copies = false;
    let (store, _) = disks.open();
    put(&store, "old", "1").await;
    disks.take_away(1);
    put(&store, "new", "2").await;
    drop(store);
    disks.take_away(0);
    disks.take_away(2);
    disks.bring_back(1);

    // Two disks may be lost, and this one believes that it is a copy; but two of three could have gone on without it.
    let error = disks.try_open().unwrap_err();
    assert!(
        matches!(
            &error,
            OpenError::TooManyMissing { missing, allowed: 0, place_count: 3 } if missing.len() == 2
        ),
        "{error}"
    );
    assert!(
        error.to_string().contains(disks.place(0).to_str().unwrap()),
        "{error}"
    );

    // Nor could the two that were there at the end be told from two that were not.
    disks.bring_back(2);
    let error = disks.try_open().unwrap_err();
    assert!(
        matches!(&error, OpenError::TooManyMissing { missing, .. } if missing.len() == 1),
        "{error}"
    );

    disks.bring_back(0);
    let (store, _) = disks.open();
    assert_eq!(value(&store, "new").await.as_deref(), Some("2"));
}

#[tokio::test]
async fn a_stale_copy_does_not_win_beside_a_directory_that_never_took_part() {
    let mut disks = Disks::new(3, 1);
    disks.options.copies = vec![disks.place(1)];
    disks.options.accept_missing_copies = false;
    let (store, _) = disks.open();
    disks.take_away(1);
    until(|| store.status().holder_count() == 1).await;
    put(&store, "alone", "1").await;
    drop(store);
    // A third disk is added, and that start is interrupted before the roster is on it.
    drop(Place::claim(&disks.place(2), disks.options.cluster_id).unwrap());
    disks.options.copies.push(disks.place(2));
    disks.take_away(0);
    disks.bring_back(1);
    is_refused_without_the_first(&disks, 2).await;
}

#[tokio::test]
async fn a_stale_copy_does_not_win_beside_a_disk_that_was_missing_at_the_last_start() {
    let disks = Disks::new(3, 1);
    drop(disks.open());
    disks.take_away(2);
    let (store, _) = disks.open();
    // It is there again, and not looked for.
    disks.bring_back(2);
    disks.take_away(1);
    until(|| store.status().holder_count() == 1).await;
    put(&store, "alone", "1").await;
    drop(store);
    disks.bring_back(1);
    disks.take_away(0);
    is_refused_without_the_first(&disks, 2).await;
}

#[tokio::test]
async fn a_disk_may_be_missing_while_enough_were_there_at_the_last_start() {
    let disks = Disks::new(4, 1);
    let (store, _) = disks.open();
    put(&store, "key", "1").await;
    drop(store);
    disks.take_away(3);
    drop(disks.open());
    disks.bring_back(3);
    disks.take_away(0);
    let (store, _) = disks.open();
    assert_eq!(value(&store, "key").await.as_deref(), Some("1"));
}

#[tokio::test]
async fn a_majority_that_was_away_does_not_win() {
    let mut disks = Disks::new(3, 2);
    disks.options.accept_missing_copies = false;
    let (store, _) = disks.open();
    put(&store, "old", "1").await;
    disks.take_away(1);
    disks.take_away(2);
    until(|| store.status().holder_count() == 1).await;
    put(&store, "alone", "1").await;
    drop(store);
    disks.bring_back(1);
    disks.bring_back(2);
    disks.take_away(0);
    is_refused_without_the_first(&disks, 3).await;
}

/// It had told two places of its roster when it ended, and was not there when the others were used without them.
#[tokio::test]
async fn a_start_that_was_interrupted_does_not_win_over_the_next() {
    let disks = Disks::new(5, 2);
    let (store, _) = disks.open();
    put(&store, "before", "1").await;
    drop(store);
    let interrupted = disks.image();
    let (_, report) = interrupted.open();
    // No place can be made a copy, which would be another roster.
    for disk in [3, 4] {
        overwrite(&disks.place(disk).join("journal"), b"");
    }
    disks.take_away(0);
    disks.take_away(1);
    let (store, next) = disks.open();
    put(&store, "alone", "2").await;
    drop(store);
    assert_eq!(next.epoch, report.epoch);

    for disk in [0, 1] {
        disks.bring_back(disk);
        let place_file = |disks: &Disks| disks.place(disk).join("cairn-meta.json");
        overwrite(
            &place_file(&disks),
            &fs::read(place_file(&interrupted)).unwrap(),
        );
    }
    disks.take_away(2);
    disks.take_away(4);
    let error = disks.try_open().unwrap_err();
    assert!(
        matches!(&error, OpenError::TooManyMissing { missing, .. } if missing.len() == 2),
        "{error}"
    );
    disks.bring_back(2);
    disks.bring_back(4);
    let (store, _) = disks.open();
    assert_eq!(value(&store, "alone").await.as_deref(), Some("2"));
}

/// More than `m` disks were away at a time: one side has to lose, and is kept.
#[tokio::test]
async fn what_went_on_without_the_others_is_kept_aside() {
    let disks = Disks::new(5, 1);
    let (store, _) = disks.open();
    put(&store, "old", "1").await;
    for disk in 2..5 {
        disks.take_away(disk);
    }
    disks.take_away(1);
    until(|| store.status().holder_count() == 1).await;
    put(&store, "alone", "2").await;
    drop(store);
    for disk in 1..5 {
        disks.bring_back(disk);
    }
    disks.take_away(0);
    // So often that this side is ahead.
    for _ in 0..5 {
        let (store, _) = disks.open();
        put(&store, "others", "3").await;
    }
    disks.bring_back(0);
    let (store, report) = disks.open();
    assert_eq!(value(&store, "others").await.as_deref(), Some("3"));
    assert_eq!(value(&store, "alone").await, None);
    let kept = disks.entry(0, "superseded-");
    assert!(kept.join("journal").is_dir(), "{:?}", report.notes);
}

#[tokio::test]
async fn what_a_deliberate_start_gives_up_is_kept_aside() {
    let mut disks = Disks::new(3, 2);
    disks.options.accept_missing_copies = false;
    let (store, _) = disks.open();
    put(&store, "old", "1").await;
    disks.take_away(1);
    // Noticed before the commit, or the record would be in its journal before it is given up.
    until(|| store.status().holder_count() == 2).await;
    put(&store, "given up", "2").await;
    drop(store);
    disks.take_away(0);
    disks.take_away(2);
    disks.bring_back(1);
    disks.options.accept_missing_copies = true;
    let (store, _) = disks.open();
    put(&store, "later", "3").await;
    drop(store);

    // Now there are two histories, each with something of its own.
    disks.options.accept_missing_copies = false;
    disks.bring_back(0);
    disks.bring_back(2);
    let (store, report) = disks.open();
    assert_eq!(value(&store, "later").await.as_deref(), Some("3"));
    assert_eq!(value(&store, "given up").await, None);
    for disk in [0, 2] {
        let kept = disks.entry(disk, "superseded-");
        assert!(kept.join("journal").is_dir());
        let told = |note: &String| note.contains(kept.to_str().unwrap());
        assert!(report.notes.iter().any(told), "{:?}", report.notes);
    }
    until(|| !store.status().is_reduced()).await;
    drop(store);
    let (store, report) = disks.open();
    assert!(report.notes.is_empty(), "{:?}", report.notes);
    drop(store);

    // What was kept is a place: it can be gone back to.
    let kept = disks.entry(2, "superseded-");
    let aside = disks.place(2).with_file_name("aside");
    crate::durable_file::rename(&kept, &aside).unwrap();
    for disk in 0..3 {
        disks.lose(disk);
    }
    crate::durable_file::rename(&aside, &disks.place(2)).unwrap();
    disks.options.accept_missing_copies = true;
    let (store, _) = disks.open();
    assert_eq!(value(&store, "given up").await.as_deref(), Some("2"));
    assert_eq!(value(&store, "later").await, None);
}

#[tokio::test]
async fn a_copy_that_only_lags_behind_is_not_kept() {
    let disks = Disks::new(3, 1);
    let (store, _) = disks.open();
    put(&store, "old", "1").await;
    disks.take_away(1);
    put(&store, "new", "2").await;
    until(|| store.status().counters.copies_established == 1).await;
    drop(store);
    disks.bring_back(1);
    drop(disks.open());
    assert!(entries(&disks.place(1), "superseded-").is_empty());
}

#[tokio::test]
async fn a_directory_given_twice_is_refused() {
    let mut disks = Disks::new(2, 1);
    disks.options.copies = vec![disks.place(0)];
    let error = disks.try_open().unwrap_err();
    assert!(matches!(error, OpenError::SameDirectory { .. }), "{error}");
    // By another name, and before it is there.
    let link = disks.place(1).with_file_name("link");
    std::os::unix::fs::symlink(disks.place(0).parent().unwrap(), &link).unwrap();
    disks.options.copies = vec![link.join("meta")];
    let error = disks.try_open().unwrap_err();
    assert!(matches!(error, OpenError::SameDirectory { .. }), "{error}");
    assert!(!disks.place(0).exists());
}

#[tokio::test]
async fn nothing_is_made_where_a_disk_is_not_mounted() {
    let mut disks = Disks::new(3, 1);
    drop(disks.open());
    disks.lose(1);
    disks.options.unavailable = vec![disks.place(1)];
    let (store, report) = disks.open();
    assert_eq!(report.missing, [disks.place(1)]);
    until(|| !store.status().is_reduced()).await;
    assert!(!disks.place(1).exists());
}

#[tokio::test]
async fn copies_that_were_not_there_at_the_start_are_missed() {
    let disks = Disks::new(3, 2);
    drop(disks.open());
    disks.take_away(1);
    disks.take_away(2);
    let (store, _) = disks.open();
    let status = store.status();
    assert_eq!((status.holder_count(), status.holder_count_wanted), (1, 3));
    assert!(status.is_reduced());
}

#[tokio::test]
async fn copies_that_missed_the_last_commits_learn_them_when_they_come_back() {
    let disks = Disks::new(5, 2);
    let (store, _) = disks.open();
    for disk in 1..5 {
        disks.take_away(disk);
    }
    until(|| store.status().holder_count() == 1).await;
    put(&store, "alone", "1").await;
    drop(store);
    for disk in 1..5 {
        disks.bring_back(disk);
    }
    let (store, report) = disks.open();
    assert_eq!((report.primary, report.copies.len()), (disks.place(0), 0));
    assert_eq!(value(&store, "alone").await.as_deref(), Some("1"));
    until(|| !store.status().is_reduced()).await;
    drop(store);
    disks.lose(0);
    let (store, _) = disks.open();
    assert_eq!(value(&store, "alone").await.as_deref(), Some("1"));
}

#[tokio::test]
async fn a_hole_in_the_only_journal_is_refused_and_not_cut_off() {
    let disks = Disks::new(1, 0);
    let (store, _) = disks.open();
    for index in 0..5 {
        put(&store, &format!("key {index}"), "value").await;
    }
    let crashed = disks.image();
    let journal = entries(&crashed.place(0).join("journal"), "0")
        .into_iter()
        .next_back()
        .unwrap();
    flip_bit(&journal, 4096 + 60);
    let error = crashed.try_open().unwrap_err();
    assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
    assert!(error.to_string().contains("journal"), "{error}");
}

#[tokio::test]
async fn a_damaged_journal_is_replaced_by_a_good_one() {
    let disks = Disks::new(3, 1);
    let (store, _) = disks.open();
    for index in 0..5 {
        put(&store, &format!("key {index}"), "value").await;
    }
    let crashed = disks.image();
    let journal = entries(&crashed.place(0).join("journal"), "0")
        .into_iter()
        .next_back()
        .unwrap();
    flip_bit(&journal, 4096 + 60);
    let (store, report) = crashed.open();
    assert_eq!(
        (report.sequence, report.notes.len()),
        (5, 1),
        "{:?}",
        report.notes
    );
    assert_eq!(value(&store, "key 4").await.as_deref(), Some("value"));
}

#[tokio::test]
async fn a_damaged_checkpoint_is_never_used() {
    let mut disks = Disks::new(2, 1);
    disks.options.checkpoint_after_bytes = 1000;
    let (store, _) = disks.open();
    put(&store, "key", &"value".repeat(1000)).await;
    until(|| store.status().counters.checkpoints >= 1 && store.status().journal_bytes == 0).await;
    drop(store);
    disks.lose(0);
    for file in entries(&disks.entry(1, "checkpoint-"), "") {
        let image = disks.image();
        let path = image
            .entry(1, "checkpoint-")
            .join(file.file_name().unwrap());
        let size_bytes = usize::try_from(fs::metadata(&path).unwrap().len()).unwrap();
        for offset in [0, size_bytes / 2, size_bytes.saturating_sub(1)]
            .into_iter()
            .filter(|&offset| offset < size_bytes)
        {
            flip_bit(&path, offset);
            let error = image.try_open().unwrap_err();
            assert!(
                matches!(error, OpenError::Damaged { .. }),
                "{} {error}",
                path.display()
            );
            flip_bit(&path, offset);
        }
    }
    let (store, _) = disks.open();
    assert_eq!(value(&store, "key").await.unwrap().len(), 5000);
}

#[tokio::test]
async fn a_damaged_rocksdb_is_restored_from_the_copy() {
    let disks = Disks::new(2, 1);
    let (store, _) = disks.open();
    put(&store, "key", "value").await;
    drop(store);
    overwrite(&disks.entry(0, "db-").join("CURRENT"), b"nonsense");
    let (store, report) = disks.open();
    assert!(matches!(report.start, Start::Restored { .. }), "{report}");
    assert_eq!(report.primary, disks.place(0));
    assert_eq!(value(&store, "key").await.as_deref(), Some("value"));
}

#[tokio::test]
async fn a_copy_that_lacks_the_last_record_serves_where_the_one_that_has_it_is_damaged() {
    let mut disks = Disks::new(3, 2);
    disks.options.checkpoint_after_bytes = 1000;
    let (store, _) = disks.open();
    put(&store, "key", &"value".repeat(1000)).await;
    until(|| store.status().counters.checkpoints >= 1 && store.status().journal_bytes == 0).await;
    put(&store, "acknowledged", "1").await;
    let before = disks.image();
    put(&store, "in flight", "2").await;
    let crashed = disks.image();
    drop(store);
    // The last record is in the journal of disk 1 alone, whose checkpoint is damaged.
    crashed.lose(0);
    let journal = |disks: &Disks| disks.place(2).join("journal");
    fs::remove_dir_all(journal(&crashed)).unwrap();
    copy_tree(&journal(&before), &journal(&crashed)).unwrap();
    flip_bit(&crashed.entry(1, "checkpoint-").join("CURRENT"), 0);

    let (store, report) = crashed.open();
    assert!(
        matches!(&report.start, Start::Restored { from, .. } if *from == crashed.place(2)),
        "{report}"
    );
    assert_eq!(value(&store, "key").await.unwrap().len(), 5000);
    for (key, expected) in [("acknowledged", "1"), ("in flight", "2")] {
        assert_eq!(value(&store, key).await.as_deref(), Some(expected));
    }
}

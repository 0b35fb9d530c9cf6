//! Ranges, directions, groups, and the bounds of a page.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;

use super::{everything, names, put_all};
use crate::kv::{
    Batch, Direction, Grouping, KvStore, SCAN_BYTES_MAX, SCAN_LIMIT_MAX, Scan, ScanEntry, Write,
};

/// So many that a store may find it worth its while to remember them.
const DIRECTORY_COUNT: usize = 48;
const SNAPSHOT_ROUNDS: usize = 200;

#[expect(clippy::unnecessary_wraps, reason = "as the field of a scan wants it")]
fn slash_groups(prefix_len: usize) -> Option<Grouping> {
    Some(Grouping {
        prefix_len,
        delimiter: Bytes::from_static(b"/"),
    })
}

pub(super) async fn keys_are_in_byte_order(store: Arc<dyn KvStore>) {
    let mut batch = Batch::default();
    for key in [
        &b"b"[..],
        b"a",
        b"\xff",
        b"\x00",
        b"a\x00",
        b"aa",
        b"",
        b"B",
    ] {
        batch.put(Bytes::copy_from_slice(key), "");
    }
    store.commit(batch).await.unwrap();
    let mut expected = ["", "\\x00", "B", "a", "a\\x00", "aa", "b", "\\xff"];
    assert_eq!(names(&*store, everything()).await.0, expected);
    expected.reverse();
    let descending = Scan {
        direction: Direction::Descending,
        ..everything()
    };
    assert_eq!(names(&*store, descending).await.0, expected);
}

pub(super) async fn a_range_includes_its_start_and_excludes_its_end(store: Arc<dyn KvStore>) {
    put_all(&*store, &[("a", ""), ("b", ""), ("c", ""), ("d", "")]).await;
    for (start, end, expected) in [
        ("b", Some("d"), vec!["b", "c"]),
        ("aa", Some("cc"), vec!["b", "c"]),
        ("c", None, vec!["c", "d"]),
        ("", Some("b"), vec!["a"]),
        ("b", Some("b"), vec![]),
        ("d", Some("a"), vec![]),
        ("e", None, vec![]),
    ] {
        let ascending = Scan {
            start: start.into(),
            end: end.map(Bytes::from),
            ..everything()
        };
        let descending = Scan {
            direction: Direction::Descending,
            ..ascending.clone()
        };
        assert_eq!(
            names(&*store, ascending).await,
            (to_names(&expected), false),
            "{start}..{end:?}"
        );
        let reversed: Vec<_> = expected.into_iter().rev().collect();
        assert_eq!(
            names(&*store, descending).await,
            (to_names(&reversed), false),
            "{end:?}..{start}"
        );
    }
}

pub(super) async fn a_page_says_whether_there_is_more(store: Arc<dyn KvStore>) {
    put_all(&*store, &[("a", ""), ("b", ""), ("c", "")]).await;
    for direction in [Direction::Ascending, Direction::Descending] {
        let limited = |limit| Scan {
            direction,
            limit,
            ..everything()
        };
        assert!(names(&*store, limited(2)).await.1);
        assert!(!names(&*store, limited(3)).await.1);
        assert_eq!(names(&*store, limited(0)).await, (vec![], true));
    }
    let up_to_c = Scan {
        end: Some("c".into()),
        limit: 2,
        ..everything()
    };
    assert!(
        !names(&*store, up_to_c).await.1,
        "what lies outside the range is not more of it"
    );
    let from_b = Scan {
        start: "b".into(),
        limit: 2,
        direction: Direction::Descending,
        ..everything()
    };
    assert!(
        !names(&*store, from_b).await.1,
        "what lies outside the range is not more of it"
    );
}

pub(super) async fn groups_count_as_one_entry(store: Arc<dyn KvStore>) {
    put_all(
        &*store,
        &[
            ("p/a", ""),
            ("p/b/1", ""),
            ("p/b/2", ""),
            ("p/b0", ""),
            ("p/c//", ""),
            ("p/d", ""),
            ("q/e/f", ""),
        ],
    )
    .await;
    let scan = Scan {
        group: slash_groups(2),
        end: Some("p0".into()),
        ..everything()
    };
    let expected = to_names(&["p/a", "p/b/*", "p/b0", "p/c/*", "p/d"]);
    assert_eq!(names(&*store, scan.clone()).await, (expected, false));
    let two = Scan {
        limit: 2,
        ..scan.clone()
    };
    assert_eq!(
        names(&*store, two).await,
        (to_names(&["p/a", "p/b/*"]), true)
    );
    let whole = Scan {
        group: slash_groups(0),
        ..everything()
    };
    assert_eq!(
        names(&*store, whole).await,
        (to_names(&["p/*", "q/*"]), false)
    );
    let long = Grouping {
        prefix_len: 0,
        delimiter: Bytes::from_static(b"/b/"),
    };
    let scan = Scan {
        group: Some(long),
        limit: 2,
        ..everything()
    };
    assert_eq!(
        names(&*store, scan).await,
        (to_names(&["p/a", "p/b/*"]), true)
    );
}

pub(super) async fn a_group_is_found_from_its_middle(store: Arc<dyn KvStore>) {
    put_all(&*store, &[("a/1", ""), ("a/2", ""), ("b", "")]).await;
    let from = |start: &'static str| Scan {
        start: start.into(),
        group: slash_groups(0),
        ..everything()
    };
    assert_eq!(names(&*store, from("a/2")).await.0, to_names(&["a/*", "b"]));
    assert_eq!(names(&*store, from("a/3")).await.0, to_names(&["b"]));
    let cut = Scan {
        end: Some("a/2".into()),
        ..from("")
    };
    assert_eq!(names(&*store, cut).await, (to_names(&["a/*"]), false));
}

/// There is no key behind such a group to seek to.
pub(super) async fn a_group_of_the_largest_keys_ends_the_scan(store: Arc<dyn KvStore>) {
    let mut batch = Batch::default();
    for key in [&b"\xff\xff"[..], b"\xff\xff\x01", b"\xff\xff\x02"] {
        batch.put(Bytes::copy_from_slice(key), "");
    }
    store.commit(batch).await.unwrap();
    let group = Some(Grouping {
        prefix_len: 1,
        delimiter: Bytes::from_static(b"\xff"),
    });
    assert_eq!(
        names(
            &*store,
            Scan {
                group,
                ..everything()
            }
        )
        .await,
        (to_names(&["\\xff\\xff*"]), false)
    );
}

pub(super) async fn a_page_is_bounded_in_entries(store: Arc<dyn KvStore>) {
    let mut batch = Batch::default();
    for number in 0..=SCAN_LIMIT_MAX {
        batch.put(format!("{number:08}"), "");
    }
    store.commit(batch).await.unwrap();
    let page = store
        .scan(Scan {
            limit: usize::MAX,
            ..everything()
        })
        .await
        .unwrap();
    assert_eq!(
        (page.entries.len(), page.is_truncated),
        (SCAN_LIMIT_MAX, true)
    );
}

/// The record that reaches the bound is still returned, so that a page always gets on.
pub(super) async fn a_page_is_bounded_in_bytes(store: Arc<dyn KvStore>) {
    const VALUE_LEN: usize = SCAN_BYTES_MAX / 2;
    for key in ["a", "b", "c", "d"] {
        let mut batch = Batch::default();
        batch.put(key, vec![7; VALUE_LEN]);
        store.commit(batch).await.unwrap();
    }
    assert_eq!(
        names(&*store, everything()).await,
        (to_names(&["a", "b"]), true)
    );
    let rest = Scan {
        start: "c".into(),
        ..everything()
    };
    assert_eq!(names(&*store, rest).await, (to_names(&["c", "d"]), false));
    let descending = Scan {
        direction: Direction::Descending,
        ..everything()
    };
    assert_eq!(
        names(&*store, descending).await,
        (to_names(&["d", "c"]), true)
    );
}

/// Two records are always written together; a scan that sees one without the other is no snapshot.
pub(super) async fn a_scan_is_one_snapshot(store: Arc<dyn KvStore>) {
    put_all(&*store, &[("left", "0"), ("right", "0")]).await;
    let stop = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn({
        let (store, stop) = (Arc::clone(&store), Arc::clone(&stop));
        async move {
            let mut round = 0_u64;
            while !stop.load(Ordering::Relaxed) {
                round += 1;
                let mut batch = Batch::default();
                batch
                    .put("left", round.to_string())
                    .put("right", round.to_string());
                store.commit(batch).await.unwrap();
                tokio::task::yield_now().await;
            }
        }
    });
    for _ in 0..SNAPSHOT_ROUNDS {
        let page = store.scan(everything()).await.unwrap();
        let [
            ScanEntry::Record { value: left, .. },
            ScanEntry::Record { value: right, .. },
        ] = &page.entries[..]
        else {
            unreachable!("not two records: {page:?}")
        };
        assert_eq!(left, right);
        tokio::task::yield_now().await;
    }
    stop.store(true, Ordering::Relaxed);
    writer.await.unwrap();
}

/// A store may remember pages of groups: whatever is written, the next scan sees it.
pub(super) async fn a_page_of_groups_follows_each_write(store: Arc<dyn KvStore>) {
    let mut keys: BTreeSet<String> = (0..DIRECTORY_COUNT)
        .map(|number| format!("{:02}/1", 2 * number))
        .collect();
    let mut batch = Batch::default();
    for key in &keys {
        batch.put(key.clone(), "");
    }
    store.commit(batch).await.unwrap();
    for (key, is_put) in [
        ("10/2", true),
        ("10/1", false),
        ("10/2", false),
        ("11/1", true),
        ("11", true),
        ("98/1", true),
        ("00/1", false),
        ("98/1", false),
        ("11/1", false),
        ("00/1", true),
    ] {
        let (key, value) = (Bytes::from(key), Bytes::new());
        let text = String::from_utf8(key.to_vec()).unwrap();
        let write = if is_put {
            keys.insert(text);
            Write::Put { key, value }
        } else {
            keys.remove(&text);
            Write::Delete { key }
        };
        let writes = vec![write];
        let checks = Vec::new();
        store.commit(Batch { checks, writes }).await.unwrap();
        for limit in [1000, DIRECTORY_COUNT, DIRECTORY_COUNT - 1, 40] {
            let scan = Scan {
                limit,
                group: slash_groups(0),
                ..everything()
            };
            let expected = grouped(&keys, limit);
            for _ in 0..2 {
                assert_eq!(
                    names(&*store, scan.clone()).await,
                    expected,
                    "limit {limit}"
                );
            }
        }
    }
}

/// The same while others scan: a directory is listed when its first record was acknowledged, and no longer when its last
/// one was deleted.
pub(super) async fn a_page_of_groups_is_never_stale(store: Arc<dyn KvStore>) {
    let mut batch = Batch::default();
    for number in 0..DIRECTORY_COUNT {
        batch.put(format!("{number:02}/1"), "");
    }
    store.commit(batch).await.unwrap();
    let scan = Scan {
        group: slash_groups(0),
        ..everything()
    };
    let stop = Arc::new(AtomicBool::new(false));
    let reader = tokio::spawn({
        let (store, stop, scan) = (Arc::clone(&store), Arc::clone(&stop), scan.clone());
        async move {
            while !stop.load(Ordering::Relaxed) {
                store.scan(scan.clone()).await.unwrap();
                tokio::task::yield_now().await;
            }
        }
    });
    for round in 0..SNAPSHOT_ROUNDS {
        let is_there = round % 2 == 0;
        let mut batch = Batch::default();
        if is_there {
            batch.put("new/1", "");
        } else {
            batch.delete("new/1");
        }
        store.commit(batch).await.unwrap();
        let (found, _) = names(&*store, scan.clone()).await;
        assert_eq!(
            found.contains(&"new/*".to_owned()),
            is_there,
            "round {round}"
        );
    }
    stop.store(true, Ordering::Relaxed);
    reader.await.unwrap();
}

/// What a scan of keys up to their first slash finds.
fn grouped(keys: &BTreeSet<String>, limit: usize) -> (Vec<String>, bool) {
    let mut all: Vec<String> = Vec::new();
    for key in keys {
        let name = match key.split_once('/') {
            Some((directory, _)) => format!("{directory}/*"),
            None => key.clone(),
        };
        if all.last() != Some(&name) {
            all.push(name);
        }
    }
    let is_truncated = all.len() > limit;
    all.truncate(limit);
    (all, is_truncated)
}

fn to_names(expected: &[&str]) -> Vec<String> {
    expected.iter().map(|name| (*name).to_owned()).collect()
}

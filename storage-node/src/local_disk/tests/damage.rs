//! Flipped bytes, lost files and lost indexes: never wrong bytes, and no more lost than was damaged.

use super::*;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;

pub(super) fn flip(path: &Path, offset: u64) {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ 0x40], offset).unwrap();
}

/// Three small shards, closed cleanly.
async fn three_shards() -> TestDisk {
    let dir = TestDisk::in_memory();
    let disk = dir.open();
    for number in 0..3 {
        put(&disk, number, 1000).await;
    }
    disk.close().await.unwrap();
    dir
}

async fn check_three(disk: &LocalDisk) -> Vec<Result<Bytes, ShardError>> {
    let mut results = Vec::new();
    for number in 0..3 {
        let result = read_whole(disk, number).await;
        if let Ok(bytes) = &result {
            assert_eq!(
                *bytes,
                payload(number, 0, 1000),
                "wrong bytes for shard {number}"
            );
        }
        results.push(result);
    }
    results
}

#[tokio::test]
async fn a_flipped_byte_anywhere_costs_at_most_its_own_shard() {
    let original = three_shards().await;
    let len = std::fs::metadata(&original.segments()[0]).unwrap().len();
    // Steps that meet each field of header, descriptor, hashes and payload, in one record or another.
    for offset in (0..len).step_by(173) {
        let dir = TestDisk::unformatted();
        copy_all(original.path(), dir.path());
        flip(&dir.segments()[0], offset);
        let disk = dir.open();
        let bad: Vec<_> = check_three(&disk)
            .await
            .into_iter()
            .filter_map(Result::err)
            .collect();
        assert!(bad.len() <= 1, "byte {offset}: {bad:?}");
        assert!(
            bad.iter()
                .all(|err| matches!(err, ShardError::Corrupt { .. })),
            "byte {offset}: {bad:?}"
        );
        drop(disk);
        // A rebuild cannot know of a record whose header is damaged, and cuts one at the end off.
        dir.drop_index();
        let disk = dir.open();
        let bad: Vec<_> = check_three(&disk)
            .await
            .into_iter()
            .filter_map(Result::err)
            .collect();
        assert!(bad.len() <= 1, "byte {offset}: {bad:?}");
    }
}

pub(super) fn copy_all(from: &Path, to: &Path) {
    if from.is_dir() {
        std::fs::create_dir_all(to).unwrap();
        for entry in std::fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            copy_all(&entry.path(), &to.join(entry.file_name()));
        }
    } else {
        std::fs::copy(from, to).unwrap();
    }
}

#[tokio::test]
async fn an_index_that_was_lost_or_damaged_is_rebuilt_the_same() {
    let dir = TestDisk::in_memory();
    let disk = dir.open();
    for number in 0..60 {
        put(&disk, number, 3000 * number as usize).await;
    }
    let deleted: Vec<ShardId> = (0..60).step_by(3).map(id).collect();
    disk.delete(&deleted).await.unwrap();
    let listed = disk.list(None, 1000).await.unwrap();
    let status = disk.status().await.unwrap();
    disk.close().await.unwrap();
    drop(disk);
    for damage in ["remove", "overwrite"] {
        if damage == "remove" {
            dir.drop_index();
        } else {
            let index = std::fs::read_dir(dir.path().join("index")).unwrap();
            for path in index
                .map(|entry| entry.unwrap().path())
                .filter(|path| path.is_file())
            {
                OpenOptions::new()
                    .write(true)
                    .open(path)
                    .unwrap()
                    .write_all_at(&[0xff; 40], 0)
                    .unwrap();
            }
        }
        let disk = dir.open();
        assert!(counter(&disk, "recovered_count").await > 0);
        assert_eq!(disk.list(None, 1000).await.unwrap(), listed);
        let again = disk.status().await.unwrap();
        assert_eq!(
            (again.shard_count, again.shard_bytes),
            (status.shard_count, status.shard_bytes)
        );
        disk.close().await.unwrap();
    }
}

/// Opening reads the beginning of the index alone; catching up with the log may read any of it.
#[tokio::test]
async fn an_index_whose_damage_shows_while_it_is_caught_up_is_rebuilt() {
    const COUNT: u32 = 1000;
    let dir = TestDisk::in_memory();
    let disk = dir.open();
    for number in 0..COUNT {
        let shard = shard(number, 0, 10);
        disk.put(shard, Durability::Buffered).await.unwrap();
    }
    disk.close().await.unwrap();
    drop(disk);
    let disk = dir.open();
    put(&disk, COUNT / 2, 10).await;
    let crashed = TestDisk::unformatted();
    copy_all(dir.path(), crashed.path());
    let index = std::fs::read_dir(crashed.path().join("index")).unwrap();
    let is_table = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "sst");
    let mut tables = index.map(|entry| entry.unwrap().path()).filter(is_table);
    let (table, None) = (tables.next().unwrap(), tables.next()) else {
        panic!("more than one file has the shards")
    };
    let len = std::fs::metadata(&table).unwrap().len();
    let middle = vec![0xff; usize::try_from(len / 2).unwrap()];
    let file = OpenOptions::new().write(true).open(table).unwrap();
    file.write_all_at(&middle, len / 4).unwrap();

    let disk = crashed.open();
    let recovered = counter(&disk, "recovered_count").await;
    assert_eq!(recovered, u64::from(COUNT) + 1);
    for number in 0..COUNT {
        assert_eq!(
            read_whole(&disk, number).await.unwrap(),
            payload(number, 0, 10)
        );
    }
}

#[tokio::test]
async fn a_lost_segment_costs_its_shards_and_nothing_else() {
    let dir = TestDisk::in_memory();
    let disk = dir.open();
    for number in 0..8 {
        put(&disk, number, 400_000).await;
    }
    disk.close().await.unwrap();
    drop(disk);
    std::fs::remove_file(&dir.segments()[0]).unwrap();
    let disk = dir.open();
    let listed = disk.list(None, 100).await.unwrap().shards;
    assert!(!listed.is_empty() && listed.len() < 8, "{}", listed.len());
    for stat in listed {
        disk.verify(stat.id).await.unwrap();
    }
}

#[tokio::test]
async fn a_segment_of_another_disk_is_refused() {
    let (dir, other) = (three_shards().await, three_shards().await);
    let stray = other.segments().remove(0);
    std::fs::copy(&stray, dir.path().join("segments/00000000000000ff.seg")).unwrap();
    assert!(matches!(
        LocalDisk::open(dir.options()),
        Err(OpenError::Segment { .. })
    ));
}

#[tokio::test]
async fn payloads_that_look_like_records_are_not_mistaken_for_them() {
    let dir = TestDisk::in_memory();
    let disk = dir.open();
    put(&disk, 1, 1000).await;
    let forged = Bytes::from(std::fs::read(&dir.segments()[0]).unwrap());
    let forged = forged.slice(..forged.len().min(60_000));
    disk.put(
        ShardPut {
            payload: forged,
            ..shard(2, 0, 0)
        },
        Durability::Synced,
    )
    .await
    .unwrap();
    put(&disk, 3, 1000).await;
    disk.delete(&[id(1)]).await.unwrap();
    disk.close().await.unwrap();
    drop(disk);
    // The scan loses its way at the second record, and must come out at the third.
    let second_record = 64 + 128 + 64 * ((17 + 32 + 1000_u64).div_ceil(64));
    flip(&dir.segments()[0], second_record + 10);
    dir.drop_index();
    let disk = dir.open();
    let listed: Vec<u32> = disk
        .list(None, 10)
        .await
        .unwrap()
        .shards
        .iter()
        .map(|stat| stat.id.chunk_index)
        .collect();
    assert_eq!(listed, [3]);
}

//! The largest that must be kept, and what is refused.

use std::sync::Arc;

use bytes::Bytes;

use super::{everything, get, names};
use crate::kv::{BATCH_BYTES_MAX, Batch, KEY_LEN_MAX, KvError, KvStore, VALUE_LEN_MAX};

pub(super) async fn the_largest_records_are_kept(store: Arc<dyn KvStore>) {
    let key = Bytes::from(vec![0xff; KEY_LEN_MAX]);
    let value = Bytes::from(vec![1; VALUE_LEN_MAX]);
    let mut batch = Batch::default();
    batch.put(key.clone(), value.clone());
    store.commit(batch).await.unwrap();
    assert!(store.get(&key).await.unwrap() == Some(value.clone()));
    let mut replace = Batch::default();
    replace.check(key.clone(), Some(value)).delete(key.clone());
    store.commit(replace).await.unwrap();
    assert!(store.get(&key).await.unwrap().is_none());
}

pub(super) async fn what_exceeds_a_limit_is_refused_whole(store: Arc<dyn KvStore>) {
    let long_key = Bytes::from(vec![b'k'; KEY_LEN_MAX + 1]);
    let long_value = Bytes::from(vec![1; VALUE_LEN_MAX + 1]);
    let mut batches = vec![Batch::default(); 5];
    batches[0].put("ok", "").put(long_key.clone(), "");
    batches[1].put("ok", "").put("key", long_value.clone());
    batches[2].put("ok", "").delete(long_key.clone());
    batches[3].put("ok", "").check(long_key, None);
    let value = Bytes::from(vec![1; VALUE_LEN_MAX]);
    for number in 0..=BATCH_BYTES_MAX / VALUE_LEN_MAX {
        batches[4].put(number.to_string(), value.clone());
    }
    for batch in batches {
        assert!(matches!(
            store.commit(batch).await,
            Err(KvError::TooLarge { .. })
        ));
    }
    assert_eq!(get(&*store, "ok").await, None);
    assert_eq!(names(&*store, everything()).await, (vec![], false));
}

pub(super) async fn a_key_that_cannot_exist_is_absent(store: Arc<dyn KvStore>) {
    assert_eq!(store.get(&vec![b'k'; KEY_LEN_MAX + 1]).await.unwrap(), None);
}

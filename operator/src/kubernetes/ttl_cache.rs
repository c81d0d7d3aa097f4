//! A cache whose entries expire, and whose concurrent misses of a key make one call.

use std::{collections::HashMap, hash::Hash, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{sync::Mutex as AsyncMutex, time::Instant};

/// A key that is not requested for this long is evicted.
const EVICT_AFTER: Duration = Duration::from_mins(10);

/// By key, with the time of the last request.
type Cells<K, V> = HashMap<K, (Instant, Cell<V>)>;
type Cell<V> = Arc<AsyncMutex<Option<(Instant, V)>>>;

/// A cache whose entries expire after the same time to live. Clones share it.
#[derive(Clone)]
pub struct TtlCache<K, V> {
    ttl: Duration,
    cells: Arc<Mutex<Cells<K, V>>>,
}

impl<K: Eq + Hash, V: Clone> TtlCache<K, V> {
    /// An empty cache.
    pub fn new(ttl: Duration) -> Self {
        Self { ttl, cells: Arc::default() }
    }

    /// The value of `key`. Loads it with `load` if the last one has expired or is from before
    /// `since`.
    pub async fn get(&self, key: K, since: Option<Instant>, load: impl Future<Output = V>) -> V {
        let cell = self.cell(key);
        let mut last = cell.lock().await;
        if let Some((at, value)) = &*last
            && at.elapsed() < self.ttl
            && since.is_none_or(|since| *at >= since)
        {
            return value.clone();
        }
        let value = load.await;
        *last = Some((Instant::now(), value.clone()));
        value
    }

    fn cell(&self, key: K) -> Cell<V> {
        let mut cells = self.cells.lock();
        cells.retain(|_, (requested, _)| requested.elapsed() < EVICT_AFTER);
        let (requested, cell) = cells.entry(key).or_insert_with(|| (Instant::now(), Cell::default()));
        *requested = Instant::now();
        cell.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn value_is_loaded_again_after_it_expires() {
        let (cache, loads) = (TtlCache::new(Duration::from_secs(4)), Cell::new(0));
        let load = async |key: &str| cache.get(key.to_owned(), None, async { loads.replace(loads.get() + 1) }).await;
        assert_eq!([load("a").await, load("a").await, load("b").await], [0, 0, 1]);
        tokio::time::advance(Duration::from_secs(4)).await;
        assert_eq!([load("a").await, load("a").await], [2, 2]);
        let later = cache.get("a".to_owned(), Some(Instant::now() + Duration::from_secs(1)), async { 9 }).await;
        assert_eq!(later, 9, "the value is from before `since`");
        tokio::time::advance(EVICT_AFTER).await;
        load("c").await;
        assert_eq!(cache.cells.lock().len(), 1);
    }
}

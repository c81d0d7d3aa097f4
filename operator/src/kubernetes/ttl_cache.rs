//! Answers that are good for some seconds: whoever asks meanwhile gets the last one, and those who ask at once wait for one answer.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{sync::Mutex as AsyncMutex, time::Instant};

/// What nobody has asked about for this long is forgotten.
const FORGOTTEN: Duration = Duration::from_secs(600);

/// By key, with when it was last asked for.
type Cells<K, V> = HashMap<K, (Instant, Cell<V>)>;
type Cell<V> = Arc<AsyncMutex<Option<(Instant, V)>>>;

/// Answers by what was asked, each good for the same time. Clones share them.
#[derive(Clone)]
pub struct TtlCache<K, V> {
    good_for: Duration,
    cells: Arc<Mutex<Cells<K, V>>>,
}

impl<K: Eq + Hash, V: Clone> TtlCache<K, V> {
    /// Nothing asked yet.
    pub fn new(good_for: Duration) -> Self {
        Self { good_for, cells: Arc::default() }
    }

    /// The answer to `key`: the last one, if it is still good and not from before `since`, or what `ask` answers.
    pub async fn get(&self, key: K, since: Option<Instant>, ask: impl Future<Output = V>) -> V {
        let cell = self.cell(key);
        let mut last = cell.lock().await;
        if let Some((at, answer)) = &*last
            && at.elapsed() < self.good_for
            && since.is_none_or(|since| *at >= since)
        {
            return answer.clone();
        }
        let answer = ask.await;
        *last = Some((Instant::now(), answer.clone()));
        answer
    }

    fn cell(&self, key: K) -> Cell<V> {
        let mut cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        cells.retain(|_, (asked, _)| asked.elapsed() < FORGOTTEN);
        let (asked, cell) = cells.entry(key).or_insert_with(|| (Instant::now(), Cell::default()));
        *asked = Instant::now();
        cell.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_asked_for_again_when_it_is_no_longer_good() {
        let (fresh, asked) = (TtlCache::new(Duration::from_secs(4)), Cell::new(0));
        let ask = async |key: &str| fresh.get(key.to_owned(), None, async { asked.replace(asked.get() + 1) }).await;
        assert_eq!([ask("a").await, ask("a").await, ask("b").await], [0, 0, 1]);
        tokio::time::advance(Duration::from_secs(4)).await;
        assert_eq!([ask("a").await, ask("a").await], [2, 2]);
        let later = fresh.get("a".to_owned(), Some(Instant::now() + Duration::from_secs(1)), async { 9 }).await;
        assert_eq!(later, 9, "what was answered before is of no use");
        tokio::time::advance(FORGOTTEN).await;
        ask("c").await;
        assert_eq!(fresh.cells.lock().expect("nobody panics with it").len(), 1);
    }
}

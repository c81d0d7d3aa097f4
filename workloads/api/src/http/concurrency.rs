//! How much this process takes on at once. What is more than it can do is refused early, while there is still time to say so.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use switchyard_jobs::model::TenantId;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::http::problem::{Problem, ProblemType};

/// When to come back to a process that has too much to do.
const LATER: Duration = Duration::from_secs(1);
/// When a watcher's place may be free: watches are long.
const MUCH_LATER: Duration = Duration::from_secs(10);

/// Places for requests that are worked on.
pub struct Gate {
    places: Semaphore,
    most: usize,
    patience: Duration,
}

impl Gate {
    /// `most` requests at once; others wait for `patience`, in the order in which they came.
    pub fn new(most: usize, patience: Duration) -> Self {
        let most = most.clamp(1, Semaphore::MAX_PERMITS);
        Self { places: Semaphore::new(most), most, patience }
    }

    /// A place until the permit is dropped; an error when none came free within `patience` or `limit`.
    pub async fn enter(&self, limit: Duration) -> Result<SemaphorePermit<'_>, Problem> {
        if let Ok(place) = self.places.try_acquire() {
            return Ok(place);
        }
        match tokio::time::timeout(self.patience.min(limit), self.places.acquire()).await {
            Ok(Ok(place)) => Ok(place),
            _ => {
                Err(Problem::unavailable("This server has too much to do; nothing was done. Try again.")
                    .retry_after(LATER))
            }
        }
    }

    /// Requests that are worked on.
    pub fn in_flight(&self) -> usize {
        self.most - self.places.available_permits()
    }
}

/// Places for watchers, who stay long and cost little.
pub struct Watches {
    most: usize,
    most_of_one: usize,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    in_all: usize,
    of: HashMap<TenantId, usize>,
}

impl Watches {
    /// `most` in all and `most_of_one` of one tenant.
    pub fn new(most: usize, most_of_one: usize) -> Arc<Self> {
        Arc::new(Self { most, most_of_one, open: Mutex::default() })
    }

    /// A place until it is dropped.
    pub fn enter(self: &Arc<Self>, tenant: TenantId) -> Result<Watch, Problem> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.of.get(&tenant).is_some_and(|own| *own >= self.most_of_one) {
            let detail = format!("{} jobs are being watched already; close one.", self.most_of_one);
            return Err(Problem::new(ProblemType::RateLimited, detail).retry_after(MUCH_LATER));
        }
        if open.in_all >= self.most {
            return Err(Problem::unavailable(
                "This server has too many watchers; ask for the job instead, or try again.",
            )
            .retry_after(MUCH_LATER));
        }
        open.in_all += 1;
        *open.of.entry(tenant).or_default() += 1;
        Ok(Watch { watches: self.clone(), tenant })
    }
}

/// A watcher's place.
pub struct Watch {
    watches: Arc<Watches>,
    tenant: TenantId,
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut open = self.watches.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.in_all -= 1;
        if let Some(own) = open.of.get_mut(&self.tenant) {
            *own -= 1;
            if *own == 0 {
                open.of.remove(&self.tenant);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const SHORT: Duration = Duration::from_millis(20);
    const LONG: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn one_too_many_waits_for_a_place_and_is_refused_when_none_comes_free() {
        let gate = Gate::new(1, SHORT);
        let place = gate.enter(LONG).await.unwrap();
        assert_eq!(gate.in_flight(), 1);
        let began = tokio::time::Instant::now();
        let refused = gate.enter(LONG).await.expect_err("there is one place");
        assert_eq!(refused.kind, ProblemType::Unavailable);
        assert!(began.elapsed() < LONG);
        let (_, entered) = tokio::join!(async { drop(place) }, gate.enter(LONG));
        drop(entered.expect("the place came free"));
    }

    #[test]
    fn watchers_have_places_in_all_and_of_one_tenant() {
        let watches = Watches::new(3, 2);
        let tenant = || TenantId(Uuid::new_v4());
        let (one, other) = (tenant(), tenant());
        let first = watches.enter(one).expect("a place");
        let _second = watches.enter(one).expect("a place");
        assert_eq!(watches.enter(one).err().map(|problem| problem.kind), Some(ProblemType::RateLimited));
        let _third = watches.enter(other).expect("a place");
        assert_eq!(watches.enter(other).err().map(|problem| problem.kind), Some(ProblemType::Unavailable));
        drop(first);
        assert!(watches.enter(other).is_ok());
    }
}

//! How well each platform does, as its API tells, for status, metric and condition.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use switchyard_contract::Health;

/// A score from here on is in good order.
const GOOD: i32 = 80;

/// What each platform's API said last, by namespace and name. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Healths(Arc<Mutex<BTreeMap<(String, String), Health>>>);

impl Healths {
    fn locked(&self) -> MutexGuard<'_, BTreeMap<(String, String), Health>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was told last of a platform.
    pub fn of(&self, namespace: &str, name: &str) -> Option<Health> {
        self.locked().get(&(namespace.to_owned(), name.to_owned())).cloned()
    }

    /// Keeps what is told now, or that nothing is. Answers whether the status has to say something else.
    pub fn set(&self, namespace: &str, name: &str, health: Option<Health>) -> bool {
        let key = (namespace.to_owned(), name.to_owned());
        let mut all = self.locked();
        let said = |health: Option<&Health>| health.map(|health| (grade(health), troubles(health)));
        let changes = said(all.get(&key)) != said(health.as_ref());
        match health {
            Some(health) => all.insert(key, health),
            None => all.remove(&key),
        };
        changes
    }

    /// Forgets platforms that are gone.
    pub fn retain(&self, there: impl Fn(&str, &str) -> bool) {
        self.locked().retain(|(namespace, name), _| there(namespace, name));
    }
}

/// The score in steps of ten, so that a status does not change with every look.
pub fn grade(health: &Health) -> i32 {
    i32::from(health.score) / 10 * 10
}

/// The parts that are not in good order, when the score is not.
pub fn troubles(health: &Health) -> Vec<String> {
    if grade(health) >= GOOD {
        return Vec::new();
    }
    health.parts.iter().filter(|part| part.value < 1.0).map(|part| part.name.clone()).collect()
}

#[cfg(test)]
mod tests {
    use switchyard_contract::HealthPart;

    use super::*;

    fn health(score: u8) -> Health {
        let part = |name: &str, value| HealthPart { name: name.to_owned(), value, detail: format!("at {value}") };
        Health { score, parts: vec![part("database", 1.0), part("waits", f64::from(score) / 100.0)] }
    }

    #[test]
    fn a_status_changes_with_the_grade_and_not_with_every_point() {
        let healths = Healths::default();
        assert!(healths.set("n", "p", Some(health(100))));
        assert!(!healths.set("n", "p", Some(health(100))));
        assert!(healths.set("n", "p", Some(health(79))));
        assert!(!healths.set("n", "p", Some(health(71))));
        assert_eq!(healths.of("n", "p").map(|h| (grade(&h), troubles(&h))), Some((70, vec!["waits".to_owned()])));
        assert!(healths.set("n", "p", None));
        assert!(!healths.set("n", "p", None));
        healths.set("n", "p", Some(health(85)));
        assert!(troubles(&health(85)).is_empty());
        healths.retain(|_, _| false);
        assert_eq!(healths.of("n", "p"), None);
    }
}

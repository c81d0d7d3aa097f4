//! Health of each platform as its API reports it, for status, metrics and conditions.

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::Mutex;
use switchyard_contract::Health;

/// The minimum healthy score, of 100.
const HEALTHY: i32 = 80;

/// The last health of each platform, by namespace and name. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Healths(Arc<Mutex<BTreeMap<(String, String), Health>>>);

impl Healths {
    /// The last health of a platform; none if it is unknown.
    pub fn of(&self, namespace: &str, name: &str) -> Option<Health> {
        self.0.lock().get(&(namespace.to_owned(), name.to_owned())).cloned()
    }

    /// Stores the health of a platform, or that it is unknown. Returns whether the status changes.
    pub fn set(&self, namespace: &str, name: &str, health: Option<Health>) -> bool {
        let key = (namespace.to_owned(), name.to_owned());
        let mut all = self.0.lock();
        let reported = |health: Option<&Health>| health.map(|health| (grade(health), degraded_parts(health)));
        let changed = reported(all.get(&key)) != reported(health.as_ref());
        match health {
            Some(health) => all.insert(key, health),
            None => all.remove(&key),
        };
        changed
    }

    /// Forgets platforms that do not exist.
    pub fn retain(&self, exists: impl Fn(&str, &str) -> bool) {
        self.0.lock().retain(|(namespace, name), _| exists(namespace, name));
    }
}

/// The score in steps of ten, so that the status does not change with every report.
pub fn grade(health: &Health) -> i32 {
    i32::from(health.score) / 10 * 10
}

/// Names of the parts that lower the score, if the score is unhealthy.
pub fn degraded_parts(health: &Health) -> Vec<String> {
    if grade(health) >= HEALTHY {
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
    fn status_changes_only_with_the_grade() {
        let healths = Healths::default();
        assert!(healths.set("n", "p", Some(health(100))));
        assert!(!healths.set("n", "p", Some(health(100))));
        assert!(healths.set("n", "p", Some(health(79))));
        assert!(!healths.set("n", "p", Some(health(71))));
        assert_eq!(healths.of("n", "p").map(|h| (grade(&h), degraded_parts(&h))), Some((70, vec!["waits".to_owned()])));
        assert!(healths.set("n", "p", None));
        assert!(!healths.set("n", "p", None));
        healths.set("n", "p", Some(health(85)));
        assert!(degraded_parts(&health(85)).is_empty());
        healths.retain(|_, _| false);
        assert_eq!(healths.of("n", "p"), None);
    }
}

//! Failures in a row, object by object.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

/// Counts failures in a row by namespace and name. What succeeds is forgotten, so it holds failing objects alone.
#[derive(Debug, Default)]
pub struct Failures(Mutex<HashMap<(String, String), u32>>);

impl Failures {
    /// Counts one more, and answers how many there were in a row before.
    pub fn count(&self, namespace: &str, name: &str) -> u32 {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = all.entry((namespace.to_owned(), name.to_owned())).or_default();
        *count = count.saturating_add(1);
        *count - 1
    }

    /// It succeeded.
    pub fn forget(&self, namespace: &str, name: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&(namespace.to_owned(), name.to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_success_ends_the_row() {
        let failures = Failures::default();
        assert_eq!([failures.count("n", "a"), failures.count("n", "a"), failures.count("m", "a")], [0, 1, 0]);
        failures.forget("n", "a");
        assert_eq!(failures.count("n", "a"), 0);
    }
}

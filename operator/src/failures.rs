//! What happens again and again, object by object: failures, or looks at which nothing had changed.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

/// Counts in a row by namespace and name. What ends is forgotten, so it holds objects alone that are in such a row.
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

    /// The row has ended.
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

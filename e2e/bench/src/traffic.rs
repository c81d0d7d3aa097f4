//! The requests of the measurements.

use std::{
    cell::{Cell, RefCell},
    io::Write as _,
    sync::atomic::{AtomicU64, Ordering},
};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};

use crate::load::Traffic;

/// How usernames are chosen.
pub enum Names {
    /// Unique in this process, so neither the cache nor an analysis in flight helps.
    Fresh { series: u64, next: Cell<u64> },
    /// One of this many, uniformly distributed.
    Uniform(u32),
    /// Zipf-distributed.
    Zipf(Zipf),
}

/// Requests for analyses by random tenants.
pub struct Handoffs {
    keys: Vec<String>,
    names: Names,
    /// Whether each request carries its own Idempotency-Key.
    idempotent: bool,
    rng: RefCell<StdRng>,
}

impl Handoffs {
    /// Requests with one of the API `keys`, without an Idempotency-Key.
    pub fn new(keys: &[String], names: Names) -> Self {
        Self::with_seed(keys, names, false, series())
    }

    /// Requests for a new profile each, with its own Idempotency-Key.
    pub fn fresh(keys: &[String]) -> Self {
        let series = series();
        Self::with_seed(keys, Names::Fresh { series, next: Cell::new(0) }, true, series)
    }

    fn with_seed(keys: &[String], names: Names, idempotent: bool, seed: u64) -> Self {
        Self { keys: keys.to_vec(), names, idempotent, rng: RefCell::new(StdRng::seed_from_u64(seed)) }
    }
}

/// A number that is unique among the traffic of this process.
fn series() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// The username of a profile that several requests share.
pub fn profile(number: u64) -> String {
    format!("profile-{number}")
}

impl Traffic for Handoffs {
    fn write(&self, out: &mut Vec<u8>) {
        let mut rng = self.rng.borrow_mut();
        let key = self.keys.choose(&mut *rng).expect("there are tenants");
        let name = match &self.names {
            Names::Fresh { series, next } => format!("fresh-{series}-{}", next.replace(next.get() + 1)),
            Names::Uniform(count) => profile(rng.random_range(0..u64::from(*count))),
            Names::Zipf(zipf) => profile(zipf.sample(&mut rng)),
        };
        let length = name.len() + r#"{"username":""}"#.len();
        write!(out, "POST /v1/analyses HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {key}\r\n")
            .expect("writing to memory cannot fail");
        if self.idempotent {
            write!(out, "Idempotency-Key: {:032x}\r\n", rng.random::<u128>()).expect("writing to memory cannot fail");
        }
        write!(out, "Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{{\"username\":\"{name}\"}}")
            .expect("writing to memory cannot fail");
    }
}

/// A Zipf distribution with exponent 1 over the numbers from 0.
pub struct Zipf {
    /// Cumulative probability of each number.
    cumulative: Vec<f64>,
}

impl Zipf {
    /// The distribution over `count` numbers.
    pub fn new(count: u32) -> Self {
        let mut sum = 0.0;
        let mut cumulative: Vec<f64> = (1..=count)
            .map(|rank| {
                sum += 1.0 / f64::from(rank);
                sum
            })
            .collect();
        for share in &mut cumulative {
            *share /= sum;
        }
        Self { cumulative }
    }

    fn sample(&self, rng: &mut StdRng) -> u64 {
        let at: f64 = rng.random();
        self.cumulative.partition_point(|share| *share < at) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_has_its_length_and_a_unique_username() {
        let handoffs = Handoffs::fresh(&["sk_1".to_owned()]);
        let (mut first, mut second) = (Vec::new(), Vec::new());
        handoffs.write(&mut first);
        handoffs.write(&mut second);
        let text = String::from_utf8(first).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(body.starts_with(r#"{"username":"fresh-"#) && body.ends_with(r#"-0"}"#), "{body}");
        assert!(head.contains(&format!("Content-Length: {}", body.len())), "{head}");
        assert!(head.contains("Authorization: Bearer sk_1"), "{head}");
        assert!(String::from_utf8(second).unwrap().ends_with(r#"-1"}"#));
        let mut other = Vec::new();
        Handoffs::fresh(&["sk_1".to_owned()]).write(&mut other);
        assert!(!String::from_utf8(other).unwrap().ends_with(body), "another series has other names");
    }

    #[test]
    fn zipf_frequency_follows_the_rank() {
        let (zipf, mut rng) = (Zipf::new(1000), StdRng::seed_from_u64(7));
        let mut counts = vec![0_u32; 1000];
        for _ in 0..100_000 {
            counts[usize::try_from(zipf.sample(&mut rng)).unwrap()] += 1;
        }
        // The harmonic number of 1,000 is 7.485.
        assert!((f64::from(counts[0]) / 13_359.0 - 1.0).abs() < 0.05, "{}", counts[0]);
        assert!((f64::from(counts[0]) / f64::from(counts[9]) / 10.0 - 1.0).abs() < 0.15);
    }
}

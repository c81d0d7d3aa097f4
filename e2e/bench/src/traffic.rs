//! What the requests of the measurements say.

use std::{
    cell::{Cell, RefCell},
    io::Write as _,
    sync::atomic::{AtomicU64, Ordering},
};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};

use crate::load::Traffic;

/// Whose profiles are asked for.
pub enum Names {
    /// Never the same twice in this process: neither the cache nor an analysis in flight helps.
    Fresh { series: u64, next: Cell<u64> },
    /// One of a few, all alike.
    Uniform(u32),
    /// One of many, some far more often than others.
    Zipf(Zipf),
}

/// Requests for analyses, by tenants taken at random.
pub struct Handoffs {
    keys: Vec<String>,
    names: Names,
    /// Whether each request carries an Idempotency-Key of its own.
    idempotent: bool,
    rng: RefCell<StdRng>,
}

impl Handoffs {
    /// Requests with the tenants' `keys`, without an Idempotency-Key.
    pub fn new(keys: &[String], names: Names) -> Self {
        Self::of(keys, names, false, series())
    }

    /// Each for another profile, with an Idempotency-Key of its own.
    pub fn fresh(keys: &[String]) -> Self {
        let series = series();
        Self::of(keys, Names::Fresh { series, next: Cell::new(0) }, true, series)
    }

    fn of(keys: &[String], names: Names, idempotent: bool, seed: u64) -> Self {
        Self { keys: keys.to_vec(), names, idempotent, rng: RefCell::new(StdRng::seed_from_u64(seed)) }
    }
}

/// A number that no other traffic of this process has.
fn series() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// The name of a profile that is asked for more than once.
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
            Names::Zipf(zipf) => profile(zipf.draw(&mut rng)),
        };
        let length = name.len() + r#"{"username":""}"#.len();
        write!(out, "POST /v1/analyses HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {key}\r\n").expect("memory");
        if self.idempotent {
            write!(out, "Idempotency-Key: {:032x}\r\n", rng.random::<u128>()).expect("memory");
        }
        write!(out, "Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{{\"username\":\"{name}\"}}")
            .expect("memory");
    }
}

/// Numbers from 0 whose share falls with their rank: 1/1, 1/2, 1/3, …
pub struct Zipf {
    /// Share of all numbers up to this one.
    cumulated: Vec<f64>,
}

impl Zipf {
    pub fn new(count: u32) -> Self {
        let mut sum = 0.0;
        let mut cumulated: Vec<f64> = (1..=count)
            .map(|rank| {
                sum += 1.0 / f64::from(rank);
                sum
            })
            .collect();
        for share in &mut cumulated {
            *share /= sum;
        }
        Self { cumulated }
    }

    fn draw(&self, rng: &mut StdRng) -> u64 {
        let at: f64 = rng.random();
        self.cumulated.partition_point(|share| *share < at) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_says_how_long_it_is_and_never_repeats_a_fresh_name() {
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
    fn the_first_of_a_zipf_mix_comes_as_often_as_its_rank_says() {
        let (zipf, mut rng) = (Zipf::new(1000), StdRng::seed_from_u64(7));
        let mut counts = vec![0_u32; 1000];
        for _ in 0..100_000 {
            counts[usize::try_from(zipf.draw(&mut rng)).unwrap()] += 1;
        }
        // The harmonic number of 1,000 is 7.485.
        assert!((counts[0] as f64 / 13_359.0 - 1.0).abs() < 0.05, "{}", counts[0]);
        assert!((f64::from(counts[0]) / f64::from(counts[9]) / 10.0 - 1.0).abs() < 0.15);
    }
}

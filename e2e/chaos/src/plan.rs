//! The plan of faults: a pure function of the seed.

use std::time::Duration;

use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::SliceRandom as _};

/// A fault. The number is the index of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// SIGKILL to an API process, then a restart.
    KillApi(usize),
    /// SIGTERM to an API process, then a restart after its end.
    TerminateApi(usize),
    /// SIGKILL to a worker, then a restart.
    KillWorker(usize),
    /// SIGTERM to a worker, which hands back unfinished jobs.
    TerminateWorker(usize),
    /// SIGSTOP to a worker for longer than its leases.
    PauseWorker(usize),
    /// SIGKILL to all PostgreSQL processes, then a restart with crash recovery.
    KillDatabase,
    /// SIGKILL to RabbitMQ, then a restart.
    KillBroker,
    /// SIGKILL to Redis, which loses all data.
    KillCache,
    /// All connections to PostgreSQL break at once.
    CutDatabase,
    /// All connections to RabbitMQ break at once.
    CutBroker,
    /// For a moment statements arrive and their responses are lost.
    DropDatabaseResponses,
    /// For a moment publishes arrive and their confirms are lost.
    DropBrokerResponses,
    /// For a while nothing arrives, and no connection breaks.
    StallDatabase,
    /// The same for RabbitMQ.
    StallBroker,
    /// An administrator terminates all of the platform's sessions.
    TerminateSessions,
    /// This many unrequested messages, some of them malformed.
    DuplicateMessages(u32),
}

impl Fault {
    /// Name in the report.
    pub const fn name(self) -> &'static str {
        match self {
            Self::KillApi(_) => "API killed",
            Self::TerminateApi(_) => "API terminated",
            Self::KillWorker(_) => "worker killed",
            Self::TerminateWorker(_) => "worker terminated",
            Self::PauseWorker(_) => "worker paused past its lease",
            Self::KillDatabase => "PostgreSQL killed",
            Self::KillBroker => "RabbitMQ killed",
            Self::KillCache => "Redis killed",
            Self::CutDatabase => "connections to PostgreSQL cut",
            Self::CutBroker => "connections to RabbitMQ cut",
            Self::DropDatabaseResponses => "responses of PostgreSQL dropped",
            Self::DropBrokerResponses => "responses of RabbitMQ dropped",
            Self::StallDatabase => "PostgreSQL stalled",
            Self::StallBroker => "RabbitMQ stalled",
            Self::TerminateSessions => "sessions terminated by an administrator",
            Self::DuplicateMessages(_) => "messages duplicated",
        }
    }
}

/// Number of processes to choose from.
#[derive(Debug, Clone, Copy)]
pub struct ProcessCounts {
    pub apis: usize,
    pub workers: usize,
}

/// Shortest and longest time over which a deck of faults is spread before the next one is shuffled.
const DECK: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(30));

/// The faults of a run with their times since the start of the load. A run of 20 s or more has each
/// fault at least once.
pub fn faults(seed: u64, duration: Duration, counts: ProcessCounts) -> Vec<(Duration, Fault)> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut planned = Vec::new();
    let length = duration.clamp(DECK.0, DECK.1);
    let mut begin = Duration::ZERO;
    while begin < duration {
        let mut deck = deck(&mut rng, counts);
        deck.shuffle(&mut rng);
        let interval = length / u32::try_from(deck.len()).unwrap_or(u32::MAX);
        for (n, fault) in (0_u32..).zip(deck) {
            planned.push((begin + interval * n + interval.mul_f64(rng.random_range(0.0..1.0)), fault));
        }
        begin += length;
    }
    planned.retain(|(at, _)| *at < duration);
    planned
}

/// One set of all faults.
fn deck(rng: &mut StdRng, counts: ProcessCounts) -> Vec<Fault> {
    let api = |rng: &mut StdRng| rng.random_range(0..counts.apis);
    let worker = |rng: &mut StdRng| rng.random_range(0..counts.workers);
    let mut deck = vec![
        Fault::KillDatabase,
        Fault::KillBroker,
        Fault::KillCache,
        Fault::CutDatabase,
        Fault::CutDatabase,
        Fault::CutBroker,
        Fault::DropDatabaseResponses,
        Fault::DropDatabaseResponses,
        Fault::DropBrokerResponses,
        Fault::StallDatabase,
        Fault::StallBroker,
        Fault::TerminateSessions,
        Fault::DuplicateMessages(rng.random_range(5..40)),
        Fault::DuplicateMessages(rng.random_range(5..40)),
        Fault::TerminateApi(api(rng)),
    ];
    deck.extend((0..3).map(|_| Fault::KillApi(api(rng))));
    deck.extend((0..4).map(|_| Fault::KillWorker(worker(rng))));
    deck.extend((0..2).map(|_| Fault::TerminateWorker(worker(rng))));
    deck.extend((0..2).map(|_| Fault::PauseWorker(worker(rng))));
    deck
}

#[cfg(test)]
mod tests {
    use super::*;

    const COUNTS: ProcessCounts = ProcessCounts { apis: 3, workers: 5 };

    #[test]
    fn same_seed_gives_the_same_faults() {
        let duration = Duration::from_secs(45);
        assert_eq!(faults(7, duration, COUNTS), faults(7, duration, COUNTS));
        assert_ne!(faults(7, duration, COUNTS), faults(8, duration, COUNTS));
    }

    #[test]
    fn run_of_twenty_seconds_has_every_fault() {
        for seed in 0..50 {
            let planned = faults(seed, Duration::from_secs(20), COUNTS);
            let names: std::collections::BTreeSet<&str> = planned.iter().map(|(_, fault)| fault.name()).collect();
            assert_eq!(names.len(), 16, "seed {seed}: {names:?}");
        }
    }

    #[test]
    fn faults_are_ordered_and_name_existing_processes() {
        for seed in 0..50 {
            let planned = faults(seed, Duration::from_secs(33), COUNTS);
            assert!(planned.is_sorted_by_key(|(at, _)| *at));
            for (at, fault) in planned {
                assert!(at < Duration::from_secs(33));
                match fault {
                    Fault::KillApi(n) | Fault::TerminateApi(n) => assert!(n < COUNTS.apis),
                    Fault::KillWorker(n) | Fault::TerminateWorker(n) | Fault::PauseWorker(n) => {
                        assert!(n < COUNTS.workers);
                    }
                    _ => {}
                }
            }
        }
    }
}

//! What goes wrong, and when: a pure function of the seed.

use std::time::Duration;

use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::SliceRandom as _};

/// Something that goes wrong. Numbers name a member of the fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// SIGKILL of an API process; it is started again.
    KillApi(usize),
    /// SIGTERM of an API process; it is started again when it has ended.
    EndApi(usize),
    KillWorker(usize),
    /// SIGTERM of a worker, which hands back what it cannot finish.
    EndWorker(usize),
    /// SIGSTOP of a worker for longer than its leases last.
    PauseWorker(usize),
    /// SIGKILL of all of PostgreSQL's processes; it recovers and comes back.
    KillDatabase,
    KillBroker,
    /// SIGKILL of Redis, which forgets everything.
    KillCache,
    /// All connections to it break at once.
    CutDatabase,
    CutBroker,
    /// For a moment statements arrive and their answers are lost.
    LoseDatabaseAnswers,
    LoseBrokerAnswers,
    /// For a while nothing arrives, and no connection breaks.
    MuteDatabase,
    MuteBroker,
    /// An administrator ends all of the platform's sessions.
    TerminateSessions,
    /// Messages come that nobody sent for, some of them nonsense; this many.
    DuplicateMessages(u32),
}

impl Fault {
    /// What it is called in the report.
    pub const fn name(self) -> &'static str {
        match self {
            Self::KillApi(_) => "API killed",
            Self::EndApi(_) => "API asked to end",
            Self::KillWorker(_) => "worker killed",
            Self::EndWorker(_) => "worker asked to end",
            Self::PauseWorker(_) => "worker stopped past its lease",
            Self::KillDatabase => "PostgreSQL killed",
            Self::KillBroker => "RabbitMQ killed",
            Self::KillCache => "Redis killed",
            Self::CutDatabase => "connections to PostgreSQL cut",
            Self::CutBroker => "connections to RabbitMQ cut",
            Self::LoseDatabaseAnswers => "answers of PostgreSQL lost",
            Self::LoseBrokerAnswers => "answers of RabbitMQ lost",
            Self::MuteDatabase => "PostgreSQL silent",
            Self::MuteBroker => "RabbitMQ silent",
            Self::TerminateSessions => "sessions ended by an administrator",
            Self::DuplicateMessages(_) => "messages duplicated",
        }
    }
}

/// How many processes there are to choose from.
#[derive(Debug, Clone, Copy)]
pub struct Fleet {
    pub apis: usize,
    pub workers: usize,
}

/// A deck of faults is dealt in this time at least, and then shuffled again; in a run that is long enough, in this time at most.
const DECK: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(30));

/// The faults of a run with the moments at which they happen, counted from the beginning of the load. A run of 20 s has each at least once.
pub fn faults(seed: u64, duration: Duration, fleet: Fleet) -> Vec<(Duration, Fault)> {
    let mut dice = StdRng::seed_from_u64(seed);
    let mut planned = Vec::new();
    let length = duration.clamp(DECK.0, DECK.1);
    let mut begin = Duration::ZERO;
    while begin < duration {
        let mut deck = deck(&mut dice, fleet);
        deck.shuffle(&mut dice);
        let interval = length / u32::try_from(deck.len()).unwrap_or(u32::MAX);
        for (n, fault) in (0_u32..).zip(deck) {
            planned.push((begin + interval * n + interval.mul_f64(dice.random_range(0.0..1.0)), fault));
        }
        begin += length;
    }
    planned.retain(|(at, _)| *at < duration);
    planned
}

fn deck(dice: &mut StdRng, fleet: Fleet) -> Vec<Fault> {
    let api = |dice: &mut StdRng| dice.random_range(0..fleet.apis);
    let worker = |dice: &mut StdRng| dice.random_range(0..fleet.workers);
    let mut deck = vec![
        Fault::KillDatabase,
        Fault::KillBroker,
        Fault::KillCache,
        Fault::CutDatabase,
        Fault::CutDatabase,
        Fault::CutBroker,
        Fault::LoseDatabaseAnswers,
        Fault::LoseDatabaseAnswers,
        Fault::LoseBrokerAnswers,
        Fault::MuteDatabase,
        Fault::MuteBroker,
        Fault::TerminateSessions,
        Fault::DuplicateMessages(dice.random_range(5..40)),
        Fault::DuplicateMessages(dice.random_range(5..40)),
        Fault::EndApi(api(dice)),
    ];
    deck.extend((0..3).map(|_| Fault::KillApi(api(dice))));
    deck.extend((0..4).map(|_| Fault::KillWorker(worker(dice))));
    deck.extend((0..2).map(|_| Fault::EndWorker(worker(dice))));
    deck.extend((0..2).map(|_| Fault::PauseWorker(worker(dice))));
    deck
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLEET: Fleet = Fleet { apis: 3, workers: 5 };

    #[test]
    fn a_seed_always_means_the_same_faults() {
        let duration = Duration::from_secs(45);
        assert_eq!(faults(7, duration, FLEET), faults(7, duration, FLEET));
        assert_ne!(faults(7, duration, FLEET), faults(8, duration, FLEET));
    }

    #[test]
    fn a_run_of_twenty_seconds_has_every_fault() {
        for seed in 0..50 {
            let planned = faults(seed, Duration::from_secs(20), FLEET);
            let names: std::collections::BTreeSet<&str> = planned.iter().map(|(_, fault)| fault.name()).collect();
            assert_eq!(names.len(), 16, "seed {seed}: {names:?}");
        }
    }

    #[test]
    fn faults_come_in_order_within_the_run_and_name_members_that_exist() {
        for seed in 0..50 {
            let planned = faults(seed, Duration::from_secs(33), FLEET);
            assert!(planned.is_sorted_by_key(|(at, _)| *at));
            for (at, fault) in planned {
                assert!(at < Duration::from_secs(33));
                match fault {
                    Fault::KillApi(n) | Fault::EndApi(n) => assert!(n < FLEET.apis),
                    Fault::KillWorker(n) | Fault::EndWorker(n) | Fault::PauseWorker(n) => assert!(n < FLEET.workers),
                    _ => {}
                }
            }
        }
    }
}

//! Pods and the jobs that they hold, as the workers do it.

use switchyard_contract::Lane;

use crate::Time;

/// From the wish for a pod until it takes jobs.
pub const START: Time = 25_000;
/// Slots of a pod.
pub const CONCURRENCY: u32 = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Starting,
    Ready,
    /// Takes nothing more, and ends with its last job.
    Draining,
    Ended,
}

#[derive(Debug, Clone)]
struct Pod {
    made: Time,
    state: State,
    held: [u32; 4],
}

impl Pod {
    fn jobs(&self) -> u32 {
        self.held.iter().sum()
    }

    /// Whether a job of `lane` may begin: it must leave a slot free for critical and for each better lane of which the pod holds none.
    fn has_room(&self, lane: usize) -> bool {
        let kept = (0..lane).filter(|better| *better == 0 || self.held[*better] == 0).count();
        let kept = u32::try_from(kept).unwrap_or(0).min(CONCURRENCY - 1);
        self.state == State::Ready && self.jobs() + kept < CONCURRENCY
    }
}

/// The pods of a pool. Pods are named by their number, and no number comes twice.
#[derive(Debug, Default)]
pub struct Fleet {
    pods: Vec<Pod>,
    /// Pods that have not ended.
    alive: Vec<usize>,
    /// Pod-milliseconds of those that have.
    used: Time,
}

impl Fleet {
    /// Pods that the Deployment counts: all but those that end.
    pub fn replicas(&self) -> u32 {
        let counted = self.alive.iter().filter(|pod| self.pods[**pod].state != State::Draining).count();
        u32::try_from(counted).unwrap_or(u32::MAX)
    }

    /// Jobs that are held, by lane.
    pub fn running(&self, lane: Lane) -> u32 {
        self.alive.iter().map(|pod| self.pods[*pod].held[lane as usize]).sum()
    }

    /// Milliseconds of all pods together until `now`.
    pub fn used(&self, now: Time) -> Time {
        self.used + self.alive.iter().map(|pod| now - self.pods[*pod].made).sum::<Time>()
    }

    /// Makes pods or ends some, the not yet ready and then the youngest first, as a ReplicaSet does. Answers with those that start.
    pub fn resize(&mut self, replicas: u32, now: Time) -> Vec<usize> {
        let mut started = Vec::new();
        while self.replicas() < replicas {
            self.alive.push(self.pods.len());
            started.push(self.pods.len());
            self.pods.push(Pod { made: now, state: State::Starting, held: [0; 4] });
        }
        while self.replicas() > replicas {
            let counted = self.alive.iter().copied().filter(|pod| self.pods[*pod].state != State::Draining);
            let Some(victim) = counted.max_by_key(|pod| (self.pods[*pod].state == State::Starting, *pod)) else {
                break;
            };
            self.pods[victim].state = State::Draining;
            self.end_if_empty(victim, now);
        }
        started
    }

    /// A pod has started; it may have been ended before.
    pub fn ready(&mut self, pod: usize) {
        if self.pods[pod].state == State::Starting {
            self.pods[pod].state = State::Ready;
        }
    }

    /// Puts a job of `lane` into the pod that holds fewest, when one has room.
    pub fn begin(&mut self, lane: Lane) -> Option<usize> {
        let lane = lane as usize;
        let roomy = self.alive.iter().copied().filter(|pod| self.pods[*pod].has_room(lane));
        let pod = roomy.min_by_key(|pod| self.pods[*pod].jobs())?;
        self.pods[pod].held[lane] += 1;
        Some(pod)
    }

    /// A job of `lane` is done. False when its pod did not live to see that: the job was interrupted.
    pub fn end(&mut self, pod: usize, lane: Lane, now: Time) -> bool {
        let lives = self.pods[pod].state != State::Ended;
        if lives {
            self.pods[pod].held[lane as usize] -= 1;
            self.end_if_empty(pod, now);
        }
        lives
    }

    fn end_if_empty(&mut self, number: usize, now: Time) {
        let pod = &mut self.pods[number];
        if pod.state == State::Draining && pod.jobs() == 0 {
            pod.state = State::Ended;
            self.used += now - pod.made;
            self.alive.retain(|other| *other != number);
        }
    }
}

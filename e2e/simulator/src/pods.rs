//! The pods of a pool and the jobs that they run, with the workers' rules.

use switchyard_contract::Lane;

use crate::time::Time;

/// Time from a pod's creation until it takes jobs.
pub const STARTUP: Time = 25_000;
/// Slots per pod.
pub const CONCURRENCY: u32 = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Starting,
    Ready,
    /// Takes no more jobs and ends with its last one.
    Draining,
    Ended,
}

#[derive(Debug, Clone)]
struct Pod {
    created: Time,
    state: State,
    /// Running jobs by lane.
    running: [u32; 4],
}

impl Pod {
    fn jobs(&self) -> u32 {
        self.running.iter().sum()
    }

    /// Whether a job of `lane` may start. It must leave a slot free for the critical lane and for
    /// each higher lane without a running job in this pod.
    fn has_room(&self, lane: usize) -> bool {
        let reserved = (0..lane).filter(|higher| *higher == 0 || self.running[*higher] == 0).count();
        let reserved = u32::try_from(reserved).unwrap_or(0).min(CONCURRENCY - 1);
        self.state == State::Ready && self.jobs() + reserved < CONCURRENCY
    }
}

/// The pods of a pool. A pod is identified by its index, which is never reused.
#[derive(Debug, Default)]
pub struct Pods {
    pods: Vec<Pod>,
    /// Indices of the pods that have not ended.
    alive: Vec<usize>,
    /// Total run time of the pods that have ended.
    ended_time: Time,
}

impl Pods {
    /// Replicas as the Deployment counts them: all but draining pods.
    pub fn replicas(&self) -> u32 {
        let counted = self.alive.iter().filter(|pod| self.pods[**pod].state != State::Draining).count();
        u32::try_from(counted).unwrap_or(u32::MAX)
    }

    /// Running jobs of `lane`.
    pub fn running(&self, lane: Lane) -> u32 {
        self.alive.iter().map(|pod| self.pods[*pod].running[lane as usize]).sum()
    }

    /// Total run time of all pods until `now`.
    pub fn run_time(&self, now: Time) -> Time {
        self.ended_time + self.alive.iter().map(|pod| now - self.pods[*pod].created).sum::<Time>()
    }

    /// Creates or drains pods and returns the new ones. As in a ReplicaSet, pods that are not ready
    /// go first, then the youngest.
    pub fn resize(&mut self, replicas: u32, now: Time) -> Vec<usize> {
        let mut started = Vec::new();
        while self.replicas() < replicas {
            self.alive.push(self.pods.len());
            started.push(self.pods.len());
            self.pods.push(Pod { created: now, state: State::Starting, running: [0; 4] });
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

    /// Marks a pod as ready, unless it was removed while it started.
    pub fn mark_ready(&mut self, pod: usize) {
        if self.pods[pod].state == State::Starting {
            self.pods[pod].state = State::Ready;
        }
    }

    /// Assigns a job of `lane` to the pod with the fewest jobs; `None` if no pod has a free slot.
    pub fn assign(&mut self, lane: Lane) -> Option<usize> {
        let lane = lane as usize;
        let candidates = self.alive.iter().copied().filter(|pod| self.pods[*pod].has_room(lane));
        let pod = candidates.min_by_key(|pod| self.pods[*pod].jobs())?;
        self.pods[pod].running[lane] += 1;
        Some(pod)
    }

    /// Finishes a job of `lane`. Returns false if its pod had ended, which interrupted the job.
    pub fn finish(&mut self, pod: usize, lane: Lane, now: Time) -> bool {
        let alive = self.pods[pod].state != State::Ended;
        if alive {
            self.pods[pod].running[lane as usize] -= 1;
            self.end_if_empty(pod, now);
        }
        alive
    }

    fn end_if_empty(&mut self, number: usize, now: Time) {
        let pod = &mut self.pods[number];
        if pod.state == State::Draining && pod.jobs() == 0 {
            pod.state = State::Ended;
            self.ended_time += now - pod.created;
            self.alive.retain(|other| *other != number);
        }
    }
}

//! The number of pods that each pool should have, computed from the statistics of the queues.
//!
//! Pure and stateless: every replica of the operator computes the same result.
//!
//! The demand of a queue in slots ([`demand`]) has three parts:
//!
//! - **load**, arrivals x service time: by Little's law the slots that steady load keeps busy (J.
//!   D. C. Little, *A proof for the queuing formula L = λW*, Operations Research 9, 1961);
//! - **headroom**, so that few jobs wait longer than the target: it keeps the utilization at 85 %
//!   or less, and where jobs are long compared to the target it grows with the square root of the
//!   load (S. Halfin, W. Whitt, *Heavy-traffic limits for queues with many exponential servers*,
//!   Operations Research 29, 1981);
//! - or, if larger, **drain**: the slots that start the waiting jobs within the target, which is
//!   `waiting x service time / target`, at most one slot a job.
//!
//! The demand is at least the number of long running jobs, and at most the number of jobs and the
//! limit of the lane. The pools that serve a queue share its slots ([`share`]). The number of pods
//! follows from the slots of a pod ([`pool`]). An autoscaler applies it ([`hpa`]); the operator or
//! KEDA scales to zero and back ([`zero`]).
//!
//! Scaling in is slower than scaling out, because a removed pod is expensive to get back. A. Gandhi
//! et al. found this best for unpredictable load (*AutoScale*, ACM Transactions on Computer Systems
//! 30, 2012).

pub mod demand;
pub mod gpu;
pub mod hpa;
pub mod pool;
pub mod share;
pub mod zero;

pub use crate::capacity::{
    demand::{Bound, Demand, Target},
    pool::{Pool, Size},
    share::{DesiredPods, desired_pods},
};

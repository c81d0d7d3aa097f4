//! Capacity wanted: from what the database says of the queues to pods. Pure, and without memory: any replica of the operator comes to the same.
//!
//! A queue asks for slots ([`demand`]), in three parts:
//!
//! - **load**, arrivals x service time: by Little's law the slots that steady load keeps busy (J. D. C. Little, *A proof for the queuing formula
//!   L = λW*, Operations Research 9, 1961);
//! - **headroom**, so that chance keeps few waiting beyond the target: to a use of 85 % at most, and where jobs are long beside the target to the
//!   square root of the load (S. Halfin, W. Whitt, *Heavy-traffic limits for queues with many exponential servers*, Operations Research 29, 1981);
//! - or, where that is more, **drain**: what starts the jobs that wait within the target, `waiting x service time / target`, a slot a job at most.
//!
//! It asks for no fewer than the long jobs that run, and for no more than there are jobs or its lane allows. Pools that serve the queue share the slots ([`share`]), and
//! pods follow from what a pod can take of each lane ([`pool`]). An autoscaler is told how to follow ([`hpa`]); none and one are the operator's ([`zero`]).
//! Scaling in slower than out, since a pod is dear to get back, is what A. Gandhi and others found best for load that cannot be foretold
//! (*AutoScale*, ACM Transactions on Computer Systems 30, 2012).

pub mod demand;
pub mod gpu;
pub mod hpa;
pub mod pool;
pub mod share;
pub mod zero;

pub use crate::capacity::{
    demand::{Ask, Bound, Target},
    pool::{Pool, Size},
    share::{DesiredPods, desired_pods},
};

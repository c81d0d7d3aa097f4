//! Three candidates for one lease: under no fault do the writes of two leaders overlap.

use std::time::Duration;

use k8s_openapi::jiff::SignedDuration;
use kube::Client;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use switchyard_operator::{
    kubernetes::{client::with_limits, leader_election::Candidate, write_fence::Fence},
    telemetry::{heartbeat::Heartbeat, metrics::Metrics},
};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tower::service_fn;

use super::{candidates::Candidates, network::LinkFaults, scenario::in_simulated_time, server::Server};

/// Runs three candidates, injects `fault` into the leader, and waits for another leader.
async fn after(fault: impl AsyncFnOnce(&mut Candidates, usize)) -> (usize, usize, Duration) {
    let mut candidates = Candidates::three();
    candidates.advance(20).await;
    let leader = candidates.holder().expect("one leads");
    fault(&mut candidates, leader).await;
    candidates.advance(60).await;
    let result = candidates.check_writes();
    println!("{} writes by {} tenures, {} s without a writer at most", result.0, result.1, result.2.as_secs_f32());
    assert!(result.1 >= 2, "another candidate took over");
    result
}

#[test]
fn killed_leader_is_replaced_after_its_last_write() {
    let (.., gap) = in_simulated_time(after(async |candidates, leader| candidates.kill(leader)));
    assert!(gap <= Duration::from_secs(20), "{gap:?}");
}

#[test]
fn leader_that_cannot_renew_stops_writing() {
    let (.., gap) = in_simulated_time(after(async |candidates, leader| {
        candidates.set_faults(leader, LinkFaults { no_lease: true, ..LinkFaults::default() });
    }));
    assert!(gap <= Duration::from_secs(20), "{gap:?}");
}

#[test]
fn leader_with_late_renewals_is_no_second_writer() {
    in_simulated_time(after(async |candidates, leader| {
        for slow in [3, 9, 12] {
            candidates
                .set_faults(leader, LinkFaults { slow_lease: Duration::from_secs(slow), ..LinkFaults::default() });
            candidates.advance(30).await;
        }
    }));
}

#[test]
fn partitioned_leader_becomes_a_standby() {
    in_simulated_time(after(async |candidates, leader| {
        candidates.set_faults(leader, LinkFaults { cut: true, ..LinkFaults::default() });
        candidates.advance(40).await;
        candidates.set_faults(leader, LinkFaults::default());
    }));
}

#[test]
fn wall_clocks_may_differ() {
    in_simulated_time(after(async |candidates, leader| {
        for (index, hours) in [-1, 1, 100_000].into_iter().enumerate() {
            candidates
                .set_faults(index, LinkFaults { clock: SignedDuration::from_hours(hours), ..LinkFaults::default() });
        }
        candidates.advance(30).await;
        candidates.kill(leader);
    }));
}

#[test]
fn one_candidate_leads_after_an_outage_of_the_api_server() {
    for outage in [9, 14, 16, 120] {
        in_simulated_time(async {
            let candidates = Candidates::three();
            candidates.advance(20).await;
            let before = candidates.check_writes().0;
            for index in 0..3 {
                candidates.set_faults(index, LinkFaults { cut: true, ..LinkFaults::default() });
            }
            candidates.advance(outage).await;
            for index in 0..3 {
                candidates.set_faults(index, LinkFaults::default());
            }
            candidates.advance(60).await;
            let (writes, tenures, gap) = candidates.check_writes();
            println!("outage of {outage} s: {tenures} tenures, {} s without a writer at most", gap.as_secs_f32());
            assert!(writes > before + 100, "{before} writes before and {writes} at the end");
        });
    }
}

#[test]
fn leader_releases_the_lease_at_shutdown_unless_a_write_is_uncertain() {
    let (.., gap) = in_simulated_time(after(async |candidates, leader| candidates.all[leader].shutdown.cancel()));
    assert!(gap <= Duration::from_secs(20), "{gap:?}");
    // Without a write in flight, the next candidate leads at once.
    let gap = in_simulated_time(async {
        let fence = Fence::default();
        let server = Server::default();
        let transport = service_fn({
            let server = server.clone();
            move |request| server.clone().answer(request)
        });
        let candidate = |identity: &str, fence| {
            Candidate::new(
                Client::new(with_limits(transport.clone(), None), "system"),
                "system",
                "lease",
                identity,
                fence,
            )
        };
        let (heartbeat, metrics) = (Heartbeat::default(), Metrics::default());
        let (first, second) = (CancellationToken::new(), CancellationToken::new());
        let (one, two) = (candidate("one", fence), candidate("two", Fence::default()));
        let lead = async {
            one.lead(&metrics, &heartbeat, &first, std::future::pending::<()>).await;
            let ended = Instant::now();
            two.lead(&metrics, &heartbeat, &second, || {
                second.cancel();
                std::future::pending::<()>()
            })
            .await;
            ended.elapsed()
        };
        let stop = async {
            sleep(Duration::from_secs(10)).await;
            first.cancel();
        };
        futures::join!(lead, stop).0
    });
    assert!(gap < Duration::from_secs(3), "{gap:?}");
}

#[test]
fn an_hour_of_random_faults_never_has_two_writers() {
    for seed in 0..8 {
        let (writes, tenures, gap) = in_simulated_time(async {
            let mut random = StdRng::seed_from_u64(seed);
            let mut candidates = Candidates::three();
            let end = Instant::now() + Duration::from_hours(1);
            while Instant::now() < end {
                candidates.advance(random.random_range(1..20)).await;
                // Mostly the leader, since faults of standbys matter less.
                let index = match candidates.holder() {
                    Some(leader) if random.random_bool(0.7) => leader,
                    _ => random.random_range(0..candidates.all.len()),
                };
                match random.random_range(0..8) {
                    0 => {
                        candidates.kill(index);
                        candidates.start();
                    }
                    1 => {
                        candidates.all[index].shutdown.cancel();
                        candidates.advance(random.random_range(1..8)).await;
                        candidates.kill(index);
                        candidates.start();
                    }
                    2 => candidates.set_faults(index, LinkFaults { no_lease: true, ..LinkFaults::default() }),
                    3 => candidates.set_faults(index, LinkFaults { cut: true, ..LinkFaults::default() }),
                    4 => {
                        let slow_lease = Duration::from_millis(random.random_range(0..14_000));
                        candidates.set_faults(index, LinkFaults { slow_lease, ..LinkFaults::default() });
                    }
                    _ => {
                        (0..candidates.all.len()).for_each(|index| candidates.set_faults(index, LinkFaults::default()));
                    }
                }
            }
            candidates.check_writes()
        });
        println!("seed {seed}: {writes} writes by {tenures} tenures, {} s without a writer at most", gap.as_secs_f32());
        assert!(tenures > 20, "the leader changed often enough to mean something");
    }
}

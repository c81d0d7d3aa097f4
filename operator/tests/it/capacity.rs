//! The desired pods for given queue statistics.

use std::collections::BTreeMap;

use crate::queues::queues;
use proptest::prelude::*;
use switchyard_contract::{Kind, Lane, Lanes, QueueStats};
use switchyard_operator::{
    capacity::{
        Bound, Demand, DesiredPods, Pool, Size, Target, desired_pods,
        gpu::{Node, Quota, gpu_capacity},
        zero::{Step, step},
    },
    spec::replicas::ScalingBounds,
};

fn scaled(name: &str, lanes: &[Lane], min: i32, max: i32) -> Pool {
    let size = Size::Scaled { bounds: ScalingBounds::new(min, max), target: Target::Wait(30.0) };
    Pool { name: name.into(), kind: Kind::Cdn, lanes: lanes.iter().copied().collect(), concurrency: 8, size }
}

fn of_one(queues: &[QueueStats], pool: &Pool) -> DesiredPods {
    desired_pods(queues, std::slice::from_ref(pool), &Lanes::default())[&pool.name].clone()
}

fn demand(stats: &QueueStats) -> Demand {
    Demand::of(stats, &[Target::Wait(30.0)], Lanes::default().get(stats.lane))
}

fn near(a: f64, b: f64) -> bool {
    (a - b).abs() < 1e-6
}

#[test]
fn steady_load_needs_arrivals_times_service_time_plus_headroom() {
    let stats = QueueStats {
        arrival_rate: 5.0,
        service_seconds: Some(2.0),
        running: 10,
        ..QueueStats::quiet(Kind::Cdn, Lane::Normal)
    };
    let demand = demand(&stats);
    assert!(near(demand.load, 10.0) && near(demand.slots, 10.0 / 0.85), "{demand}");
    assert_eq!(demand.to_string(), "normal needs 11.8 slots: 10.0 busy (5.00 jobs/s x 2.0 s) + 1.8 headroom");
}

#[test]
fn a_backlog_starts_within_the_target_with_at_most_one_slot_a_job() {
    let short = QueueStats { depth: 100, service_seconds: Some(1.5), ..QueueStats::quiet(Kind::Cdn, Lane::Low) };
    assert!(near(demand(&short).slots, 10.0), "half of 30 s remain once a pod has started: 100 x 1.5 s / 15 s");
    let long = QueueStats { service_seconds: Some(600.0), ..short };
    assert!(near(demand(&long).slots, 100.0));
    let due = QueueStats { depth: 40, due_soon: 60, ..short };
    assert!(near(demand(&due).slots, 10.0), "retries due within a minute count as waiting");
    let patient = Demand::of(&short, &[Target::Wait(640.0)], Lanes::default().get(Lane::Low));
    assert!(near(patient.slots, 0.25));
    let strictest = Demand::of(&short, &[Target::Wait(640.0), Target::Backlog(5.0)], Lanes::default().get(Lane::Low));
    assert!(near(strictest.slots, 20.0));
}

#[test]
fn the_service_time_defaults_to_littles_law_or_one_slot_a_job() {
    let cold = QueueStats { depth: 7, running: 2, arrival_rate: 0.03, ..QueueStats::quiet(Kind::Cdn, Lane::High) };
    assert!(near(demand(&cold).slots, 7.0), "{}", demand(&cold));
    let running = QueueStats { depth: 0, running: 12, completion_rate: 3.0, ..cold };
    assert_eq!(demand(&running).service, Some(4.0));
}

#[test]
fn the_last_minute_counts_only_beyond_poisson_noise() {
    let stats =
        QueueStats { arrival_rate: 2.0, recent_arrival_rate: Some(2.2), ..QueueStats::quiet(Kind::Cdn, Lane::Normal) };
    assert!(near(demand(&stats).arrivals, 2.0));
    let rising = demand(&QueueStats { recent_arrival_rate: Some(10.0), ..stats }).arrivals;
    let falling = demand(&QueueStats { recent_arrival_rate: Some(0.1), ..stats }).arrivals;
    assert!(rising > 9.0 && rising < 10.0 && falling < 0.3 && falling > 0.1, "{rising} {falling}");
}

#[test]
fn long_running_jobs_keep_their_slots_without_recent_arrivals() {
    let stats = QueueStats { running: 10, service_seconds: Some(900.0), ..QueueStats::quiet(Kind::Cdn, Lane::Low) };
    assert!(near(demand(&stats).slots, 10.0) && demand(&stats).bound == Bound::Running);
}

#[test]
fn a_burst_of_long_jobs_needs_at_most_one_slot_a_job() {
    let stats = QueueStats {
        depth: 10,
        arrival_rate: 10.0 / 300.0,
        service_seconds: Some(6000.0),
        ..QueueStats::quiet(Kind::Cdn, Lane::Low)
    };
    assert!(demand(&stats).bound == Bound::Jobs && near(demand(&stats).slots, 12.0), "{}", demand(&stats));
}

#[test]
fn analyses_are_limited_by_their_lane_and_paused_lanes_by_running_jobs() {
    let flood = QueueStats {
        depth: 400,
        arrival_rate: 9.0,
        service_seconds: Some(60.0),
        ..QueueStats::quiet(Kind::General, Lane::Normal)
    };
    assert!(near(demand(&flood).slots, 8.0) && demand(&flood).bound == Bound::Limit);
    let paused = QueueStats { paused: true, running: 3, ..flood };
    assert!(near(demand(&paused).slots, 3.0) && demand(&paused).bound == Bound::Paused);
}

#[test]
fn pods_account_for_slots_kept_for_more_urgent_lanes() {
    let pool = scaled("all", Lane::ALL, 0, 100);
    let pods = |slots: &[(Lane, f64)]| pool.pods_for(&slots.iter().copied().collect());
    assert!(near(pods(&[(Lane::Critical, 16.0)]), 2.0));
    assert!(near(pods(&[(Lane::High, 14.0)]), 2.0), "one slot of eight is critical's");
    assert!(near(pods(&[(Lane::Low, 10.0)]), 2.0), "and high and normal are waited for");
    assert!(
        near(pods(&[(Lane::High, 4.0), (Lane::Normal, 4.0), (Lane::Low, 6.0)]), 2.0),
        "none is waited for that is there"
    );
    let two = Pool { concurrency: 2, ..scaled("ai", Lane::ALL, 0, 100) };
    assert!(near(two.pods_for(&BTreeMap::from([(Lane::Low, 3.0)])), 3.0), "but a pod of two takes one of any lane");
    let pinned = scaled("low", &[Lane::Low], 0, 100);
    assert!(near(pinned.pods_for(&BTreeMap::from([(Lane::Low, 16.0)])), 2.0), "a pool of one lane keeps nothing free");
}

#[test]
fn fixed_pools_take_their_share_first_then_pinned_then_by_size() {
    let stats = queues(Kind::Cdn, Lane::Critical, |stats| {
        stats.depth = 80;
        stats.service_seconds = Some(30.0);
    });
    let fixed = Pool { size: Size::Fixed(2), ..scaled("fixed", &[Lane::Critical], 0, 0) };
    let pools = [
        scaled("big", Lane::ALL, 0, 9),
        scaled("small", Lane::ALL, 0, 3),
        scaled("pinned", &[Lane::Critical], 0, 4),
        fixed,
    ];
    let all = desired_pods(&stats, &pools, &Lanes::default());
    let pods: Vec<(&str, f64)> = all.iter().map(|(name, desired)| (name.as_str(), desired.pods)).collect();
    // Of 80 slots the fixed pool has 16 and the pinned one 32. The other 32 need 4 pods, three of
    // them of the bigger pool.
    assert_eq!(pods.iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["big", "pinned", "small"]);
    assert!(near(pods[0].1, 3.0) && near(pods[1].1, 4.0) && near(pods[2].1, 1.0), "{pods:?}");
    let words = all["big"].to_string();
    assert!(words.starts_with("3.00 desired pods (0 to 9) for 24.0 slots; critical needs 80.0 slots:"), "{words}");
    assert!(words.ends_with("+ 80.0 for 80 waiting jobs; 24.0 of them in this pool"), "{words}");
}

#[test]
fn missing_statistics_give_no_value() {
    let pool = scaled("pool", &[Lane::High, Lane::Low], 1, 5);
    assert!(desired_pods(&[], std::slice::from_ref(&pool), &Lanes::default()).is_empty());
    assert!(
        desired_pods(&[QueueStats::quiet(Kind::Cdn, Lane::High)], std::slice::from_ref(&pool), &Lanes::default())
            .is_empty()
    );
    assert!(near(
        of_one(&[QueueStats::quiet(Kind::Cdn, Lane::High), QueueStats::quiet(Kind::Cdn, Lane::Low)], &pool).pods,
        1.0
    ));
    assert_eq!(step(&pool, 0, &[], None), Step::Leave);
}

#[test]
fn statistics_are_parsed_from_the_lane_report() {
    let text = r#"{"kind":"ai","lane":"low","paused":false,"depth":3,"oldest_age_seconds":1.5,"running":1,"retrying":0,"waiting":0,"arrival_rate":0.5,"completion_rate":0.25}"#;
    let stats: QueueStats = serde_json::from_str(text).unwrap();
    assert_eq!((stats.depth, stats.due_soon, stats.service_seconds), (3, 0, None));
    assert_eq!(serde_json::from_str::<QueueStats>(&serde_json::to_string(&stats).unwrap()).unwrap(), stats);
}

#[test]
fn an_idle_pool_scales_to_zero_and_back_at_once() {
    let (pool, lanes) = (scaled("pool", Lane::ALL, 0, 5), Lanes::default());
    let what = |pods, change: &dyn Fn(&mut QueueStats)| {
        let stats = queues(Kind::Cdn, Lane::Low, change);
        step(&pool, pods, &stats, desired_pods(&stats, std::slice::from_ref(&pool), &lanes).get("pool"))
    };
    assert_eq!(what(1, &|_| ()), Step::Set(0));
    assert_eq!(what(2, &|_| ()), Step::Leave, "the autoscaler brings it to one");
    assert_eq!(what(0, &|_| ()), Step::Leave);
    assert_eq!(what(0, &|stats| stats.depth = 1), Step::Set(1));
    assert_eq!(what(0, &|stats| stats.due_soon = 1), Step::Set(1));
    for busy in [
        (|stats| stats.depth = 1) as fn(&mut QueueStats),
        |stats| stats.running = 1,
        |stats| stats.due_soon = 1,
        |stats| stats.waiting = 1,
        |stats| stats.arrival_rate = 1.0 / 300.0,
        |stats| stats.completion_rate = 1.0 / 300.0,
        |stats| stats.arrival_rate = f64::NAN,
    ] {
        assert_eq!(what(1, &busy), Step::Leave);
    }
    assert_eq!(
        what(1, &|stats| (stats.depth, stats.paused) = (9, true)),
        Step::Set(0),
        "a paused lane has nothing to do"
    );
    assert_eq!(what(0, &|stats| (stats.depth, stats.paused) = (9, true)), Step::Leave);
    let lasting = scaled("pool", Lane::ALL, 2, 5);
    let stats = queues(Kind::Cdn, Lane::Low, |_| ());
    let desired = desired_pods(&stats, std::slice::from_ref(&lasting), &lanes);
    assert_eq!(step(&lasting, 0, &stats, desired.get("pool")), Step::Set(2));
    assert_eq!(step(&lasting, 1, &stats, desired.get("pool")), Step::Leave);
}

#[test]
fn gpu_capacity_is_limited_by_nodes_and_quotas() {
    let node = |allocatable, others| Node { name: "n".into(), allocatable, others };
    let resource = "nvidia.com/gpu";
    let nodes = [node(4, 1), node(8, 3)];
    let fits = gpu_capacity(3, 2, resource, Some(&nodes), &[]);
    assert_eq!((fits.pods, fits.message.as_str()), (3, "3 pods with 2 nvidia.com/gpu each fit"));
    let few = gpu_capacity(9, 2, resource, Some(&nodes), &[]);
    assert_eq!(few.pods, 3, "of 3 and 5 free ones, 1 and 2 pods: a GPU on each node is left over");
    assert!(
        few.message
            .starts_with("3 of 9 pods with 2 nvidia.com/gpu each fit: 2 nodes have 12, of which other pods hold 4"),
        "{}",
        few.message
    );
    let quota = Quota { name: "team".into(), hard: 6, others: 3 };
    let quoted = gpu_capacity(9, 2, resource, Some(&nodes), std::slice::from_ref(&quota));
    assert!(
        quoted.pods == 1 && quoted.message.contains("ResourceQuota team allows 6, of which other pods hold 3"),
        "{}",
        quoted.message
    );
    assert_eq!(gpu_capacity(9, 2, resource, None, &[]).pods, 9, "nodes on demand are no limit");
    let none = gpu_capacity(9, 1, resource, Some(&[]), &[quota]);
    assert!(none.pods == 0 && none.message.contains("no ready node matches"), "{}", none.message);
    assert_eq!(gpu_capacity(9, 0, resource, Some(&[node(i64::MAX, -5), node(i64::MAX, i64::MIN)]), &[]).pods, 9);
}

fn any_number() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => 0.0..50.0f64,
        1 => any::<f64>(),
        1 => prop::sample::select(vec![f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, 1e300, 0.0]),
    ]
}

fn any_count() -> impl Strategy<Value = i64> {
    prop_oneof![4 => 0i64..2_000, 1 => any::<i64>(), 1 => Just(i64::MIN)]
}

prop_compose! {
    fn any_stats(kind: Kind, lane: Lane)(
        (paused, depth, running, retrying, due_soon, waiting) in (prop::bool::weighted(0.1), any_count(), any_count(), any_count(), any_count(), any_count()),
        (oldest_age_seconds, arrival_rate, completion_rate) in (any_number(), any_number(), any_number()),
        (recent_arrival_rate, service_seconds) in (prop::option::of(any_number()), prop::option::of(any_number())),
    ) -> QueueStats {
        QueueStats { kind, lane, paused, depth, oldest_age_seconds, running, retrying, due_soon, waiting, arrival_rate, recent_arrival_rate, completion_rate, service_seconds }
    }
}

fn any_queues() -> impl Strategy<Value = Vec<QueueStats>> {
    let each = |kind| Lane::ALL.iter().map(move |lane| any_stats(kind, *lane));
    [Kind::General, Kind::Cdn].into_iter().flat_map(each).collect::<Vec<_>>()
}

prop_compose! {
    fn any_pool()(
        lanes in prop::sample::subsequence(Lane::ALL.to_vec(), 1..=4),
        (general, concurrency, min, more) in (any::<bool>(), 1u32..20, 0i32..4, 0i32..30),
        target in prop_oneof![any_number().prop_map(Target::Wait), any_number().prop_map(Target::Backlog)],
        fixed in prop::bool::weighted(0.3),
    ) -> Pool {
        let size = if fixed { Size::Fixed(min.cast_unsigned()) } else { Size::Scaled { bounds: ScalingBounds::new(min, min + more), target } };
        let kind = if general { Kind::General } else { Kind::Cdn };
        Pool { name: String::new(), kind, lanes: lanes.into_iter().collect(), concurrency, size }
    }
}

fn any_pools() -> impl Strategy<Value = Vec<Pool>> {
    prop::collection::vec(any_pool(), 1..6).prop_map(|mut pools| {
        for (number, pool) in pools.iter_mut().enumerate() {
            pool.name = format!("p{number}");
        }
        pools
    })
}

proptest! {
    #[test]
    fn any_statistics_give_finite_deterministic_values_in_bounds(queues in any_queues(), pools in any_pools()) {
        let all = desired_pods(&queues, &pools, &Lanes::default());
        prop_assert_eq!(&all, &desired_pods(&queues, &pools, &Lanes::default()));
        for pool in &pools {
            let Size::Scaled { bounds, .. } = pool.size else { prop_assert!(!all.contains_key(&pool.name)); continue };
            let desired = &all[&pool.name];
            prop_assert!(desired.pods >= f64::from(bounds.min()) && desired.pods <= f64::from(bounds.max()), "{desired}");
            prop_assert!(desired.demands.iter().all(|demand| demand.slots.is_finite() && demand.slots >= 0.0), "{desired}");
            step(pool, 0, &queues, Some(desired));
        }
    }

    #[test]
    fn shares_of_a_lane_never_exceed_its_demand(queues in any_queues(), pools in any_pools()) {
        let all = desired_pods(&queues, &pools, &Lanes::default());
        for kind in [Kind::General, Kind::Cdn] {
            let ours: Vec<&DesiredPods> = pools.iter().filter(|pool| pool.kind == kind).filter_map(|pool| all.get(&pool.name)).collect();
            for demand in ours.iter().flat_map(|desired| &desired.demands) {
                let sum: f64 = ours.iter().filter_map(|desired| desired.slots.get(&demand.lane)).sum();
                prop_assert!(sum <= demand.slots * (1.0 + 1e-9), "{sum} of {demand}");
                if kind == Kind::General && demand.bound != Bound::Paused {
                    prop_assert!(demand.slots <= f64::from(Lanes::default().get(demand.lane).max_running));
                }
            }
        }
    }

    #[test]
    fn more_backlog_or_arrivals_never_need_fewer_pods(
        queues in any_queues(), pools in any_pools(), which in 0usize..8, (depth, due) in (0i64..500, 0i64..500), (rate, recent) in (0.0..20.0f64, 0.0..20.0f64),
    ) {
        let grown: Vec<QueueStats> = queues.iter().enumerate().map(|(at, stats)| {
            if at != which {
                return *stats;
            }
            QueueStats {
                depth: stats.depth.saturating_add(depth),
                due_soon: stats.due_soon.saturating_add(due),
                arrival_rate: stats.arrival_rate + rate,
                recent_arrival_rate: stats.recent_arrival_rate.map(|now| now + recent),
                ..*stats
            }
        }).collect();
        let (before, after) = (desired_pods(&queues, &pools, &Lanes::default()), desired_pods(&grown, &pools, &Lanes::default()));
        for (name, before) in &before {
            prop_assert!(after[name].pods >= before.pods * (1.0 - 1e-9), "{before}\n{}", after[name]);
        }
    }
}

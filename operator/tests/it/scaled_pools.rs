//! Scaled pools.

use std::sync::Arc;

use crate::common::{assert_documented, fresh, images, now, own_secrets, own_services, pool, ready, set_up, settings};
use crate::planned::{find, pool_input};
use crate::queues::queues;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscalerCondition;
use kube::api::ApiResource;
use serde_json::{Value, json};
use switchyard_contract::{Kind, Lane, Lanes, LanesReport, QueueStats};
use switchyard_operator::{
    capacity::{Pool, desired_pods, gpu::GpuCapacity},
    controllers::{
        condition::find as condition,
        worker_pool::{
            input::PoolInput,
            plan::{Plan, plan},
            scaling::{Autoscaler, Load},
            status::status,
            validate::validate,
        },
    },
    crd::{WorkerPool, WorkerPoolStatus, conditions::POOL},
    kubernetes::{kinds::autoscalers, prune::ObjectId},
    resources::scaled_object,
    spec::images::Images,
};

#[expect(clippy::needless_pass_by_value, reason = "its callers pass literals of json!")]
fn scaled(scaling: Value) -> WorkerPool {
    pool("burst", json!({"platformRef": {"name": "main"}, "kind": "ai", "scaling": scaling}))
}

fn input(pool: &WorkerPool, pods: Option<i32>, load: Load) -> PoolInput {
    let platform = set_up(fresh(settings("main", own_services()), &own_secrets()));
    PoolInput { rollout: pods.map(ready), load, ..pool_input(&platform, pool) }
}

fn planned(input: &PoolInput) -> Plan {
    plan(&validate(input.clone()), &images())
}

fn load(pool: &WorkerPool, depth: i64) -> Load {
    let queues = queues(Kind::Ai, Lane::Normal, |stats| {
        *stats = QueueStats { depth, service_seconds: Some(1.0), ..QueueStats::quiet(stats.kind, stats.lane) };
    });
    let desired = desired_pods(&queues, &[Pool::of("burst", &pool.spec)], &Lanes::default()).remove("burst");
    let stats = LanesReport { lanes: queues };
    Load { desired: Some(Ok((Arc::new(stats), desired))), ..Load::default() }
}

#[test]
fn an_autoscaler_has_the_bounds_and_metric_and_owns_the_replicas() {
    let pool = scaled(json!({"min": 2, "max": 6}));
    let plan = planned(&input(&pool, Some(3), Load::default()));
    let spec = &find(&plan.apply, "HorizontalPodAutoscaler/burst").object.data["spec"];
    assert_eq!((&spec["minReplicas"], &spec["maxReplicas"]), (&json!(2), &json!(6)));
    assert_eq!(spec["scaleTargetRef"], json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "burst"}));
    let metric = &spec["metrics"][0]["external"];
    assert_eq!(
        metric["metric"],
        json!({"name": "switchyard_desired_replicas", "selector": {"matchLabels": {"pool": "burst"}}})
    );
    assert_eq!(metric["target"], json!({"type": "AverageValue", "averageValue": "1"}));
    assert!(find(&plan.apply, "Deployment/burst").object.data["spec"].get("replicas").is_none());
    assert!(plan.scaled && plan.step.is_none());
}

#[test]
fn the_operator_scales_a_pool_to_zero_and_back() {
    let pool = scaled(json!({"min": 0, "max": 6}));
    let autoscaler =
        |plan: &Plan| find(&plan.apply, "HorizontalPodAutoscaler/burst").object.data["spec"]["minReplicas"].clone();
    for (pods, depth, step) in [(0, 0, None), (0, 1, Some(1)), (1, 0, Some(0)), (1, 1, None), (3, 0, None)] {
        let plan = planned(&input(&pool, Some(pods), load(&pool, depth)));
        assert_eq!(plan.step, step, "{pods} pods, {depth} jobs");
        assert_eq!(autoscaler(&plan), 1, "an autoscaler cannot scale to zero");
    }
    let unknown = Load { desired: Some(Err("no answer".into())), ..Load::default() };
    assert_eq!(planned(&input(&pool, Some(1), unknown)).step, None, "the load is unknown");
}

#[test]
fn autoscaler_bounds_are_limited_by_gpu_capacity() {
    let pool = scaled(json!({"min": 2, "max": 6}));
    let bounds = |pods: u32| {
        let load = Load { gpu_capacity: Some(GpuCapacity { pods, message: "arithmetic".into() }), ..Load::default() };
        let input = input(&pool, Some(2), load);
        let plan = planned(&input);
        let spec = &find(&plan.apply, "HorizontalPodAutoscaler/burst").object.data["spec"];
        let status = status(&WorkerPoolStatus::default(), Some(1), &validate(input), &plan, None, now());
        assert_documented(POOL, &status.conditions);
        let gpu_capacity = condition(&status.conditions, "GpuCapacity").expect("a condition").status.clone();
        (spec["minReplicas"].clone(), spec["maxReplicas"].clone(), gpu_capacity)
    };
    assert_eq!(bounds(9), (json!(2), json!(6), "True".into()));
    assert_eq!(bounds(4), (json!(2), json!(4), "False".into()));
    assert_eq!(bounds(0), (json!(1), json!(1), "False".into()));
}

#[test]
fn the_status_repeats_why_the_autoscaler_cannot_scale() {
    let pool = scaled(json!({"min": 1, "max": 6}));
    let said = |kind: &str, status_: &str, reason: &str| HorizontalPodAutoscalerCondition {
        type_: kind.into(),
        status: status_.into(),
        reason: Some(reason.into()),
        message: Some("the words".into()),
        last_transition_time: None,
    };
    let autoscaling = |pods: i32, load: Load| {
        let input = input(&pool, Some(pods), load);
        let status =
            status(&WorkerPoolStatus::default(), Some(1), &validate(input.clone()), &planned(&input), None, now());
        assert_documented(POOL, &status.conditions);
        let found = condition(&status.conditions, "Autoscaling").expect("a condition").clone();
        assert_eq!(
            condition(&status.conditions, "Ready").expect("a condition").status,
            "True",
            "its pods work all the same"
        );
        (found.status, found.reason, found.message)
    };
    let of = |conditions: Vec<HorizontalPodAutoscalerCondition>| Load {
        autoscaler: Some(Autoscaler { kind: "HorizontalPodAutoscaler", conditions }),
        ..Load::default()
    };
    let (status, reason, words) = autoscaling(2, of(vec![said("ScalingActive", "False", "FailedGetExternalMetric")]));
    assert_eq!((status.as_str(), reason.as_str()), ("False", "FailedGetExternalMetric"));
    assert!(words.contains("the words"), "{words}");
    assert_eq!(autoscaling(2, of(vec![said("ScalingActive", "True", "ValidMetricFound")])).1, "Active");
    assert_eq!(autoscaling(0, of(vec![said("ScalingActive", "False", "ScalingDisabled")])).1, "ScaledToZero");
    assert_eq!(autoscaling(2, Load::default()).1, "NotSeen");
    assert_eq!(autoscaling(0, Load { desired: Some(Err("no answer".into())), ..Load::default() }).1, "LoadUnknown");
}

#[test]
fn a_pool_that_is_no_longer_scaled_loses_its_autoscaler() {
    let fixed = pool("burst", json!({"platformRef": {"name": "main"}, "kind": "ai", "replicas": 2}));
    let mut input = input(&fixed, Some(5), Load::default());
    let resource = find(
        &planned(&self::input(&scaled(json!({"min": 1, "max": 2})), None, Load::default())).apply,
        "HorizontalPodAutoscaler/burst",
    )
    .resource
    .clone();
    input.optional = vec![ObjectId { resource, name: "burst".into(), uid: "u".into() }];
    let plan = planned(&input);
    assert_eq!(plan.delete.len(), 1);
    assert_eq!(find(&plan.apply, "Deployment/burst").object.data["spec"]["replicas"], 2);
}

#[test]
fn keda_scales_the_pool_including_to_zero_and_back() {
    let installation = Images { keda_scaler: Some("switchyard-keda.system.svc:9090".into()), ..images() };
    let pool = scaled(json!({"min": 0, "max": 6}));
    let by_keda = |change: &dyn Fn(&mut PoolInput)| {
        let mut input = input(&pool, Some(0), load(&pool, 30));
        change(&mut input);
        plan(&validate(input), &installation)
    };
    let with = by_keda(&|_| ());
    let object =
        with.apply.iter().find(|manifest| manifest.resource == scaled_object::resource()).expect("a ScaledObject");
    let spec = &object.object.data["spec"];
    assert_eq!(spec["scaleTargetRef"], json!({"name": "burst"}));
    assert_eq!((&spec["minReplicaCount"], &spec["maxReplicaCount"]), (&json!(0), &json!(6)));
    let trigger =
        json!({"type": "external", "metadata": {"scalerAddress": "switchyard-keda.system.svc:9090", "pool": "burst"}});
    assert_eq!(spec["triggers"], json!([trigger]));
    assert!(!with.apply.iter().any(|manifest| manifest.resource == autoscalers()), "one autoscaler is enough");
    assert!(with.scaled, "the replicas are KEDA's");
    assert_eq!(with.step, None, "and so are the steps between none and one");

    let without = by_keda(&|input| input.missing = vec![scaled_object::resource()]);
    assert!(
        !without.apply.iter().any(|manifest| manifest.resource == scaled_object::resource()),
        "the kind is unknown"
    );
    assert!(without.apply.iter().any(|manifest| manifest.resource == autoscalers()));
    assert!(without.step.is_some());

    let found = |resource: ApiResource| ObjectId { resource, name: "burst".into(), uid: "1".into() };
    let came = by_keda(&|input| input.optional = vec![found(autoscalers())]);
    assert_eq!(came.delete, [found(autoscalers())], "KEDA has come: the plain one goes");
    let gpus = by_keda(&|input| input.load.gpu_capacity = Some(GpuCapacity { pods: 2, message: "arithmetic".into() }));
    let object =
        gpus.apply.iter().find(|manifest| manifest.resource == scaled_object::resource()).expect("a ScaledObject");
    assert_eq!(object.object.data["spec"]["maxReplicaCount"], 2, "no more than there are GPUs for");
}

//! Plans of made-up facts.

use switchyard_operator::{
    api::WorkerPool,
    platform::plan::{Facts, Plan, plan},
    resources::Manifest,
    worker_pool::{self, plan::Platform},
};

use crate::common::{images, now, owner, set_up};

pub fn planned(facts: &Facts) -> Plan {
    plan(facts, &images(), now())
}

pub fn find<'a>(manifests: &'a [Manifest], title: &str) -> &'a Manifest {
    manifests.iter().find(|manifest| manifest.title() == title).unwrap_or_else(|| {
        panic!("no {title} among {:?}", manifests.iter().map(Manifest::title).collect::<Vec<_>>());
    })
}

pub fn pool_facts(platform: &Facts, pool: &WorkerPool) -> worker_pool::plan::Facts {
    let mut pools = platform.pools.clone();
    pools.push(pool.clone());
    // What the pools ask for may be a part of the setup.
    let with = set_up(Facts { pools: pools.clone(), ..platform.clone() });
    worker_pool::plan::Facts {
        pool: pool.clone(),
        owner: owner("WorkerPool", pool.metadata.name.as_deref().unwrap_or_default(), &platform.settings.name),
        platform: Some(Platform {
            settings: platform.settings.clone(),
            secrets: platform.secrets.clone(),
            pools,
            set_up: planned(&with).set_up,
            owner: platform.owner.clone(),
        }),
        rollout: None,
        provider: None,
        optional: Vec::new(),
        missing: Vec::new(),
        load: Default::default(),
    }
}

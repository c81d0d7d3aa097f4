//! Plans of fixtures.

use switchyard_operator::{
    controllers::{
        platform::{
            input::PlatformInput,
            plan::{Plan, plan},
            validate::validate,
        },
        worker_pool::{
            self,
            input::{PlatformSnapshot, PoolInput},
            scaling::Load,
        },
    },
    crd::WorkerPool,
    resources::manifest::Manifest,
};

use crate::common::{images, now, owner, set_up};

pub fn planned(input: &PlatformInput) -> Plan {
    plan(&validate(input.clone()), &images(), now())
}

pub fn planned_pool(input: &PoolInput) -> worker_pool::plan::Plan {
    worker_pool::plan::plan(&worker_pool::validate::validate(input.clone()), &images())
}

pub fn find<'a>(manifests: &'a [Manifest], title: &str) -> &'a Manifest {
    manifests.iter().find(|manifest| manifest.title() == title).unwrap_or_else(|| {
        panic!("no {title} among {:?}", manifests.iter().map(Manifest::title).collect::<Vec<_>>());
    })
}

pub fn pool_input(platform: &PlatformInput, pool: &WorkerPool) -> PoolInput {
    let mut pools = platform.pools.clone();
    pools.push(pool.clone());
    // The setup depends on the connections of the pools.
    let with = set_up(PlatformInput { pools: pools.clone(), ..platform.clone() });
    PoolInput {
        pool: pool.clone(),
        owner: owner("WorkerPool", pool.metadata.name.as_deref().unwrap_or_default(), &platform.settings.name),
        platform: Some(PlatformSnapshot {
            settings: platform.settings.clone(),
            secrets: platform.secrets.clone(),
            pools,
            setup_job: planned(&with).setup_job,
            owner: platform.owner.clone(),
        }),
        rollout: None,
        provider: None,
        optional: Vec::new(),
        missing: Vec::new(),
        load: Load::default(),
    }
}

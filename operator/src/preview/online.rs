//! Plans against a cluster: compares with the live objects and sends every change as a dry run.

use std::collections::BTreeMap;

use anyhow::Context as _;
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Namespace};
use kube::{
    Api, Client, Config, ResourceExt,
    api::{ListParams, Patch, PatchParams},
    config::KubeConfigOptions,
};
use serde_json::Value;

use crate::{
    controllers::{
        health::Healths,
        platform::{dereference, input::PlatformInput},
    },
    crd::{AnalyticsPlatform, WorkerPool},
    kubernetes::{api, cache::store::WatchCache, kinds::pool_kinds, prune::ObjectId, reader::ClusterReader},
    preview::{
        difference::Change,
        documents::Documents,
        options::Options,
        outcome::{Outcome, PLANNED, Planned, Whole, whole},
    },
    resources::{manifest::Manifest, owner::Owner},
    spec::{images::Images, names},
};

/// Field manager of the dry runs of custom resources.
const MANAGER: &str = "switchyard-plan";

/// A cluster to plan against.
pub struct Cluster {
    client: Client,
    namespace: String,
    images: Images,
}

impl Cluster {
    /// Connects to the cluster of the kubeconfig, or of the pod.
    ///
    /// # Errors
    /// There is no such cluster.
    pub async fn connect(options: &Options) -> anyhow::Result<Self> {
        let from = KubeConfigOptions { context: options.context.clone(), ..KubeConfigOptions::default() };
        let config = match &options.context {
            Some(_) => Config::from_kubeconfig(&from).await.map_err(anyhow::Error::from),
            None => Config::infer().await.map_err(anyhow::Error::from),
        };
        let config = config.context("no cluster to plan against: set KUBECONFIG, or plan with --offline")?;
        let namespace = options.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        let client = Client::try_from(config)?;
        let images = images(&client, &options.operator_namespace).await?;
        Ok(Self { client, namespace, images })
    }
}

/// The images of the operator in this cluster; without an operator, those of this release.
async fn images(client: &Client, namespace: &str) -> anyhow::Result<Images> {
    let operators: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    let ours = ListParams::default().labels("app.kubernetes.io/name=switchyard-operator");
    let list =
        operators.list(&ours).await.with_context(|| format!("cannot list the operators in namespace {namespace}"))?;
    let variables: Option<BTreeMap<String, String>> = list.items.into_iter().find_map(|operator| {
        let container = operator.spec?.template.spec?.containers.into_iter().next()?;
        Some(container.env?.into_iter().filter_map(|variable| Some((variable.name, variable.value?))).collect())
    });
    Ok(variables.map_or_else(Images::of_release, |variables| Images::of_variables(&variables)))
}

/// Plans the documents.
///
/// # Errors
/// The API server does not answer, or does not let this user read the input of the plan.
pub async fn outcome(documents: &Documents, cluster: &Cluster) -> anyhow::Result<Outcome> {
    let namespace_of = |named: Option<String>| named.unwrap_or_else(|| cluster.namespace.clone());
    let mut outcome = Outcome::default();
    // The platforms of the documents, and the live platforms of their other pools.
    let mut platforms: Vec<(String, AnalyticsPlatform)> = Vec::new();
    for platform in &documents.platforms {
        platforms.push((namespace_of(platform.namespace()), platform.clone()));
    }
    for pool in &documents.pools {
        let (namespace, name) = (namespace_of(pool.namespace()), &pool.spec.platform_ref.name);
        if platforms.iter().any(|(there, platform)| *there == namespace && platform.name_any() == *name) {
            continue;
        }
        let platform = api::get::<AnalyticsPlatform>(&cluster.client, &namespace, name).await?.with_context(|| {
            format!(
                "WorkerPool {}: there is no AnalyticsPlatform {name} in namespace {namespace}: add its file",
                pool.name_any()
            )
        })?;
        platforms.push((namespace, platform));
    }
    for (namespace, platform) in platforms {
        let pools = documents.pools.iter().filter(|pool| {
            namespace_of(pool.namespace()) == namespace && pool.spec.platform_ref.name == platform.name_any()
        });
        let pools = pools.cloned().collect();
        outcome.platforms.push(one(cluster, &namespace, platform, pools).await?);
    }
    Ok(outcome)
}

async fn one(
    cluster: &Cluster,
    namespace: &str,
    platform: AnalyticsPlatform,
    pools: Vec<WorkerPool>,
) -> anyhow::Result<Planned> {
    let client = &cluster.client;
    let is_there = Api::<Namespace>::all(client.clone()).get_opt(namespace).await.is_ok_and(|found| found.is_some());
    let mut refused = Vec::new();
    if is_there {
        refused.extend(dry_run(client, namespace, &platform).await.err());
        for pool in &pools {
            refused.extend(dry_run(client, namespace, pool).await.err());
        }
    } else {
        refused.push((format!("Namespace {namespace}"), "it does not exist: create it first".to_owned()));
    }
    let platform = stored(client, namespace, platform).await?;
    let mut more = Vec::new();
    for pool in pools {
        let given = pool.spec.replicas.is_some() || pool.spec.scaling.is_some();
        let mut pool = stored(client, namespace, pool).await?;
        if !given && let Some(live) = api::get::<WorkerPool>(client, namespace, &pool.name_any()).await? {
            // Keeps the replicas of a pool that is scaled by hand.
            pool.spec.replicas = live.spec.replicas;
        }
        more.push(pool);
    }
    let known = ClusterReader::new(client.clone(), WatchCache::snapshot(client, namespace).await?);
    let input: PlatformInput = dereference::dereference(&known, &Healths::default(), &platform).await?;
    let rollouts = input.observed.pools.clone();
    let mut found: BTreeMap<String, Vec<ObjectId>> = BTreeMap::new();
    for pool in input.pools.iter().chain(&more) {
        if let Some(owner) = Owner::of(pool, &platform.name_any()).filter(|_| is_there) {
            found.insert(pool.name_any(), known.cache.owned(&owner, &pool_kinds()));
        }
    }
    let Whole { plan, budget, input, refused: more_refused, manifests, deletes } = whole(
        input,
        more,
        &cluster.images,
        |name| rollouts.get(name).cloned(),
        |name| found.get(name).cloned().unwrap_or_default(),
    );
    refused.extend(more_refused);
    let mut changes: Vec<Change> =
        input.to_generate.iter().map(|secret| Change::created(format!("Secret/{}", secret.name))).collect();
    for manifest in &manifests {
        match change(client, manifest, is_there).await {
            Ok(change) => changes.push(change),
            Err(words) => refused.push((manifest.title(), words)),
        }
    }
    changes.extend(deletes.iter().map(|found| Change::deleted(format!("{}/{}", found.resource.kind, found.name))));
    changes.extend(plan.delete_jobs.iter().map(|job| Change::deleted(format!("Job/{job}"))));
    Ok(Planned { settings: input.settings, budget, refused, manifests, changes, pools: input.pools })
}

/// Applies the custom resource as a dry run, so that the API server checks its rules.
async fn dry_run<K>(client: &Client, namespace: &str, object: &K) -> Result<(), (String, String)>
where
    K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
        + serde::Serialize
        + serde::de::DeserializeOwned
        + Clone
        + std::fmt::Debug,
{
    let name = object.name_any();
    let what = format!("{} {name}", K::kind(&()));
    let mut body = serde_json::to_value(object).map_err(|error| (what.clone(), error.to_string()))?;
    body["apiVersion"] = Value::String(K::api_version(&()).into_owned());
    body["kind"] = Value::String(K::kind(&()).into_owned());
    if let Some(fields) = body.as_object_mut() {
        fields.remove("status");
        if let Some(metadata) = fields.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.retain(|key, _| matches!(key.as_str(), "name" | "labels" | "annotations"));
        }
    }
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    let params = PatchParams::apply(MANAGER).force().dry_run();
    match api.patch(&name, &params, &Patch::Apply(&body)).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) => Err((what, status.message.clone())),
        Err(error) => Err((what, error.to_string())),
    }
}

/// The object with the UID and the creation time of the live one.
async fn stored<K>(client: &Client, namespace: &str, mut object: K) -> anyhow::Result<K>
where
    K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
        + serde::de::DeserializeOwned
        + Clone
        + std::fmt::Debug,
{
    let live = api::get::<K>(client, namespace, &object.name_any()).await?;
    let metadata = object.meta_mut();
    metadata.namespace = Some(namespace.to_owned());
    metadata.uid = Some(live.as_ref().and_then(ResourceExt::uid).unwrap_or_else(|| PLANNED.to_owned()));
    metadata.creation_timestamp = live.and_then(|live| live.creation_timestamp());
    Ok(object)
}

/// The change that applying `manifest` makes.
async fn change(client: &Client, manifest: &Manifest, namespace_is_there: bool) -> Result<Change, String> {
    if !namespace_is_there {
        return Ok(Change::created(manifest.title()));
    }
    let namespace = manifest.object.namespace().unwrap_or_default();
    let api: Api<kube::api::DynamicObject> = Api::namespaced_with(client.clone(), &namespace, &manifest.resource);
    let words = |error: kube::Error| match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    };
    let live = api.get_opt(manifest.name()).await.map_err(words)?;
    let params = PatchParams::apply(names::FIELD_MANAGER).force().dry_run();
    let after = api.patch(manifest.name(), &params, &Patch::Apply(&manifest.object)).await.map_err(words)?;
    let json = |object: &kube::api::DynamicObject| serde_json::to_value(object).map_err(|error| error.to_string());
    Ok(match live {
        None => Change::created(manifest.title()),
        Some(live) => Change::between(manifest.title(), &json(&live)?, &json(&after)?),
    })
}

//! Reading from and writing to the API server.

use k8s_openapi::{NamespaceResourceScope, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams, Preconditions},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::{
    leftovers::Found,
    names,
    resources::{Manifest, Owner},
};

/// Field manager that holds the replicas of a Deployment that something else scales. The value must belong to somebody when the operator gives it
/// up, or the API server sets it back to 1.
const REPLICAS_KEEPER: &str = "switchyard-replicas";

/// Why something could not be done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server took the call and refused it: trying again at once does not help.
    #[error("{what}: {words}")]
    Refused {
        /// What it was about.
        what: String,
        /// A stable reason.
        reason: &'static str,
        /// The server's words.
        words: String,
    },
    /// The call did not get through, or somebody else was faster: worth trying again.
    #[error("{what}: {source}")]
    Unanswered {
        /// What it was about.
        what: String,
        source: kube::Error,
    },
    /// The object has no namespace or was never stored.
    #[error("{0} has no namespace or identity")]
    Unstored(String),
}

impl Error {
    /// Sorts a client's error.
    pub fn of(what: impl Into<String>, error: kube::Error) -> Self {
        let what = what.into();
        match error {
            kube::Error::Api(status) if matches!(status.code, 400 | 403 | 404 | 405 | 422) => Self::Refused {
                what,
                reason: if status.code == 403 { "Forbidden" } else { "Refused" },
                words: status.message.clone(),
            },
            source => Self::Unanswered { what, source },
        }
    }

    /// A label for metrics: `refused`, `unanswered` or `unstored`.
    pub const fn category(&self) -> &'static str {
        match self {
            Self::Refused { .. } => "refused",
            Self::Unanswered { .. } => "unanswered",
            Self::Unstored(_) => "unstored",
        }
    }
}

/// An object, if it exists.
pub async fn get<K>(client: &Client, namespace: &str, name: &str) -> Result<Option<K>, Error>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
{
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    api.get_opt(name).await.map_err(|error| Error::of(format!("cannot read {} {name}", K::kind(&())), error))
}

/// Every object whose label says so.
pub async fn list<K>(client: &Client, namespace: &str, label: &str, value: &str) -> Result<Vec<K>, Error>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
{
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    let ours = ListParams::default().labels(&format!("{label}={value}"));
    let list = api.list(&ours).await.map_err(|error| Error::of(format!("cannot list {}", K::plural(&())), error))?;
    Ok(list.items)
}

/// Every object of these kinds that carries the platform's label and belongs to `owner`, and the kinds that the cluster does not know.
pub async fn owned(
    client: &Client,
    owner: &Owner,
    kinds: &[ApiResource],
) -> Result<(Vec<Found>, Vec<ApiResource>), Error> {
    let ours = ListParams::default().labels(&format!("{}={}", names::PLATFORM_LABEL, owner.platform));
    let lists = kinds.iter().map(|kind| {
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &owner.namespace, kind);
        let ours = &ours;
        async move {
            match api.list_metadata(ours).await {
                Ok(list) => Ok((kind, Some(list.items))),
                Err(kube::Error::Api(status)) if status.code == 404 => Ok((kind, None)),
                Err(error) => Err(Error::of(format!("cannot list {}", kind.plural), error)),
            }
        }
    });
    let lists = futures::future::try_join_all(lists).await?;
    let missing = lists.iter().filter(|(_, items)| items.is_none()).map(|(kind, _)| (*kind).clone()).collect();
    let found = lists.into_iter().filter_map(|(kind, items)| Some((kind, items?))).flat_map(|(kind, items)| {
        items.into_iter().filter(|object| owner.owns(object)).map(|object| Found {
            resource: kind.clone(),
            name: object.name_any(),
            uid: object.uid().unwrap_or_default(),
        })
    });
    Ok((found.collect(), missing))
}

fn api_of(client: &Client, manifest: &Manifest) -> Api<DynamicObject> {
    let namespace = manifest.object.namespace().unwrap_or_default();
    Api::namespaced_with(client.clone(), &namespace, &manifest.resource)
}

/// Creates an object unless it is there already. Tells whether it did.
pub async fn create(client: &Client, manifest: &Manifest) -> Result<bool, Error> {
    let params = PostParams { field_manager: Some(names::FIELD_MANAGER.into()), ..PostParams::default() };
    match api_of(client, manifest).create(&params, &manifest.object).await {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
        Err(error) => Err(Error::of(format!("cannot create {}", manifest.title()), error)),
    }
}

/// Why an object that is there must not be overwritten: somebody else's of the same name would lose its fields now, and itself with the platform.
/// One without an owner is the operator's own when it carries the labels, as after an orphaning deletion.
fn stranger(live: &ObjectMeta, wanted: &ObjectMeta) -> Option<String> {
    let controller = |meta: &ObjectMeta| {
        meta.owner_references.iter().flatten().find(|owner| owner.controller == Some(true)).cloned()
    };
    let label = |meta: &ObjectMeta, key| meta.labels.as_ref().and_then(|labels| labels.get(key).cloned());
    let same = |key| label(live, key).is_some() && label(live, key) == label(wanted, key);
    match controller(live) {
        Some(owner) if controller(wanted).is_some_and(|ours| ours.uid == owner.uid) => None,
        Some(owner) => Some(format!("it belongs to {} {}", owner.kind, owner.name)),
        None if same(names::MANAGED_BY_LABEL) && same(names::PLATFORM_LABEL) => None,
        None => Some("it was not made by this operator".into()),
    }
}

/// Applies an object server-side. Applying what is there already writes nothing; somebody else's object is refused. A WorkerPool of the user's
/// under the name of a default pool is a pool of the platform all the same.
pub async fn apply(client: &Client, manifest: &Manifest) -> Result<(), Error> {
    if manifest.resource.kind != "WorkerPool" {
        let live = api_of(client, manifest).get_metadata_opt(manifest.name()).await;
        let live = live.map_err(|error| Error::of(format!("cannot read {}", manifest.title()), error))?;
        if let Some(why) = live.and_then(|live| stranger(&live.metadata, &manifest.object.metadata)) {
            let words = format!("there is one already, and {why}: remove or rename one of the two");
            return Err(Error::Refused {
                what: format!("cannot apply {}", manifest.title()),
                reason: "Refused",
                words,
            });
        }
    }
    let params = PatchParams::apply(names::FIELD_MANAGER).force();
    api_of(client, manifest)
        .patch(manifest.name(), &params, &Patch::Apply(&manifest.object))
        .await
        .map_err(|error| Error::of(format!("cannot apply {}", manifest.title()), error))?;
    Ok(())
}

/// Applies a Deployment whose replicas something else decides on: where no other manager holds them yet, hands them over first.
pub async fn apply_scaled(client: &Client, manifest: &Manifest) -> Result<(), Error> {
    let api = api_of(client, manifest);
    let what = || format!("cannot hand over the replicas of {}", manifest.title());
    if let Some(live) = api.get_opt(manifest.name()).await.map_err(|error| Error::of(what(), error))? {
        let replicas = live.data["spec"]["replicas"].clone();
        let ours = stranger(&live.metadata, &manifest.object.metadata).is_none();
        if ours && !held_by_another(&live) && !replicas.is_null() {
            let keep = json!({
                "apiVersion": manifest.resource.api_version,
                "kind": manifest.resource.kind,
                "metadata": {"name": manifest.name()},
                "spec": {"replicas": replicas},
            });
            let params = PatchParams::apply(REPLICAS_KEEPER).force();
            api.patch(manifest.name(), &params, &Patch::Apply(&keep))
                .await
                .map_err(|error| Error::of(what(), error))?;
        }
    }
    apply(client, manifest).await
}

/// Whether a manager other than the operator's own holds `spec.replicas`.
fn held_by_another(live: &DynamicObject) -> bool {
    live.metadata.managed_fields.iter().flatten().any(|entry| {
        let replicas = entry.fields_v1.as_ref().is_some_and(|fields| fields.0["f:spec"]["f:replicas"] != Value::Null);
        replicas && entry.manager.as_deref() != Some(names::FIELD_MANAGER)
    })
}

/// Sets a Deployment's replicas and nothing else.
pub async fn set_replicas(client: &Client, namespace: &str, name: &str, replicas: i32) -> Result<(), Error> {
    patch_replicas(client, namespace, name, replicas, names::FIELD_MANAGER).await
}

async fn patch_replicas(client: &Client, namespace: &str, name: &str, replicas: i32, by: &str) -> Result<(), Error> {
    let api: Api<k8s_openapi::api::apps::v1::Deployment> = Api::namespaced(client.clone(), namespace);
    let params = PatchParams { field_manager: Some(by.into()), ..PatchParams::default() };
    api.patch(name, &params, &Patch::Merge(json!({"spec": {"replicas": replicas}})))
        .await
        .map_err(|error| Error::of(format!("cannot scale Deployment/{name}"), error))?;
    Ok(())
}

/// Sets the replicas of a Deployment that an autoscaler decides on otherwise, and leaves the field to it.
pub async fn step_replicas(client: &Client, namespace: &str, name: &str, replicas: i32) -> Result<(), Error> {
    patch_replicas(client, namespace, name, replicas, REPLICAS_KEEPER).await
}

/// Deletes a Job with its pods, if it is there.
pub async fn delete_job(client: &Client, namespace: &str, name: &str) -> Result<(), Error> {
    let api: Api<k8s_openapi::api::batch::v1::Job> = Api::namespaced(client.clone(), namespace);
    match api.delete(name, &DeleteParams::background()).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(Error::of(format!("cannot delete Job/{name}"), error)),
    }
}

/// Deletes an object that was found, if it is still that one.
pub async fn delete(client: &Client, namespace: &str, found: &Found) -> Result<(), Error> {
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &found.resource);
    let only = Preconditions { uid: Some(found.uid.clone()), ..Preconditions::default() };
    match api.delete(&found.name, &DeleteParams::background().preconditions(only)).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
        Err(error) => Err(Error::of(format!("cannot delete {}/{}", found.resource.kind, found.name), error)),
    }
}

/// Writes the status of a custom resource.
pub async fn write_status<K>(client: &Client, object: &K, status: &impl Serialize) -> Result<(), Error>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
{
    let name = object.name_any();
    let namespace = object.namespace().ok_or_else(|| Error::Unstored(name.clone()))?;
    let api: Api<K> = Api::namespaced(client.clone(), &namespace);
    let body =
        json!({"apiVersion": K::api_version(&()), "kind": K::kind(&()), "metadata": {"name": name}, "status": status});
    let params = PatchParams::apply(names::FIELD_MANAGER).force();
    match api.patch_status(&name, &params, &Patch::Apply(&body)).await {
        // It was deleted meanwhile: there is nobody to tell.
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(Error::of(format!("cannot write the status of {} {name}", K::kind(&())), error)),
        Ok(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

    use super::*;

    fn meta(platform: Option<&str>, controller: Option<&str>) -> ObjectMeta {
        let owner = |uid: &str| OwnerReference {
            controller: Some(true),
            kind: "AnalyticsPlatform".into(),
            name: "demo".into(),
            uid: uid.into(),
            ..OwnerReference::default()
        };
        ObjectMeta {
            labels: platform.map(|platform| names::labels(platform, "cache")),
            owner_references: controller.map(|uid| vec![owner(uid)]),
            ..ObjectMeta::default()
        }
    }

    #[test]
    fn only_what_is_ours_or_nobodys_with_our_labels_is_taken() {
        let wanted = meta(Some("demo"), Some("1"));
        assert_eq!(stranger(&wanted, &wanted), None);
        assert_eq!(stranger(&meta(Some("demo"), None), &wanted), None, "orphaned");
        assert_eq!(stranger(&meta(None, Some("1")), &wanted), None, "labels removed by hand");
        assert!(stranger(&meta(None, None), &wanted).is_some(), "made by hand or by helm");
        assert!(stranger(&meta(Some("other"), None), &wanted).is_some(), "another platform's");
        let other = stranger(&meta(Some("demo"), Some("2")), &wanted);
        assert_eq!(other.as_deref(), Some("it belongs to AnalyticsPlatform demo"));
    }
}

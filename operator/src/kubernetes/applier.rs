//! Applies, creates and deletes objects.

use std::sync::Arc;

use k8s_openapi::{
    NamespaceResourceScope,
    api::{apps::v1::Deployment, batch::v1::Job},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams, Preconditions},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;

use crate::{
    crd::conditions::Reason,
    kubernetes::{
        api::scoped_dynamic,
        cache::{
            entry::{CachedObject, Key, ObservedState},
            store::WatchCache,
        },
        error::Error,
        prune::ObjectId,
    },
    resources::manifest::Manifest,
    spec::names,
};

/// Field manager of `spec.replicas` of a Deployment that an autoscaler scales.
///
/// When the last manager of the field stops applying it, the API server resets the value to 1. This
/// manager therefore takes the field over before the operator gives it up. See "Transferring
/// ownership" at <https://kubernetes.io/docs/reference/using-api/server-side-apply/>.
const REPLICAS_MANAGER: &str = "switchyard-replicas";

/// Writes objects to the API server, and the results to the watch cache.
#[derive(Clone)]
pub struct Applier {
    client: Client,
    cache: WatchCache,
}

impl Applier {
    /// Writes through `client`, and records the results in `cache`.
    pub const fn new(client: Client, cache: WatchCache) -> Self {
        Self { client, cache }
    }

    fn api_of(&self, manifest: &Manifest) -> Api<DynamicObject> {
        scoped_dynamic(&self.client, manifest.object.metadata.namespace.as_deref(), &manifest.resource)
    }

    /// Creates an object unless it exists. Returns whether it was created.
    ///
    /// # Errors
    /// If the API server does not answer or refuses.
    pub async fn create(&self, manifest: &Manifest) -> Result<bool, Error> {
        let params = PostParams { field_manager: Some(names::FIELD_MANAGER.into()), ..PostParams::default() };
        match self.api_of(manifest).create(&params, &manifest.object).await {
            Ok(result) => {
                self.record(&manifest.resource.kind, &result);
                Ok(true)
            }
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
            Err(error) => Err(Error::of(format!("cannot create {}", manifest.title()), error)),
        }
    }

    /// Applies an object with server-side apply. Makes no call if the object was applied before and
    /// has not been modified since.
    ///
    /// `scaled` says that an autoscaler owns the replicas of the Deployment. Their field is then
    /// handed over before the first apply without it. A WorkerPool that a user created under the
    /// name of a default pool is adopted; any other foreign object is refused.
    ///
    /// # Errors
    /// If the object is foreign, or the API server does not answer or refuses.
    pub async fn apply(&self, manifest: &Manifest, scaled: bool) -> Result<(), Error> {
        let key = Key::of_manifest(manifest);
        let text = serde_json::to_vec(&manifest.object).map_err(kube::Error::SerdeError);
        let text = text.map_err(|error| Error::of(format!("cannot write {}", manifest.title()), error))?;
        let digest = names::digest([text.as_slice()]);
        if self.cache.is_as_applied(&key, &digest, &manifest.object.metadata) {
            return Ok(());
        }
        let mut object = manifest.object.clone();
        if key.kind != "WorkerPool"
            && let Some(live) = self.live(&key, manifest).await?
        {
            if let Some(why) = foreign_object(&live.meta, &manifest.object.metadata) {
                let message = format!("it already exists and {why}: remove or rename one of the two");
                return Err(Error::Refused {
                    action: format!("cannot apply {}", manifest.title()),
                    reason: Reason::Refused,
                    message,
                });
            }
            if scaled {
                self.hand_over(&live, manifest).await?;
                // The autoscaler owns the field, with the replicas that it has chosen.
                if let Some(spec) = object.data.get_mut("spec").and_then(serde_json::Value::as_object_mut) {
                    spec.remove("replicas");
                }
            }
        }
        let params = PatchParams::apply(names::FIELD_MANAGER).force();
        let result = self.api_of(manifest).patch(manifest.name(), &params, &Patch::Apply(&object)).await;
        let result = result.map_err(|error| Error::of(format!("cannot apply {}", manifest.title()), error))?;
        self.cache.record_apply(&key, &digest, CachedObject::of(&key.kind, &result));
        Ok(())
    }

    /// The live object. The cache holds every object with the operator's label; others are read.
    async fn live(&self, key: &Key, manifest: &Manifest) -> Result<Option<Arc<CachedObject>>, Error> {
        if let Some(object) = self.cache.get(&key.kind, &key.namespace, &key.name) {
            return Ok(Some(object));
        }
        let live = self.api_of(manifest).get_opt(&key.name).await;
        let live = live.map_err(|error| Error::of(format!("cannot read {}", manifest.title()), error))?;
        Ok(live.map(|object| Arc::new(CachedObject::of(&key.kind, &object))))
    }

    async fn hand_over(&self, live: &CachedObject, manifest: &Manifest) -> Result<(), Error> {
        let ObservedState::Deployment { replicas: Some(replicas), handed_over: false, .. } = live.state else {
            return Ok(());
        };
        let owned = json!({
            "apiVersion": manifest.resource.api_version,
            "kind": manifest.resource.kind,
            "metadata": {"name": manifest.name()},
            "spec": {"replicas": replicas},
        });
        let params = PatchParams::apply(REPLICAS_MANAGER).force();
        let result = self.api_of(manifest).patch(manifest.name(), &params, &Patch::Apply(&owned)).await;
        let result = result
            .map_err(|error| Error::of(format!("cannot hand over the replicas of {}", manifest.title()), error))?;
        self.record("Deployment", &result);
        Ok(())
    }

    /// Records the result of a write in the cache.
    fn record(&self, kind: &str, result: &DynamicObject) {
        self.cache.record_write(&Key::of(kind, &result.metadata), CachedObject::of(kind, result));
    }

    /// Sets the replicas of a Deployment.
    ///
    /// # Errors
    /// If the API server does not answer or refuses.
    pub async fn set_replicas(&self, namespace: &str, name: &str, replicas: i32) -> Result<(), Error> {
        self.patch_replicas(namespace, name, replicas, names::FIELD_MANAGER).await
    }

    /// Sets the replicas of a Deployment once, and leaves the field to its autoscaler.
    ///
    /// # Errors
    /// If the API server does not answer or refuses.
    pub async fn step_replicas(&self, namespace: &str, name: &str, replicas: i32) -> Result<(), Error> {
        self.patch_replicas(namespace, name, replicas, REPLICAS_MANAGER).await
    }

    async fn patch_replicas(&self, namespace: &str, name: &str, replicas: i32, manager: &str) -> Result<(), Error> {
        let api = scoped_dynamic(&self.client, Some(namespace), &ApiResource::erase::<Deployment>(&()));
        let params = PatchParams { field_manager: Some(manager.into()), ..PatchParams::default() };
        let result = api.patch(name, &params, &Patch::Merge(json!({"spec": {"replicas": replicas}}))).await;
        let result = result.map_err(|error| Error::of(format!("cannot scale Deployment/{name}"), error))?;
        self.record("Deployment", &result);
        Ok(())
    }

    /// Deletes a Job with its pods, if its UID is still the one in the cache.
    ///
    /// # Errors
    /// If the API server does not answer or refuses.
    pub async fn delete_job(&self, namespace: &str, name: &str) -> Result<(), Error> {
        let Some(object) = self.cache.get("Job", namespace, name) else { return Ok(()) };
        let uid = object.meta.uid.clone().unwrap_or_default();
        let found = ObjectId { resource: ApiResource::erase::<Job>(&()), name: name.to_owned(), uid };
        self.delete(namespace, &found).await
    }

    /// Deletes an object, if its UID is still the same.
    ///
    /// # Errors
    /// If the API server does not answer or refuses.
    pub async fn delete(&self, namespace: &str, found: &ObjectId) -> Result<(), Error> {
        let api: Api<DynamicObject> = scoped_dynamic(&self.client, Some(namespace), &found.resource);
        let only = Preconditions { uid: Some(found.uid.clone()), ..Preconditions::default() };
        match api.delete(&found.name, &DeleteParams::background().preconditions(only)).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
            Err(error) => Err(Error::of(format!("cannot delete {}/{}", found.resource.kind, found.name), error)),
        }
    }

    /// Writes the status of a custom resource. `to_cached` converts the result for the cache.
    ///
    /// # Errors
    /// If the API server does not answer or refuses.
    pub async fn write_status<K>(
        &self,
        object: &K,
        status: &impl Serialize,
        to_cached: fn(&K) -> CachedObject,
    ) -> Result<(), Error>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
    {
        let (name, kind) = (object.name_any(), K::kind(&()));
        let namespace = object.namespace().ok_or_else(|| Error::Unstored(name.clone()))?;
        let api: Api<K> = Api::namespaced(self.client.clone(), &namespace);
        let body =
            json!({"apiVersion": K::api_version(&()), "kind": kind, "metadata": {"name": name}, "status": status});
        let params = PatchParams::apply(names::FIELD_MANAGER).force();
        match api.patch_status(&name, &params, &Patch::Apply(&body)).await {
            // The object was deleted meanwhile.
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(error) => Err(Error::of(format!("cannot write the status of {kind} {name}"), error)),
            Ok(result) => {
                self.cache.record_write(&Key::of(&kind, result.meta()), to_cached(&result));
                Ok(())
            }
        }
    }
}

/// Why an existing object is foreign, so that the operator must not adopt it.
///
/// Adopting it would overwrite its fields, and delete it with the platform. An object without a
/// controller is the operator's own if it carries the labels, as after `kubectl delete
/// --cascade=orphan`.
fn foreign_object(live: &ObjectMeta, desired: &ObjectMeta) -> Option<String> {
    let controller = |meta: &ObjectMeta| {
        meta.owner_references.iter().flatten().find(|owner| owner.controller == Some(true)).cloned()
    };
    let label = |meta: &ObjectMeta, key| meta.labels.as_ref().and_then(|labels| labels.get(key).cloned());
    let same = |key| label(live, key).is_some() && label(live, key) == label(desired, key);
    match controller(live) {
        Some(owner) if controller(desired).is_some_and(|ours| ours.uid == owner.uid) => None,
        Some(owner) => Some(format!("belongs to {} {}", owner.kind, owner.name)),
        None if same(names::MANAGED_BY_LABEL) && same(names::PLATFORM_LABEL) => None,
        None => Some("was not created by this operator".into()),
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
    fn own_and_orphaned_objects_are_adopted_and_foreign_ones_refused() {
        let desired = meta(Some("demo"), Some("1"));
        assert_eq!(foreign_object(&desired, &desired), None);
        assert_eq!(foreign_object(&meta(Some("demo"), None), &desired), None, "orphaned");
        assert_eq!(foreign_object(&meta(None, Some("1")), &desired), None, "labels removed by hand");
        assert!(foreign_object(&meta(None, None), &desired).is_some(), "created by hand or by Helm");
        assert!(foreign_object(&meta(Some("other"), None), &desired).is_some(), "another platform's");
        let other = foreign_object(&meta(Some("demo"), Some("2")), &desired);
        assert_eq!(other.as_deref(), Some("belongs to AnalyticsPlatform demo"));
    }
}

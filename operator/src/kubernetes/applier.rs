//! Writes to the API server.

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

/// Field manager that holds the replicas of a Deployment that something else scales. The value must belong to somebody when the operator gives it
/// up, or the API server sets it back to 1.
const REPLICAS_KEEPER: &str = "switchyard-replicas";

/// Writes objects to the API server, and what came of it to the watch cache.
#[derive(Clone)]
pub struct Applier {
    client: Client,
    cache: WatchCache,
}

impl Applier {
    /// Writes through `client`.
    pub const fn new(client: Client, cache: WatchCache) -> Self {
        Self { client, cache }
    }

    fn api_of(&self, manifest: &Manifest) -> Api<DynamicObject> {
        scoped_dynamic(&self.client, manifest.object.metadata.namespace.as_deref(), &manifest.resource)
    }

    /// Creates an object unless it is there already. Tells whether it did.
    ///
    /// # Errors
    /// When the API server does not answer or refuses.
    pub async fn create(&self, manifest: &Manifest) -> Result<bool, Error> {
        let params = PostParams { field_manager: Some(names::FIELD_MANAGER.into()), ..PostParams::default() };
        match self.api_of(manifest).create(&params, &manifest.object).await {
            Ok(outcome) => {
                self.keep(&manifest.resource.kind, &outcome);
                Ok(true)
            }
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
            Err(error) => Err(Error::of(format!("cannot create {}", manifest.title()), error)),
        }
    }

    /// Applies an object server-side, unless it was applied before and nobody has touched it since; somebody else's object is refused. A WorkerPool of
    /// the user's under the name of a default pool is a pool of the platform all the same. Of a Deployment that is `scaled` something else decides on the
    /// replicas: where no other manager holds them yet, they are handed over first.
    ///
    /// # Errors
    /// When the API server does not answer or refuses.
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
                let message = format!("there is one already, and {why}: remove or rename one of the two");
                return Err(Error::Refused {
                    action: format!("cannot apply {}", manifest.title()),
                    reason: "Refused",
                    message,
                });
            }
            if scaled {
                self.hand_over(&live, manifest).await?;
                // It is there after all, with as many as something else has decided on.
                if let Some(spec) = object.data.get_mut("spec").and_then(serde_json::Value::as_object_mut) {
                    spec.remove("replicas");
                }
            }
        }
        let params = PatchParams::apply(names::FIELD_MANAGER).force();
        let outcome = self.api_of(manifest).patch(manifest.name(), &params, &Patch::Apply(&object)).await;
        let outcome = outcome.map_err(|error| Error::of(format!("cannot apply {}", manifest.title()), error))?;
        self.cache.record_apply(&key, &digest, CachedObject::of(&key.kind, &outcome));
        Ok(())
    }

    /// What is there under that name: of what carries the operator's label there is a copy.
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
        let keep = json!({
            "apiVersion": manifest.resource.api_version,
            "kind": manifest.resource.kind,
            "metadata": {"name": manifest.name()},
            "spec": {"replicas": replicas},
        });
        let params = PatchParams::apply(REPLICAS_KEEPER).force();
        let outcome = self.api_of(manifest).patch(manifest.name(), &params, &Patch::Apply(&keep)).await;
        let outcome = outcome
            .map_err(|error| Error::of(format!("cannot hand over the replicas of {}", manifest.title()), error))?;
        self.keep("Deployment", &outcome);
        Ok(())
    }

    /// Keeps what came of a write.
    fn keep(&self, kind: &str, outcome: &DynamicObject) {
        self.cache.record_write(&Key::of(kind, &outcome.metadata), CachedObject::of(kind, outcome));
    }

    /// Sets a Deployment's replicas and nothing else.
    ///
    /// # Errors
    /// When the API server does not answer or refuses.
    pub async fn set_replicas(&self, namespace: &str, name: &str, replicas: i32) -> Result<(), Error> {
        self.patch_replicas(namespace, name, replicas, names::FIELD_MANAGER).await
    }

    /// Sets the replicas of a Deployment that an autoscaler decides on otherwise, and leaves the field to it.
    ///
    /// # Errors
    /// When the API server does not answer or refuses.
    pub async fn step_replicas(&self, namespace: &str, name: &str, replicas: i32) -> Result<(), Error> {
        self.patch_replicas(namespace, name, replicas, REPLICAS_KEEPER).await
    }

    async fn patch_replicas(&self, namespace: &str, name: &str, replicas: i32, by: &str) -> Result<(), Error> {
        let api = scoped_dynamic(&self.client, Some(namespace), &ApiResource::erase::<Deployment>(&()));
        let params = PatchParams { field_manager: Some(by.into()), ..PatchParams::default() };
        let outcome = api.patch(name, &params, &Patch::Merge(json!({"spec": {"replicas": replicas}}))).await;
        let outcome = outcome.map_err(|error| Error::of(format!("cannot scale Deployment/{name}"), error))?;
        self.keep("Deployment", &outcome);
        Ok(())
    }

    /// Deletes a Job with its pods, if it is still the one that is known.
    ///
    /// # Errors
    /// When the API server does not answer or refuses.
    pub async fn delete_job(&self, namespace: &str, name: &str) -> Result<(), Error> {
        let Some(object) = self.cache.get("Job", namespace, name) else { return Ok(()) };
        let uid = object.meta.uid.clone().unwrap_or_default();
        let found = ObjectId { resource: ApiResource::erase::<Job>(&()), name: name.to_owned(), uid };
        self.delete(namespace, &found).await
    }

    /// Deletes an object that was found, if it is still that one.
    ///
    /// # Errors
    /// When the API server does not answer or refuses.
    pub async fn delete(&self, namespace: &str, found: &ObjectId) -> Result<(), Error> {
        let api: Api<DynamicObject> = scoped_dynamic(&self.client, Some(namespace), &found.resource);
        let only = Preconditions { uid: Some(found.uid.clone()), ..Preconditions::default() };
        match api.delete(&found.name, &DeleteParams::background().preconditions(only)).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
            Err(error) => Err(Error::of(format!("cannot delete {}/{}", found.resource.kind, found.name), error)),
        }
    }

    /// Writes the status of a custom resource, of which `to_cached` makes a copy.
    ///
    /// # Errors
    /// When the API server does not answer or refuses.
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
            // It was deleted meanwhile: there is nobody to tell.
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(error) => Err(Error::of(format!("cannot write the status of {kind} {name}"), error)),
            Ok(outcome) => {
                self.cache.record_write(&Key::of(&kind, outcome.meta()), to_cached(&outcome));
                Ok(())
            }
        }
    }
}

/// Why an object that is there must not be overwritten: somebody else's of the same name would lose its fields now, and itself with the platform.
/// One without an owner is the operator's own when it carries the labels, as after an orphaning deletion.
fn foreign_object(live: &ObjectMeta, desired: &ObjectMeta) -> Option<String> {
    let controller = |meta: &ObjectMeta| {
        meta.owner_references.iter().flatten().find(|owner| owner.controller == Some(true)).cloned()
    };
    let label = |meta: &ObjectMeta, key| meta.labels.as_ref().and_then(|labels| labels.get(key).cloned());
    let same = |key| label(live, key).is_some() && label(live, key) == label(desired, key);
    match controller(live) {
        Some(owner) if controller(desired).is_some_and(|ours| ours.uid == owner.uid) => None,
        Some(owner) => Some(format!("it belongs to {} {}", owner.kind, owner.name)),
        None if same(names::MANAGED_BY_LABEL) && same(names::PLATFORM_LABEL) => None,
        None => Some("it was not made by this operator".into()),
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
        let desired = meta(Some("demo"), Some("1"));
        assert_eq!(foreign_object(&desired, &desired), None);
        assert_eq!(foreign_object(&meta(Some("demo"), None), &desired), None, "orphaned");
        assert_eq!(foreign_object(&meta(None, Some("1")), &desired), None, "labels removed by hand");
        assert!(foreign_object(&meta(None, None), &desired).is_some(), "made by hand or by helm");
        assert!(foreign_object(&meta(Some("other"), None), &desired).is_some(), "another platform's");
        let other = foreign_object(&meta(Some("demo"), Some("2")), &desired);
        assert_eq!(other.as_deref(), Some("it belongs to AnalyticsPlatform demo"));
    }
}

//! Objects of a Kubernetes cluster, by kind and name.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::{Event, Namespace as KubeNamespace};
use kube::{
    Api, Client, ResourceExt,
    api::{ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams},
    core::GroupVersionKind,
};
use serde_json::{Value, json};

use crate::wait::eventually;

/// The cluster of `KUBECONFIG`, in which the operator runs.
#[derive(Clone)]
pub struct Cluster {
    pub client: Client,
}

/// The namespace of one test. [`Namespace::delete`] removes it; dropping it does not.
#[derive(Clone)]
pub struct Namespace {
    pub cluster: Cluster,
    pub name: String,
}

/// The reference of an image that `images/build` built, for example of `api`.
///
/// # Panics
/// `e2e/run` did not set the variable with the reference.
pub fn image(name: &str) -> String {
    let variable = format!("SWITCHYARD_IMAGE_{}", name.to_uppercase().replace('-', "_"));
    std::env::var(&variable).unwrap_or_else(|_| panic!("{variable} is not set: run these tests with 'make e2e'"))
}

fn resource(kind: &str) -> ApiResource {
    let (group, plural) = match kind {
        "AnalyticsPlatform" => ("switchyard.dev", "analyticsplatforms"),
        "WorkerPool" => ("switchyard.dev", "workerpools"),
        "Deployment" => ("apps", "deployments"),
        "StatefulSet" => ("apps", "statefulsets"),
        "Job" => ("batch", "jobs"),
        "Service" => ("", "services"),
        "ConfigMap" => ("", "configmaps"),
        "Secret" => ("", "secrets"),
        "Pod" => ("", "pods"),
        "PersistentVolumeClaim" => ("", "persistentvolumeclaims"),
        "NetworkPolicy" => ("networking.k8s.io", "networkpolicies"),
        "PodDisruptionBudget" => ("policy", "poddisruptionbudgets"),
        "ScaledObject" => ("keda.sh", "scaledobjects"),
        "PodMonitor" => ("monitoring.coreos.com", "podmonitors"),
        "PrometheusRule" => ("monitoring.coreos.com", "prometheusrules"),
        "HorizontalPodAutoscaler" => ("autoscaling", "horizontalpodautoscalers"),
        other => panic!("no resource known for kind {other}"),
    };
    let version = match group {
        "switchyard.dev" | "keda.sh" => "v1alpha1",
        "autoscaling" => "v2",
        _ => "v1",
    };
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural)
}

impl Cluster {
    /// Connects to the cluster of `KUBECONFIG`.
    ///
    /// # Errors
    /// `KUBECONFIG` names no valid configuration of a cluster.
    pub async fn connect() -> Result<Self> {
        let client = Client::try_default().await.context("no cluster: run these tests with 'make e2e'")?;
        Ok(Self { client })
    }

    /// Creates a namespace with a unique name, under the Pod Security Standard `restricted`.
    ///
    /// # Errors
    /// The API server refuses the call or does not respond.
    pub async fn create_namespace(&self, prefix: &str) -> Result<Namespace> {
        let name = format!("{prefix}-{}", &uuid::Uuid::new_v4().simple().to_string()[..6]);
        let namespace = serde_json::from_value(json!({
            "metadata": {"name": name, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}}
        }))?;
        Api::<KubeNamespace>::all(self.client.clone()).create(&PostParams::default(), &namespace).await?;
        Ok(Namespace { cluster: self.clone(), name })
    }
}

impl Namespace {
    /// Objects of `kind` in this namespace.
    pub fn api(&self, kind: &str) -> Api<DynamicObject> {
        Api::namespaced_with(self.cluster.client.clone(), &self.name, &resource(kind))
    }

    /// Applies an object server-side in this namespace, as a GitOps controller does.
    ///
    /// # Errors
    /// The object has no kind or name, or the API server refuses it.
    pub async fn apply(&self, mut object: Value) -> Result<DynamicObject> {
        object["metadata"]["namespace"] = json!(self.name);
        let kind = object["kind"].as_str().context("kind")?.to_owned();
        let name = object["metadata"]["name"].as_str().context("name")?.to_owned();
        let params = PatchParams::apply("e2e").force();
        Ok(self.api(&kind).patch(&name, &params, &Patch::Apply(&object)).await?)
    }

    /// Applies an object that the API server must reject, and returns the message.
    ///
    /// # Errors
    /// The API server accepted the object.
    pub async fn rejection(&self, object: Value) -> Result<String> {
        match self.apply(object.clone()).await {
            Ok(_) => bail!("the API server accepted {object}"),
            Err(error) => match error.downcast::<kube::Error>()? {
                kube::Error::Api(status) => Ok(status.message.clone()),
                other => Err(other.into()),
            },
        }
    }

    /// An object as JSON.
    ///
    /// # Errors
    /// The object does not exist or cannot be read.
    pub async fn get(&self, kind: &str, name: &str) -> Result<Value> {
        Ok(serde_json::to_value(self.api(kind).get(name).await.with_context(|| format!("{kind} {name}"))?)?)
    }

    /// The value of a key of a Secret.
    ///
    /// # Errors
    /// The Secret or the key does not exist, or the value is not UTF-8.
    pub async fn secret(&self, name: &str, key: &str) -> Result<String> {
        let secret: k8s_openapi::api::core::v1::Secret =
            Api::namespaced(self.cluster.client.clone(), &self.name).get(name).await?;
        let value =
            secret.data.and_then(|mut data| data.remove(key)).with_context(|| format!("{name} has no {key}"))?;
        Ok(String::from_utf8(value.0)?)
    }

    /// Connects to the bundled PostgreSQL of a platform as the owner of the schema.
    ///
    /// # Errors
    /// The Service or the Secret of the database does not exist, or PostgreSQL accepts no
    /// connection.
    pub async fn connect_database(&self, platform: &str) -> Result<tokio_postgres::Client> {
        let config = self.database_config(platform).await?;
        let (client, connection) = config.connect(tokio_postgres::NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }

    /// How [`Namespace::connect_database`] connects.
    ///
    /// # Errors
    /// The Service or the Secret of the database does not exist.
    pub async fn database_config(&self, platform: &str) -> Result<tokio_postgres::Config> {
        let service = self.get("Service", &format!("{platform}-postgresql")).await?;
        let address = service["spec"]["clusterIP"].as_str().context("the database's Service has no address")?;
        let uri = self.secret(&format!("{platform}-database"), "admin-uri").await?;
        Ok(uri.replace(&format!("{platform}-postgresql"), address).parse()?)
    }

    /// Sets `spec.replicas`. The operator reverts it unless the platform is paused.
    ///
    /// # Errors
    /// The object does not exist, or the API server refuses the patch.
    pub async fn scale(&self, kind: &str, name: &str, replicas: u32) -> Result<()> {
        let patch = json!({"spec": {"replicas": replicas}});
        self.api(kind).patch(name, &PatchParams::default(), &Patch::Merge(patch)).await?;
        Ok(())
    }

    /// The names of the pods with these labels.
    ///
    /// # Errors
    /// The API server refuses the call or does not respond.
    pub async fn pod_names(&self, selector: &str) -> Result<Vec<String>> {
        let listed = self.api("Pod").list(&ListParams::default().labels(selector)).await?;
        Ok(listed.items.into_iter().filter_map(|pod| pod.metadata.name).collect())
    }

    /// The ids of a pod's processes whose command line contains `words`.
    ///
    /// The node of the pod must be this machine.
    ///
    /// # Errors
    /// The pod does not exist, or `/proc` cannot be read.
    pub async fn processes(&self, pod: &str, words: &str) -> Result<Vec<u32>> {
        let uid = self.get("Pod", pod).await?["metadata"]["uid"].as_str().context("uid")?.to_owned();
        let uids = [uid.replace('-', "_"), uid];
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/proc")?.flatten() {
            let Some(id) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            let read = |name| std::fs::read_to_string(entry.path().join(name)).unwrap_or_default();
            let groups = read("cgroup");
            if uids.iter().any(|uid| groups.contains(uid)) && read("cmdline").replace('\0', " ").contains(words) {
                found.push(id);
            }
        }
        Ok(found)
    }

    /// The number of container restarts of the pods with these labels.
    ///
    /// # Errors
    /// The API server refuses the call or does not respond.
    pub async fn restart_count(&self, selector: &str) -> Result<u64> {
        let pods = self.api("Pod").list(&ListParams::default().labels(selector)).await?;
        let containers =
            pods.iter().flat_map(|pod| pod.data["status"]["containerStatuses"].as_array().into_iter().flatten());
        Ok(containers.filter_map(|container| container["restartCount"].as_u64()).sum())
    }

    /// The messages of the Events with this reason.
    ///
    /// # Errors
    /// The API server refuses the call or does not respond.
    pub async fn event_messages(&self, reason: &str) -> Result<Vec<String>> {
        let events: Api<Event> = Api::namespaced(self.cluster.client.clone(), &self.name);
        let events = events.list(&ListParams::default()).await?.items.into_iter();
        Ok(events.filter(|event| event.reason.as_deref() == Some(reason)).filter_map(|event| event.message).collect())
    }

    /// Waits for the PodMonitor and the PrometheusRule of a platform.
    ///
    /// The operator checks twice a minute whether the cluster has their kinds.
    ///
    /// # Errors
    /// One of them does not exist after two minutes.
    pub async fn monitoring_objects(&self, platform: &str) -> Result<(Value, Value)> {
        let name = format!("{platform}-monitoring");
        eventually(Duration::from_mins(2), "a PodMonitor and a PrometheusRule", || async {
            Ok((self.get("PodMonitor", &name).await?, self.get("PrometheusRule", &name).await?))
        })
        .await
    }

    /// The objects of these kinds that Switchyard manages, as `Kind/name resourceVersion`, sorted.
    ///
    /// # Errors
    /// The API server refuses the call or does not respond.
    pub async fn managed_objects(&self, kinds: &[&str]) -> Result<Vec<String>> {
        let mut found = Vec::new();
        for kind in kinds {
            for object in self.api(kind).list(&ListParams::default()).await? {
                let managed = object.labels().get("app.kubernetes.io/managed-by").is_some_and(|by| by == "switchyard");
                if managed || resource(kind).group == "switchyard.dev" {
                    let version = object.resource_version().unwrap_or_default();
                    found.push(format!("{kind}/{} {version}", object.name_any()));
                }
            }
        }
        found.sort();
        Ok(found)
    }

    /// A condition of an object as (status, reason, message).
    ///
    /// # Errors
    /// The condition is missing or its `observedGeneration` is not the current one.
    pub async fn condition(&self, kind: &str, name: &str, r#type: &str) -> Result<(String, String, String)> {
        let object = self.get(kind, name).await?;
        let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let condition = conditions.iter().find(|c| c["type"] == r#type).with_context(|| {
            format!("{kind} {name} has no condition {type}; it has {conditions:?}", r#type = r#type)
        })?;
        if condition["observedGeneration"] != object["metadata"]["generation"] {
            bail!("{kind} {name}: {type} is of another generation");
        }
        let text = |field: &str| condition[field].as_str().unwrap_or_default().to_owned();
        Ok((text("status"), text("reason"), text("message")))
    }

    /// Waits until a condition has `status`, and returns its reason and message.
    ///
    /// # Errors
    /// The condition has another status after `limit`, or [`Namespace::condition`] fails until
    /// then.
    pub async fn wait_for_condition(
        &self,
        kind: &str,
        name: &str,
        r#type: &str,
        status: &str,
        limit: Duration,
    ) -> Result<(String, String)> {
        eventually(limit, format!("{kind} {name} {type} = {status}"), || async move {
            let (now, reason, message) = self.condition(kind, name, r#type).await?;
            if now != status {
                bail!("status is {now}: {reason}: {message}");
            }
            Ok((reason, message))
        })
        .await
    }

    /// Deletes an object and waits until it is gone.
    ///
    /// # Errors
    /// The object does not exist, or it is not gone after 90 seconds.
    pub async fn delete_object(&self, kind: &str, name: &str) -> Result<()> {
        self.api(kind).delete(name, &DeleteParams::foreground()).await?;
        eventually(Duration::from_secs(90), format!("{kind} {name} is deleted"), || async move {
            match self.api(kind).get_opt(name).await? {
                None => Ok(()),
                Some(_) => bail!("it still exists"),
            }
        })
        .await
    }

    /// Deletes the namespace, without waiting until its content is gone.
    ///
    /// # Errors
    /// The API server refuses the call or does not respond.
    pub async fn delete(self) -> Result<()> {
        let namespaces = Api::<KubeNamespace>::all(self.cluster.client.clone());
        namespaces.delete(&self.name, &DeleteParams::default()).await?;
        Ok(())
    }
}

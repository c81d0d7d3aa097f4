//! Typed handles for resources of the API server.

use k8s_openapi::NamespaceResourceScope;
use kube::{Api, Client, Resource, api::ApiResource, core::DynamicResourceScope};
use serde::de::DeserializeOwned;

use crate::kubernetes::error::Error;

/// The objects of `namespace`, or of all namespaces.
pub fn scoped<K>(client: &Client, namespace: Option<&str>) -> Api<K>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

/// The objects of a kind that is known at run time, in `namespace` or in all namespaces.
pub fn scoped_dynamic<K>(client: &Client, namespace: Option<&str>, resource: &ApiResource) -> Api<K>
where
    K: Resource<Scope = DynamicResourceScope, DynamicType = ApiResource>,
{
    match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, resource),
        None => Api::all_with(client.clone(), resource),
    }
}

/// Reads an object, if it exists.
///
/// # Errors
/// If the API server does not answer or refuses.
pub async fn get<K>(client: &Client, namespace: &str, name: &str) -> Result<Option<K>, Error>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
{
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    api.get_opt(name).await.map_err(|error| Error::of(format!("cannot read {} {name}", K::kind(&())), error))
}

//! The serving certificate of the external metrics API.
//!
//! The leader issues it and stores it in a Secret, which all instances read. It also writes the
//! certificate into the `caBundle` of the APIService.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Context;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;
use k8s_openapi::{ByteString, api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use rcgen::{CertificateParams, KeyPair};
use serde_json::json;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

use crate::{
    autoscaling::external_metrics::options::{GROUP, Options, VERSION},
    spec::names,
};

/// Lifetime of a certificate.
const LIFETIME: time::Duration = time::Duration::days(365);
/// A certificate is renewed this long before it expires.
const RENEW_BEFORE: time::Duration = time::Duration::days(60);
/// How often the certificate is checked.
const CHECK_INTERVAL: Duration = Duration::from_mins(10);
/// Pause after a failure.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);

const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";
/// The previous certificate. Instances serve it until they have read the new one.
const PREVIOUS: &str = "previous.crt";

/// A certificate with its key, both in PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Pair {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Pair {
    pub fn chain(&self) -> anyhow::Result<Vec<CertificateDer<'static>>> {
        CertificateDer::pem_slice_iter(&self.certificate)
            .collect::<Result<_, _>>()
            .context("the certificate is not PEM")
    }

    pub fn key(&self) -> anyhow::Result<PrivateKeyDer<'static>> {
        PrivateKeyDer::from_pem_slice(&self.key).context("the key of the certificate is not PEM")
    }
}

/// Reads the current certificate.
///
/// # Errors
/// If there is none yet.
pub async fn read(client: &Client, options: &Options) -> anyhow::Result<Pair> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), &options.namespace);
    let mut data = secrets.get(&options.service).await?.data.unwrap_or_default();
    let mut take = |key: &str| data.remove(key).map(|value| value.0).with_context(|| format!("the Secret lacks {key}"));
    Ok(Pair { certificate: take(CERTIFICATE)?, key: take(KEY)? })
}

/// Issues and renews the certificate for ever, and publishes it to the API server. Only the leader
/// runs it.
pub async fn maintain(client: Client, options: &Options) {
    loop {
        let wait = match reconcile(&client, options).await {
            Ok(()) => CHECK_INTERVAL,
            Err(error) => {
                tracing::warn!(error = format!("{error:#}"), "could not maintain certificate of external metrics");
                RETRY_INTERVAL
            }
        };
        tokio::time::sleep(wait).await;
    }
}

async fn reconcile(client: &Client, options: &Options) -> anyhow::Result<()> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), &options.namespace);
    let existing = secrets.get_opt(&options.service).await.context("cannot read its Secret")?;
    let data = existing.as_ref().and_then(|secret| secret.data.clone()).unwrap_or_default();
    let value = |key: &str| data.get(key).map(|value| value.0.clone()).filter(|value| !value.is_empty());
    let current = value(CERTIFICATE).filter(|certificate| value(KEY).is_some() && is_valid(certificate));
    let (certificate, previous) = match current {
        Some(certificate) => (certificate, value(PREVIOUS)),
        None => {
            let issued = issue(options)?;
            let previous = value(CERTIFICATE);
            let secret = secret(options, existing.as_ref(), &issued, previous.as_ref());
            // On a conflict, the next check uses the certificate of the other writer.
            match &existing {
                Some(_) => secrets.replace(&options.service, &PostParams::default(), &secret).await,
                None => secrets.create(&PostParams::default(), &secret).await,
            }
            .context("cannot write its Secret")?;
            (issued.certificate, previous)
        }
    };
    publish(client, options, &[Some(certificate), previous].into_iter().flatten().collect::<Vec<_>>().concat()).await
}

/// Whether a certificate need not be renewed yet.
fn is_valid(certificate: &[u8]) -> bool {
    let Some(Ok(certificate)) = CertificateDer::pem_slice_iter(certificate).next() else { return false };
    let Ok((_, certificate)) = x509_parser::parse_x509_certificate(&certificate) else { return false };
    certificate.validity().not_after.timestamp() - time::OffsetDateTime::now_utc().unix_timestamp()
        > RENEW_BEFORE.whole_seconds()
}

fn issue(options: &Options) -> anyhow::Result<Pair> {
    let host = format!("{}.{}.svc", options.service, options.namespace);
    let mut params = CertificateParams::new(vec![host])?;
    let now = time::OffsetDateTime::now_utc();
    // Valid since yesterday, for clocks that are behind.
    (params.not_before, params.not_after) = (now - time::Duration::DAY, now + LIFETIME);
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    Ok(Pair { certificate: certificate.pem().into_bytes(), key: key.serialize_pem().into_bytes() })
}

fn secret(options: &Options, existing: Option<&Secret>, issued: &Pair, previous: Option<&Vec<u8>>) -> Secret {
    let mut data = BTreeMap::from([
        (CERTIFICATE.to_owned(), ByteString(issued.certificate.clone())),
        (KEY.to_owned(), ByteString(issued.key.clone())),
    ]);
    data.extend(previous.map(|previous| (PREVIOUS.to_owned(), ByteString(previous.clone()))));
    let new = || ObjectMeta {
        name: Some(options.service.clone()),
        labels: Some(BTreeMap::from([(names::MANAGED_BY_LABEL.to_owned(), names::MANAGED_BY.to_owned())])),
        ..ObjectMeta::default()
    };
    let mut metadata = existing.map_or_else(new, |secret| secret.metadata.clone());
    metadata.managed_fields = None;
    Secret { metadata, type_: Some("kubernetes.io/tls".into()), data: Some(data), ..Secret::default() }
}

/// Writes the certificate into the APIService, if that refers to the Service of the operator.
async fn publish(client: &Client, options: &Options, bundle: &[u8]) -> anyhow::Result<()> {
    let services: Api<APIService> = Api::all(client.clone());
    let name = format!("{VERSION}.{GROUP}");
    let existing = services.get_opt(&name).await.with_context(|| format!("cannot read APIService {name}"))?;
    let spec = existing.and_then(|service| service.spec).unwrap_or_default();
    let ours = spec.service.as_ref().is_some_and(|service| {
        service.name.as_deref() == Some(&options.service) && service.namespace.as_deref() == Some(&options.namespace)
    });
    if !ours {
        anyhow::bail!(
            "APIService {name} is missing or refers to another Service, so HorizontalPodAutoscalers get no metrics"
        );
    }
    if spec.ca_bundle.as_ref().is_some_and(|known| known.0 == bundle) {
        return Ok(());
    }
    let patch = json!({"spec": {"caBundle": ByteString(bundle.to_vec())}});
    let params = PatchParams { field_manager: Some(names::FIELD_MANAGER.into()), ..PatchParams::default() };
    services
        .patch(&name, &params, &Patch::Merge(&patch))
        .await
        .with_context(|| format!("cannot write APIService {name}"))?;
    Ok(())
}

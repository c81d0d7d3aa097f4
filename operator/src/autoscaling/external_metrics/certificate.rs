//! The certificate that the metrics are served with: made by the leader, kept in a Secret that all instances read, and told to the API server.

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

/// How long a certificate is good.
const LIFE: time::Duration = time::Duration::days(365);
/// How long before its end another is made.
const RENEWED_BEFORE: time::Duration = time::Duration::days(60);
/// How often it is looked at.
const LOOK: Duration = Duration::from_secs(600);
const RETRY: Duration = Duration::from_secs(5);

const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";
/// The certificate before this one, which instances go on using until they have read the new one.
const PREVIOUS: &str = "previous.crt";

/// A certificate with its key, both in PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Pair {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Pair {
    pub fn chain(&self) -> anyhow::Result<Vec<CertificateDer<'static>>> {
        CertificateDer::pem_slice_iter(&self.certificate).collect::<Result<_, _>>().context("the certificate is no PEM")
    }

    pub fn key(&self) -> anyhow::Result<PrivateKeyDer<'static>> {
        PrivateKeyDer::from_pem_slice(&self.key).context("the certificate's key is no PEM")
    }
}

/// Reads the certificate that there is.
///
/// # Errors
/// When there is none yet.
pub async fn read(client: &Client, options: &Options) -> anyhow::Result<Pair> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), &options.namespace);
    let mut data = secrets.get(&options.service).await?.data.unwrap_or_default();
    let mut take = |key: &str| data.remove(key).map(|value| value.0).with_context(|| format!("the Secret lacks {key}"));
    Ok(Pair { certificate: take(CERTIFICATE)?, key: take(KEY)? })
}

/// Makes the certificate, makes another in time, and tells the API server which to trust; for ever. The leader's work.
pub async fn keep(client: Client, options: &Options) {
    loop {
        let wait = match look(&client, options).await {
            Ok(()) => LOOK,
            Err(error) => {
                tracing::warn!(
                    error = format!("{error:#}"),
                    "cannot keep the certificate of the metrics for autoscalers"
                );
                RETRY
            }
        };
        tokio::time::sleep(wait).await;
    }
}

async fn look(client: &Client, options: &Options) -> anyhow::Result<()> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), &options.namespace);
    let there = secrets.get_opt(&options.service).await.context("cannot read its Secret")?;
    let data = there.as_ref().and_then(|secret| secret.data.clone()).unwrap_or_default();
    let value = |key: &str| data.get(key).map(|value| value.0.clone()).filter(|value| !value.is_empty());
    let current = value(CERTIFICATE).filter(|certificate| value(KEY).is_some() && is_good(certificate));
    let (certificate, previous) = match current {
        Some(certificate) => (certificate, value(PREVIOUS)),
        None => {
            let fresh = make(options)?;
            let previous = value(CERTIFICATE);
            let secret = secret(options, there.as_ref(), &fresh, previous.as_ref());
            // Whoever else has just written it was faster: the next look takes theirs.
            match &there {
                Some(_) => secrets.replace(&options.service, &PostParams::default(), &secret).await,
                None => secrets.create(&PostParams::default(), &secret).await,
            }
            .context("cannot write its Secret")?;
            (fresh.certificate, previous)
        }
    };
    tell(client, options, &[Some(certificate), previous].into_iter().flatten().collect::<Vec<_>>().concat()).await
}

/// Whether a certificate has long enough to live.
fn is_good(certificate: &[u8]) -> bool {
    let Some(Ok(certificate)) = CertificateDer::pem_slice_iter(certificate).next() else { return false };
    let Ok((_, certificate)) = x509_parser::parse_x509_certificate(&certificate) else { return false };
    certificate.validity().not_after.timestamp() - time::OffsetDateTime::now_utc().unix_timestamp()
        > RENEWED_BEFORE.whole_seconds()
}

fn make(options: &Options) -> anyhow::Result<Pair> {
    let host = format!("{}.{}.svc", options.service, options.namespace);
    let mut params = CertificateParams::new(vec![host])?;
    let now = time::OffsetDateTime::now_utc();
    // A day back, for clocks that are behind.
    (params.not_before, params.not_after) = (now - time::Duration::DAY, now + LIFE);
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    Ok(Pair { certificate: certificate.pem().into_bytes(), key: key.serialize_pem().into_bytes() })
}

fn secret(options: &Options, there: Option<&Secret>, fresh: &Pair, previous: Option<&Vec<u8>>) -> Secret {
    let mut data = BTreeMap::from([
        (CERTIFICATE.to_owned(), ByteString(fresh.certificate.clone())),
        (KEY.to_owned(), ByteString(fresh.key.clone())),
    ]);
    data.extend(previous.map(|previous| (PREVIOUS.to_owned(), ByteString(previous.clone()))));
    let mut metadata = there.map(|secret| secret.metadata.clone()).unwrap_or_else(|| ObjectMeta {
        name: Some(options.service.clone()),
        labels: Some(BTreeMap::from([(names::MANAGED_BY_LABEL.to_owned(), names::MANAGED_BY.to_owned())])),
        ..ObjectMeta::default()
    });
    metadata.managed_fields = None;
    Secret { metadata, type_: Some("kubernetes.io/tls".into()), data: Some(data), ..Secret::default() }
}

/// Has the API server trust the certificate, where it is our Service that it asks.
async fn tell(client: &Client, options: &Options, bundle: &[u8]) -> anyhow::Result<()> {
    let services: Api<APIService> = Api::all(client.clone());
    let name = format!("{VERSION}.{GROUP}");
    let there = services.get_opt(&name).await.with_context(|| format!("cannot read APIService {name}"))?;
    let spec = there.and_then(|service| service.spec).unwrap_or_default();
    let ours = spec.service.as_ref().is_some_and(|service| {
        service.name.as_deref() == Some(&options.service) && service.namespace.as_deref() == Some(&options.namespace)
    });
    if !ours {
        anyhow::bail!(
            "APIService {name} is somebody else's or not there, so that no HorizontalPodAutoscaler asks for our metrics"
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

//! A user-managed PostgreSQL: a primary and a synchronous standby with TLS, on small volumes, with
//! an adjustable clock.

use std::{
    fs::{self, File},
    io::Write as _,
    path::PathBuf,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, bail, ensure};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use serde_json::{Value, json};
use switchyard_e2e::{Namespace, eventually, image};

use super::command::run;

const LIMIT: Duration = Duration::from_mins(3);
const PASSWORD: &str = "of-the-pair";
/// Size of each data volume.
const VOLUME: &str = "256Mi";
const PRIMARY: &str = "database-primary";
const STANDBY: &str = "database-standby";
/// The pod of the primary.
pub const PRIMARY_POD: &str = "database-primary-0";

/// The CA of the servers' certificates.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
}

impl Authority {
    fn new() -> Result<Self> {
        let key = KeyPair::generate()?;
        let mut parameters = CertificateParams::new(Vec::new())?;
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = parameters.self_signed(&key)?.pem();
        Ok(Self { issuer: Issuer::new(parameters, key), certificate })
    }

    /// Issues a certificate that is valid until the end of `year`, with its key.
    fn issue(&self, year: i32) -> Result<[String; 2]> {
        let key = KeyPair::generate()?;
        let mut parameters = CertificateParams::new(vec!["database".to_owned(), STANDBY.to_owned()])?;
        parameters.not_before = date_time_ymd(2020, 1, 1);
        parameters.not_after = date_time_ymd(year, 12, 31);
        Ok([parameters.signed_by(&key, &self.issuer)?.pem(), key.serialize_pem()])
    }
}

/// A primary and its standby in a namespace.
pub struct DatabasePair {
    namespace: Namespace,
    authority: Authority,
}

impl DatabasePair {
    /// Starts both servers and creates the Secret for a platform that uses them.
    pub async fn start(namespace: &Namespace) -> Result<Self> {
        let this = Self { namespace: namespace.clone(), authority: Authority::new()? };
        let [certificate, key] = this.authority.issue(2099)?;
        let file = |name: &str| {
            fs::read_to_string(format!("{}/../reliability/pair/{name}", env!("CARGO_MANIFEST_DIR")))
                .with_context(|| name.to_owned())
        };
        let clock = PathBuf::from("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1");
        let clock =
            fs::read(&clock).with_context(|| format!("{}: install the package libfaketime", clock.display()))?;
        namespace
            .apply(json!({
                "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "pair"},
                "stringData": {"password": PASSWORD, "tls.crt": certificate, "tls.key": key},
            }))
            .await?;
        namespace
            .apply(json!({
                "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "pair"},
                "data": {"start": file("start")?, "pg_hba.conf": file("pg_hba.conf")?},
                "binaryData": {"libfaketimeMT.so.1": k8s_openapi::ByteString(clock)},
            }))
            .await?;
        let uri = |host: &str| format!("postgres://postgres:{PASSWORD}@{host}:5432/switchyard?sslmode=verify-full");
        namespace
            .apply(json!({
                "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "database"},
                "stringData": {
                    "uri": uri("database"), "admin-uri": uri("database"), "replica-uris": uri(STANDBY), "ca.crt": this.authority.certificate,
                },
            }))
            .await?;
        this.route_to(PRIMARY).await?;
        this.apply_service(STANDBY, STANDBY).await?;
        this.apply_server(PRIMARY).await?;
        this.wait_until_ready(PRIMARY).await?;
        this.apply_server(STANDBY).await?;
        this.clone_primary().await?;
        this.wait_until_ready(STANDBY).await?;
        // Replication is synchronous from here on, so that a failover loses nothing.
        let primary = this.connect(PRIMARY, "postgres").await?;
        primary.batch_execute("alter system set synchronous_standby_names = 'standby'").await?;
        primary.batch_execute("select pg_reload_conf()").await?;
        eventually(LIMIT, "replication is synchronous", || async {
            let synchronous = "select count(*) from pg_stat_replication where sync_state = 'sync'";
            ensure!(primary.query_one(synchronous, &[]).await?.get::<_, i64>(0) == 1);
            Ok(())
        })
        .await?;
        Ok(this)
    }

    /// The `database` field of a platform that uses the pair.
    pub fn database_spec() -> Value {
        json!({"secretRef": {"name": "database"}})
    }

    async fn apply_service(&self, name: &str, server: &str) -> Result<()> {
        let service = json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
            "spec": {"selector": {"server": server}, "ports": [{"port": 5432}]}
        });
        self.namespace.apply(service).await?;
        Ok(())
    }

    /// Routes the Service `database` to `server`.
    async fn route_to(&self, server: &str) -> Result<()> {
        self.apply_service("database", server).await
    }

    async fn apply_server(&self, name: &str) -> Result<()> {
        let labels = json!({"server": name});
        let role = name.trim_start_matches("database-");
        self.namespace
            .apply(json!({
                "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": name},
                "spec": {"serviceName": name, "selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": {
                    "automountServiceAccountToken": false, "terminationGracePeriodSeconds": 5,
                    "securityContext": {
                        "runAsNonRoot": true, "runAsUser": 65532, "runAsGroup": 65532, "fsGroup": 65532, "seccompProfile": {"type": "RuntimeDefault"}
                    },
                    "containers": [{
                        "name": "postgresql", "image": image("postgresql"), "imagePullPolicy": "IfNotPresent",
                        "command": ["/bin/sh", "/etc/pair/start"], "env": [{"name": "ROLE", "value": role}],
                        "readinessProbe": {"tcpSocket": {"port": 5432}, "periodSeconds": 1},
                        "resources": {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "1Gi"}},
                        "securityContext": {
                            "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}
                        },
                        "volumeMounts": [
                            {"name": "data", "mountPath": "/var/lib/postgresql/data"}, {"name": "given", "mountPath": "/etc/pair"},
                            {"name": "run", "mountPath": "/run/pair"}, {"name": "tmp", "mountPath": "/tmp"}
                        ]
                    }],
                    "volumes": [
                        {"name": "data", "emptyDir": {"medium": "Memory", "sizeLimit": VOLUME}},
                        {"name": "run", "emptyDir": {}}, {"name": "tmp", "emptyDir": {}},
                        {"name": "given", "projected": {"defaultMode": 0o440, "sources": [{"secret": {"name": "pair"}}, {"configMap": {"name": "pair"}}]}}
                    ]
                }}}
            }))
            .await?;
        Ok(())
    }

    /// Copies the primary to the volume of the standby.
    async fn clone_primary(&self) -> Result<()> {
        let address = self.address(PRIMARY).await?;
        let volume = eventually(LIMIT, "the standby has a volume", || self.volume(STANDBY)).await?;
        let (new, data) = (volume.join("new").display().to_string(), volume.join("pgdata").display().to_string());
        let from = format!("host={address} user=postgres password={PASSWORD} application_name=standby");
        run(
            "/usr/lib/postgresql/15/bin/pg_basebackup",
            &["--pgdata", &new, "--write-recovery-conf", "--checkpoint=fast", "--dbname", &from],
        )?;
        run("chown", &["-R", "65532:65532", &new])?;
        run("mv", &[&new, &data])
    }

    async fn wait_until_ready(&self, name: &str) -> Result<()> {
        eventually(LIMIT, format!("{name} is ready"), || async {
            let set = self.namespace.get("StatefulSet", name).await?;
            ensure!(set["status"]["readyReplicas"] == 1, "{}", set["status"]);
            Ok(())
        })
        .await
    }

    async fn address(&self, server: &str) -> Result<String> {
        let pod = self.namespace.get("Pod", &format!("{server}-0")).await?;
        Ok(pod["status"]["podIP"].as_str().context("the pod has no address")?.to_owned())
    }

    /// Connects to a server as the superuser.
    async fn connect(&self, server: &str, database: &str) -> Result<tokio_postgres::Client> {
        eventually(LIMIT, format!("{server} answers"), || async {
            let address = self.address(server).await?;
            let uri = format!("postgres://postgres:{PASSWORD}@{address}/{database}");
            let (client, connection) = tokio_postgres::connect(&uri, tokio_postgres::NoTls).await?;
            tokio::spawn(connection);
            Ok(client)
        })
        .await
    }

    /// A process of the primary, and the path of a file in its mount namespace.
    async fn primary_file(&self, path: &str) -> Result<(u32, PathBuf)> {
        eventually(LIMIT, "the primary runs", || async {
            let servers = self.namespace.processes(PRIMARY_POD, "postgres -D ").await?;
            let process = *servers.first().context("no server runs")?;
            Ok((process, PathBuf::from(format!("/proc/{process}/root{path}"))))
        })
        .await
    }

    /// The path of a server's data volume in the kubelet's mount namespace.
    ///
    /// A server on a full volume may have no process of its own.
    async fn volume(&self, server: &str) -> Result<PathBuf> {
        let pod = self.namespace.get("Pod", &format!("{server}-0")).await?;
        let uid = pod["metadata"]["uid"].as_str().context("uid")?;
        for process in fs::read_dir("/proc")?.flatten() {
            let read = |name| fs::read_to_string(process.path().join(name)).unwrap_or_default();
            if read("comm").trim() != "kubelet" {
                continue;
            }
            let mounts = read("mounts");
            let mut points = mounts.lines().filter_map(|line| line.split(' ').nth(1));
            if let Some(point) = points.find(|point| point.contains(uid) && point.ends_with("empty-dir/data")) {
                return Ok(PathBuf::from(format!("{}/root{point}", process.path().display())));
            }
        }
        bail!("no kubelet has the volume of {server}")
    }

    /// Fills the volume of the primary.
    pub async fn fill_volume(&self) -> Result<()> {
        let mut file = File::options().create(true).append(true).open(self.volume(PRIMARY).await?.join("filler"))?;
        // Write single pages, so that no page stays free.
        let page = vec![1; 4096];
        for _ in 0..200_000 {
            if let Err(error) = file.write_all(&page) {
                ensure!(error.kind() == std::io::ErrorKind::StorageFull, "{error}");
                return Ok(());
            }
        }
        bail!("the volume exceeds its size limit")
    }

    /// Frees the space that [`Self::fill_volume`] took.
    pub async fn free_volume(&self) -> Result<()> {
        Ok(fs::remove_file(self.volume(PRIMARY).await?.join("filler"))?)
    }

    /// Sets the clock of the primary ahead of the machine's.
    pub async fn set_clock_ahead(&self, seconds: u32) -> Result<()> {
        let (_, path) = self.primary_file("/run/pair/clock").await?;
        fs::write(path, format!("+{seconds}\n"))?;
        // A new session reads the file.
        let session = self.connect(PRIMARY, "postgres").await?;
        eventually(LIMIT, "the clock is set", || async {
            let now =
                session.query_one("select extract(epoch from clock_timestamp())::float8", &[]).await?.get::<_, f64>(0);
            let here = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64();
            ensure!((now - here - f64::from(seconds)).abs() < 2.0, "it is {now}, here {here}");
            Ok(())
        })
        .await
    }

    /// Installs a valid or an expired certificate on the primary and terminates the platform's
    /// sessions.
    pub async fn install_certificate(&self, valid: bool) -> Result<()> {
        let [certificate, key] = self.authority.issue(if valid { 2099 } else { 2024 })?;
        let (process, path) = self.primary_file("/run/pair").await?;
        for (name, text) in [("tls.crt", certificate), ("tls.key", key)] {
            fs::write(path.join(name), text)?;
        }
        run("kill", &["-HUP", &process.to_string()])?;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let sessions = "select pg_terminate_backend(pid) from pg_stat_activity where usename like 'analytics%'";
        self.connect(PRIMARY, "postgres").await?.batch_execute(sessions).await?;
        Ok(())
    }

    /// Kills the primary and scales it to zero.
    pub async fn kill_primary(&self) -> Result<()> {
        let now = kube::api::DeleteParams::default().grace_period(0);
        self.namespace.scale("StatefulSet", PRIMARY, 0).await?;
        self.namespace.api("Pod").delete(PRIMARY_POD, &now).await?;
        Ok(())
    }

    /// Promotes the standby and routes the Service to it.
    pub async fn promote_standby(&self) -> Result<()> {
        self.connect(STANDBY, "postgres").await?.batch_execute("select pg_promote()").await?;
        self.route_to(STANDBY).await
    }
}

//! A private RabbitMQ.

use std::{
    fs,
    path::PathBuf,
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

use serde_json::json;
use tokio::sync::OnceCell;

use super::{
    certificates::Certificates,
    server::{change_owner, child_command, folder, free_port, start, unprivileged_user, wait_until_listening},
};

const SERVER: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";
/// Created at the start, because each call of rabbitmqctl takes seconds.
const VHOSTS: u32 = 48;

/// A private RabbitMQ.
pub struct Rabbit {
    port: u16,
    dist_port: u16,
    epmd_port: u16,
    folder: PathBuf,
    user: Option<(String, u32, u32)>,
    vhosts: AtomicU32,
    /// Accepts TLS connections only.
    encrypted: bool,
    /// Number of starts, for the names of log files.
    starts: AtomicU32,
}

/// This test binary's RabbitMQ, started at the first call.
pub async fn rabbitmq() -> &'static Rabbit {
    static SERVER: OnceCell<Rabbit> = OnceCell::const_new();
    SERVER.get_or_init(|| Rabbit::launch(None)).await
}

impl Rabbit {
    /// A server for the caller alone, which may restart it.
    pub async fn own() -> Self {
        Self::launch(None).await
    }

    /// A server for the caller alone that accepts TLS connections only.
    pub async fn encrypted(certificates: &Certificates) -> Self {
        Self::launch(Some(certificates)).await
    }

    async fn launch(certificates: Option<&Certificates>) -> Self {
        static SERVERS: AtomicU32 = AtomicU32::new(0);
        assert!(std::path::Path::new(SERVER).exists(), "RabbitMQ is not installed (package rabbitmq-server)");
        let folder = folder(&format!("rabbitmq{}", SERVERS.fetch_add(1, Ordering::Relaxed)));
        let user = unprivileged_user(&["rabbitmq", "nobody"]);
        let port = free_port();
        let vhosts: Vec<String> = (0..VHOSTS).map(|n| format!("test{n}")).collect();
        let definitions = json!({
            "users": [{ "name": "test", "password": "test", "tags": "administrator" }],
            "vhosts": vhosts.iter().map(|name| json!({ "name": name })).collect::<Vec<_>>(),
            "permissions": vhosts.iter()
                .map(|vhost| json!({ "user": "test", "vhost": vhost, "configure": ".*", "write": ".*", "read": ".*" }))
                .collect::<Vec<_>>(),
        });
        let write =
            |name: &str, text: String| fs::write(folder.join(name), text).expect("the server's folder can be written");
        write("definitions.json", definitions.to_string());
        write("enabled_plugins", "[].\n".to_owned());
        let listener = match certificates {
            None => format!("listeners.tcp.default = 127.0.0.1:{port}"),
            Some(certificates) => format!(
                "listeners.tcp = none\nlisteners.ssl.default = 127.0.0.1:{port}\nssl_options.cacertfile = {}\n\
                 ssl_options.certfile = {}\nssl_options.keyfile = {}\nssl_options.verify = verify_none",
                certificates.authority_file().display(),
                certificates.certificate().display(),
                certificates.key().display(),
            ),
        };
        write(
            "rabbitmq.conf",
            format!(
                "{listener}\nload_definitions = {}\nlog.console = true\nlog.console.level = warning\n\
                 log.file = false\nvm_memory_high_watermark.absolute = 1GB\ndisk_free_limit.absolute = 50MB\n",
                folder.join("definitions.json").display()
            ),
        );
        if let Some((_, uid, gid)) = &user {
            change_owner(&folder, *uid, *gid);
            for name in ["definitions.json", "enabled_plugins", "rabbitmq.conf"] {
                change_owner(&folder.join(name), *uid, *gid);
            }
        }
        let rabbit = Self {
            port,
            dist_port: free_port(),
            epmd_port: free_port(),
            folder,
            user,
            vhosts: AtomicU32::new(0),
            encrypted: certificates.is_some(),
            starts: AtomicU32::new(0),
        };
        // Its own epmd: one that Erlang starts by itself would outlive the tests.
        let mut epmd = child_command("/usr/bin/epmd", "KILL", rabbit.user.as_ref());
        epmd.args(["-port", &rabbit.epmd_port.to_string(), "-address", "127.0.0.1"]);
        let log = rabbit.folder.join("epmd.log");
        start(epmd, &log);
        wait_until_listening(rabbit.epmd_port, &log).await;
        rabbit.up().await;
        rabbit
    }

    /// Starts the server and waits for it; after [`Rabbit::kill`].
    pub async fn up(&self) {
        let count = self.starts.fetch_add(1, Ordering::Relaxed) + 1;
        let mut server = child_command(SERVER, "KILL", self.user.as_ref());
        let at = |name: &str| self.folder.join(name);
        server
            .current_dir(&self.folder)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", &self.folder)
            .env("LANG", "C.UTF-8")
            // Makes the start script exec the server instead of forking it.
            .env("RUNNING_UNDER_SYSTEMD", "true")
            .env("RABBITMQ_CONF_ENV_FILE", "/dev/null")
            .env("RABBITMQ_NODENAME", self.node())
            .env("RABBITMQ_DIST_PORT", self.dist_port.to_string())
            .env("ERL_EPMD_PORT", self.epmd_port.to_string())
            .env("RABBITMQ_CONFIG_FILE", at("rabbitmq.conf"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", at("enabled_plugins"))
            .env("RABBITMQ_MNESIA_BASE", at("mnesia"))
            .env("RABBITMQ_LOG_BASE", at("log"))
            .env("RABBITMQ_PID_FILE", at("pid"))
            .env(
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
                "-start_epmd false -kernel inet_dist_use_interface {127,0,0,1} +S 1:1 +sbwt none",
            );
        let log = at(&format!("server{count}.log"));
        start(server, &log);
        wait_until_listening(self.port, &log).await;
    }

    /// Kills the server with SIGKILL.
    ///
    /// # Panics
    /// The server is not running, or `kill` is not installed.
    pub fn kill(&self) {
        let pid = fs::read_to_string(self.folder.join("pid")).expect("a running server has written its pid");
        let killed =
            Command::new("kill").args(["-KILL", pid.trim()]).status().expect("kill is installed (package procps)");
        assert!(killed.success());
        let _ = fs::remove_file(self.folder.join("pid"));
    }

    /// Kills the server and removes its folder. Its epmd ends with this process.
    pub fn end(self) {
        self.kill();
        let _ = fs::remove_dir_all(&self.folder);
    }

    fn node(&self) -> String {
        format!("test{}@localhost", self.port)
    }

    /// Address of a virtual host that no other test of this binary uses.
    ///
    /// # Panics
    /// The tests of the binary have used all virtual hosts.
    pub fn vhost(&self) -> String {
        let number = self.vhosts.fetch_add(1, Ordering::Relaxed);
        assert!(number < VHOSTS, "more tests than virtual hosts");
        if self.encrypted {
            format!("amqps://test:test@localhost:{}/test{number}", self.port)
        } else {
            format!("amqp://test:test@127.0.0.1:{}/test{number}", self.port)
        }
    }
}

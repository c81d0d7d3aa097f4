//! A private PgBouncer.

use std::{
    fmt::Write as _,
    fs,
    path::Path,
    sync::atomic::{AtomicU32, Ordering},
};

use super::{
    postgres::{PASSWORD, Postgres},
    server::{change_owner, child_command, folder, free_port, start, unprivileged_user, wait_until_listening},
};

const SERVER: &str = "/usr/sbin/pgbouncer";

/// A private PgBouncer in transaction mode.
pub struct PgBouncer {
    port: u16,
}

impl PgBouncer {
    /// Starts one in front of all databases of `postgres`, with at most `server_connections` for
    /// each user and database. The superuser and `logins` (names and passwords) may log in.
    ///
    /// # Panics
    /// PgBouncer is not installed, cannot write its folder, or does not listen in time.
    pub async fn before(postgres: &Postgres, server_connections: u32, logins: &[(&str, &str)]) -> Self {
        static SERVERS: AtomicU32 = AtomicU32::new(0);
        assert!(Path::new(SERVER).exists(), "PgBouncer is not installed (package pgbouncer)");
        let folder = folder(&format!("pgbouncer{}", SERVERS.fetch_add(1, Ordering::Relaxed)));
        let user = unprivileged_user(&["postgres", "nobody"]);
        let port = free_port();
        let mut users = format!("\"postgres\" \"{PASSWORD}\"\n");
        for (name, password) in logins {
            let _ = writeln!(users, "\"{name}\" \"{password}\"");
        }
        let settings = format!(
            "[databases]\n* = host=127.0.0.1 port={}\n\
             [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
             auth_type = scram-sha-256\nauth_file = {}\n\
             pool_mode = transaction\ndefault_pool_size = {server_connections}\nmax_client_conn = 1000\n\
             server_login_retry = 1\n",
            postgres.port(),
            folder.join("users").display(),
        );
        for (name, text) in [("users", users), ("pgbouncer.ini", settings)] {
            fs::write(folder.join(name), text).expect("the server's folder can be written");
            if let Some((_, uid, gid)) = &user {
                change_owner(&folder.join(name), *uid, *gid);
            }
        }
        if let Some((_, uid, gid)) = &user {
            change_owner(&folder, *uid, *gid);
        }
        let mut server = child_command(SERVER, "KILL", user.as_ref());
        server.current_dir(&folder).arg(folder.join("pgbouncer.ini"));
        let log = folder.join("log");
        start(server, &log);
        wait_until_listening(port, &log).await;
        Self { port }
    }

    /// Address of a database, as the server's superuser.
    pub fn uri(&self, database: &str) -> String {
        format!("postgres://postgres:{PASSWORD}@127.0.0.1:{}/{database}", self.port)
    }

    /// Port on loopback.
    pub fn port(&self) -> u16 {
        self.port
    }
}

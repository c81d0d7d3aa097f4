//! A hot standby of a private PostgreSQL.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use tokio::time::sleep;

use super::{
    postgres::{Postgres, connect, program},
    server::{change_owner, child_command, folder, free_port},
};

impl Postgres {
    /// Starts a hot standby that streams from this server. The caller may kill and start it.
    ///
    /// # Panics
    /// The copy of the primary fails, or the replica accepts no connection after a minute.
    pub async fn replica(&self) -> Self {
        static REPLICAS: AtomicU32 = AtomicU32::new(0);
        let folder = folder(&format!("postgres-replica{}", REPLICAS.fetch_add(1, Ordering::Relaxed)));
        if let Some((_, uid, gid)) = &self.user {
            change_owner(&folder, *uid, *gid);
        }
        let mut copy = child_command(&program("pg_basebackup"), "KILL", self.user.as_ref());
        copy.current_dir(&folder)
            .args(["--host=127.0.0.1", "--username=postgres", "--no-password", "--write-recovery-conf"])
            .args(["--wal-method=stream", "--checkpoint=fast", "--no-sync"])
            .arg(format!("--port={}", self.port()))
            .arg(format!("--pgdata={}", folder.join("data").display()));
        let copied = tokio::task::spawn_blocking(move || copy.output())
            .await
            .expect("the copy task ends")
            .expect("setpriv is installed (package util-linux)");
        assert!(copied.status.success(), "pg_basebackup failed: {}", String::from_utf8_lossy(&copied.stderr));
        let replica = Self {
            port: free_port(),
            folder,
            user: self.user.clone(),
            settings: self.settings.clone(),
            databases: AtomicU32::new(0),
        };
        replica.up().await;
        replica
    }

    /// Waits until `replica` has replayed all that was committed here.
    ///
    /// # Panics
    /// After 20 s.
    pub async fn shown_by(&self, replica: &Self) {
        let here = connect(&self.uri("postgres")).await.expect("PostgreSQL accepts connections");
        let there = connect(&replica.uri("postgres")).await.expect("the replica accepts connections");
        let end: String =
            here.query_one("select pg_current_wal_lsn()::text", &[]).await.expect("the server answers").get(0);
        let began = Instant::now();
        let replayed = format!("select pg_last_wal_replay_lsn() >= '{end}'::pg_lsn");
        while !there.query_one(&replayed, &[]).await.expect("the replica answers").get::<_, bool>(0) {
            assert!(began.elapsed() < Duration::from_secs(20), "the replica does not catch up");
            sleep(Duration::from_millis(5)).await;
        }
    }
}

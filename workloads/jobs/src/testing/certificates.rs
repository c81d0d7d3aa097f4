//! Certificates for tests.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

use super::server::{change_owner, folder, unprivileged_user};

/// A certificate authority, and a server certificate for `localhost` that it has signed.
pub struct Certificates {
    folder: PathBuf,
}

impl Certificates {
    /// Creates them, readable by a server that runs as one of `users`.
    ///
    /// # Panics
    /// `openssl` is not installed, or the folder of the certificates cannot be written.
    pub fn new(users: &[&str]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let folder = folder(&format!("certificates{}", COUNT.fetch_add(1, Ordering::Relaxed)));
        fs::write(folder.join("extensions"), "subjectAltName = DNS:localhost\nbasicConstraints = CA:FALSE\n")
            .expect("the folder can be written");
        let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
        openssl(&folder, &format!("req -x509 {key} -keyout ca.key -out ca.crt -days 2 -subj /CN=tests"));
        openssl(&folder, &format!("req {key} -keyout server.key -out server.csr -subj /CN=localhost"));
        openssl(
            &folder,
            "x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile extensions -out server.crt",
        );
        fs::set_permissions(folder.join("server.key"), fs::Permissions::from_mode(0o600))
            .expect("this process owns the key");
        if let Some((_, uid, gid)) = unprivileged_user(users) {
            for path in [folder.join("server.key"), folder.join("server.crt"), folder.clone()] {
                change_owner(&path, uid, gid);
            }
        }
        Self { folder }
    }

    /// The authority's certificate, in PEM.
    ///
    /// # Panics
    /// The folder was removed.
    pub fn authority(&self) -> String {
        fs::read_to_string(self.authority_file()).expect("the certificate exists")
    }

    /// Path of the authority's certificate.
    pub fn authority_file(&self) -> PathBuf {
        self.folder.join("ca.crt")
    }

    /// Path of the server's certificate.
    pub fn certificate(&self) -> PathBuf {
        self.folder.join("server.crt")
    }

    /// Path of the server's key.
    pub fn key(&self) -> PathBuf {
        self.folder.join("server.key")
    }
}

fn openssl(folder: &Path, arguments: &str) {
    let output = Command::new("openssl")
        .current_dir(folder)
        .args(arguments.split(' '))
        .output()
        .expect("openssl is installed (package openssl)");
    assert!(output.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

//! A TCP proxy that can stop forwarding.

use std::sync::Arc;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// A TCP proxy on loopback that can go silent: it still accepts connections and bytes, and forwards
/// nothing. Those bytes are lost. Needs a running tokio runtime and ends with it.
pub struct Proxy {
    port: u16,
    silent: watch::Sender<bool>,
    open: Arc<watch::Sender<usize>>,
}

impl Proxy {
    /// Starts one in front of `server`, a port on loopback.
    ///
    /// # Panics
    /// No port is free on loopback.
    pub async fn to(server: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("loopback has a free port");
        let port = listener.local_addr().expect("a listener has an address").port();
        let (silent, silenced) = watch::channel(false);
        let open = Arc::new(watch::Sender::new(0));
        tokio::spawn({
            let open = open.clone();
            async move {
                while let Ok((client, _)) = listener.accept().await {
                    let (open, silenced) = (open.clone(), silenced.clone());
                    tokio::spawn(async move {
                        open.send_modify(|open| *open += 1);
                        if let Ok(server) = TcpStream::connect(("127.0.0.1", server)).await {
                            forward(client, server, silenced).await;
                        }
                        open.send_modify(|open| *open -= 1);
                    });
                }
            }
        });
        Self { port, silent, open }
    }

    /// Port on loopback.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Stops forwarding.
    pub fn silence(&self) {
        self.silent.send_replace(true);
    }

    /// Forwards again what is received from now on.
    pub fn speak(&self) {
        self.silent.send_replace(false);
    }

    /// Waits until exactly `count` connections are open.
    ///
    /// # Panics
    /// Never: the sender lives as long as the proxy.
    pub async fn holding(&self, count: usize) {
        let mut open = self.open.subscribe();
        open.wait_for(|open| *open == count).await.expect("the sender lives as long as the proxy");
    }
}

/// Forwards until either end closes.
async fn forward(mut client: TcpStream, mut server: TcpStream, silent: watch::Receiver<bool>) {
    let (mut from_client, mut from_server) = ([0; 4096], [0; 4096]);
    loop {
        let passed = tokio::select! {
            read = client.read(&mut from_client) => match read {
                Ok(0) | Err(_) => return,
                Ok(_) if *silent.borrow() => Ok(()),
                Ok(count) => server.write_all(&from_client[..count]).await,
            },
            read = server.read(&mut from_server) => match read {
                Ok(0) | Err(_) => return,
                Ok(_) if *silent.borrow() => Ok(()),
                Ok(count) => client.write_all(&from_server[..count]).await,
            },
        };
        if passed.is_err() {
            return;
        }
    }
}

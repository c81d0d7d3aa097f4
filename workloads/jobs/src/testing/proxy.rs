use std::sync::Arc;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// Something between a client and a server on loopback that can fall silent: it takes connections and bytes as ever, and passes nothing on. What it
/// swallows stays lost. Needs a running tokio runtime and ends with it.
pub struct Proxy {
    port: u16,
    silent: watch::Sender<bool>,
    open: Arc<watch::Sender<usize>>,
}

impl Proxy {
    /// In front of `server`, a port on loopback.
    pub async fn to(server: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("loopback has a free port");
        let port = listener.local_addr().expect("a listener has an address").port();
        let (silent, heard) = watch::channel(false);
        let open = Arc::new(watch::Sender::new(0));
        tokio::spawn({
            let open = open.clone();
            async move {
                while let Ok((client, _)) = listener.accept().await {
                    let (open, heard) = (open.clone(), heard.clone());
                    tokio::spawn(async move {
                        open.send_modify(|open| *open += 1);
                        if let Ok(server) = TcpStream::connect(("127.0.0.1", server)).await {
                            pass(client, server, heard).await;
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

    /// Passes nothing on from now on.
    pub fn silence(&self) {
        self.silent.send_replace(true);
    }

    /// Passes on again what comes from now on.
    pub fn speak(&self) {
        self.silent.send_replace(false);
    }

    /// Waits until clients hold exactly `count` connections.
    pub async fn holding(&self, count: usize) {
        let mut open = self.open.subscribe();
        open.wait_for(|open| *open == count).await.expect("the sender is ours");
    }
}

/// Until either end closes.
async fn pass(mut client: TcpStream, mut server: TcpStream, silent: watch::Receiver<bool>) {
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

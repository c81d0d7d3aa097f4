//! A TCP proxy in front of a server that can cut and stall connections and drop responses.

use std::{io, sync::Arc};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

/// How the proxy treats traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Forwards everything.
    Forward,
    /// Holds both directions until the mode changes.
    Stall,
    /// Forwards requests and closes the connection at the first byte of a response, so that the
    /// effect of the request is unknown to the client.
    DropResponses,
}

#[derive(Clone)]
struct State {
    mode: Mode,
    /// Closes the currently open connections.
    cut: CancellationToken,
}

/// A listener on loopback that forwards connections to a server.
pub struct Proxy {
    /// Port of the listener.
    pub port: u16,
    state: Arc<watch::Sender<State>>,
    _listening: AbortOnDropHandle<()>,
}

impl Proxy {
    /// Starts a proxy for the server at port `target` on loopback.
    ///
    /// # Errors
    /// No port is free on loopback.
    pub async fn start(target: u16) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        let state = Arc::new(watch::Sender::new(State { mode: Mode::Forward, cut: CancellationToken::new() }));
        let watched = state.subscribe();
        let listening = tokio::spawn(async move {
            loop {
                if let Ok((client, _)) = listener.accept().await {
                    tokio::spawn(pass(client, target, watched.clone()));
                }
            }
        });
        Ok(Self { port, state, _listening: AbortOnDropHandle::new(listening) })
    }

    /// Closes all currently open connections.
    pub fn cut(&self) {
        self.state.send_modify(|state| std::mem::take(&mut state.cut).cancel());
    }

    /// Sets the mode of current and future connections.
    pub fn set(&self, mode: Mode) {
        self.state.send_modify(|state| state.mode = mode);
    }
}

async fn pass(client: TcpStream, target: u16, state: watch::Receiver<State>) {
    let cut = state.borrow().cut.clone();
    let passing = async {
        let server = TcpStream::connect(("127.0.0.1", target)).await?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        // A close of either end closes both; no protocol here uses half-open connections.
        tokio::select! {
            done = forward(from_client, to_server, state.clone(), false) => done,
            done = forward(from_server, to_client, state.clone(), true) => done,
        }
    };
    tokio::select! {
        _ = passing => {}
        () = cut.cancelled() => {}
    }
}

async fn forward(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut state: watch::Receiver<State>,
    is_response: bool,
) -> io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let length = from.read(&mut buffer).await?;
        if length == 0 {
            return Ok(());
        }
        // An error means that the proxy was dropped.
        let mode = state.wait_for(|state| state.mode != Mode::Stall).await.map(|state| state.mode);
        match mode {
            Ok(Mode::DropResponses) if is_response => return Ok(()),
            Ok(_) => to.write_all(&buffer[..length]).await?,
            Err(_) => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An echo server that counts the bytes it received.
    async fn echo() -> (u16, watch::Receiver<usize>) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (received, count) = watch::channel(0);
        let received = Arc::new(received);
        tokio::spawn(async move {
            loop {
                let (mut socket, _) = listener.accept().await.unwrap();
                let received = received.clone();
                tokio::spawn(async move {
                    while let Ok(byte) = socket.read_u8().await {
                        received.send_modify(|count| *count += 1);
                        socket.write_u8(byte).await.unwrap();
                    }
                });
            }
        });
        (port, count)
    }

    async fn call(stream: &mut TcpStream, byte: u8) -> io::Result<u8> {
        stream.write_u8(byte).await?;
        stream.read_u8().await
    }

    #[tokio::test]
    async fn cut_closes_open_connections_and_accepts_new_ones() {
        let (target, _) = echo().await;
        let proxy = Proxy::start(target).await.unwrap();
        let mut stream = TcpStream::connect(("127.0.0.1", proxy.port)).await.unwrap();
        assert_eq!(call(&mut stream, 7).await.unwrap(), 7);
        proxy.cut();
        assert!(call(&mut stream, 8).await.is_err());
        let mut stream = TcpStream::connect(("127.0.0.1", proxy.port)).await.unwrap();
        assert_eq!(call(&mut stream, 9).await.unwrap(), 9);
    }

    #[tokio::test]
    async fn stalled_proxy_delivers_later() {
        let (target, received) = echo().await;
        let proxy = Proxy::start(target).await.unwrap();
        let mut stream = TcpStream::connect(("127.0.0.1", proxy.port)).await.unwrap();
        assert_eq!(call(&mut stream, 1).await.unwrap(), 1);
        proxy.set(Mode::Stall);
        stream.write_u8(2).await.unwrap();
        let quiet = tokio::time::timeout(std::time::Duration::from_millis(100), stream.read_u8()).await;
        assert!(quiet.is_err() && *received.borrow() == 1, "a byte came through");
        proxy.set(Mode::Forward);
        assert_eq!(stream.read_u8().await.unwrap(), 2);
    }

    #[tokio::test]
    async fn proxy_that_drops_responses_delivers_the_request() {
        let (target, mut received) = echo().await;
        let proxy = Proxy::start(target).await.unwrap();
        proxy.set(Mode::DropResponses);
        let mut stream = TcpStream::connect(("127.0.0.1", proxy.port)).await.unwrap();
        assert!(call(&mut stream, 1).await.is_err());
        received.wait_for(|count| *count == 1).await.unwrap();
    }
}

//! A wire between the processes and a server that can be cut, held, and made to lose answers.

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

/// What becomes of what is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    /// It arrives.
    Sound,
    /// It stays where it is, both ways, until the wire is sound again.
    Mute,
    /// Requests arrive; with the first byte of an answer the connection breaks, so that nobody knows what the request did.
    LosesAnswers,
}

#[derive(Clone)]
struct State {
    wire: Wire,
    /// Ends the connections that are open now.
    cut: CancellationToken,
}

/// A listener on loopback that passes connections on to a server.
pub struct Proxy {
    /// Where it listens.
    pub port: u16,
    state: Arc<watch::Sender<State>>,
    _listening: AbortOnDropHandle<()>,
}

impl Proxy {
    /// Listens for connections to the server at `target`, a port on loopback.
    pub async fn start(target: u16) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        let state = Arc::new(watch::Sender::new(State { wire: Wire::Sound, cut: CancellationToken::new() }));
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

    /// Cuts all connections that are open now.
    pub fn cut(&self) {
        self.state.send_modify(|state| std::mem::take(&mut state.cut).cancel());
    }

    /// Makes the wire sound or otherwise, for connections open and to come.
    pub fn set(&self, wire: Wire) {
        self.state.send_modify(|state| state.wire = wire);
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
        // Either end's close is the end of both, as it is for all protocols here.
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
    answers: bool,
) -> io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let length = from.read(&mut buffer).await?;
        if length == 0 {
            return Ok(());
        }
        // An error means that the proxy is gone.
        let passes = state.wait_for(|state| state.wire != Wire::Mute).await.map(|state| state.wire);
        match passes {
            Ok(Wire::LosesAnswers) if answers => return Ok(()),
            Ok(_) => to.write_all(&buffer[..length]).await?,
            Err(_) => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that answers each byte with itself and counts what it was asked.
    async fn echo() -> (u16, watch::Receiver<usize>) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (asked, count) = watch::channel(0);
        let asked = Arc::new(asked);
        tokio::spawn(async move {
            loop {
                let (mut socket, _) = listener.accept().await.unwrap();
                let asked = asked.clone();
                tokio::spawn(async move {
                    while let Ok(byte) = socket.read_u8().await {
                        asked.send_modify(|count| *count += 1);
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
    async fn a_cut_ends_what_is_open_and_lets_new_connections_in() {
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
    async fn a_mute_wire_delivers_later() {
        let (target, asked) = echo().await;
        let proxy = Proxy::start(target).await.unwrap();
        let mut stream = TcpStream::connect(("127.0.0.1", proxy.port)).await.unwrap();
        assert_eq!(call(&mut stream, 1).await.unwrap(), 1);
        proxy.set(Wire::Mute);
        stream.write_u8(2).await.unwrap();
        let quiet = tokio::time::timeout(std::time::Duration::from_millis(100), stream.read_u8()).await;
        assert!(quiet.is_err() && *asked.borrow() == 1, "something came through");
        proxy.set(Wire::Sound);
        assert_eq!(stream.read_u8().await.unwrap(), 2);
    }

    #[tokio::test]
    async fn a_wire_that_loses_answers_delivers_the_request() {
        let (target, mut asked) = echo().await;
        let proxy = Proxy::start(target).await.unwrap();
        proxy.set(Wire::LosesAnswers);
        let mut stream = TcpStream::connect(("127.0.0.1", proxy.port)).await.unwrap();
        assert!(call(&mut stream, 1).await.is_err());
        asked.wait_for(|count| *count == 1).await.unwrap();
    }
}

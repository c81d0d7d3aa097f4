//! A keep-alive HTTP/1.1 connection on a raw socket.

use std::{io, net::SocketAddr};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// A keep-alive connection that carries one request at a time.
pub struct Connection {
    address: SocketAddr,
    stream: TcpStream,
    buffer: Vec<u8>,
    /// Bytes of the buffer that are in use.
    filled: usize,
}

/// A response; `body` borrows the connection's buffer.
#[derive(Debug, PartialEq, Eq)]
pub struct Response<'a> {
    pub status: u16,
    pub body: &'a [u8],
}

/// Position of the parts of a response in the buffer.
struct Head {
    status: u16,
    body_at: usize,
    body_length: usize,
}

impl Connection {
    /// Opens a connection with `TCP_NODELAY`.
    pub async fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { address, stream, buffer: vec![0; 16 * 1024], filled: 0 })
    }

    /// Opens a new connection to the same address.
    pub async fn reconnect(&self) -> io::Result<Self> {
        Self::open(self.address).await
    }

    /// Sends a complete request and waits for the complete response.
    pub async fn exchange(&mut self, request: &[u8]) -> io::Result<Response<'_>> {
        self.stream.write_all(request).await?;
        self.filled = 0;
        let mut head = None;
        loop {
            if self.filled == self.buffer.len() {
                self.buffer.resize(self.buffer.len() * 2, 0);
            }
            let read = self.stream.read(&mut self.buffer[self.filled..]).await?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.filled += read;
            if head.is_none() {
                head = parse(&self.buffer[..self.filled])?;
            }
            if let Some(Head { status, body_at, body_length }) = head
                && self.filled >= body_at + body_length
            {
                return Ok(Response { status, body: &self.buffer[body_at..body_at + body_length] });
            }
        }
    }
}

/// Parses the head; `None` while it is incomplete.
fn parse(bytes: &[u8]) -> io::Result<Option<Head>> {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidData, format!("the response {what}"));
    let head = std::str::from_utf8(&bytes[..end]).map_err(|_| invalid("has a head that is not UTF-8"))?;
    let mut lines = head.split("\r\n");
    let status = lines
        .next()
        .and_then(|line| line.split(' ').nth(1))
        .and_then(|status| status.parse().ok())
        .ok_or_else(|| invalid("has no status"))?;
    let body_length = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse().ok())
        .ok_or_else(|| invalid("has no Content-Length"))?;
    Ok(Some(Head { status, body_at: end + 4, body_length }))
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    async fn exchange(parts: &'static [&'static str]) -> (u16, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            let mut request = [0; 4];
            stream.read_exact(&mut request).await.unwrap();
            for part in parts {
                stream.write_all(part.as_bytes()).await.unwrap();
                stream.flush().await.unwrap();
                tokio::task::yield_now().await;
            }
            stream
        };
        let client = async {
            let mut connection = Connection::open(address).await.unwrap();
            let response = connection.exchange(b"ping").await.unwrap();
            (response.status, String::from_utf8(response.body.to_vec()).unwrap())
        };
        tokio::join!(server, client).1
    }

    #[tokio::test]
    async fn response_is_reassembled_from_any_packets() {
        let parts = &["HTTP/1.1 202 Accepted\r\ncontent-", "Length: 5\r\nX: y\r", "\n\r\nhe", "llo"];
        assert_eq!(exchange(parts).await, (202, "hello".to_owned()));
        assert_eq!(exchange(&["HTTP/1.1 204 No\r\nContent-Length: 0\r\n\r\n"]).await, (204, String::new()));
    }

    #[test]
    fn response_without_content_length_is_an_error() {
        assert!(parse(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").is_err());
        assert!(parse(b"HTTP/1.1 200 OK\r\nContent-").unwrap().is_none());
    }
}

//! As much of HTTP as a scrape needs: GET and HEAD of /metrics by a client that is not slow.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::{sleep, timeout};

/// Clients that are served at once; the others wait.
pub(super) const AT_ONCE: usize = 4;
/// How long a client may take, from its first byte to its last.
const PATIENCE: Duration = Duration::from_secs(2);
/// Bytes that a request may have.
const HEAD_MAX: usize = 8 << 10;

/// Somebody waits for the page.
pub(super) type Scrape = oneshot::Sender<String>;

/// Takes clients, a few at once.
pub(super) async fn serve(listener: TcpListener, asks: mpsc::Sender<Scrape>) {
    let room = Arc::new(Semaphore::new(AT_ONCE));
    while let Ok(place) = Arc::clone(&room).acquire_owned().await {
        let Ok((client, _)) = listener.accept().await else {
            // It went away, or no file is left for it: the next may have more luck.
            sleep(Duration::from_millis(100)).await;
            continue;
        };
        let asks = asks.clone();
        tokio::spawn(async move {
            // Whoever is slow or goes away has gone without.
            let _ = timeout(PATIENCE, talk(client, &asks)).await;
            drop(place);
        });
    }
}

/// Answers one request, and hears the client out: a connection that is closed while the client still sends is reset.
async fn talk(mut client: TcpStream, asks: &mpsc::Sender<Scrape>) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") && head.len() < HEAD_MAX {
        if client.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    }
    client.write_all(&answer(&head, asks).await).await?;
    client.shutdown().await?;
    while client.read(&mut [0; 1024]).await? > 0 {}
    Ok(())
}

/// The answer to a request that begins so.
async fn answer(head: &[u8], asks: &mpsc::Sender<Scrape>) -> Vec<u8> {
    let with_page = match wanted(head) {
        Ok(with_page) => with_page,
        Err(status) => return response(status, "", true),
    };
    let (ask, page) = oneshot::channel();
    let asked = asks.send(ask).await.is_ok();
    match page.await {
        Ok(page) if asked => response("200 OK", &page, with_page),
        // It is about to end.
        _ => response("503 Service Unavailable", "", true),
    }
}

/// Whether who sends a request that begins so wants the page itself, or only to hear of it; else the status that it gets.
pub(crate) fn wanted(head: &[u8]) -> Result<bool, &'static str> {
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    match words[..] {
        [method @ (b"GET" | b"HEAD"), b"/metrics", b"HTTP/1.1" | b"HTTP/1.0"] => Ok(method == b"GET"),
        [b"GET" | b"HEAD", _, b"HTTP/1.1" | b"HTTP/1.0"] => Err("404 Not Found"),
        [_, _, b"HTTP/1.1" | b"HTTP/1.0"] => Err("405 Method Not Allowed\r\nAllow: GET, HEAD"),
        _ => Err("400 Bad Request"),
    }
}

/// A whole response; of HEAD, without the page whose length it tells.
fn response(status: &str, page: &str, with_page: bool) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        page.len()
    );
    [head.as_str(), if with_page { page } else { "" }].concat().into_bytes()
}

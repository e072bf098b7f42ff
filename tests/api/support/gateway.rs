//! A provider's HTTP interface, or a webhook, on loopback: it remembers what it was asked, and answers as it is told.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use rustls::ServerConfig;
use serde_json::Value;
use tokio::io::{
    AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader,
};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

/// What comes back.
#[derive(Clone)]
pub enum Answer {
    /// A status and JSON.
    Json(u16, Value),
    /// A status and a page.
    Html(u16),
    /// A redirect to this place.
    Redirect(String),
    /// A body of five million bytes.
    Large,
    /// A body that says it is large and does not come.
    Half,
    /// A body that never ends.
    Endless,
    /// Nothing: the connection stays open.
    Silence,
    /// Nothing: the connection is closed.
    Drop,
    /// Something else than HTTP.
    Noise,
}

/// A request as it came, byte for byte but for the case of its header names.
#[derive(Clone)]
pub struct Asked {
    /// The method.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// The headers, their names in small letters.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: String,
}

impl Asked {
    /// The value of the one header of this name.
    #[track_caller]
    pub fn header(&self, name: &str) -> &str {
        let mut values = self.headers.iter().filter(|(known, _)| known == name);
        let value = values.next().unwrap_or_else(|| panic!("no {name}"));
        assert!(values.next().is_none(), "more than one {name}");
        &value.1
    }
}

/// The gateway. It stops when it is dropped.
pub struct Gateway {
    address: SocketAddr,
    scheme: &'static str,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

struct Shared {
    tls: Option<Arc<ServerConfig>>,
    answer: Mutex<Answer>,
    asked: Mutex<Vec<Asked>>,
}

impl Gateway {
    /// A gateway on a free port of 127.0.0.1 that gives this answer.
    pub async fn start(tls: Option<Arc<ServerConfig>>, answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let shared = Arc::new(Shared {
            tls,
            answer: Mutex::new(answer),
            asked: Mutex::default(),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Self {
            address,
            scheme,
            shared,
            accepting,
        }
    }

    /// One without TLS.
    pub async fn plain(answer: Answer) -> Self {
        Self::start(None, answer).await
    }

    /// Where it is, by the name localhost.
    pub fn url(&self) -> String {
        format!("{}://localhost:{}", self.scheme, self.port())
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// What it answers from now on.
    pub fn answer(&self, answer: Answer) {
        *self.shared.answer.lock().unwrap() = answer;
    }

    /// What it was asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.shared.asked.lock().unwrap().clone()
    }

    /// What it was asked last.
    #[track_caller]
    pub fn last(&self) -> Asked {
        self.asked().pop().unwrap()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    // The conversations end with the set, and the set with this task.
    let mut conversations = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        conversations.spawn(open(stream, Arc::clone(&shared)));
    }
}

async fn open(stream: TcpStream, shared: Arc<Shared>) -> std::io::Result<()> {
    match &shared.tls {
        None => converse(stream, &shared).await,
        Some(tls) => {
            let stream = TlsAcceptor::from(Arc::clone(tls)).accept(stream).await?;
            converse(stream, &shared).await
        }
    }
}

/// One request and its answer. The client going away ends it as an error.
async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    shared: &Shared,
) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        let line = line.trim_end_matches("\r\n");
        if line.is_empty() {
            break;
        }
        lines.push(line.to_owned());
    }
    if lines.is_empty() {
        return Ok(());
    }
    let mut first = lines
        .remove(0)
        .split(' ')
        .map(str::to_owned)
        .collect::<Vec<_>>();
    assert_eq!(first.pop().as_deref(), Some("HTTP/1.1"));
    let headers: Vec<(String, String)> = lines
        .iter()
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let mut body = vec![0; length.map_or(0, |(_, length)| length.parse().unwrap())];
    stream.read_exact(&mut body).await?;
    shared.asked.lock().unwrap().push(Asked {
        target: first.pop().unwrap(),
        method: first.pop().unwrap(),
        headers,
        body: String::from_utf8(body).unwrap(),
    });
    let answer = shared.answer.lock().unwrap().clone();
    write_answer(stream.get_mut(), answer).await?;
    stream.get_mut().shutdown().await
}

async fn write_answer(out: &mut (impl AsyncWrite + Unpin), answer: Answer) -> std::io::Result<()> {
    const FIVE_MB: usize = 5_000_000;
    let whole = |status: u16, more: &str, body: &str| {
        let length = body.len();
        format!(
            "HTTP/1.1 {status} Whatever\r\nContent-Length: {length}\r\nConnection: close\r\n{more}\r\n{body}"
        )
    };
    let json = "Content-Type: application/json\r\n";
    let text = match answer {
        Answer::Json(status, body) => whole(status, json, &body.to_string()),
        Answer::Html(status) => whole(status, "Content-Type: text/html\r\n", "<h1>It works!</h1>"),
        Answer::Redirect(to) => whole(307, &format!("Location: {to}\r\n"), ""),
        Answer::Large => whole(200, json, &format!("\"{}\"", "x".repeat(FIVE_MB))),
        Answer::Half => {
            let half = format!("HTTP/1.1 200 Whatever\r\nContent-Length: {FIVE_MB}\r\n\r\n{{");
            out.write_all(half.as_bytes()).await?;
            out.flush().await?;
            return std::future::pending().await;
        }
        Answer::Endless => {
            out.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                .await?;
            loop {
                let chunk = format!("1000\r\n{}\r\n", " ".repeat(0x1000));
                out.write_all(chunk.as_bytes()).await?;
            }
        }
        Answer::Silence => return std::future::pending().await,
        Answer::Drop => return Ok(()),
        Answer::Noise => "SSH-2.0-OpenSSH_9.9\r\n".to_owned(),
    };
    out.write_all(text.as_bytes()).await?;
    out.flush().await
}

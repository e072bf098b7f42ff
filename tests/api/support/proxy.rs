//! A reverse proxy on loopback that speaks TLS, and can be told to get in the way of requests and answers.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use rustls::ServerConfig;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

/// The client that the proxy says that it sees.
pub const CLIENT: &str = "198.51.100.7";

/// What the proxy does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It takes the first two parts of the path away.
    CutsPaths,
    /// It encodes what is encoded already.
    EncodesPaths,
    /// It adds an `Access-Control-Allow-Origin` of its own.
    AddsCors,
    /// It takes all headers of CORS away.
    RemovesCors,
    /// It shows a page in place of a 404.
    ReplacesErrors,
    /// It answers OPTIONS by itself.
    KeepsOptions,
    /// It sets no `X-Forwarded-For`, and takes the client's away.
    HidesClients,
    /// It lets the client's `X-Forwarded-For` stand.
    BelievesClients,
    /// It drops headers that it does not know.
    DropsHeaders,
    /// It asks a server that is not there.
    AsksNobody,
}

/// The proxy. It stops when it is dropped.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

struct Shared {
    tls: Mutex<Arc<ServerConfig>>,
    server: Mutex<Option<SocketAddr>>,
    fault: Mutex<Option<Fault>>,
}

impl Proxy {
    /// A proxy on a free port of 127.0.0.1 that has nobody to ask yet.
    pub async fn start(tls: Arc<ServerConfig>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            tls: Mutex::new(tls),
            server: Mutex::default(),
            fault: Mutex::default(),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Self {
            address,
            shared,
            accepting,
        }
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Whom it asks from now on.
    pub fn ask(&self, server: SocketAddr) {
        *self.shared.server.lock().unwrap() = Some(server);
    }

    /// Another certificate from now on.
    pub fn certify(&self, tls: Arc<ServerConfig>) {
        *self.shared.tls.lock().unwrap() = tls;
    }

    /// What it does wrong from now on.
    pub fn get_in_the_way(&self, fault: Option<Fault>) {
        *self.shared.fault.lock().unwrap() = fault;
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut conversations = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        conversations.spawn(pass_on(stream, Arc::clone(&shared)));
    }
}

/// One request without a body, and its answer. Either side going away ends it as an error.
async fn pass_on(stream: TcpStream, shared: Arc<Shared>) -> std::io::Result<()> {
    let tls = Arc::clone(&shared.tls.lock().unwrap());
    let mut client = BufReader::new(TlsAcceptor::from(tls).accept(stream).await?);
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        client.read_line(&mut line).await?;
        match line.trim_end() {
            "" => break,
            line => head.push(line.to_owned()),
        }
    }
    let fault = *shared.fault.lock().unwrap();
    let server = *shared.server.lock().unwrap();
    let server = server.filter(|_| fault != Some(Fault::AsksNobody));
    let answer = match server {
        None => "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n".to_owned(),
        Some(_) if fault == Some(Fault::KeepsOptions) && head[0].starts_with("OPTIONS") => {
            "HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\n\r\n".to_owned()
        }
        Some(server) => {
            let mut upstream = TcpStream::connect(server).await?;
            let request = request(&head, fault);
            upstream.write_all(request.as_bytes()).await?;
            let mut answer = String::new();
            upstream.read_to_string(&mut answer).await?;
            changed(&answer, fault)
        }
    };
    let client = client.get_mut();
    client.write_all(answer.as_bytes()).await?;
    client.shutdown().await
}

/// What the server is asked.
fn request(head: &[String], fault: Option<Fault>) -> String {
    let mut first = head[0].clone();
    match fault {
        Some(Fault::CutsPaths) => first = first.replace("/_matrix/identity", ""),
        Some(Fault::EncodesPaths) => first = first.replace('%', "%25"),
        _ => {}
    }
    let name = |line: &str| line.split(':').next().unwrap().to_ascii_lowercase();
    let mut lines = vec![first];
    for line in &head[1..] {
        let kept = match name(line).as_str() {
            "connection" => false,
            "x-forwarded-for" => fault == Some(Fault::BelievesClients),
            "x-bindery-probe" => fault != Some(Fault::DropsHeaders),
            _ => true,
        };
        if kept {
            lines.push(line.clone());
        }
    }
    if !matches!(fault, Some(Fault::HidesClients | Fault::BelievesClients)) {
        lines.push(format!("X-Forwarded-For: {CLIENT}"));
    }
    lines.join("\r\n") + "\r\nConnection: close\r\n\r\n"
}

/// What the client gets.
fn changed(answer: &str, fault: Option<Fault>) -> String {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let mut lines: Vec<&str> = head.split("\r\n").collect();
    match fault {
        Some(Fault::AddsCors) => lines.push("Access-Control-Allow-Origin: *"),
        Some(Fault::RemovesCors) => {
            lines.retain(|line| !line.to_ascii_lowercase().starts_with("access-control"));
        }
        Some(Fault::ReplacesErrors) if lines[0].contains(" 404 ") => {
            return "HTTP/1.1 404 Not Found\r\nContent-Type: text/html\r\nContent-Length: 3\r\n\r\nno!"
                .to_owned();
        }
        _ => {}
    }
    lines.join("\r\n") + "\r\n\r\n" + body
}

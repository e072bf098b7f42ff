//! A homeserver on loopback that speaks TLS, vouches for users, shows its keys, signs, and can be told to go wrong.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bindery::config;
use bindery::signing::ServerKey;
use bindery::types::{KeyId, ServerName, Timestamp};
use rustls::ServerConfig;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use super::authority::Authority;
use super::dns::DnsServer;

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(30);

pub const USERINFO: &str = "/_matrix/federation/v1/openid/userinfo";
pub const KEYS: &str = "/_matrix/key/v2/server";
pub const ONBIND: &str = "/_matrix/federation/v1/3pid/onbind";
pub const WELL_KNOWN: &str = "/.well-known/matrix/server";

/// What comes back from a path.
#[derive(Clone, Debug)]
pub enum Reply {
    /// Status and body.
    Json(u16, Value),
    /// Status 200 with this body, and with these header lines.
    With(&'static str, Value),
    /// A page.
    Html,
    /// 5 MB, announced as such.
    Large,
    /// 5 MB, announced as nothing.
    Chunked,
    /// Bytes without end.
    Endless,
    /// Header lines without end.
    EndlessHeaders,
    /// The start of an answer, and then nothing.
    Half,
    /// Nothing at all.
    Silence,
    /// The end of the connection.
    Drop,
    /// What is no HTTP.
    Noise,
    /// A redirect to a URL.
    Redirect(String),
}

/// A request as it arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// GET, POST or PUT.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// The `Host` header.
    pub host: String,
    /// The name that TLS was started for; none for an address.
    pub sni: Option<String>,
    /// The body, if it is JSON.
    pub body: Value,
}

/// The homeserver. It stops when it is dropped.
pub struct Homeserver {
    host: String,
    address: SocketAddr,
    key: ServerKey,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

struct Shared {
    tls: Arc<ServerConfig>,
    replies: Mutex<HashMap<String, Reply>>,
    /// What comes back first.
    script: Mutex<HashMap<String, VecDeque<Reply>>>,
    dead_rooms: Mutex<Vec<String>>,
    seen: Mutex<Vec<Seen>>,
    /// How many requests there were, for who waits for one.
    arrived: watch::Sender<usize>,
    connections: Mutex<usize>,
    /// How many conversations there are, and how many there were at once at most.
    at_once: Mutex<(usize, usize)>,
}

impl Homeserver {
    /// A homeserver on a free port of 127.0.0.1 with a certificate for a host.
    pub async fn start(authority: &Authority, host: &str) -> Self {
        Self::start_with(host, authority.server(host.trim_matches(['[', ']']))).await
    }

    /// A homeserver of a host with any TLS.
    pub async fn start_with(host: &str, tls: Arc<ServerConfig>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            tls,
            replies: Mutex::default(),
            script: Mutex::default(),
            dead_rooms: Mutex::default(),
            seen: Mutex::default(),
            arrived: watch::Sender::default(),
            connections: Mutex::default(),
            at_once: Mutex::default(),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared)));
        let key = ServerKey::from_seed(KeyId::parse("ed25519:hs").unwrap(), &[7; 32]).unwrap();
        Self {
            host: host.to_owned(),
            address,
            key,
            shared,
            accepting,
        }
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// The server name that leads to it without any delegation: host and port.
    pub fn name(&self) -> ServerName {
        ServerName::parse(&format!("{}:{}", self.host, self.port())).unwrap()
    }

    /// Sets what comes back from a path.
    pub fn reply(&self, path: &str, reply: Reply) {
        let mut replies = self.shared.replies.lock().unwrap();
        replies.insert(path.to_owned(), reply);
    }

    /// Sets what comes back from a path to its next requests, before what [`Self::reply`] says.
    pub fn script(&self, path: &str, replies: impl IntoIterator<Item = Reply>) {
        let mut script = self.shared.script.lock().unwrap();
        script.entry(path.to_owned()).or_default().extend(replies);
    }

    /// Takes what is told of binds.
    pub fn take_binds(&self) {
        self.refuse_rooms(&[]);
        self.reply(ONBIND, Reply::Json(200, json!({})));
    }

    /// Refuses what is told with an invitation into one of these rooms.
    pub fn refuse_rooms(&self, rooms: &[&str]) {
        let rooms = rooms.iter().map(ToString::to_string).collect();
        *self.shared.dead_rooms.lock().unwrap() = rooms;
    }

    /// What was told of binds, as soon as it is so much.
    pub async fn told(&self, number: usize) -> Vec<Seen> {
        let mut arrived = self.shared.arrived.subscribe();
        loop {
            arrived.borrow_and_update();
            let mut seen = self.seen();
            seen.retain(|seen| seen.target == ONBIND);
            if seen.len() >= number {
                return seen;
            }
            let waiting = tokio::time::timeout(PATIENCE, arrived.changed());
            waiting.await.unwrap().unwrap();
        }
    }

    /// How many requests were answered at once at most.
    pub fn most_at_once(&self) -> usize {
        self.shared.at_once.lock().unwrap().1
    }

    /// Vouches for a user.
    pub fn vouch_for(&self, sub: &str) {
        self.reply(USERINFO, Reply::Json(200, json!({ "sub": sub })));
    }

    /// Shows its key, valid until then, as that server.
    pub fn show_keys(&self, server: &ServerName, valid_until: Timestamp) {
        let keys = self.keys(server, valid_until);
        self.reply(KEYS, Reply::Json(200, keys));
    }

    /// What shows its key.
    pub fn keys(&self, server: &ServerName, valid_until: Timestamp) -> Value {
        let mut keys = json!({
            "server_name": server.as_str(),
            "valid_until_ts": valid_until.as_millis(),
            "verify_keys": { self.key.id().as_str(): { "key": self.key.public_key_base64() } },
            "old_verify_keys": {},
        });
        let object = keys.as_object_mut().unwrap();
        self.key.sign_json(server, object).unwrap();
        keys
    }

    /// Signs a request as that server: the value of an `Authorization` header, without destination.
    pub fn sign(&self, origin: &ServerName, destination: &str, uri: &str, body: &Value) -> String {
        let mut object = json!({
            "method": "POST", "uri": uri, "origin": origin.as_str(), "destination_is": destination,
            "content": body,
        });
        let object = object.as_object_mut().unwrap();
        self.key.sign_json(origin, object).unwrap();
        let id = self.key.id().as_str();
        let sig = object["signatures"][origin.as_str()][id].as_str().unwrap();
        format!(r#"X-Matrix origin="{origin}",key="{id}",sig="{sig}""#)
    }

    /// The requests that arrived so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap().clone()
    }

    /// How often a path was asked for.
    pub fn count(&self, path: &str) -> usize {
        let seen = self.seen();
        let of_path = |seen: &&Seen| seen.target.split('?').next() == Some(path);
        seen.iter().filter(of_path).count()
    }

    /// How many connections there were, also such as came to nothing.
    pub fn connections(&self) -> usize {
        *self.shared.connections.lock().unwrap()
    }
}

impl Drop for Homeserver {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Lets a server under test trust this authority, ask this DNS server, and connect to loopback.
pub fn federate(settings: &mut config::Federation, authority: &Authority, dns: &DnsServer) {
    settings.dns = vec![dns.address()];
    settings.ca_file = Some(authority.file());
    settings.allow_ips = vec!["127.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()];
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    // The conversations end with the set, and the set with this task.
    let mut conversations = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        *shared.connections.lock().unwrap() += 1;
        conversations.spawn(converse(stream, Arc::clone(&shared)));
    }
}

/// One request and its answer. The client going away ends it as an error.
async fn converse(stream: TcpStream, shared: Arc<Shared>) -> std::io::Result<()> {
    let acceptor = TlsAcceptor::from(Arc::clone(&shared.tls));
    let stream = acceptor.accept(stream).await?;
    let sni = stream.get_ref().1.server_name().map(ToOwned::to_owned);
    let mut stream = BufReader::new(stream);
    let (mut method, mut target, mut host) = (String::new(), String::new(), String::new());
    let mut length = 0;
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        if let Some(request) = line.strip_suffix(" HTTP/1.1") {
            let (verb, path) = request.split_once(' ').unwrap();
            verb.clone_into(&mut method);
            path.clone_into(&mut target);
        } else if let Some(value) = line.strip_prefix("content-length: ") {
            length = value.parse().unwrap();
        } else if let Some(("host", value)) = line
            .split_once(": ")
            .map(|(name, value)| (name.to_ascii_lowercase(), value))
            .as_ref()
            .map(|(name, value)| (name.as_str(), *value))
        {
            value.clone_into(&mut host);
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    let path = target.split('?').next().unwrap().to_owned();
    let scripted = {
        let mut script = shared.script.lock().unwrap();
        script.get_mut(&path).and_then(VecDeque::pop_front)
    };
    let set = || shared.replies.lock().unwrap().get(&path).cloned();
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let reply = if shared.is_dead(&body) {
        Some(Reply::Json(403, json!({ "errcode": "M_FORBIDDEN" })))
    } else {
        scripted.or_else(set)
    };
    let _counted = Counted::of(&shared);
    shared.seen.lock().unwrap().push(Seen {
        method,
        target,
        host,
        sni,
        body,
    });
    shared.arrived.send_modify(|arrived| *arrived += 1);
    let unknown = json!({ "errcode": "M_UNRECOGNIZED", "error": "There is no such path" });
    let out = stream.get_mut();
    write_reply(out, reply.unwrap_or(Reply::Json(404, unknown))).await?;
    out.shutdown().await
}

impl Shared {
    /// Whether a body has an invitation into a room that is refused.
    fn is_dead(&self, body: &Value) -> bool {
        let rooms = self.dead_rooms.lock().unwrap();
        let invites = body["invites"].as_array().into_iter().flatten();
        let mut rooms_named = invites.filter_map(|invite| invite["room_id"].as_str());
        rooms_named.any(|room| rooms.iter().any(|dead| dead == room))
    }
}

/// A request that is being answered.
struct Counted(Arc<Shared>);

impl Counted {
    fn of(shared: &Arc<Shared>) -> Self {
        let mut at_once = shared.at_once.lock().unwrap();
        at_once.0 += 1;
        at_once.1 = at_once.1.max(at_once.0);
        Self(Arc::clone(shared))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.at_once.lock().unwrap().0 -= 1;
    }
}

async fn write_reply(out: &mut (impl AsyncWriteExt + Unpin), reply: Reply) -> std::io::Result<()> {
    const FIVE_MB: usize = 5_000_000;
    let head = |status: u16, more: &str| format!("HTTP/1.1 {status} Whatever\r\n{more}\r\n");
    let whole = |status: u16, more: &str, body: &str| {
        let length = body.len();
        let more = format!("Content-Length: {length}\r\nConnection: close\r\n{more}");
        head(status, &more) + body
    };
    let json = "Content-Type: application/json\r\n";
    let text = match reply {
        Reply::Json(status, body) => whole(status, json, &body.to_string()),
        Reply::With(headers, body) => whole(200, headers, &body.to_string()),
        Reply::Html => whole(200, "Content-Type: text/html\r\n", "<h1>It works!</h1>"),
        Reply::Large => whole(200, json, &format!("\"{}\"", "x".repeat(FIVE_MB))),
        Reply::Redirect(to) => whole(302, &format!("Location: {to}\r\n"), ""),
        Reply::Noise => "SSH-2.0-OpenSSH_9.9\r\n".to_owned(),
        Reply::Drop => return Ok(()),
        Reply::Silence => return std::future::pending().await,
        Reply::Half => {
            let half = head(200, "Content-Length: 1000\r\n") + "{\"sub\":";
            out.write_all(half.as_bytes()).await?;
            out.flush().await?;
            return std::future::pending().await;
        }
        Reply::Chunked | Reply::Endless => {
            let start = head(200, "Transfer-Encoding: chunked\r\n");
            out.write_all(start.as_bytes()).await?;
            let chunk = format!("1000\r\n{}\r\n", " ".repeat(0x1000));
            let mut written = 0;
            while matches!(reply, Reply::Endless) || written < FIVE_MB {
                out.write_all(chunk.as_bytes()).await?;
                written += 0x1000;
            }
            "0\r\n\r\n".to_owned()
        }
        Reply::EndlessHeaders => {
            out.write_all(b"HTTP/1.1 200 OK\r\n").await?;
            loop {
                let line = format!("X-More: {}\r\n", "x".repeat(1000));
                out.write_all(line.as_bytes()).await?;
            }
        }
    };
    out.write_all(text.as_bytes()).await?;
    out.flush().await
}

//! The other end of an SMS webhook: a program on loopback that takes SMS, checks who sent them, and can be told to go wrong.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bindery::config::{self, Countries, Secret, SmsProvider};
use ring::hmac;
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

const SECRET: &str = "between the server and its webhook";

/// What an SMS is answered with.
#[derive(Clone, Copy, Debug)]
pub enum Reply {
    /// A status and nothing else.
    Status(u16),
    /// A status and a page.
    Html(u16),
    /// Nothing, while the client waits.
    Silence,
    /// The end of the connection.
    Drop,
}

/// An SMS as it arrived.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Sms {
    pub to: String,
    pub message: String,
    pub token: String,
    pub country: String,
}

/// The webhook. It stops when it is dropped.
pub struct SmsBox {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

struct Shared {
    reply: Mutex<Reply>,
    taken: Mutex<Vec<Sms>>,
    /// How many requests there were, also such as were not taken.
    asked: Mutex<usize>,
}

impl SmsBox {
    /// A webhook on a free port of 127.0.0.1 that takes everything.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            reply: Mutex::new(Reply::Status(200)),
            taken: Mutex::default(),
            asked: Mutex::default(),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Self {
            address,
            shared,
            accepting,
        }
    }

    /// Lets a server under test send its SMS here, to British numbers.
    pub fn serve(&self, settings: &mut config::Sms) {
        settings.provider = SmsProvider::Webhook;
        settings.webhook.url = Some(format!("http://{}/sms", self.address).parse().unwrap());
        settings.webhook.secret = Some(Secret::new(SECRET.to_owned()));
        settings.home_country = Some("GB".to_owned());
        settings.allow_countries = Countries::only("GB");
    }

    /// Changes what SMS are answered with.
    pub fn reply(&self, reply: Reply) {
        *self.shared.reply.lock().unwrap() = reply;
    }

    /// The SMS that were taken so far, oldest first.
    pub fn taken(&self) -> Vec<Sms> {
        self.shared.taken.lock().unwrap().clone()
    }

    /// The SMS that was taken last.
    #[track_caller]
    pub fn last(&self) -> Sms {
        self.taken().pop().expect("an SMS")
    }

    /// How often somebody asked for an SMS to be sent.
    pub fn asked(&self) -> usize {
        *self.shared.asked.lock().unwrap()
    }
}

impl Drop for SmsBox {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    // The conversations end with the set, and the set with this task.
    let mut conversations = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        conversations.spawn(converse(stream, Arc::clone(&shared)));
    }
}

/// Requests and their answers. The client going away ends it as an error.
async fn converse(stream: TcpStream, shared: Arc<Shared>) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let (mut request, mut length, mut signature) = (String::new(), 0, String::new());
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await? == 0 {
                return Ok(());
            }
            let line = line.trim_end();
            if line.is_empty() {
                break;
            }
            match line.split_once(": ") {
                None => line.clone_into(&mut request),
                Some((name, value)) => match name.to_ascii_lowercase().as_str() {
                    "content-length" => length = value.parse().unwrap(),
                    "x-bindery-signature" => value.clone_into(&mut signature),
                    _ => {}
                },
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
        *shared.asked.lock().unwrap() += 1;
        let is_ours = request == "POST /sms HTTP/1.1" && is_signed(&body, &signature);
        let reply = if is_ours {
            *shared.reply.lock().unwrap()
        } else {
            Reply::Status(403)
        };
        let (status, page) = match reply {
            Reply::Status(status) => (status, ""),
            Reply::Html(status) => (status, "<h1>It works!</h1>"),
            Reply::Silence => std::future::pending().await,
            Reply::Drop => return Ok(()),
        };
        if status < 300 {
            let sms = serde_json::from_slice(&body).unwrap();
            shared.taken.lock().unwrap().push(sms);
        }
        let head = format!(
            "HTTP/1.1 {status} Whatever\r\nContent-Type: text/html\r\nContent-Length: {}\r\n\r\n{page}",
            page.len()
        );
        stream.get_mut().write_all(head.as_bytes()).await?;
    }
}

fn is_signed(body: &[u8], signature: &str) -> bool {
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    let mut hex = String::new();
    for byte in hmac::sign(&key, body).as_ref() {
        write!(hex, "{byte:02x}").unwrap();
    }
    signature == format!("sha256={hex}")
}

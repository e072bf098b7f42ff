//! A mail server on loopback that holds a real conversation, and can be told to go wrong at any step of it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::ServerConfig;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// How the server behaves. Changes hold from the next command on.
#[derive(Clone, Default)]
pub struct Behaviour {
    /// TLS from the first byte.
    pub implicit_tls: Option<Arc<ServerConfig>>,
    /// Announces STARTTLS.
    pub starttls: Option<Arc<ServerConfig>>,
    /// Takes mail only after this login.
    pub login: Option<(&'static str, &'static str)>,
    /// What it announces after AUTH.
    pub mechanisms: &'static str,
    /// Announces SMTPUTF8.
    pub smtputf8: bool,
    /// What goes wrong, and where.
    pub fault: Option<(Stage, Fault)>,
}

/// A step of the conversation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    Connect,
    Ehlo,
    StartTls,
    Auth,
    Mail,
    Rcpt,
    Data,
    Content,
    Noop,
}

/// What goes wrong at a step.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// These bytes are sent in place of the right reply. Without a line end, one is added.
    Say(&'static str),
    /// Nothing is said any more.
    Hang,
    /// The connection ends.
    Drop,
}

/// A mail as the server got it.
#[derive(Debug)]
pub struct Received {
    /// The name in EHLO.
    pub hello: String,
    /// What stood between the angle brackets of MAIL FROM.
    pub from: String,
    /// What followed them.
    pub parameters: String,
    /// What stood between the angle brackets of each RCPT TO.
    pub to: Vec<String>,
    /// Headers and body.
    pub bytes: Vec<u8>,
    /// Whether the connection was encrypted.
    pub tls: bool,
    /// Counts connections from 1.
    pub connection: usize,
}

/// The mail server. It stops when it is dropped.
pub struct SmtpServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    received: UnboundedReceiver<Received>,
    accepting: JoinHandle<()>,
}

struct Shared {
    behaviour: Mutex<Behaviour>,
    /// Each line that came, and whether it came encrypted.
    lines: Mutex<Vec<(String, bool)>>,
    connections: Mutex<usize>,
    received: UnboundedSender<Received>,
}

impl SmtpServer {
    /// A server on a free port of 127.0.0.1.
    pub async fn start(behaviour: Behaviour) -> Self {
        Self::start_at("127.0.0.1:0", behaviour).await.unwrap()
    }

    /// A server at an address, where the machine has that.
    pub async fn start_at(address: &str, behaviour: Behaviour) -> std::io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let (sender, received) = unbounded_channel();
        let shared = Arc::new(Shared {
            behaviour: Mutex::new(behaviour),
            lines: Mutex::default(),
            connections: Mutex::default(),
            received: sender,
        });
        let address = listener.local_addr()?;
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self {
            address,
            shared,
            received,
            accepting,
        })
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Changes how it behaves.
    pub fn behave(&self, change: impl FnOnce(&mut Behaviour)) {
        change(&mut self.shared.behaviour.lock().unwrap());
    }

    /// Waits for the next mail.
    pub async fn next(&mut self) -> Received {
        self.received.recv().await.expect("a mail")
    }

    /// No mail came, or none that was not read.
    pub fn is_empty(&self) -> bool {
        self.received.is_empty()
    }

    /// How many connections there were.
    pub fn connections(&self) -> usize {
        *self.shared.connections.lock().unwrap()
    }

    /// The commands that came in clear.
    pub fn lines_in_clear(&self) -> Vec<String> {
        let lines = self.shared.lines.lock().unwrap();
        lines
            .iter()
            .filter(|(_, tls)| !tls)
            .map(|(line, _)| line.clone())
            .collect()
    }
}

impl Drop for SmtpServer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    // The conversations end with the set, and the set with this task.
    let mut conversations = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let number = {
            let mut connections = shared.connections.lock().unwrap();
            *connections += 1;
            *connections
        };
        conversations.spawn(converse(stream, number, Arc::clone(&shared)));
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// One conversation. The client going away, or the server dropping it, ends it as an error.
struct Session {
    stream: BufReader<Box<dyn Stream>>,
    shared: Arc<Shared>,
    tls: bool,
    connection: usize,
    hello: String,
    logged_in: bool,
    from: Option<(String, String)>,
    to: Vec<String>,
}

type End = std::io::Result<()>;

async fn converse(stream: TcpStream, connection: usize, shared: Arc<Shared>) {
    let implicit = shared.behaviour.lock().unwrap().implicit_tls.clone();
    let tls = implicit.is_some();
    let stream: Box<dyn Stream> = match implicit {
        None => Box::new(stream),
        Some(config) => match TlsAcceptor::from(config).accept(stream).await {
            Ok(stream) => Box::new(stream),
            Err(_) => return,
        },
    };
    let stream = BufReader::new(stream);
    let session = Session {
        stream,
        shared,
        tls,
        connection,
        hello: String::new(),
        logged_in: false,
        from: None,
        to: Vec::new(),
    };
    // However it ended: the test looks at what was received.
    let _ = session.run().await;
}

impl Session {
    async fn run(mut self) -> End {
        self.reply(Stage::Connect, "220 mail.test ESMTP").await?;
        loop {
            let line = self.line().await?;
            let (verb, argument) = line.split_once(' ').unwrap_or((&line, ""));
            match &*verb.to_ascii_uppercase() {
                "EHLO" => self.ehlo(argument).await?,
                "STARTTLS" => self = self.start_tls().await?,
                "AUTH" => self.auth(argument).await?,
                "MAIL" => self.mail(argument).await?,
                "RCPT" => {
                    self.to.push(bracketed(argument).0);
                    self.reply(Stage::Rcpt, "250 2.1.5 ok").await?;
                }
                "DATA" => self.data().await?,
                "NOOP" => self.reply(Stage::Noop, "250 2.0.0 ok").await?,
                "QUIT" => return self.say("221 2.0.0 bye").await,
                _ => self.say("502 5.5.1 unknown command").await?,
            }
        }
    }

    async fn ehlo(&mut self, name: &str) -> End {
        self.hello = name.to_owned();
        let behaviour = self.behaviour();
        let mut extensions = vec!["mail.test".to_owned(), "8BITMIME".to_owned()];
        if behaviour.starttls.is_some() && !self.tls {
            extensions.push("STARTTLS".to_owned());
        }
        if behaviour.smtputf8 {
            extensions.push("SMTPUTF8".to_owned());
        }
        if !behaviour.mechanisms.is_empty() {
            extensions.push(format!("AUTH {}", behaviour.mechanisms));
        }
        let last = extensions.len() - 1;
        let line = |(number, word)| format!("250{}{word}", if number == last { ' ' } else { '-' });
        let lines: Vec<_> = extensions.iter().enumerate().map(line).collect();
        let reply = lines.join("\r\n");
        self.reply(Stage::Ehlo, &reply).await
    }

    async fn start_tls(mut self) -> std::io::Result<Self> {
        let Some(config) = self.behaviour().starttls else {
            self.say("502 5.5.1 no TLS here").await?;
            return Ok(self);
        };
        self.reply(Stage::StartTls, "220 2.0.0 go ahead").await?;
        let stream = TlsAcceptor::from(config)
            .accept(self.stream.into_inner())
            .await?;
        Ok(Self {
            stream: BufReader::new(Box::new(stream)),
            tls: true,
            ..self
        })
    }

    async fn auth(&mut self, argument: &str) -> End {
        let (mechanism, initial) = argument.split_once(' ').unwrap_or((argument, ""));
        let given = if mechanism == "PLAIN" {
            let decoded = STANDARD.decode(initial).unwrap();
            let mut parts = decoded.split(|b| *b == 0).skip(1).map(<[u8]>::to_vec);
            (parts.next().unwrap(), parts.next().unwrap())
        } else {
            self.say(&format!("334 {}", STANDARD.encode("Username:")))
                .await?;
            let user = STANDARD.decode(self.line().await?).unwrap();
            self.say(&format!("334 {}", STANDARD.encode("Password:")))
                .await?;
            (user, STANDARD.decode(self.line().await?).unwrap())
        };
        let wanted = self.behaviour().login.unwrap_or_default();
        self.logged_in = given == (wanted.0.into(), wanted.1.into());
        let reply = if self.logged_in {
            "235 2.7.0 welcome"
        } else {
            "535 5.7.8 who are you"
        };
        self.reply(Stage::Auth, reply).await
    }

    async fn mail(&mut self, argument: &str) -> End {
        if self.behaviour().login.is_some() && !self.logged_in {
            return self.say("530 5.7.0 log in first").await;
        }
        self.from = Some(bracketed(argument));
        self.to.clear();
        self.reply(Stage::Mail, "250 2.1.0 ok").await
    }

    async fn data(&mut self) -> End {
        self.reply(Stage::Data, "354 go on").await?;
        if self.fault_at(Stage::Data).is_some() {
            return Ok(());
        }
        let mut bytes = Vec::new();
        loop {
            let start = bytes.len();
            if self.stream.read_until(b'\n', &mut bytes).await? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            if &bytes[start..] == b".\r\n" {
                bytes.truncate(start);
                break;
            }
            if bytes[start] == b'.' {
                bytes.remove(start);
            }
        }
        if self.fault_at(Stage::Content).is_none() {
            let (from, parameters) = self.from.take().unwrap();
            let mail = Received {
                hello: self.hello.clone(),
                from,
                parameters,
                to: std::mem::take(&mut self.to),
                bytes,
                tls: self.tls,
                connection: self.connection,
            };
            // A test may have seen enough already.
            let _ = self.shared.received.send(mail);
        }
        self.reply(Stage::Content, "250 2.0.0 taken").await
    }

    fn behaviour(&self) -> Behaviour {
        self.shared.behaviour.lock().unwrap().clone()
    }

    fn fault_at(&self, stage: Stage) -> Option<Fault> {
        self.behaviour()
            .fault
            .filter(|(at, _)| *at == stage)
            .map(|(_, fault)| fault)
    }

    async fn reply(&mut self, stage: Stage, right: &str) -> End {
        match self.fault_at(stage) {
            None => self.say(right).await,
            Some(Fault::Say(wrong)) => self.say(wrong).await,
            Some(Fault::Drop) => Err(std::io::ErrorKind::ConnectionAborted.into()),
            Some(Fault::Hang) => {
                // Until the client goes away.
                let mut rest = Vec::new();
                self.stream.read_to_end(&mut rest).await?;
                Err(std::io::ErrorKind::UnexpectedEof.into())
            }
        }
    }

    async fn say(&mut self, reply: &str) -> End {
        self.stream
            .write_all(format!("{reply}\r\n").as_bytes())
            .await?;
        self.stream.flush().await
    }

    async fn line(&mut self) -> std::io::Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let line = line.trim_end().to_owned();
        self.shared
            .lines
            .lock()
            .unwrap()
            .push((line.clone(), self.tls));
        Ok(line)
    }
}

/// What stands between the outermost angle brackets, and what follows.
fn bracketed(argument: &str) -> (String, String) {
    let (_, rest) = argument.split_once('<').unwrap();
    let (inside, after) = rest.rsplit_once('>').unwrap();
    (inside.to_owned(), after.trim().to_owned())
}

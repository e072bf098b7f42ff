//! The real binary: exit codes, bad configuration, a second instance, signals, and SIGKILL at any moment.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test fails by a panic, and measures with the machine's own clock"
)]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

// The homeserver of the other tests serves here too.
#[path = "api/support/authority.rs"]
#[expect(dead_code, reason = "the other tests make it go wrong in more ways")]
mod authority;
#[path = "process/backup.rs"]
mod backup;
#[path = "api/support/dns.rs"]
#[expect(dead_code, reason = "the other tests make it go wrong in more ways")]
mod dns;
#[path = "process/doctor.rs"]
mod doctor;
#[path = "process/full_disk.rs"]
mod full_disk;
#[path = "api/support/gateway.rs"]
#[expect(dead_code, reason = "the other tests make it go wrong in more ways")]
mod gateway;
#[path = "api/support/homeserver.rs"]
#[expect(dead_code, reason = "the other tests make it go wrong in more ways")]
mod homeserver;
#[path = "api/support/http2.rs"]
mod http2;
#[path = "process/invitations.rs"]
mod invitations;
#[path = "process/logs.rs"]
mod logs;
#[path = "api/support/mailbox.rs"]
#[expect(dead_code, reason = "the other tests look closer")]
mod mailbox;
#[path = "process/mistakes.rs"]
mod mistakes;
#[path = "process/operator.rs"]
mod operator;
#[path = "process/package.rs"]
mod package;
#[path = "process/peppers.rs"]
mod peppers;
#[path = "process/phones.rs"]
mod phones;
#[path = "process/rename.rs"]
mod rename;
#[path = "process/sms.rs"]
mod sms;
#[path = "process/sockets.rs"]
mod sockets;
#[path = "process/tls.rs"]
mod tls;
#[path = "process/upgrade.rs"]
mod upgrade;

const PATIENCE: Duration = Duration::from_mins(1);

/// A folder with a configuration for a server on port 0.
struct Site {
    folder: TempDir,
}

impl Site {
    fn new() -> Self {
        let site = Self {
            folder: TempDir::new().unwrap(),
        };
        site.configure("");
        site
    }

    fn configure(&self, more: &str) {
        let text = format!(
            "[server]\nlisten = [\"127.0.0.1:0\"]\nworkers = 1\n\
             [store]\npath = \"{}\"\n[limits]\nenabled = false\n{more}",
            self.store().display()
        );
        std::fs::write(self.config(), text).unwrap();
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("identity.toml")
    }

    fn store(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bindery"));
        command.args(arguments).arg("--config").arg(self.config());
        command.current_dir(self.folder.path()).env_clear();
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs a command to its end.
    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Starts a server and waits until it serves.
    fn serve(&self) -> Running {
        Running::start(self.command(&[]))
    }
}

/// A server in a process of its own; killed when it is dropped.
struct Running {
    child: Child,
    address: SocketAddr,
    log: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
}

impl Running {
    #[track_caller]
    fn start(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let log = Arc::new(Mutex::new(String::new()));
        let (found, address) = mpsc::channel();
        let written = Arc::clone(&log);
        let reader = thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                written.lock().unwrap().extend([line.as_str(), "\n"]);
                if let Some((_, rest)) = line.split_once("listening on ") {
                    let first = rest.split([',', ' ']).next().unwrap();
                    let _ = found.send(first.parse().unwrap());
                }
            }
        });
        match address.recv_timeout(PATIENCE) {
            Ok(address) => Self {
                child,
                address,
                log,
                reader: Some(reader),
            },
            Err(error) => panic!(
                "the server did not start ({error}): {}",
                log.lock().unwrap()
            ),
        }
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-s", name, &pid])
                .status()
                .unwrap()
                .success()
        );
    }

    /// Waits until it has ended, and its log is whole.
    #[track_caller]
    fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                if let Some(reader) = self.reader.take() {
                    reader.join().unwrap();
                }
                return status;
            }
            assert!(Instant::now() < deadline, "the server did not end");
            thread::yield_now();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits for something that will happen.
#[track_caller]
fn until(mut happened: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !happened() {
        assert!(Instant::now() < deadline, "it did not happen");
        thread::yield_now();
    }
}

/// One HTTP exchange over a connection of its own: status and JSON, or nothing if the server went away.
fn call(address: SocketAddr, method: &str, path: &str, body: &Value) -> Option<(u16, Value)> {
    call_as(address, "none", method, path, body)
}

/// The same with an `Authorization`.
fn call_as(
    address: SocketAddr,
    authorization: &str,
    method: &str,
    path: &str,
    body: &Value,
) -> Option<(u16, Value)> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Authorization: {authorization}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let status = answer.split(' ').nth(1)?.parse().ok()?;
    let body = answer.split_once("\r\n\r\n")?.1;
    Some((status, serde_json::from_str(body).ok()?))
}

const V1: &str = "/_matrix/identity/api/v1";

/// Proves an address and answers the session's id.
fn validated(address: SocketAddr, store: &Path, email: &str, secret: &str) -> String {
    let body = json!({ "email": email, "client_secret": secret, "send_attempt": 1 });
    let path = format!("{V1}/validate/email/requestToken");
    let (status, answer) = call(address, "POST", &path, &body).unwrap();
    assert_eq!(status, 200, "{answer}");
    let sid = answer["sid"].as_str().unwrap().to_owned();
    let token = mailed_token(store, &sid);
    let body = json!({ "sid": sid, "client_secret": secret, "token": token });
    let path = format!("{V1}/validate/email/submitToken");
    let (status, answer) = call(address, "POST", &path, &body).unwrap();
    assert_eq!(status, 200, "{answer}");
    sid
}

/// The token in the mail of a session.
fn mailed_token(store: &Path, sid: &str) -> String {
    let mails = std::fs::read_dir(store.join("outbox")).unwrap();
    let needle = format!("sid={sid}&token=");
    mails
        .map(|mail| {
            std::fs::read_to_string(mail.unwrap().path())
                .unwrap()
                .replace("=\r\n", "")
                .replace("=3D", "=")
        })
        .find_map(|text| {
            let (_, rest) = text.split_once(&needle)?;
            Some(
                rest.chars()
                    .take_while(|c| c.is_ascii_alphanumeric() || "-_".contains(*c))
                    .collect::<String>(),
            )
        })
        .unwrap()
}

fn bound(address: SocketAddr, email: &str) -> Option<String> {
    let path = format!("{V1}/lookup?medium=email&address={email}");
    let (status, answer) = call(address, "GET", &path, &Value::Null).unwrap();
    assert_eq!(status, 200, "{answer}");
    answer["mxid"].as_str().map(ToOwned::to_owned)
}

/// How many lines of a log are the program's own last words.
fn complaints(log: &str) -> usize {
    log.lines()
        .filter(|line| line.starts_with("bindery: "))
        .count()
}

/// What a failed command prints: the log, and why it failed.
#[track_caller]
fn complaint(output: &Output) -> String {
    let text = String::from_utf8(output.stderr.clone()).unwrap();
    assert!(!output.status.success(), "{text}");
    assert!(!text.contains("panicked"), "{text}");
    text
}

#[test]
fn version_and_help_are_there() {
    let site = Site::new();
    let output = Command::new(env!("CARGO_BIN_EXE_bindery"))
        .arg("--version")
        .output()
        .unwrap();
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("bindery "));
    let help = site.run(&["--help"]);
    let text = String::from_utf8_lossy(&help.stdout).into_owned();
    assert!(help.status.success());
    for word in ["serve", "check", "test-mail", "test-sms", "Examples"] {
        assert!(text.contains(word), "{word} is not in:\n{text}");
    }
}

#[test]
fn check_passes_on_a_good_site_and_names_every_mistake_of_a_bad_one() {
    let site = Site::new();
    let output = site.run(&["check"]);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );

    site.configure(
        "[email]\ntransport = \"pigeon\"\n[sessions]\nemail_lifetime = \"soon\"\nlifetime = 1\n",
    );
    let text = complaint(&site.run(&["check"]));
    for word in [
        "identity.toml",
        "email.transport",
        "sessions.email_lifetime",
        "sessions.lifetime",
    ] {
        assert!(text.contains(word), "{word} is not in: {text}");
    }
    assert_eq!(complaint(&site.run(&[])), text, "serving says the same");
}

#[test]
fn a_second_instance_is_refused_and_the_first_goes_on() {
    let site = Site::new();
    let first = site.serve();
    let text = complaint(&site.run(&[]));
    assert!(text.contains("already"), "{text}");
    assert!(call(first.address, "GET", "/_matrix/identity/v2", &Value::Null).is_some());
    let checked = site.run(&["check"]);
    assert!(
        checked.status.success(),
        "{}",
        String::from_utf8_lossy(&checked.stderr)
    );
}

#[test]
fn a_taken_port_and_a_foreign_store_are_one_sentence_each() {
    let site = Site::new();
    let mut first = site.serve();
    let other = Site::new();
    let text = std::fs::read_to_string(other.config()).unwrap();
    std::fs::write(
        other.config(),
        text.replace("127.0.0.1:0", &first.address.to_string()),
    )
    .unwrap();
    let taken = complaint(&other.run(&[]));
    assert!(
        taken.contains("server.listen") && complaints(&taken) == 1,
        "{taken}"
    );

    first.signal("TERM");
    assert!(first.wait().success());
    let text = std::fs::read_to_string(site.config()).unwrap();
    std::fs::write(
        site.config(),
        text.replace("[server]", "[server]\nname = \"other.example\""),
    )
    .unwrap();
    let foreign = complaint(&site.run(&[]));
    assert!(
        foreign.contains("other.example") && foreign.contains("localhost"),
        "{foreign}"
    );
}

#[test]
fn lost_and_exposed_keys_are_not_replaced() {
    use std::os::unix::fs::PermissionsExt;
    let site = Site::new();
    let mut first = site.serve();
    first.signal("INT");
    assert!(first.wait().success());
    let key = site.store().join("signing.key");
    assert_eq!(
        std::fs::metadata(&key).unwrap().permissions().mode() & 0o777,
        0o600
    );

    std::fs::set_permissions(&key, PermissionsExt::from_mode(0o644)).unwrap();
    assert!(complaint(&site.run(&[])).contains("chmod 600"));
    std::fs::set_permissions(&key, PermissionsExt::from_mode(0o600)).unwrap();
    std::fs::rename(&key, site.store().join("signing.key.saved")).unwrap();
    assert!(complaint(&site.run(&[])).contains("backup"));
    assert!(!key.exists(), "no new key was made");
    std::fs::rename(site.store().join("signing.key.saved"), &key).unwrap();
    site.serve();
}

#[test]
fn sigterm_finishes_what_runs() {
    let site = Site::new();
    let mut server = site.serve();
    let address = server.address;
    let stopping = Arc::new(AtomicBool::new(false));
    let answered = Arc::new(AtomicUsize::new(0));
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (stopping, answered) = (Arc::clone(&stopping), Arc::clone(&answered));
            thread::spawn(move || {
                while !stopping.load(Ordering::SeqCst) {
                    if call(address, "GET", "/_matrix/identity/versions", &Value::Null).is_some() {
                        answered.fetch_add(1, Ordering::SeqCst);
                    }
                }
            })
        })
        .collect();
    // The signal is to come in the middle of their work.
    while answered.load(Ordering::SeqCst) < 10 {
        thread::yield_now();
    }
    // A request whose body is still on its way when the signal comes.
    let mut slow = TcpStream::connect(address).unwrap();
    slow.set_read_timeout(Some(PATIENCE)).unwrap();
    let body = json!({ "sid": "x", "client_secret": "s", "mxid": "@a:b" }).to_string();
    let head = format!(
        "POST {V1}/3pid/bind HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\nExpect: 100-continue\r\n\r\n",
        body.len()
    );
    slow.write_all(head.as_bytes()).unwrap();
    let mut first = [0; 12];
    slow.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 100", "the server reads the body now");

    server.signal("TERM");
    while !server.log.lock().unwrap().contains("stopping") {
        thread::yield_now();
    }
    slow.write_all(body.as_bytes()).unwrap();
    let mut answer = String::new();
    slow.read_to_string(&mut answer).unwrap();
    assert!(
        answer.contains("404") && answer.contains("M_NO_VALID_SESSION"),
        "{answer}"
    );
    assert!(server.wait().success());
    stopping.store(true, Ordering::SeqCst);
    for client in clients {
        client.join().unwrap();
    }
}

#[test]
fn a_second_signal_does_not_wait() {
    let site = Site::new();
    let mut server = site.serve();
    let mut hanging = TcpStream::connect(server.address).unwrap();
    hanging
        .write_all(
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\nExpect: 100-continue\r\n\r\n",
        )
        .unwrap();
    let started = Instant::now();
    server.signal("TERM");
    while !server.log.lock().unwrap().contains("stopping") {
        thread::yield_now();
    }
    server.signal("TERM");
    server.wait();
    assert!(
        started.elapsed() < Duration::from_secs(20),
        "it waited for the hanging request"
    );
}

#[test]
fn systemd_is_told_when_the_server_is_ready_and_when_it_stops() {
    let site = Site::new();
    let socket = site.folder.path().join("notify.sock");
    let notified = std::os::unix::net::UnixDatagram::bind(&socket).unwrap();
    notified.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut command = site.command(&[]);
    command
        .env("NOTIFY_SOCKET", &socket)
        .env("WATCHDOG_USEC", "400000");
    let mut server = Running::start(command);
    let told = || {
        let mut bytes = [0; 512];
        let length = notified.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    };
    let mut seen = String::new();
    while !(seen.contains("READY=1") && seen.contains("WATCHDOG=1")) {
        seen.push_str(&told());
    }
    server.signal("TERM");
    while !seen.contains("STOPPING=1") {
        seen.push_str(&told());
    }
    assert!(server.wait().success());
}

#[test]
fn a_request_leaves_one_line_without_addresses_tokens_or_secrets() {
    let site = Site::new();
    let mut server = site.serve();
    let sid = validated(
        server.address,
        &site.store(),
        "alice@example.org",
        "hush-hush",
    );
    let body = json!({ "sid": sid, "client_secret": "hush-hush", "mxid": "@alice:hs.example" });
    call(server.address, "POST", &format!("{V1}/3pid/bind"), &body).unwrap();
    assert!(bound(server.address, "alice@example.org").is_some());
    server.signal("TERM");
    assert!(server.wait().success());
    let log = server.log.lock().unwrap().clone();
    for secret in ["alice@example.org", "alice", "hush-hush", &sid, "token="] {
        assert!(!log.contains(secret), "{secret} is in the log:\n{log}");
    }
    let lines = log
        .lines()
        .filter(|line| line.contains("request_id="))
        .count();
    assert_eq!(lines, 4, "{log}");
}

#[test]
fn a_damaged_index_is_rebuilt_and_a_damaged_journal_refused() {
    let site = Site::new();
    let stopped = |mut server: Running| {
        server.signal("TERM");
        assert!(server.wait().success());
        server.log.lock().unwrap().clone()
    };
    let server = site.serve();
    let sid = validated(server.address, &site.store(), "alice@example.org", "s");
    let body = json!({ "sid": sid, "client_secret": "s", "mxid": "@alice:hs.example" });
    call(server.address, "POST", &format!("{V1}/3pid/bind"), &body).unwrap();
    stopped(server);

    std::fs::write(site.store().join("index/db"), [0x5a; 4096]).unwrap();
    let socket = site.folder.path().join("notify.sock");
    let notified = std::os::unix::net::UnixDatagram::bind(&socket).unwrap();
    notified.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut command = site.command(&[]);
    command.env("NOTIFY_SOCKET", &socket);
    let server = Running::start(command);
    let found = bound(server.address, "alice@example.org");
    assert_eq!(found.as_deref(), Some("@alice:hs.example"));
    let mut bytes = [0; 512];
    let length = notified.recv(&mut bytes).unwrap();
    let told = String::from_utf8_lossy(&bytes[..length]).into_owned();
    assert!(told.contains("EXTEND_TIMEOUT_USEC="), "{told}");
    let log = stopped(server);
    let why: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("rebuilding the index"))
        .collect();
    assert_eq!(why.len(), 1, "{log}");
    assert!(!stopped(site.serve()).contains("rebuilding"));

    let segments = std::fs::read_dir(site.store().join("journal")).unwrap();
    let mut segments: Vec<PathBuf> = segments.map(|entry| entry.unwrap().path()).collect();
    segments.sort();
    let mut bytes = std::fs::read(&segments[0]).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&segments[0], bytes).unwrap();
    let text = complaint(&site.run(&[]));
    assert!(
        text.contains("is damaged at byte") && text.contains("estore a backup"),
        "{text}"
    );
}

/// SIGKILL at random moments while clients bind and unbind. Each client knows what was acknowledged; a change that was
/// under way when the process died may be there or not, but is never half there.
#[test]
fn acknowledged_changes_survive_sigkill() {
    const CLIENTS: usize = 3;
    let rounds: u64 = std::env::var("BINDERY_KILL_ROUNDS")
        .ok()
        .and_then(|rounds| rounds.parse().ok())
        .unwrap_or(100);
    let site = Site::new();
    let mut server = site.serve();
    let addresses: Vec<String> = (0..CLIENTS)
        .map(|n| format!("user{n}@example.org"))
        .collect();
    let sids: Vec<String> = addresses
        .iter()
        .map(|email| validated(server.address, &site.store(), email, "s"))
        .collect();
    // What must be there, and what may be there instead.
    let mut states: Vec<(Option<String>, Option<Option<String>>)> = vec![(None, None); CLIENTS];
    for round in 0..rounds {
        let address = server.address;
        let clients: Vec<_> = (0..CLIENTS)
            .map(|n| {
                let (sid, email) = (sids[n].clone(), addresses[n].clone());
                let mut state = states[n].clone();
                thread::spawn(move || {
                    for step in 0_u32.. {
                        let mxid = format!("@r{round}s{step}:hs.example");
                        let (path, body, wanted) = if step % 3 == 2 {
                            let current = state.0.clone().unwrap();
                            let threepid = json!({ "medium": "email", "address": email });
                            ("unbind", json!({ "sid": sid, "client_secret": "s", "mxid": current, "threepid": threepid }), None)
                        } else {
                            ("bind", json!({ "sid": sid, "client_secret": "s", "mxid": mxid }), Some(mxid))
                        };
                        state.1 = Some(wanted.clone());
                        match call(address, "POST", &format!("{V1}/3pid/{path}"), &body) {
                            Some((200, _)) => state = (wanted, None),
                            Some(other) => panic!("{other:?}"),
                            None => break,
                        }
                    }
                    state
                })
            })
            .collect();
        // Any moment is a good one; this spreads them over the first tenth of a second.
        thread::park_timeout(Duration::from_millis(5 + (round * 37) % 100));
        server.signal("KILL");
        server.wait();
        states = clients
            .into_iter()
            .map(|client| client.join().unwrap())
            .collect();
        server = site.serve();
        for (n, (acknowledged, under_way)) in states.iter_mut().enumerate() {
            let found = bound(server.address, &addresses[n]);
            let allowed = found == *acknowledged || under_way.as_ref() == Some(&found);
            assert!(
                allowed,
                "round {round}: found {found:?}, acknowledged {acknowledged:?}, under way {under_way:?}"
            );
            *acknowledged = found;
            *under_way = None;
        }
    }
}

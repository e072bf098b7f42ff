//! Where the server listens: sockets that systemd passes, unix sockets, and places that it cannot have.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::operator::says;
use super::{PATIENCE, Running, Site, call, complaint, complaints, until};

const VERSIONS: &str = "/_matrix/identity/versions";

/// One HTTP exchange over a unix socket, with what a proxy says of the client.
fn over(socket: &Path, path: &str, forwarded: &str) -> Option<u16> {
    let mut stream = UnixStream::connect(socket).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nX-Forwarded-For: {forwarded}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.split(' ').nth(1)?.parse().ok()
}

/// The server as systemd would start it, with two sockets of these names. A shell brings them to the numbers that they are
/// passed under.
fn passed(site: &Site, first: (&str, OwnedFd), second: (&str, OwnedFd)) -> Command {
    let mut command = Command::new("sh");
    let names = format!("{}:{}", first.0, second.0);
    let script = "LISTEN_PID=$$ exec \"$@\" 3<&0 4<&1 0</dev/null 1>/dev/null";
    command
        .args([
            "-c",
            script,
            "sh",
            env!("CARGO_BIN_EXE_bindery"),
            "--config",
        ])
        .arg(site.config())
        .current_dir(site.folder.path())
        .env_clear()
        .envs([("LISTEN_FDS", "2"), ("LISTEN_FDNAMES", &names)])
        .stdin(Stdio::from(first.1))
        .stdout(Stdio::from(second.1))
        .stderr(Stdio::piped());
    command
}

#[test]
fn sockets_of_systemd_take_the_place_of_the_configured_ones() {
    let site = Site::new();
    // What is configured could not be had.
    let text = std::fs::read_to_string(site.config()).unwrap();
    let text = text.replace("127.0.0.1:0", "192.0.2.1:80");
    let metrics = "[metrics]\nlisten = \"192.0.2.1:81\"\n";
    std::fs::write(site.config(), text + metrics).unwrap();
    let public = TcpListener::bind("127.0.0.1:0").unwrap();
    let monitoring = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, monitored) = (
        public.local_addr().unwrap(),
        monitoring.local_addr().unwrap(),
    );
    // Whoever comes before the server waits for it.
    let mut early = std::net::TcpStream::connect(address).unwrap();
    early.set_read_timeout(Some(PATIENCE)).unwrap();
    let head = format!("GET {VERSIONS} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    early.write_all(head.as_bytes()).unwrap();

    let sockets = (
        ("public", OwnedFd::from(public.try_clone().unwrap())),
        ("metrics", OwnedFd::from(monitoring)),
    );
    let mut server = Running::start(passed(&site, sockets.0, sockets.1));
    assert_eq!(server.address, address);
    let mut answer = String::new();
    early.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(call(address, "GET", VERSIONS, &Value::Null).unwrap().0, 200);
    let mut health = std::net::TcpStream::connect(monitored).unwrap();
    health.set_read_timeout(Some(PATIENCE)).unwrap();
    let head = "GET /health/ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    health.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    health.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    server.signal("TERM");
    assert!(server.wait().success());
}

#[test]
fn unix_sockets_of_systemd_outlive_the_server() {
    let site = Site::new();
    let (public, admin) = (
        site.folder.path().join("public.sock"),
        site.folder.path().join("admin.sock"),
    );
    site.configure(&format!("[admin]\nsocket = \"{}\"\n", admin.display()));
    let listeners = [&public, &admin].map(|path| UnixListener::bind(path).unwrap());
    for _ in 0..2 {
        let [first, second] = [&listeners[0], &listeners[1]]
            .map(|listener| OwnedFd::from(listener.try_clone().unwrap()));
        let mut command = passed(&site, ("public", first), ("admin", second));
        let mut server = command.spawn().unwrap();
        // The queue of the socket holds this until the server is there.
        assert_eq!(over(&public, VERSIONS, "192.0.2.7"), Some(200));
        assert!(says(&site, &["status"]).contains("localhost"));
        assert!(!site.store().join("admin.sock").exists());
        let pid = server.id().to_string();
        let told = Command::new("kill").args(["-s", "TERM", &pid]).status();
        assert!(told.unwrap().success());
        assert!(server.wait().unwrap().success());
        assert!(public.exists() && admin.exists());
    }
}

#[test]
fn a_socket_of_systemd_without_a_known_name_is_one_sentence() {
    let site = Site::new();
    let listener = || OwnedFd::from(TcpListener::bind("127.0.0.1:0").unwrap());
    let sockets = (("public", listener()), ("bindery.socket", listener()));
    let output = passed(&site, sockets.0, sockets.1).output().unwrap();
    let text = complaint(&output);
    assert!(
        text.contains("FileDescriptorName=") && complaints(&text) == 1,
        "{text}"
    );
}

#[test]
fn a_unix_socket_is_served_and_its_file_goes_with_the_server() {
    let site = Site::new();
    let (public, metrics) = (
        site.folder.path().join("public.sock"),
        site.folder.path().join("metrics.sock"),
    );
    let text = std::fs::read_to_string(site.config()).unwrap();
    let listen = format!("127.0.0.1:0\", \"unix:{}", public.display());
    let monitoring = format!("[metrics]\nlisten = \"unix:{}\"\n", metrics.display());
    std::fs::write(
        site.config(),
        text.replace("127.0.0.1:0", &listen) + &monitoring,
    )
    .unwrap();

    let mut server = site.serve();
    assert_eq!(over(&public, VERSIONS, "192.0.2.7"), Some(200));
    assert_eq!(over(&metrics, "/health/ready", "-"), Some(200));
    // Other users, such as that of the proxy, may use it as far as they reach its folder.
    let mode = std::fs::metadata(&public).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o666);
    until(|| server.log.lock().unwrap().contains("client=192.0.2.7"));
    let log = server.log.lock().unwrap().clone();
    let places = format!("{}, unix:{},", server.address, public.display());
    assert!(log.contains(&places), "{log}");

    // What a killed server leaves behind is replaced; what another one uses, or is no socket, is not.
    server.signal("KILL");
    server.wait();
    assert!(public.exists());
    let mut server = site.serve();
    assert_eq!(over(&public, VERSIONS, "192.0.2.7"), Some(200));
    let other = Site::new();
    let text = std::fs::read_to_string(other.config()).unwrap();
    let taken = format!("unix:{}", public.display());
    std::fs::write(other.config(), text.replace("127.0.0.1:0", &taken)).unwrap();
    let text = complaint(&other.run(&[]));
    assert!(
        text.contains("server.listen") && text.contains("another server") && complaints(&text) == 1,
        "{text}"
    );
    assert_eq!(over(&public, VERSIONS, "192.0.2.7"), Some(200));
    server.signal("TERM");
    assert!(server.wait().success());
    assert!(!public.exists() && !metrics.exists());
    std::fs::write(&public, "precious").unwrap();
    let text = complaint(&other.run(&[]));
    assert!(text.contains("not a socket"), "{text}");
    assert_eq!(std::fs::read_to_string(&public).unwrap(), "precious");
}

#[test]
fn a_place_that_cannot_be_listened_on_is_one_sentence_that_says_what_to_change() {
    let site = Site::new();
    let text = std::fs::read_to_string(site.config()).unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let long = format!("unix:/tmp/{}", "x".repeat(99));
    for (listen, words) in [
        (taken.local_addr().unwrap().to_string(), "another program"),
        ("192.0.2.1:8090".to_owned(), "does not have that address"),
        ("unix:/no/such/folder/x".to_owned(), "/no/such/folder/x"),
        (long, "at most 103 bytes"),
        ("localhost:8090".to_owned(), "addresses with a port"),
    ] {
        let text = text.replace("127.0.0.1:0", &listen);
        std::fs::write(site.config(), text).unwrap();
        let said = complaint(&site.run(&[]));
        assert!(said.contains(words), "{said}");
        assert!(said.contains("server.listen"), "{said}");
        assert_eq!(complaints(&said), 1, "{said}");
    }
    let admin = format!("[admin]\nsocket = \"/tmp/{}\"\n", "x".repeat(99));
    std::fs::write(site.config(), text.clone() + &admin).unwrap();
    let said = complaint(&site.run(&[]));
    assert!(
        said.contains("admin.socket") && said.contains("103") && complaints(&said) == 1,
        "{said}"
    );
    let metrics = format!("[metrics]\nlisten = \"{}\"\n", taken.local_addr().unwrap());
    std::fs::write(site.config(), text + &metrics).unwrap();
    let said = complaint(&site.run(&[]));
    assert!(
        said.contains("metrics.listen") && said.contains("another program"),
        "{said}"
    );
}

//! The server's own TLS: certificates that are shown, changed, and refused; HTTP/2; and clients that dawdle.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use bindery::config::{Listen, PublicUrl, TlsFiles};
use bindery::types::Timestamp;
use futures_util::future::join_all;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::authority::Authority;
use crate::support::client::Client;
use crate::support::http2::{Http2, handshake};
use crate::support::server::{REQUEST_TOKEN, TestServer};

const NAME: &str = "id.example.org";
const VERSIONS: &str = "/_matrix/identity/versions";

/// A folder with the two files of a certificate.
struct Folder(TempDir);

impl Folder {
    fn new(pair: (String, String)) -> Self {
        let folder = Self(TempDir::new().unwrap());
        folder.write(pair);
        folder
    }

    fn files(&self) -> TlsFiles {
        TlsFiles {
            certificate: self.0.path().join("fullchain.pem"),
            private_key: self.0.path().join("privkey.pem"),
        }
    }

    /// Replaces both, each in one step, as those do who renew certificates.
    fn write(&self, (certificate, key): (String, String)) {
        replace(&self.files().certificate, &certificate, 0o644);
        replace(&self.files().private_key, &key, 0o600);
    }
}

fn replace(file: &Path, text: &str, mode: u32) {
    let new: PathBuf = file.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::set_permissions(&new, fs::Permissions::from_mode(mode)).unwrap();
    fs::rename(new, file).unwrap();
}

async fn serve(files: TlsFiles) -> TestServer {
    TestServer::start_with(|config| {
        config.tls.files = Some(files);
        config.metrics.listen = Some(Listen::Tcp(SocketAddr::from(([127, 0, 0, 1], 0))));
    })
    .await
}

async fn metric(server: &TestServer, name: &str) -> u64 {
    let text = server
        .monitoring
        .as_ref()
        .unwrap()
        .get("/metrics", &[])
        .await
        .text;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap().trim().parse().unwrap()
}

const DONE: &str = "bindery_certificate_reloads_total{outcome=\"done\"}";
const REFUSED: &str = "bindery_certificate_reloads_total{outcome=\"refused\"}";
const ENDS: &str = "bindery_certificate_expiry_timestamp_seconds";

/// The certificate that the server shows.
async fn shown(server: &TestServer, authority: &Authority) -> Vec<u8> {
    let address = server.client.address();
    let (certificate, _, _) = handshake(address, NAME, authority, &[]).await.unwrap();
    certificate.to_vec()
}

#[tokio::test]
async fn a_listener_with_a_certificate_speaks_tls_and_nothing_else() {
    let authority = Authority::new();
    let folder = Folder::new(authority.certify(NAME));
    let server = serve(folder.files()).await;
    let address = server.client.address();
    let client = Client::secure(address, NAME, &authority);
    client.get(VERSIONS, &[]).await.ok();
    let body = json!({ "email": "alice@example.org", "client_secret": "s", "send_attempt": 1 });
    client.post(REQUEST_TOKEN, body).await.ok();
    assert_eq!(server.mails().len(), 1);

    // A client that knows another authority only turns away; so does one that speaks plain HTTP.
    let stranger = Authority::called("another authority");
    assert!(handshake(address, NAME, &stranger, &[]).await.is_err());
    assert!(
        handshake(address, "other.example", &authority, &[])
            .await
            .is_err()
    );
    let mut plain = TcpStream::connect(address).await.unwrap();
    plain
        .write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP"));
    client.get(VERSIONS, &[]).await.ok();
}

#[tokio::test]
async fn only_the_listeners_that_are_named_speak_tls() {
    let authority = Authority::new();
    let folder = Folder::new(authority.certify(NAME));
    let server = TestServer::start_with(|config| {
        let secure = SocketAddr::from(([127, 0, 0, 2], 0));
        config.server.listen.push(Listen::Tcp(secure));
        config.tls.files = Some(folder.files());
        config.tls.listen = Some(vec![secure]);
    })
    .await;
    server.client.get(VERSIONS, &[]).await.ok();
    let secure = server.addresses[1];
    assert_eq!(secure.ip().to_string(), "127.0.0.2");
    let client = Client::secure(secure, NAME, &authority);
    client.get(VERSIONS, &[]).await.ok();
}

#[tokio::test]
async fn http_2_is_what_a_client_gets_that_offers_it() {
    let authority = Authority::new();
    let folder = Folder::new(authority.certify(NAME));
    let server = serve(folder.files()).await;
    let address = server.client.address();
    for (offered, chosen) in [
        (&["h2", "http/1.1"][..], Some("h2")),
        (&["http/1.1"], Some("http/1.1")),
        (&[], None),
    ] {
        let (_, protocol, _) = handshake(address, NAME, &authority, offered).await.unwrap();
        assert_eq!(protocol.as_deref(), chosen);
    }

    let client = Http2::connect(address, NAME, &authority).await;
    let (status, headers, text) = client.send("GET", VERSIONS, None).await.unwrap();
    assert_eq!(status, 200, "{text}");
    assert_eq!(headers["access-control-allow-origin"], "*");
    assert!(headers.contains_key("x-request-id"));
    let body = json!({ "email": "alice@example.org", "client_secret": "s", "send_attempt": 1 });
    let body = body.to_string().into_bytes();
    let (status, _, text) = client
        .send("POST", REQUEST_TOKEN, Some(body))
        .await
        .unwrap();
    assert_eq!(status, 200, "{text}");
    let (status, _, text) = client.send("GET", "/nowhere", None).await.unwrap();
    let answer: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (status, &answer["errcode"]),
        (404, &json!("M_UNRECOGNIZED"))
    );
    let (status, _, text) = client.send("POST", REQUEST_TOKEN, None).await.unwrap();
    assert_eq!(status, 400, "{text}");

    // Many at once, on one connection, and the connection outlives a body that is too large.
    let many = join_all((0..100).map(|_| client.send("GET", VERSIONS, None))).await;
    assert!(many.iter().all(|answer| matches!(answer, Ok((200, ..)))));
    let large = vec![b' '; 300_000];
    match client.send("POST", REQUEST_TOKEN, Some(large)).await {
        Ok((status, _, text)) => assert_eq!(status, 413, "{text}"),
        Err(error) => assert!(error.is_reset(), "{error}"),
    }
    let (status, ..) = client.send("GET", VERSIONS, None).await.unwrap();
    assert_eq!(status, 200);
}

#[tokio::test]
async fn changed_files_are_taken_up_without_a_restart() {
    let authority = Authority::new();
    let folder = Folder::new(authority.certify_until(NAME, 2060));
    let server = serve(folder.files()).await;
    let certificates = server.certificates.clone().unwrap();
    assert_eq!(metric(&server, ENDS).await, 2_840_140_800);
    let first = shown(&server, &authority).await;
    let kept = Http2::connect(server.client.address(), NAME, &authority).await;
    certificates.run_once();
    assert_eq!(metric(&server, DONE).await, 0, "nothing has changed");

    folder.write(authority.certify_until(NAME, 2050));
    certificates.run_once();
    let second = shown(&server, &authority).await;
    assert_ne!(first, second);
    assert_eq!(metric(&server, DONE).await, 1);
    assert_eq!(metric(&server, ENDS).await, 2_524_608_000);
    // Connections that were there go on.
    let (status, ..) = kept.send("GET", VERSIONS, None).await.unwrap();
    assert_eq!(status, 200);
}

#[tokio::test]
async fn new_files_that_cannot_be_used_leave_the_old_ones_in_force() {
    let authority = Authority::new();
    let folder = Folder::new(authority.certify(NAME));
    let server = serve(folder.files()).await;
    let certificates = server.certificates.clone().unwrap();
    let first = shown(&server, &authority).await;
    let files = folder.files();
    let (certificate, key) = authority.certify(NAME);
    let (_, other_key) = authority.certify(NAME);
    let locked = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    let (old, old_key) = authority.certify_until(NAME, 2001);
    let (cut, _) = certificate.split_at(200);
    let broken = [
        ("", key.as_str(), 0o600, "must be a PEM file"),
        ("nonsense", &key, 0o600, "must be a PEM file"),
        (cut, &key, 0o600, "must be a PEM file"),
        (&key, &key, 0o600, "must be a PEM file"),
        (
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            &key,
            0o600,
            "must be a PEM file",
        ),
        (&certificate, "", 0o600, "tls.private_key"),
        (&certificate, &certificate, 0o600, "tls.private_key"),
        (&certificate, &locked, 0o600, "no passphrase"),
        (
            &certificate,
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
            0o600,
            "cannot be used",
        ),
        (&certificate, &other_key, 0o600, "belong together"),
        (&certificate, &key, 0o644, "chmod"),
        (&old, &old_key, 0o600, "ended at 2001-01-01T00:00:00Z"),
    ];
    for (step, (certificate, key, mode, words)) in (1_u64..).zip(broken) {
        replace(&files.certificate, certificate, 0o644);
        replace(&files.private_key, key, mode);
        certificates.run_once();
        certificates.run_once();
        assert_eq!(shown(&server, &authority).await, first, "{words}");
        // It is counted once, however often it is looked at.
        assert_eq!(metric(&server, REFUSED).await, step, "{words}");
        let error = certificates.read(&files).err().unwrap().to_string();
        assert!(error.contains(words) && !error.contains('\n'), "{error}");
    }
    fs::remove_file(&files.private_key).unwrap();
    certificates.run_once();
    assert_eq!(shown(&server, &authority).await, first);
    let error = certificates.read(&files).err().unwrap().to_string();
    assert!(error.contains("cannot read") && error.contains("tls.private_key"));

    assert_eq!(metric(&server, DONE).await, 0);
    folder.write((certificate, key));
    certificates.run_once();
    assert_ne!(shown(&server, &authority).await, first);
    assert_eq!(metric(&server, DONE).await, 1);
}

#[tokio::test]
async fn a_reload_takes_other_files_or_changes_nothing_at_all() {
    let authority = Authority::new();
    let folder = Folder::new(authority.certify(NAME));
    let mut server = serve(folder.files()).await;
    let first = shown(&server, &authority).await;
    let elsewhere = Folder::new(authority.certify(NAME));
    let files = elsewhere.files();
    fs::remove_file(&files.private_key).unwrap();
    let reason = server.reload_refused(|config| {
        config.tls.files = Some(files.clone());
        config.api.next_link_hosts = vec!["app.example.org".to_owned()];
    });
    assert!(reason.contains("tls.private_key"), "{reason}");
    assert_eq!(shown(&server, &authority).await, first);
    let body = json!({
        "email": "alice@example.org", "client_secret": "s", "send_attempt": 1,
        "next_link": "https://elsewhere.example.org/",
    });
    let client = Client::secure(server.client.address(), NAME, &authority);
    client.post(REQUEST_TOKEN, body).await.ok();

    elsewhere.write(authority.certify(NAME));
    server.reload(|config| config.tls.files = Some(files.clone()));
    let second = shown(&server, &authority).await;
    assert_ne!(second, first);
    // From now on, these files are the ones that are watched.
    elsewhere.write(authority.certify(NAME));
    server.certificates.clone().unwrap().run_once();
    assert_ne!(shown(&server, &authority).await, second);
}

#[tokio::test]
async fn a_certificate_that_ends_while_it_is_in_force_is_still_shown() {
    let authority = Authority::new();
    // The server's clock stands in 2027, the machine's may stand anywhere before 2060.
    let folder = Folder::new(authority.certify_until(NAME, 2060));
    let server = serve(folder.files()).await;
    let certificates = server.certificates.clone().unwrap();
    let url = PublicUrl::parse("https://id.example.org").unwrap();
    assert_eq!(certificates.advice(&url), Vec::<String>::new());
    let first = shown(&server, &authority).await;
    server
        .clock
        .set_wall(Timestamp::from_millis(2_840_140_800_000));
    let advice = certificates.advice(&url);
    assert!(
        advice.len() == 1 && advice[0].contains("renew"),
        "{advice:?}"
    );
    assert_eq!(shown(&server, &authority).await, first);

    let other = PublicUrl::parse("https://elsewhere.example.org:8443").unwrap();
    let advice = certificates.advice(&other).join("\n");
    assert!(advice.contains("elsewhere.example.org"), "{advice}");
}

#[tokio::test]
async fn a_client_that_never_finishes_its_handshake_is_left() {
    let authority = Authority::new();
    let folder = Folder::new(authority.certify(NAME));
    let server = serve(folder.files()).await;
    let address = server.client.address();
    let mut silent = TcpStream::connect(address).await.unwrap();
    let mut slow = TcpStream::connect(address).await.unwrap();
    slow.write_all(&[22, 3, 1]).await.unwrap();
    // Others are served meanwhile.
    Client::secure(address, NAME, &authority)
        .get(VERSIONS, &[])
        .await
        .ok();
    for stream in [&mut silent, &mut slow] {
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
    }
    Client::secure(address, NAME, &authority)
        .get(VERSIONS, &[])
        .await
        .ok();
}

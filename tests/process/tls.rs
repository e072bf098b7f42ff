//! The certificate of a server in a process of its own: what is refused at the start, and a renewal on SIGHUP.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};

use super::authority::Authority;
use super::http2::Http2;
use super::operator::says;
use super::{PATIENCE, Site, complaint, complaints, until};

const NAME: &str = "id.example.org";

/// Writes the files of a certificate into the folder of a site.
fn write(site: &Site, (certificate, key): &(String, String)) -> [PathBuf; 2] {
    let files = ["fullchain.pem", "privkey.pem"].map(|name| site.folder.path().join(name));
    fs::write(&files[0], certificate).unwrap();
    fs::write(&files[1], key).unwrap();
    fs::set_permissions(&files[1], fs::Permissions::from_mode(0o640)).unwrap();
    files
}

fn configure(site: &Site, files: &[PathBuf; 2]) {
    let [certificate, key] = files.each_ref().map(|file| file.display());
    site.configure(&format!(
        "[tls]\ncertificate = \"{certificate}\"\nprivate_key = \"{key}\"\n"
    ));
}

/// Fetches a path over TLS; answers it with the certificate that was shown.
fn fetch(address: SocketAddr, authority: &Authority) -> (String, Vec<u8>) {
    let name = ServerName::try_from(NAME).unwrap();
    let connection = ClientConnection::new(Arc::new(authority.client()), name).unwrap();
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut stream = StreamOwned::new(connection, stream);
    stream
        .write_all(b"GET /_matrix/identity/v2 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    let shown = stream.conn.peer_certificates().unwrap()[0].to_vec();
    (answer, shown)
}

#[test]
fn a_certificate_that_cannot_be_used_is_one_sentence_that_says_what_to_change() {
    let authority = Authority::new();
    let (certificate, key) = authority.certify(NAME);
    let (_, other_key) = authority.certify(NAME);
    let site = Site::new();
    for (certificate, key, mode, words) in [
        (&certificate, &other_key, 0o600, "belong together"),
        (&certificate, &key, 0o644, "chmod o-rwx"),
        (&key, &key, 0o600, "must be a PEM file"),
        (&certificate, &certificate, 0o600, "no passphrase"),
    ] {
        let files = write(&site, &(certificate.clone(), key.clone()));
        fs::set_permissions(&files[1], fs::Permissions::from_mode(mode)).unwrap();
        configure(&site, &files);
        for arguments in [&[][..], &["check"]] {
            let said = complaint(&site.run(arguments));
            assert!(said.contains(words) && said.contains("tls."), "{said}");
            assert_eq!(complaints(&said), 1, "{said}");
        }
    }
    let mut files = write(&site, &(certificate, key));
    files[0] = site.folder.path().join("nowhere.pem");
    configure(&site, &files);
    let said = complaint(&site.run(&[]));
    assert!(
        said.contains("nowhere.pem") && said.contains("tls.certificate"),
        "{said}"
    );
}

#[test]
fn a_renewed_certificate_is_taken_up_by_a_hangup_and_a_broken_one_is_not() {
    let authority = Authority::new();
    let site = Site::new();
    let files = write(&site, &authority.certify(NAME));
    configure(&site, &files);
    assert!(says(&site, &["check"]).contains("certificate    ok, until "));
    let mut server = site.serve();
    let (answer, first) = fetch(server.address, &authority);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let log = server.log.lock().unwrap().clone();
    assert!(log.contains(" with TLS"), "{log}");

    write(&site, &authority.certify(NAME));
    server.signal("HUP");
    until(|| server.log.lock().unwrap().contains("was read again"));
    let (_, second) = fetch(server.address, &authority);
    assert_ne!(first, second);

    let (certificate, _) = authority.certify(NAME);
    let (_, key) = authority.certify(NAME);
    write(&site, &(certificate, key));
    server.signal("HUP");
    until(|| server.log.lock().unwrap().contains("old one still holds"));
    let log = server.log.lock().unwrap().clone();
    let lines = log.lines().filter(|line| line.contains("belong together"));
    assert_eq!(lines.count(), 1, "{log}");
    assert_eq!(fetch(server.address, &authority).1, second);

    server.signal("TERM");
    assert!(server.wait().success());
}

#[test]
fn a_client_that_keeps_its_connection_does_not_keep_the_server_from_stopping() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let authority = Authority::new();
    let site = Site::new();
    configure(&site, &write(&site, &authority.certify(NAME)));
    let mut server = site.serve();
    let client = runtime.block_on(Http2::connect(server.address, NAME, &authority));
    let answer = runtime.block_on(client.send("GET", "/_matrix/identity/v2", None));
    assert_eq!(answer.unwrap().0, 200);
    let asked = Instant::now();
    server.signal("TERM");
    assert!(server.wait().success());
    assert!(asked.elapsed() < Duration::from_secs(25));
    drop(client);
}

#[test]
fn a_certificate_that_has_ended_is_a_warning_and_what_needs_no_tls_goes_on() {
    let authority = Authority::new();
    let site = Site::new();
    let files = write(&site, &authority.certify_until(NAME, 2001));
    configure(&site, &files);
    let server = site.serve();
    let log = server.log.lock().unwrap().clone();
    let warnings: Vec<_> = log.lines().filter(|line| line.contains("WARN")).collect();
    let ended = warnings
        .iter()
        .filter(|line| line.contains("ended at 2001-01-01T00:00:00Z"));
    assert_eq!(ended.count(), 1, "{log}");
    says(&site, &["status"]);
    assert!(says(&site, &["check"]).contains("ended at"));
}

//! The static binary in a root that holds nothing but itself and what `contrib/Containerfile` and a container engine put there:
//! no library, no shell, no device, and a user that no file knows.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;
use std::process::{Command, Output};

use serde_json::json;
use tempfile::TempDir;

use super::authority::Authority;
use super::client::Client;
use super::dns::DnsServer;
use super::homeserver::Homeserver;
use super::smtp::{Behaviour, SmtpServer};
use super::{Process, binary};

const NAME: &str = "id.bare.example";
/// The user of the container recipe.
const USER: u32 = 65532;
/// An address of loopback that nothing else uses; a resolver is only ever asked on port 53.
const RESOLVER: &str = "127.0.0.77";

/// The root, with the certificate of the server and what it trusts.
fn root(authority: &Authority) -> TempDir {
    let root = TempDir::new().unwrap();
    let path = |name: &str| root.path().join(name);
    for folder in ["etc", "tls", "data"] {
        fs::create_dir(path(folder)).unwrap();
    }
    fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
    chown(path("data"), Some(USER), Some(USER)).unwrap();
    fs::copy(binary(), path("bindery")).unwrap();
    fs::write(path("etc/resolv.conf"), format!("nameserver {RESOLVER}\n")).unwrap();
    fs::write(path("etc/hosts"), "127.0.0.1 mail.hosts.example\n").unwrap();
    let (certificate, key) = authority.certify(NAME);
    fs::write(path("tls/fullchain.pem"), certificate).unwrap();
    fs::write(path("tls/privkey.pem"), key).unwrap();
    fs::set_permissions(path("tls/privkey.pem"), fs::Permissions::from_mode(0o600)).unwrap();
    chown(path("tls/privkey.pem"), Some(USER), Some(USER)).unwrap();
    fs::copy(authority.file(), path("tls/ca.pem")).unwrap();
    root
}

/// The binary in its root, with this mail server.
fn bindery(root: &Path, mail: &str, port: u16, arguments: &[&str]) -> Command {
    let mut command = Command::new("chroot");
    let port = port.to_string();
    command
        .arg(format!("--userspec={USER}:{USER}"))
        .arg(root)
        .arg("/bindery")
        .args(arguments)
        .env_clear()
        .envs([
            // For finding chroot; inside there is no such folder.
            ("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
            ("BINDERY_SERVER__NAME", NAME),
            ("BINDERY_SERVER__PUBLIC_URL", "https://id.bare.example"),
            ("BINDERY_SERVER__LISTEN", "127.0.0.1:0"),
            ("BINDERY_STORE__PATH", "/data"),
            ("BINDERY_TLS__CERTIFICATE", "/tls/fullchain.pem"),
            ("BINDERY_TLS__PRIVATE_KEY", "/tls/privkey.pem"),
            ("BINDERY_FEDERATION__CA_FILE", "/tls/ca.pem"),
            ("BINDERY_FEDERATION__ALLOW_IPS", "127.0.0.1"),
            ("BINDERY_EMAIL__TRANSPORT", "smtp"),
            ("BINDERY_EMAIL__FROM", "no-reply@bare.example"),
            ("BINDERY_EMAIL__SMTP__HOST", mail),
            ("BINDERY_EMAIL__SMTP__PORT", &port),
            ("BINDERY_EMAIL__SMTP__CA_FILE", "/tls/ca.pem"),
        ]);
    command
}

#[track_caller]
fn said(output: Output) -> String {
    let text = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{text}{errors}");
    text + &errors
}

#[tokio::test(flavor = "multi_thread")]
async fn it_resolves_names_speaks_tls_and_smtp_and_serves() {
    let authority = Authority::new();
    let dns = DnsServer::start_on(&format!("{RESOLVER}:53")).await;
    dns.host("mail.bare.example", "127.0.0.1");
    dns.host("hs.bare.example", "127.0.0.1");
    let homeserver = Homeserver::start(&authority, "hs.bare.example").await;
    let root = root(&authority);

    // Mail by a name of DNS, and by one of /etc/hosts.
    for name in ["mail.bare.example", "mail.hosts.example"] {
        let mut mail = SmtpServer::start(Behaviour {
            starttls: Some(authority.server(name)),
            ..Behaviour::default()
        })
        .await;
        let port = mail.port();
        let arguments = ["test-mail", "alice@example.org"];
        said(
            bindery(root.path(), name, port, &arguments)
                .output()
                .unwrap(),
        );
        let received = mail.next().await;
        assert!(received.tls && received.to == ["alice@example.org"]);
    }

    let mut mail = SmtpServer::start(Behaviour {
        starttls: Some(authority.server("mail.bare.example")),
        ..Behaviour::default()
    })
    .await;
    let port = mail.port();
    let command = |arguments: &[&str]| bindery(root.path(), "mail.bare.example", port, arguments);
    assert!(said(command(&["check"]).output().unwrap()).contains("certificate    ok"));
    let (server, line) = Process::start(command(&[]), "listening on ");
    let (_, rest) = line.split_once("listening on ").unwrap();
    let address: SocketAddr = rest.split(' ').next().unwrap().parse().unwrap();
    let client = Client::secure(address, NAME, &authority);

    // A homeserver that is found by DNS and asked over TLS vouches for a user.
    let name = homeserver.name();
    homeserver.vouch_for(&format!("@alice:{name}"));
    let body = json!({
        "access_token": "openid", "token_type": "Bearer", "expires_in": 60,
        "matrix_server_name": name.as_str(),
    });
    let answer = client
        .post("/_matrix/identity/v2/account/register", body)
        .await;
    let token = answer.ok()["token"].as_str().unwrap().to_owned();
    let body = json!({ "email": "bob@example.org", "client_secret": "s", "send_attempt": 1 });
    let path = format!("/_matrix/identity/v2/validate/email/requestToken?access_token={token}");
    client.post(&path, body).await.ok();
    let received = mail.next().await;
    assert!(received.tls && received.to == ["bob@example.org"]);
    assert!(said(command(&["status"]).output().unwrap()).contains(NAME));
    let log = server.log();
    assert!(!log.contains("ERROR") && !log.contains("panicked"), "{log}");
}

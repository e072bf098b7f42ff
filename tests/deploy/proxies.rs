//! The samples of `contrib/` in nginx and Caddy, with a real Bindery on a unix socket behind them: what an operator has who
//! follows them, in a browser's eyes.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Instant;

use reqwest::Method;
use serde_json::json;
use tempfile::TempDir;

use super::authority::Authority;
use super::client::{Client, send};
use super::http2::Http2;
use super::{PATIENCE, Process, binary};

const NAME: &str = "id.example.org";
const VERSIONS: &str = "/_matrix/identity/versions";

/// A folder that every user can look into, since nginx serves as one of its own.
fn folder() -> TempDir {
    let folder = TempDir::new().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

/// A Bindery on a unix socket, which trusts whoever connects to it, and on a port, which trusts nobody.
fn upstream(folder: &Path) -> (Process, PathBuf, SocketAddr) {
    let socket = folder.join("public.sock");
    let config = folder.join("identity.toml");
    let text = format!(
        "[server]\nlisten = [\"127.0.0.1:0\", \"unix:{}\"]\ntrusted_proxies = [\"unix\"]\n\
         [store]\npath = \"{}\"\n[limits]\nenabled = false\n",
        socket.display(),
        folder.join("store").display()
    );
    fs::write(&config, text).unwrap();
    let mut command = Command::new(binary());
    command.arg("--config").arg(config);
    let (server, line) = Process::start(command, "listening on ");
    let (_, rest) = line.split_once("listening on ").unwrap();
    let address = rest.split(',').next().unwrap().parse().unwrap();
    (server, socket, address)
}

/// A sample with other values in the place of those that everybody has to change.
fn adapted(sample: &str, changes: &[(&str, &str)]) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(sample);
    let mut text = fs::read_to_string(path).unwrap();
    for (from, to) in changes {
        assert!(text.contains(from), "{sample} has no `{from}`");
        text = text.replace(from, to);
    }
    text
}

fn certificate(folder: &Path, authority: &Authority) -> [String; 2] {
    let (certificate, key) = authority.certify(NAME);
    [("fullchain.pem", certificate), ("privkey.pem", key)].map(|(name, text)| {
        let file = folder.join(name);
        fs::write(&file, text).unwrap();
        file.display().to_string()
    })
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}

/// A proxy that is told to stop when this is dropped; killed, nginx would leave its workers behind.
struct Proxy(std::process::Child);

impl Drop for Proxy {
    fn drop(&mut self) {
        let pid = self.0.id().to_string();
        let _ = Command::new("kill").args(["-s", "TERM", &pid]).status();
        let _ = self.0.wait();
    }
}

#[track_caller]
fn run(mut command: Command, port: u16) -> Proxy {
    let mut proxy = Proxy(command.spawn().unwrap());
    let deadline = Instant::now() + PATIENCE;
    while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
        assert_eq!(proxy.0.try_wait().unwrap(), None, "the proxy ended");
        assert!(Instant::now() < deadline, "the proxy does not listen");
        thread::yield_now();
    }
    proxy
}

/// The client that a request came from, as the server has it; found by the id that its answer carried.
#[track_caller]
fn client_of(server: &Process, request_id: &str) -> String {
    let deadline = Instant::now() + PATIENCE;
    let needle = format!("request_id={request_id} client=");
    loop {
        if let Some((_, rest)) = server.log().split_once(&needle) {
            return rest.split(' ').next().unwrap().to_owned();
        }
        assert!(Instant::now() < deadline, "{needle} is not in the log");
        thread::yield_now();
    }
}

/// Everything that a proxy can spoil.
async fn is_transparent(server: &Process, direct: SocketAddr, port: u16, authority: &Authority) {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let client = Client::secure(address, NAME, authority);

    // CORS, once, on every answer.
    for (method, path, status) in [
        (Method::GET, VERSIONS, 200),
        (Method::OPTIONS, "/_matrix/identity/v2/lookup", 200),
        (Method::GET, "/_matrix/identity/v2/account", 401),
        (Method::GET, "/nowhere", 404),
    ] {
        let answer = send(client.request(method, path)).await;
        assert_eq!(answer.status, status, "{path}");
        let origins: Vec<_> = answer
            .headers
            .get_all("access-control-allow-origin")
            .iter()
            .collect();
        assert_eq!(origins, ["*"], "{path}");
        assert!(!answer.header("x-request-id").is_empty());
    }
    assert_eq!(
        client.get("/nowhere", &[]).await.json()["errcode"],
        "M_UNRECOGNIZED"
    );

    // An escaped colon stays one, and so does a plain one.
    for key in ["ed25519%3A1", "ed25519:1"] {
        let path = format!("/_matrix/identity/v2/pubkey/{key}");
        assert!(client.get(&path, &[]).await.ok()["public_key"].is_string());
    }

    // The largest lookup there is, and one that is too large: our own answer, not the proxy's.
    let threepids = |count: usize| {
        let one = |n| {
            [
                "email".to_owned(),
                format!("{}{n:05}@example.org", "x".repeat(200)),
            ]
        };
        json!({ "threepids": (0..count).map(one).collect::<Vec<_>>() })
    };
    let path = "/_matrix/identity/api/v1/bulk_lookup";
    client.post(path, threepids(10_000)).await.ok();
    client
        .post(path, threepids(10_001))
        .await
        .refused(400, "M_TOO_LARGE");
    let body = json!({ "email": "x".repeat(100_000) });
    let path = "/_matrix/identity/api/v1/validate/email/requestToken";
    client.post(path, body).await.refused(413, "M_TOO_LARGE");

    // HTTP/2 up to the proxy.
    let streams = Http2::connect(address, NAME, authority).await;
    let (status, headers, _) = streams.send("GET", VERSIONS, None).await.unwrap();
    assert_eq!(
        (
            status,
            headers
                .get_all("access-control-allow-origin")
                .iter()
                .count()
        ),
        (200, 1)
    );

    // The client is who connected to the proxy, whatever it says of itself; and without the proxy nobody is believed.
    let forged = [
        ("x-forwarded-for", "203.0.113.9"),
        ("forwarded", "for=203.0.113.9"),
    ];
    let request = forged.iter().fold(
        client.request(Method::GET, VERSIONS),
        |request, (name, value)| request.header(*name, *value),
    );
    let answer = send(request).await;
    assert_eq!(answer.status, 200);
    assert_eq!(
        client_of(server, answer.header("x-request-id")),
        "127.0.0.1"
    );
    let elsewhere = reqwest::Client::builder()
        .no_proxy()
        .resolve(NAME, address)
        .local_address(Some(Ipv4Addr::new(127, 0, 0, 5).into()))
        .tls_backend_preconfigured(authority.client())
        .build()
        .unwrap();
    let answer = send(elsewhere.get(format!("https://{NAME}:{port}{VERSIONS}"))).await;
    assert_eq!(answer.status, 200);
    assert_eq!(
        client_of(server, answer.header("x-request-id")),
        "127.0.0.5"
    );
    let request = Client::new(direct).request(Method::GET, VERSIONS);
    let answer = send(request.header("x-forwarded-for", "203.0.113.9")).await;
    assert_eq!(answer.status, 200);
    assert_eq!(
        client_of(server, answer.header("x-request-id")),
        "127.0.0.1"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx_passes_everything_on() {
    let (folder, authority, port) = (folder(), Authority::new(), free_port());
    let (server, socket, direct) = upstream(folder.path());
    let [certificate, key] = certificate(folder.path(), &authority);
    let sample = adapted(
        "contrib/nginx/bindery.conf",
        &[
            ("/run/bindery/public.sock", &socket.display().to_string()),
            ("listen 443 ssl", &format!("listen 127.0.0.1:{port} ssl")),
            ("    listen [::]:443 ssl http2;\n", ""),
            (
                "/etc/letsencrypt/live/id.example.org/fullchain.pem",
                &certificate,
            ),
            ("/etc/letsencrypt/live/id.example.org/privkey.pem", &key),
        ],
    );
    let temp = folder.path().join("nginx");
    fs::create_dir(&temp).unwrap();
    let at = |name: &str| temp.join(name).display().to_string();
    let whole = format!(
        "daemon off;\nuser www-data;\npid {};\nerror_log stderr;\nevents {{}}\nhttp {{\naccess_log off;\n\
         client_body_temp_path {};\nproxy_temp_path {};\nfastcgi_temp_path {};\nuwsgi_temp_path {};\n\
         scgi_temp_path {};\n{sample}}}\n",
        at("pid"),
        at("body"),
        at("proxy"),
        at("fastcgi"),
        at("uwsgi"),
        at("scgi")
    );
    let file = folder.path().join("nginx.conf");
    fs::write(&file, whole).unwrap();
    let mut command = Command::new("nginx");
    command.args(["-e", "stderr", "-c"]).arg(&file);
    let _proxy = run(command, port);
    is_transparent(&server, direct, port, &authority).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn caddy_passes_everything_on() {
    let (folder, authority, port) = (folder(), Authority::new(), free_port());
    let (server, socket, direct) = upstream(folder.path());
    let [certificate, key] = certificate(folder.path(), &authority);
    let sample = adapted(
        "contrib/caddy/Caddyfile",
        &[
            // In place of what Caddy fetches from an authority on the internet.
            (
                "id.example.org {\n",
                &format!("id.example.org:{port} {{\n\tbind 127.0.0.1\n\ttls {certificate} {key}\n"),
            ),
            ("/run/bindery/public.sock", &socket.display().to_string()),
        ],
    );
    let file = folder.path().join("Caddyfile");
    let global =
        "{\n\tadmin off\n\tauto_https disable_redirects\n\tlog {\n\t\tlevel ERROR\n\t}\n}\n";
    fs::write(&file, format!("{global}{sample}")).unwrap();
    let mut command = Command::new("caddy");
    command
        .args(["run", "--adapter", "caddyfile", "--config"])
        .arg(&file)
        .env("HOME", folder.path())
        .env("XDG_DATA_HOME", folder.path())
        .env("XDG_CONFIG_HOME", folder.path());
    let _proxy = run(command, port);
    is_transparent(&server, direct, port, &authority).await;
}

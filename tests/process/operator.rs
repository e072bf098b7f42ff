//! The operator's commands: over the socket of a running server, on the store of a stopped one, and what both refuse.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::authority::Authority;
use super::dns::DnsServer;
use super::homeserver::{Homeserver, ONBIND, Reply};
use super::{PATIENCE, Running, Site, V1, bound, call, complaint, until, validated};

const ALICE: &str = "alice@example.org";
const MXID: &str = "@alice:hs.example";

/// What a command prints when it succeeds.
#[track_caller]
pub fn says(site: &Site, arguments: &[&str]) -> String {
    let output = site.run(arguments);
    assert!(
        output.status.success(),
        "{arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// What a command prints with `--json`: an object a line.
#[track_caller]
pub fn objects(site: &Site, arguments: &[&str]) -> Vec<Value> {
    let text = says(site, &[arguments, &["--json"]].concat());
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

pub fn stop(server: &mut Running) {
    server.signal("TERM");
    assert!(server.wait().success());
}

/// A connection to the admin socket.
pub struct Socket {
    stream: UnixStream,
    answers: BufReader<UnixStream>,
}

impl Socket {
    /// None if nobody listens.
    pub fn at(path: &Path) -> Option<Self> {
        let stream = UnixStream::connect(path).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let answers = BufReader::new(stream.try_clone().unwrap());
        Some(Self { stream, answers })
    }

    /// Has a request carried out; none if the server went away.
    pub fn ask(&mut self, request: &Value) -> Option<Value> {
        let line = json!({ "version": 1, "request": request }).to_string() + "\n";
        self.stream.write_all(line.as_bytes()).ok()?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer).ok()?;
        serde_json::from_str(&answer).ok()
    }
}

/// Where monitoring is served.
pub fn monitoring(server: &Running) -> SocketAddr {
    let log = server.log.lock().unwrap();
    let line = log
        .lines()
        .find_map(|line| line.split_once("monitoring is served on "));
    line.unwrap().1.parse().unwrap()
}

/// The answer of `/health/…`: its status and its text.
pub fn health(monitoring: SocketAddr, what: &str) -> (u16, String) {
    let text = fetch(monitoring, &format!("/health/{what}"));
    let status = text.split(' ').nth(1).unwrap().parse().unwrap();
    (status, text)
}

fn fetch(monitoring: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(monitoring).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

/// Sends a line to the socket and reads one back.
fn exchange(site: &Site, line: &[u8]) -> Option<Value> {
    let mut stream = UnixStream::connect(site.store().join("admin.sock")).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let _ = stream.write_all(line);
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).ok()?;
    serde_json::from_str(&answer).ok()
}

/// Does the same things to a site and answers what was seen; whether a server runs makes no difference.
fn tour(site: &Site) -> Vec<String> {
    let mut seen = Vec::new();
    let mut say = |arguments: &[&str]| {
        let text = says(site, arguments);
        seen.push(text);
    };
    say(&["associations", "list"]);
    say(&[
        "associations",
        "add",
        "email",
        "Bob@Example.org",
        "@bob:hs.example",
    ]);
    say(&[
        "associations",
        "add",
        "msisdn",
        "441632960000",
        "@bob:hs.example",
    ]);
    let listed = objects(site, &["associations", "list", "--user", "@bob:hs.example"]);
    let threepids: Vec<&Value> = listed.iter().map(|row| &row["threepid"]).collect();
    assert_eq!(
        threepids,
        [
            &json!(["email", "bob@example.org"]),
            &json!(["msisdn", "441632960000"])
        ]
    );
    let one = objects(site, &["associations", "list", "email", "bob@example.org"]);
    assert_eq!(one.len(), 1);
    assert_eq!(one[0]["mxid"], "@bob:hs.example");
    let status = objects(site, &["status"]).remove(0);
    assert_eq!(status["associations"], 2);
    assert_eq!(status["server_name"], "localhost");
    assert_eq!(status["accounts"], 0);
    assert!(status["journal_bytes"].as_u64().unwrap() > 0);
    say(&["associations", "remove", "email", "bob@example.org"]);
    say(&["associations", "remove", "email", "bob@example.org"]);
    say(&["associations", "remove", "--user", "@bob:hs.example"]);
    say(&["associations", "list"]);
    say(&["accounts", "list"]);
    say(&["accounts", "revoke", "--homeserver", "hs.example"]);
    seen
}

#[test]
fn commands_do_the_same_with_and_without_a_server() {
    let site = Site::new();
    let mut server = site.serve();
    let running = tour(&site);
    until(|| server.log.lock().unwrap().matches("bindery::audit").count() == 6);
    let log = server.log.lock().unwrap().clone();
    let audit: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("bindery::audit"))
        .collect();
    assert_eq!(audit.len(), 6, "{log}");
    assert!(
        audit[0].contains("bound email b…@e….org to @bob:hs.example"),
        "{log}"
    );
    assert!(
        !log.contains("bob@example.org") && !log.contains("441632960000"),
        "{log}"
    );
    stop(&mut server);
    assert_eq!(tour(&site), running);
    site.serve();
}

#[test]
fn what_a_command_changes_the_running_server_answers_at_once() {
    let site = Site::new();
    let mut server = site.serve();
    says(&site, &["associations", "add", "email", ALICE, MXID]);
    assert_eq!(bound(server.address, ALICE).as_deref(), Some(MXID));
    says(&site, &["associations", "remove", "email", ALICE]);
    assert_eq!(bound(server.address, ALICE), None);
    stop(&mut server);
    assert!(
        !site.store().join("admin.sock").exists(),
        "the socket goes with the server"
    );
}

#[test]
fn a_bind_is_told_to_the_homeserver_also_when_the_server_is_killed_in_the_middle() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (authority, dns) = (Authority::new(), runtime.block_on(DnsServer::start()));
    dns.host("hs.example", "127.0.0.1");
    let homeserver = runtime.block_on(Homeserver::start(&authority, "hs.example"));
    homeserver.reply(ONBIND, Reply::Silence);
    let site = Site::new();
    site.configure(&format!(
        "[federation]\nallow_ips = [\"127.0.0.1\"]\ndns = [\"{}\"]\nca_file = \"{}\"\n",
        dns.address(),
        authority.file().display()
    ));
    let mut server = site.serve();
    let mxid = format!("@alice:{}", homeserver.name());
    says(&site, &["associations", "add", "email", ALICE, &mxid]);
    runtime.block_on(homeserver.told(1));
    server.signal("KILL");
    server.wait();

    let waiting = objects(&site, &["outbox", "list"]).remove(0);
    assert_eq!(waiting["mxid"], mxid);
    assert_eq!(waiting["destination"], homeserver.name().as_str());
    homeserver.take_binds();
    let mut server = site.serve();
    let told = runtime.block_on(homeserver.told(2));
    assert_eq!(told[1].body["mxid"], mxid);
    assert_eq!(told[0].body["ts"], told[1].body["ts"]);
    until(|| objects(&site, &["outbox", "list"]).is_empty());
    stop(&mut server);
}

#[test]
fn outgoing_work_is_listed_tried_and_dropped_without_a_server_too() {
    let site = Site::new();
    let mut server = site.serve();
    stop(&mut server);
    says(&site, &["associations", "add", "email", ALICE, MXID]);
    let text = says(&site, &["outbox", "list"]);
    assert!(
        text.contains("onbind to hs.example: email alice@example.org @alice:hs.example"),
        "{text}"
    );
    assert_eq!(says(&site, &["outbox", "list", "--failed"]), "");
    assert!(says(&site, &["status"]).contains("1 waiting, 0 given up"));
    let waiting = objects(&site, &["outbox", "list"]).remove(0);
    let id = waiting["id"].as_str().unwrap();
    assert_eq!(says(&site, &["outbox", "retry", id]), "1 changed.\n");
    assert_eq!(says(&site, &["outbox", "drop", id]), "1 changed.\n");
    let nothing = "Nothing was there to be changed.\n";
    assert_eq!(says(&site, &["outbox", "drop", id]), nothing);
    assert_eq!(says(&site, &["outbox", "retry", "--all"]), nothing);
    let text = complaint(&site.run(&["outbox", "drop", "seven"]));
    assert!(text.contains("an id of 22 characters"), "{text}");
    assert!(!site.run(&["outbox", "retry"]).status.success());
}

/// Whether a text stands in any file of the journal and its snapshots.
fn stands_in_journal(site: &Site, text: &str) -> bool {
    std::fs::read_dir(site.store().join("journal"))
        .unwrap()
        .map(|entry| std::fs::read(entry.unwrap().path()).unwrap())
        .any(|bytes| {
            bytes
                .windows(text.len())
                .any(|part| part == text.as_bytes())
        })
}

#[test]
fn a_person_is_erased_with_and_without_a_server() {
    let site = Site::new();
    let mut server = site.serve();
    let prove_and_bind = |server: &Running, email: &str, mxid: &str| {
        let sid = validated(server.address, &site.store(), email, "s");
        let body = json!({ "sid": sid, "client_secret": "s", "mxid": mxid });
        let path = format!("{V1}/3pid/bind");
        assert_eq!(call(server.address, "POST", &path, &body).unwrap().0, 200);
    };
    prove_and_bind(&server, ALICE, MXID);
    prove_and_bind(&server, "work@example.org", MXID);
    prove_and_bind(&server, "bob@example.org", "@bob:hs.example");
    assert!(stands_in_journal(&site, ALICE) && stands_in_journal(&site, MXID));

    let erased = objects(&site, &["erase", "--address", "email", "Alice@Example.org"]);
    let expected = json!({ "associations": 1, "sessions": 1, "accounts": 0, "invitations": 0 });
    assert_eq!(erased, [expected]);
    assert_eq!(bound(server.address, ALICE), None);
    assert!(!stands_in_journal(&site, ALICE) && stands_in_journal(&site, MXID));
    until(|| server.log.lock().unwrap().contains("bindery::audit"));
    let log = server.log.lock().unwrap().clone();
    let audit = log
        .lines()
        .find(|line| line.contains("bindery::audit"))
        .unwrap();
    assert!(
        audit.contains("erases what is stored on email a…@e….org") && !log.contains(ALICE),
        "{log}"
    );
    stop(&mut server);

    let text = says(&site, &["erase", "--user", MXID]);
    assert!(
        text.contains("1 associations, 1 sessions, 0 accounts") && text.contains("compact"),
        "{text}"
    );
    assert!(!stands_in_journal(&site, MXID) && !stands_in_journal(&site, "work@example.org"));
    let nothing = json!({ "associations": 0, "sessions": 0, "accounts": 0, "invitations": 0 });
    assert_eq!(objects(&site, &["erase", "--user", MXID]), [nothing]);
    for arguments in [
        &["erase"][..],
        &["erase", "--user", MXID, "--address", "email", ALICE],
        &["erase", "--address", "email", "nobody"],
    ] {
        complaint(&site.run(arguments));
    }
    let server = site.serve();
    assert!(bound(server.address, "bob@example.org").is_some());
}

#[test]
fn a_long_list_comes_in_pages_and_is_whole() {
    let site = Site::new();
    let server = site.serve();
    let request = |number: usize| {
        json!({
            "command": "associations_add", "mxid": MXID,
            "threepid": ["email", format!("user{number}@example.org")],
        })
    };
    let mut socket = Socket::at(&site.store().join("admin.sock")).unwrap();
    for number in 0..1203 {
        assert!(socket.ask(&request(number)).unwrap().get("ok").is_some());
    }
    assert_eq!(objects(&site, &["associations", "list"]).len(), 1203);
    assert_eq!(
        objects(&site, &["associations", "list", "--user", MXID]).len(),
        1203
    );
    let removed = objects(&site, &["associations", "remove", "--user", MXID]);
    assert_eq!(removed, [json!({ "changed": 1203 })]);
    assert!(says(&site, &["associations", "list"]).is_empty());
    drop(server);
}

#[test]
fn a_new_key_signs_and_the_old_one_holds_until_it_is_revoked() {
    let site = Site::new();
    let mut server = site.serve();
    let is_valid = |server: &Running, key: &str| {
        let path = format!("/_matrix/identity/v2/pubkey/isvalid?public_key={key}");
        let (status, answer) = call(server.address, "GET", &path, &Value::Null).unwrap();
        assert_eq!(status, 200);
        answer["valid"].as_bool().unwrap()
    };
    let signed_by = |server: &Running, secret: &str| -> String {
        let sid = validated(server.address, &site.store(), ALICE, secret);
        let body = json!({ "sid": sid, "client_secret": secret, "mxid": MXID });
        let path = format!("{V1}/3pid/bind");
        let (_, answer) = call(server.address, "POST", &path, &body).unwrap();
        let signatures = answer["signatures"]["localhost"].as_object().unwrap();
        signatures.keys().next().unwrap().clone()
    };
    let escaped = |key: &Value| {
        let key = key["public_key"].as_str().unwrap();
        key.replace('+', "%2B").replace('/', "%2F")
    };
    assert_eq!(signed_by(&server, "first"), "ed25519:1");
    let key_file = site.store().join("signing.key");
    let before = std::fs::read_to_string(&key_file).unwrap();

    // The key that signs cannot be revoked without a successor.
    let text = complaint(&site.run(&["keys", "revoke", "ed25519:1"]));
    assert!(text.contains("bindery keys rotate"), "{text}");
    let text = complaint(&site.run(&["keys", "revoke", "ed25519:99"]));
    assert!(text.contains("no key"), "{text}");

    let keys = objects(&site, &["keys", "rotate"]);
    let states: Vec<_> = keys.iter().map(|key| (&key["id"], &key["state"])).collect();
    assert_eq!(
        states,
        [
            (&json!("ed25519:1"), &json!("valid")),
            (&json!("ed25519:2"), &json!("current"))
        ]
    );
    let after = std::fs::read_to_string(&key_file).unwrap();
    assert!(after.starts_with(&before) && after.lines().count() == 2);
    let mode = std::fs::metadata(&key_file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(signed_by(&server, "second"), "ed25519:2");
    assert!(keys.iter().all(|key| is_valid(&server, &escaped(key))));

    // It stays so over a restart.
    stop(&mut server);
    let mut server = site.serve();
    assert_eq!(signed_by(&server, "third"), "ed25519:2");
    assert!(keys.iter().all(|key| is_valid(&server, &escaped(key))));

    says(&site, &["keys", "revoke", "ed25519:1"]);
    says(&site, &["keys", "revoke", "ed25519:1"]);
    assert!(!is_valid(&server, &escaped(&keys[0])) && is_valid(&server, &escaped(&keys[1])));
    let path = "/_matrix/identity/v2/pubkey/ed25519:1";
    assert_eq!(
        call(server.address, "GET", path, &Value::Null).unwrap().0,
        404
    );
    until(|| server.log.lock().unwrap().contains("revoked ed25519:1"));
    stop(&mut server);

    // Without a server it is the same, and a version is never given twice.
    let keys = objects(&site, &["keys", "rotate"]);
    assert_eq!(keys[2]["id"], "ed25519:3");
    let server = site.serve();
    assert_eq!(signed_by(&server, "fourth"), "ed25519:3");
    assert!(!is_valid(&server, &escaped(&keys[0])));
}

#[test]
fn only_the_owner_can_use_the_socket() {
    let site = Site::new();
    let _server = site.serve();
    let socket = site.store().join("admin.sock");
    let mode = std::fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

/// Only root can become somebody else, so that only root can see this through the socket itself; that the server refuses
/// whoever is neither root nor its own user is also tested where it listens.
#[test]
fn a_stranger_gets_nothing_from_the_socket_however_open_it_is() {
    use std::os::unix::process::CommandExt as _;
    const NOBODY: u32 = 65534;
    let site = Site::new();
    let server = site.serve();
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let socket = site.store().join("admin.sock");
    for folder in [site.folder.path(), &site.store()] {
        std::fs::set_permissions(folder, PermissionsExt::from_mode(0o755)).unwrap();
    }
    let as_nobody = || {
        let mut command = Command::new("/bin/sh");
        // Reads a configuration that is everybody's, from a copy of the program that is.
        command.args(["-c", "exec \"$@\"", "sh"]);
        command.arg(site.folder.path().join("bindery"));
        command.args(["status", "--config"]).arg(site.config());
        command.current_dir("/").env_clear().uid(NOBODY).gid(NOBODY);
        complaint(&command.output().unwrap())
    };
    std::fs::copy(
        env!("CARGO_BIN_EXE_bindery"),
        site.folder.path().join("bindery"),
    )
    .unwrap();
    let text = as_nobody();
    assert!(
        text.contains("you may not use") && text.contains("admin.socket"),
        "{text}"
    );
    std::fs::set_permissions(&socket, PermissionsExt::from_mode(0o666)).unwrap();
    let text = as_nobody();
    assert!(
        text.contains("only root and the server's own user"),
        "{text}"
    );
    let refused = "uid 65534 may not use the admin socket";
    until(|| server.log.lock().unwrap().contains(refused));
}

#[test]
fn garbage_on_the_socket_gets_a_sentence_and_harms_nothing() {
    let site = Site::new();
    let server = site.serve();
    let status = json!({ "version": 1, "request": { "command": "status" } }).to_string();
    for (line, words) in [
        ("\n".to_owned(), "expected"),
        ("GET / HTTP/1.1\n".to_owned(), "expected"),
        ("\u{0}\u{1}\n".to_owned(), "expected"),
        (status.replace(":1", ":2") + "\n", "version"),
        (
            status.replace("status", "self_destruct") + "\n",
            "does not know",
        ),
        ("[".repeat(60_000) + "\n", "expected"),
        ("x".repeat(200_000) + "\n", "expected"),
    ] {
        // Who sends too much may be cut off before they have read why.
        match exchange(&site, line.as_bytes()) {
            Some(answer) => {
                let sentence = answer["error"].as_str().unwrap();
                assert!(sentence.contains(words), "{sentence}");
            }
            None => assert!(line.len() > 65536),
        }
    }
    // Addresses are read there as they stand in the store, and bound only as clients may bind them.
    let mut socket = Socket::at(&site.store().join("admin.sock")).unwrap();
    for (address, words) in [
        ("a@b\u{378}.example", "e-mail address"),
        ("A@b.example", "does not know"),
    ] {
        let request = json!({
            "command": "associations_add", "mxid": MXID, "threepid": ["email", address],
        });
        let answer = socket.ask(&request).unwrap();
        let sentence = answer["error"].as_str().unwrap();
        assert!(sentence.contains(words), "{sentence}");
    }
    let answer = exchange(&site, (status + "\n").as_bytes()).unwrap();
    assert_eq!(answer["ok"]["status"]["associations"], 0, "{answer}");
    assert_eq!(
        call(server.address, "GET", "/_matrix/identity/v2", &Value::Null)
            .unwrap()
            .0,
        200
    );
}

#[test]
fn a_socket_left_behind_is_replaced_and_one_in_use_is_not() {
    let site = Site::new();
    let socket = site.store().join("admin.sock");
    let mut server = site.serve();
    server.signal("KILL");
    server.wait();
    assert!(socket.exists(), "a killed server cleans nothing up");
    says(&site, &["status"]);
    let mut server = site.serve();
    says(&site, &["status"]);
    stop(&mut server);

    std::fs::write(&socket, "precious").unwrap();
    let text = complaint(&site.run(&[]));
    assert!(
        text.contains("not a socket") && text.contains("admin.socket"),
        "{text}"
    );
    assert_eq!(std::fs::read_to_string(&socket).unwrap(), "precious");
    std::fs::remove_file(&socket).unwrap();

    let listener = UnixListener::bind(&socket).unwrap();
    let text = complaint(&site.run(&[]));
    assert!(text.contains("another server"), "{text}");
    drop(listener);
    site.serve();
}

#[test]
fn a_command_that_finds_neither_server_nor_store_says_so() {
    let site = Site::new();
    let text = complaint(&site.run(&["status"]));
    assert!(
        text.contains("no store") && text.contains("store.path"),
        "{text}"
    );
    assert!(!site.store().exists(), "looking makes no store");

    // A server whose socket is elsewhere.
    let _server = site.serve();
    let elsewhere = site.folder.path().join("elsewhere.sock");
    site.configure(&format!("[admin]\nsocket = {elsewhere:?}\n"));
    let text = complaint(&site.run(&["status"]));
    assert!(
        text.contains("elsewhere.sock") && text.contains("admin.socket"),
        "{text}"
    );
}

/// A request whose body is still to come, so that it holds a place until it is finished.
fn half_a_request(server: &Running) -> TcpStream {
    let mut stream = TcpStream::connect(server.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let head = format!(
        "POST {V1}/3pid/bind HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2\r\n\
         Expect: 100-continue\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream
}

/// A figure of the metrics.
fn figure(monitoring: SocketAddr, name: &str) -> f64 {
    let text = fetch(monitoring, "/metrics");
    let line = text
        .lines()
        .find(|line| line.split(' ').next() == Some(name));
    line.unwrap().rsplit(' ').next().unwrap().parse().unwrap()
}

#[test]
fn more_at_once_than_allowed_is_refused_and_afterwards_all_is_as_before() {
    const HELD: usize = 8;
    const CLIENTS: usize = 300;
    let site = Site::new();
    site.configure(&format!(
        "[api]\nmax_requests = {HELD}\n[metrics]\nlisten = \"127.0.0.1:0\"\n"
    ));
    let server = site.serve();
    let monitoring = monitoring(&server);
    let get = || {
        call(server.address, "GET", "/_matrix/identity/v2", &Value::Null)
            .unwrap()
            .0
    };
    assert_eq!(get(), 200);
    let memory = || figure(monitoring, "process_resident_memory_bytes");
    let in_flight = || figure(monitoring, "bindery_http_requests_in_flight");
    let before = memory();

    let held: Vec<TcpStream> = (0..HELD).map(|_| half_a_request(&server)).collect();
    until(|| in_flight() >= 8.0);
    // Nobody has finished a request yet, so these are open all at once.
    let refused: Vec<TcpStream> = (0..CLIENTS).map(|_| half_a_request(&server)).collect();
    for mut stream in refused {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(
            answer.contains("HTTP/1.1 503") && answer.contains("retry-after: 1"),
            "{answer}"
        );
    }
    assert!(figure(monitoring, "bindery_http_overloads_total") >= 300.0);
    // The operator is not refused.
    says(&site, &["status"]);

    // Whoever gets the one place that becomes free is answered at once, while many more ask than can have it.
    let mut held = held;
    drop(held.pop());
    until(|| in_flight() <= 7.0);
    let clients: Vec<_> = (0..6)
        .map(|_| {
            let address = server.address;
            std::thread::spawn(move || {
                let mut times = Vec::new();
                while times.len() < 20 {
                    let asked = std::time::Instant::now();
                    let path = "/_matrix/identity/v2";
                    match call(address, "GET", path, &Value::Null).unwrap().0 {
                        200 => times.push(asked.elapsed()),
                        status => assert_eq!(status, 503),
                    }
                }
                times
            })
        })
        .collect();
    let mut times: Vec<_> = clients
        .into_iter()
        .flat_map(|client| client.join().unwrap())
        .collect();
    times.sort_unstable();
    // The held ones are not finished yet, so that nobody who waited for them would be here; and a machine that is busy with
    // other things has its time.
    assert_eq!(times.len(), 120);
    let median = times[times.len() / 2];
    assert!(median < std::time::Duration::from_secs(1), "{median:?}");

    for mut stream in held {
        stream.write_all(b"{}").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.contains("M_MISSING_PARAMS"), "{answer}");
    }
    until(|| in_flight() == 0.0);
    assert_eq!(get(), 200);
    let grown = memory() - before;
    assert!(
        grown < 64.0 * 1024.0 * 1024.0,
        "{grown} bytes more than before"
    );
}

/// Only root can give files away, so that only root can see this; everybody else owns what they make.
#[test]
fn a_store_of_another_user_is_left_alone() {
    let site = Site::new();
    let mut server = site.serve();
    stop(&mut server);
    if std::os::unix::fs::chown(site.store(), Some(4711), None).is_ok() {
        let text = complaint(&site.run(&["status"]));
        assert!(text.contains("4711") && text.contains("sudo -u"), "{text}");
    }
}

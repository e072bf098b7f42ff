//! A disk that takes no more. A limit on the size of files, which every user can set, stands in for one that is full for
//! sled, whose writes no layer of the store's own reaches.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::json;

use super::operator::{Socket, health, monitoring};
use super::{Running, Site, bound};

/// A server whose files may grow to so many KiB.
fn serve_limited(site: &Site, kibibytes: u64) -> Running {
    let server = site.command(&[]);
    // In units of 512 bytes. Who exceeds the limit is told by an error, as on a full disk, and not killed by a signal.
    let script = format!("trap '' XFSZ; ulimit -f {}; exec \"$@\"", kibibytes * 2);
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", &script, "sh"])
        .arg(server.get_program());
    command.args(server.get_args());
    command.current_dir(site.folder.path()).env_clear();
    command.stdin(Stdio::null());
    command.stdout(Stdio::piped());
    command.stderr(Stdio::piped());
    Running::start(command)
}

fn address(number: usize) -> String {
    format!("user{number}@example.org")
}

fn user(number: usize) -> String {
    // Long ones fill files sooner.
    format!("@user{number}{}:hs.example", "x".repeat(200))
}

/// Binds addresses one after the other until one is refused or `enough` are bound; answers how many were.
fn bind_from(site: &Site, from: usize, enough: usize) -> usize {
    let Some(mut socket) = Socket::at(&site.store().join("admin.sock")) else {
        return 0;
    };
    (from..from + enough)
        .take_while(|number| {
            let request = json!({
                "command": "associations_add", "mxid": user(*number),
                "threepid": ["email", address(*number)],
            });
            let answer = socket.ask(&request);
            answer.is_some_and(|answer| answer.get("ok").is_some())
        })
        .count()
}

fn size(file: &Path) -> u64 {
    std::fs::metadata(file).map_or(0, |metadata| metadata.len())
}

/// Every one of these is there after a start without a limit, and so is a new one.
fn nothing_is_lost(site: &Site, acknowledged: usize) {
    for _ in 0..2 {
        let mut server = site.serve();
        for number in 0..acknowledged {
            assert_eq!(bound(server.address, &address(number)), Some(user(number)));
        }
        super::operator::stop(&mut server);
    }
    let _server = site.serve();
    assert_eq!(bind_from(site, acknowledged + 1, 1), 1);
}

#[test]
fn a_disk_that_is_full_for_the_index_ends_the_server_and_the_next_start_repairs_it() {
    const ROUND: usize = 150;
    let site = Site::new();
    let index = site.store().join("index/db");
    // Each start begins a segment of the journal, so that the index grows larger than any of these.
    let mut acknowledged = 0;
    for _ in 0..6 {
        let mut server = site.serve();
        assert_eq!(bind_from(&site, acknowledged, ROUND), ROUND);
        acknowledged += ROUND;
        super::operator::stop(&mut server);
    }
    let limit = size(&index) / 1024 + 64;
    let largest = std::fs::read_dir(site.store().join("journal")).unwrap();
    let largest = largest
        .map(|entry| size(&entry.unwrap().path()))
        .max()
        .unwrap();
    assert!(largest / 1024 * 4 < limit, "{largest} {limit}");

    let mut server = serve_limited(&site, limit);
    acknowledged += bind_from(&site, acknowledged, 100_000);
    let status = server.wait();
    let log = server.log.lock().unwrap().clone();
    assert!(!status.success(), "{log}");
    assert!(log.contains("the index of the store failed"), "{log}");
    assert!(size(&index) <= limit * 1024);
    nothing_is_lost(&site, acknowledged);
}

/// A disk of its own for a process, which ends with it. Not every machine lets its users have one.
const SMALL_DISK: &str = "mount -t tmpfs -o size=48m none \"$0\" && exec \"$@\"";

fn on_a_small_disk(folder: &Path, program: &Command) -> Command {
    let mut command = Command::new("unshare");
    command.args([
        "--user",
        "--map-root-user",
        "--mount",
        "/bin/sh",
        "-c",
        SMALL_DISK,
    ]);
    command.arg(folder).arg(program.get_program());
    command.args(program.get_args());
    command
}

#[test]
fn a_full_disk_shows_in_readiness_until_there_is_room_again() {
    let site = Site::new();
    std::fs::create_dir(site.store()).unwrap();
    // Without a disk that is small, only what the store's own tests show is known.
    let possible = on_a_small_disk(&site.store(), &Command::new("true")).output();
    if !possible.is_ok_and(|output| output.status.success()) {
        return;
    }
    let socket = site.folder.path().join("admin.sock");
    site.configure(&format!(
        "[metrics]\nlisten = \"127.0.0.1:0\"\n[admin]\nsocket = {socket:?}\n"
    ));
    let mut command = on_a_small_disk(&site.store(), &site.command(&[]));
    command.stdin(Stdio::null());
    command.stdout(Stdio::piped());
    command.stderr(Stdio::piped());
    let mut server = Running::start(command);
    let monitoring = monitoring(&server);
    let bind = |number: usize| {
        let request = json!({
            "command": "associations_add", "mxid": user(number),
            "threepid": ["email", address(number)],
        });
        Socket::at(&socket).unwrap().ask(&request).unwrap()
    };
    assert!(bind(0).get("ok").is_some());
    assert_eq!(health(monitoring, "ready").0, 200);

    // The disk as the server sees it.
    let seen = format!("/proc/{}/root", server.child.id());
    let filler = Path::new(&seen)
        .join(site.store().strip_prefix("/").unwrap())
        .join("filler");
    std::fs::write(&filler, vec![0x5a; 20 << 20]).unwrap();
    let (status, text) = health(monitoring, "ready");
    assert_eq!(status, 503, "{text}");
    assert!(text.contains("the disk is full"), "{text}");
    assert_eq!(health(monitoring, "live").0, 200);
    let refused = bind(1);
    let sentence = refused["error"].as_str().unwrap();
    assert!(sentence.contains("the disk is full"), "{sentence}");
    assert_eq!(bound(server.address, &address(0)), Some(user(0)));
    assert_eq!(bound(server.address, &address(1)), None);

    std::fs::remove_file(&filler).unwrap();
    assert_eq!(health(monitoring, "ready").0, 200);
    assert!(bind(1).get("ok").is_some());
    assert_eq!(bound(server.address, &address(1)), Some(user(1)));
    super::operator::stop(&mut server);
}

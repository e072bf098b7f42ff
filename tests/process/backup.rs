//! Backups of a server that serves, and stores that are restored from them.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use serde_json::{Value, json};

use super::operator::{objects, says, stop};
use super::{Running, Site, V1, bound, call, complaint, until, validated};

/// What is needed to go on elsewhere: the keys, which a backup does not hold.
fn copy_keys(from: &Site, to: &Site) {
    for file in ["signing.key", "secret.key"] {
        std::fs::copy(from.store().join(file), to.store().join(file)).unwrap();
    }
}

fn step_of(mxid: Option<String>) -> u64 {
    let step = mxid.map(|mxid| {
        mxid.trim_start_matches("@s")
            .split(':')
            .next()
            .unwrap()
            .parse()
    });
    step.map_or(0, Result::unwrap)
}

/// All files of a folder, deepest last.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

#[test]
fn a_backup_under_load_is_one_moment_of_the_store() {
    let site = Site::new();
    let server = site.serve();
    let address = server.address;
    let emails = ["left@example.org", "right@example.org"];
    let sids: Vec<String> = emails
        .iter()
        .map(|email| validated(address, &site.store(), email, "s"))
        .collect();
    // One client binds the left address to each number, then the right one: at every moment the right one is at the same
    // number as the left one, or one behind.
    let (stopping, acknowledged) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
    );
    let client = {
        let (stopping, acknowledged) = (Arc::clone(&stopping), Arc::clone(&acknowledged));
        thread::spawn(move || {
            let mut step = 0;
            while !stopping.load(Ordering::SeqCst) {
                step += 1;
                for sid in &sids {
                    let body = json!({
                        "sid": sid, "client_secret": "s", "mxid": format!("@s{step}:hs.example"),
                    });
                    let (status, answer) =
                        call(address, "POST", &format!("{V1}/3pid/bind"), &body).unwrap();
                    assert_eq!(status, 200, "{answer}");
                }
                acknowledged.store(step, Ordering::SeqCst);
            }
            step
        })
    };
    let mut backups = Vec::new();
    for number in 0..5 {
        let before = acknowledged.load(Ordering::SeqCst);
        until(|| acknowledged.load(Ordering::SeqCst) > before + 3);
        let folder = site.folder.path().join(format!("backup{number}"));
        let at_least = acknowledged.load(Ordering::SeqCst);
        let text = says(&site, &["backup", folder.to_str().unwrap()]);
        let at_most = acknowledged.load(Ordering::SeqCst) + 1;
        assert!(
            text.contains("signing.key") && text.contains("secret.key"),
            "{text}"
        );
        backups.push((folder, at_least, at_most));
    }
    stopping.store(true, Ordering::SeqCst);
    let last = client.join().unwrap();
    assert_eq!(step_of(bound(address, emails[0])), last);
    drop(server);

    for (folder, at_least, at_most) in backups {
        let other = Site::new();
        let text = says(&other, &["restore", folder.to_str().unwrap()]);
        assert!(
            text.contains("signing.key"),
            "it names what is missing: {text}"
        );
        let text = complaint(&other.run(&[]));
        assert!(
            text.contains("signing.key") && text.contains("backup"),
            "{text}"
        );
        copy_keys(&site, &other);
        let server = other.serve();
        let [left, right] = emails.map(|email| step_of(bound(server.address, email)));
        assert!(
            left == right || left == right + 1,
            "{left} and {right} are no moment"
        );
        assert!(
            right >= at_least && left <= at_most,
            "{at_least} {right} {left} {at_most}"
        );
        // It is a store like any other.
        says(
            &other,
            &[
                "associations",
                "add",
                "email",
                "new@example.org",
                "@new:hs.example",
            ],
        );
        assert!(bound(server.address, "new@example.org").is_some());
    }
}

#[test]
fn a_backup_overwrites_nothing_and_a_restore_neither() {
    let site = Site::new();
    let mut server = site.serve();
    says(
        &site,
        &[
            "associations",
            "add",
            "email",
            "a@example.org",
            "@a:hs.example",
        ],
    );
    let folder = site.folder.path().join("backup");
    let named = folder.to_str().unwrap();
    says(&site, &["backup", named]);
    let text = complaint(&site.run(&["backup", named]));
    assert!(text.contains("not empty"), "{text}");

    let text = complaint(&site.run(&["restore", named]));
    assert!(text.contains("stop it first"), "{text}");
    stop(&mut server);
    let text = complaint(&site.run(&["restore", named]));
    assert!(text.contains("not empty"), "{text}");

    // Without a server, into a folder that is named from where the command is called.
    says(&site, &["backup", "second"]);
    let other = Site::new();
    let second = site.folder.path().join("second");
    says(&other, &["restore", second.to_str().unwrap()]);
    copy_keys(&site, &other);
    assert_eq!(objects(&other, &["status"])[0]["associations"], 1);
}

#[test]
fn a_backup_with_a_flipped_bit_is_not_restored() {
    let site = Site::new();
    let server = site.serve();
    for number in 0..20 {
        let address = format!("user{number}@example.org");
        says(
            &site,
            &["associations", "add", "email", &address, "@a:hs.example"],
        );
    }
    let folder = site.folder.path().join("backup");
    says(&site, &["backup", folder.to_str().unwrap()]);
    drop(server);
    let mut tried = 0;
    for file in files(&folder) {
        let whole = std::fs::read(&file).unwrap();
        if whole.is_empty() {
            continue;
        }
        for place in [0, whole.len() / 2, whole.len() - 1] {
            let mut damaged = whole.clone();
            damaged[place] ^= 1;
            std::fs::write(&file, damaged).unwrap();
            let other = Site::new();
            let output = other.run(&["restore", folder.to_str().unwrap()]);
            let text = complaint(&output);
            assert_eq!(
                text.lines()
                    .filter(|line| line.starts_with("bindery:"))
                    .count(),
                1,
                "{text}"
            );
            tried += 1;
        }
        std::fs::write(&file, whole).unwrap();
    }
    assert!(tried >= 3);
    let other = Site::new();
    says(&other, &["restore", folder.to_str().unwrap()]);
}

/// A stopped site whose journal is damaged after its first changes, and how many associations stand before the damage.
fn damaged_site() -> (Site, usize) {
    let site = Site::new();
    let add = |number: usize| {
        let address = format!("user{number}@example.org");
        says(
            &site,
            &["associations", "add", "email", &address, "@a:hs.example"],
        );
    };
    let mut server = site.serve();
    (0..5).for_each(add);
    stop(&mut server);
    let mut server = site.serve();
    (5..10).for_each(add);
    stop(&mut server);
    // Each start begins a segment, named by the number of its first change: the last one with changes is the second's.
    let segments = files(&site.store().join("journal"));
    let (file, bytes) = segments
        .iter()
        .rev()
        .map(|file| (file, std::fs::read(file).unwrap()))
        .find(|(_, bytes)| bytes.windows(5).any(|part| part == b"user5"))
        .unwrap();
    let place = bytes.windows(5).position(|part| part == b"user5").unwrap();
    let mut damaged = bytes;
    damaged[place] ^= 1;
    std::fs::write(file, damaged).unwrap();
    (site, 5)
}

#[test]
fn a_damaged_store_is_salvaged_only_by_who_accepts_the_loss() {
    let site = Site::new();
    let text = complaint(&site.run(&["salvage"]));
    assert!(text.contains("no store"), "{text}");
    let mut server = site.serve();
    let text = complaint(&site.run(&["salvage"]));
    assert!(text.contains("stop it first"), "{text}");
    stop(&mut server);
    let healthy = files(&site.store());
    let text = says(&site, &["salvage", "--accept-loss"]);
    assert!(text.contains("Nothing is damaged"), "{text}");
    assert_eq!(files(&site.store()), healthy);

    let (site, intact) = damaged_site();
    let refusal = complaint(&site.run(&[]));
    assert!(
        refusal.contains("is damaged at byte") && refusal.contains("`bindery salvage`"),
        "{refusal}"
    );
    let before = files(&site.store());
    let text = says(&site, &["salvage"]);
    for words in [
        "is damaged at byte",
        "can be kept",
        // The five others, and what is yet to be told to their homeserver.
        "later changes",
        "Nothing was changed",
        "bindery salvage --accept-loss",
    ] {
        assert!(text.contains(words), "{words:?} is not in: {text}");
    }
    assert_eq!(files(&site.store()), before);
    complaint(&site.run(&[]));

    let text = says(&site, &["salvage", "--accept-loss"]);
    assert!(text.contains("journal.damaged"), "{text}");
    let server = site.serve();
    for number in 0..10 {
        let found = bound(server.address, &format!("user{number}@example.org"));
        assert_eq!(found.is_some(), number < intact, "{number}");
    }
    drop(server);
    let text = says(&site, &["salvage"]);
    assert!(text.contains("Nothing is damaged"), "{text}");
}

#[test]
fn whoever_waits_for_a_backup_is_told_how_far_it_has_come() {
    let site = Site::new();
    let server = site.serve();
    for number in 0..3 {
        let address = format!("user{number}@example.org");
        says(
            &site,
            &["associations", "add", "email", &address, "@a:hs.example"],
        );
    }
    let told = |folder: &str| {
        let to = site.folder.path().join(folder);
        let request = json!({ "command": "backup", "to": to });
        let mut stream = UnixStream::connect(site.store().join("admin.sock")).unwrap();
        let line = json!({ "version": 1, "request": request }).to_string() + "\n";
        stream.write_all(line.as_bytes()).unwrap();
        let lines = BufReader::new(stream).lines();
        let mut seen = Vec::new();
        for line in lines {
            let value: Value = serde_json::from_str(&line.unwrap()).unwrap();
            seen.push(value.clone());
            if value.get("progress").is_none() {
                break;
            }
        }
        seen
    };
    let seen = told("first");
    let (answer, steps) = seen.split_last().unwrap();
    assert!(answer["ok"]["backed_up"]["changes"].is_u64(), "{answer}");
    assert!(!steps.is_empty());
    for step in steps {
        let (done, of) = (&step["progress"]["done"], &step["progress"]["of"]);
        assert!(
            done.as_u64() <= of.as_u64() && of.as_u64() > Some(6),
            "{step}"
        );
    }
    // What is refused has not come anywhere.
    let seen = told("first");
    assert!(seen.len() == 1 && seen[0]["error"].is_string(), "{seen:?}");

    // On a terminal there is a bar, which is gone at the end; with a server and without one.
    let mut server = server;
    for folder in ["second", "third"] {
        let text = on_a_terminal(&site, &["backup", folder]);
        assert!(text.contains("writing the backup: "), "{text:?}");
        assert!(text.contains(" rows"), "{text:?}");
        if folder == "second" {
            stop(&mut server);
        }
    }
    // Elsewhere there is none.
    let output = site.run(&["backup", "fourth"]);
    assert!(output.status.success());
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!text.contains('\u{1b}'), "{text:?}");
}

/// What a command that succeeds shows to whoever watches its standard error on a terminal.
fn on_a_terminal(site: &Site, arguments: &[&str]) -> String {
    use rustix::pty;
    let ours = pty::openpt(pty::OpenptFlags::RDWR | pty::OpenptFlags::NOCTTY).unwrap();
    pty::grantpt(&ours).unwrap();
    pty::unlockpt(&ours).unwrap();
    let name = pty::ptsname(&ours, Vec::new()).unwrap();
    let theirs = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(name.to_str().unwrap())
        .unwrap();
    let mut command = site.command(arguments);
    command.stderr(theirs).stdout(std::process::Stdio::null());
    let mut child = command.env("TERM", "xterm").spawn().unwrap();
    // It holds the other end, too.
    drop(command);
    let mut shown = Vec::new();
    // The end of a terminal that nobody has open any more is an error.
    let _ = std::fs::File::from(ours).read_to_end(&mut shown);
    let shown = String::from_utf8_lossy(&shown).into_owned();
    assert!(child.wait().unwrap().success(), "{shown}");
    shown
}

#[test]
fn compaction_needs_the_store_for_itself_and_loses_nothing() {
    let site = Site::new();
    let text = complaint(&site.run(&["compact"]));
    assert!(text.contains("no store"), "{text}");
    let mut server: Running = site.serve();
    says(
        &site,
        &[
            "associations",
            "add",
            "email",
            "a@example.org",
            "@a:hs.example",
        ],
    );
    let text = complaint(&site.run(&["compact"]));
    assert!(text.contains("stop it first"), "{text}");
    assert_eq!(
        call(server.address, "GET", "/_matrix/identity/v2", &Value::Null)
            .unwrap()
            .0,
        200
    );
    stop(&mut server);
    says(&site, &["compact"]);
    let server = site.serve();
    assert_eq!(
        bound(server.address, "a@example.org").as_deref(),
        Some("@a:hs.example")
    );
}

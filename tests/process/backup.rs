//! Backups of a server that serves, and stores that are restored from them.

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

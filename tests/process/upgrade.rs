//! The real binary on the stores of earlier versions, and on one of a later version.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::operator::{says, stop};
use super::{Site, bound, complaint};

/// A site that has a copy of a store.
fn site_of(store: &Path) -> Site {
    let site = Site::new();
    copy(store, &site.store());
    let text = fs::read_to_string(site.config()).unwrap();
    let named = text.replace("[server]", "[server]\nname = \"id.example.org\"");
    fs::write(site.config(), named).unwrap();
    site
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), &target).unwrap();
            fs::set_permissions(&target, PermissionsExt::from_mode(0o600)).unwrap();
        }
    }
}

#[test]
fn this_binary_goes_on_with_the_store_of_every_earlier_version() {
    let stores = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stores");
    let mut tried = 0;
    for entry in fs::read_dir(stores).unwrap() {
        let store = entry.unwrap().path();
        if !store.is_dir() {
            continue;
        }
        let site = site_of(&store);
        let checked = site.run(&["check"]);
        assert!(checked.status.success(), "{checked:?}");
        for _ in 0..2 {
            let mut server = site.serve();
            let found = bound(server.address, "alice@example.org");
            assert!(
                found.is_some_and(|mxid| mxid.starts_with("@alice:")),
                "{}",
                store.display()
            );
            stop(&mut server);
        }
        tried += 1;
    }
    assert!(tried >= 5, "only {tried} stores");
}

#[test]
fn a_backup_of_every_earlier_version_is_restored() {
    for name in ["journal", "terms", "peppers"] {
        let stores = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stores");
        let backup = stores.join(name);
        let site = site_of(&backup);
        fs::remove_dir_all(site.store()).unwrap();
        says(&site, &["restore", backup.to_str().unwrap()]);
        for key in ["signing.key", "secret.key"] {
            let target = site.store().join(key);
            fs::copy(backup.join(key), &target).unwrap();
            fs::set_permissions(&target, PermissionsExt::from_mode(0o600)).unwrap();
        }
        let server = site.serve();
        assert!(
            bound(server.address, "alice@example.org").is_some(),
            "{name}"
        );
    }
}

#[test]
fn a_store_of_a_later_version_is_refused_with_the_way_back_and_left_as_it_is() {
    let store = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stores/peppers");
    let site = site_of(&store);
    let segment = site.store().join("journal/0000000000000001.segment");
    let later = of_later_schema(&fs::read(&segment).unwrap());
    fs::write(&segment, &later).unwrap();
    for arguments in [&["check"][..], &[], &["status"], &["compact"]] {
        let text = complaint(&site.run(arguments));
        let words = text.lines().last().unwrap();
        assert!(words.contains("newer bindery"), "{words}");
        assert!(words.contains("install that version again"), "{words}");
        assert!(
            words.contains("restore a backup from before the upgrade"),
            "{words}"
        );
    }
    assert_eq!(fs::read(&segment).unwrap(), later);
}

/// A journal as a later version would write it: the number of its schema is another one in every frame, and every frame
/// has the checksum of itself and of the one before (docs/storage.md, "Frames").
fn of_later_schema(journal: &[u8]) -> Vec<u8> {
    let checksum = |bytes: &[u8]| ring::digest::digest(&ring::digest::SHA256, bytes);
    let mut written = Vec::new();
    let mut before: Option<Vec<u8>> = None;
    let mut rest = journal;
    while !rest.is_empty() {
        let length = u32::from_be_bytes(rest[50..54].try_into().unwrap());
        let end = 54 + usize::try_from(length).unwrap() + 16;
        let mut frame = rest[..end].to_vec();
        frame[6..10].copy_from_slice(&99_u32.to_be_bytes());
        let is_segment = frame[5] == 1;
        if let (false, Some(before)) = (is_segment, &before) {
            frame[34..50].copy_from_slice(before);
        }
        let sum = checksum(&frame).as_ref()[..16].to_vec();
        frame.extend(&sum);
        // The first group follows the one before the segment, whose checksum the segment's head has.
        before = if is_segment { None } else { Some(sum) };
        written.extend(frame);
        rest = &rest[end + 16..];
    }
    written
}

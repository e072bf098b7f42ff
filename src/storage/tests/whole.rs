//! Writing and reading from many threads, and work on the whole store.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tempfile::TempDir;

use super::super::codec::Key as _;
use super::super::erase::{Erased, Person, erase};
use super::super::layout::Layout;
use super::super::tables::{
    AcceptedTerms, AcceptedTermsRecord, AccountRecord, AssociationRecord, Associations,
    AssociationsByUser, Meta, MetaName, MetaRecord, SessionRecord, Sessions, SessionsByThreePid,
    SidRecord,
};
use super::super::{
    OpenError, Options, Sizes, Store, StoreError, accounts, associations, invitations, maintenance,
    recovery,
};
use super::disk::TestDisk;
use super::invitations::{invitation, invited};
use super::model::{self, Model, QUIET, SMALL};
use crate::types::{
    AccessTokenHash, ClientSecret, Medium, RecordId, Sid, ThreePid, Timestamp, UserId,
};

const PATIENCE: Duration = Duration::from_mins(1);

#[tokio::test]
async fn changes_that_wait_become_durable_together_and_each_gets_its_own_answer() {
    let root = TempDir::new().unwrap();
    let disk = TestDisk::over(root.path());
    let store = model::open(root.path(), &disk, QUIET).unwrap();
    let (release, hold) = std::sync::mpsc::channel();
    disk.faults(|faults| faults.hold = Some(hold));
    let write = |number: u8| {
        let store = store.clone();
        tokio::spawn(async move {
            store
                .write(move |tx| -> Result<u8, StoreError> {
                    model::write(tx, &vec![(number, Some(u64::from(number)))])?;
                    match number % 4 {
                        2 => Err(StoreError::Stopped),
                        3 => panic!("a closure may panic"),
                        _ => Ok(number),
                    }
                })
                .await
        })
    };
    let before = store.stats().unwrap().groups;
    let mut writes = Vec::new();
    for number in 0..40_u8 {
        writes.push(write(number));
        tokio::task::yield_now().await;
    }
    release.send(()).unwrap();
    let mut expected = Model::new();
    for (number, write) in (0_u8..).zip(writes) {
        match (number % 4, write.await.unwrap()) {
            (2, Err(StoreError::Stopped)) | (3, Err(StoreError::Panicked)) => {}
            (_, Ok(answer)) => {
                assert_eq!(answer, number);
                expected.insert(number, u64::from(number));
            }
            (_, Err(error)) => panic!("{error}"),
        }
    }
    assert_eq!(model::content(&store), expected);
    assert!(
        store.stats().unwrap().groups - before < 20,
        "they were grouped"
    );
}

#[tokio::test]
async fn a_closure_sees_what_was_changed_before_it_in_scans_too() {
    let root = TempDir::new().unwrap();
    let store = model::reopen_real(root.path());
    let seen = store
        .write(|tx| -> Result<_, StoreError> {
            model::write(tx, &(0..10).map(|n| (n, Some(3))).collect())?;
            model::write(tx, &vec![(4, None), (5, Some(4))])?;
            let prefix = model::user(3).to_bytes();
            let all = tx.scan::<AssociationsByUser>(&prefix, None, 100)?;
            let after = Some(&all[2].0);
            let rest = tx.scan::<AssociationsByUser>(&prefix, after, 3)?;
            assert_eq!(rest[..], all[3..6]);
            Ok(all.len())
        })
        .await
        .unwrap();
    assert_eq!(seen, 8);
    let limited = store
        .read(|tx| tx.scan::<Associations>(&[], None, 4))
        .unwrap();
    assert_eq!(limited.len(), 4);
}

#[tokio::test]
async fn a_change_that_no_frame_can_hold_is_refused_alone() {
    let root = TempDir::new().unwrap();
    let store = model::reopen_real(root.path());
    let refused = store
        .write(|tx| {
            let text = MetaRecord::ServerName("x".repeat(5 << 20));
            tx.put::<Meta>(&MetaName::KeyStates, &text)
        })
        .await;
    assert!(matches!(refused, Err(StoreError::TooLarge)));
    // Groups are divided so that each fits.
    let writes: Vec<_> = (0..8_u64)
        .map(|n| {
            let store = store.clone();
            tokio::spawn(async move {
                store
                    .write(move |tx| {
                        let text = MetaRecord::ServerName(n.to_string().repeat(3 << 20));
                        tx.put::<Meta>(&MetaName::KeyStates, &text)
                    })
                    .await
            })
        })
        .collect();
    for write in writes {
        write.await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_never_see_half_a_change() {
    let root = TempDir::new().unwrap();
    let disk = TestDisk::over(root.path());
    let store = model::open(root.path(), &disk, SMALL).unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let (store, done) = (store.clone(), Arc::clone(&done));
            std::thread::spawn(move || {
                let mut reads = 0;
                while !done.load(Ordering::SeqCst) {
                    let versions: Vec<u64> = model::content(&store).into_values().collect();
                    assert!(
                        versions.windows(2).all(|pair| pair[0] == pair[1]),
                        "{versions:?}"
                    );
                    reads += 1;
                }
                reads
            })
        })
        .collect();
    let mut snapshots = Vec::new();
    for version in 0..300_u64 {
        store
            .write(move |tx| model::write(tx, &(0..6).map(|n| (n, Some(version))).collect()))
            .await
            .unwrap();
        if version % 50 == 0 {
            let store = store.clone();
            snapshots.push(tokio::spawn(async move { store.snapshot().await.unwrap() }));
        }
    }
    for snapshot in snapshots {
        snapshot.await.unwrap();
    }
    done.store(true, Ordering::SeqCst);
    for reader in readers {
        assert!(reader.join().unwrap() > 0);
    }
}

#[tokio::test]
async fn a_backup_is_restored_as_a_new_history() {
    let root = TempDir::new().unwrap();
    let store = model::reopen_real(root.path());
    for number in 0..30 {
        let change = vec![(number, Some(u64::from(number)))];
        store
            .write(move |tx| model::write(tx, &change))
            .await
            .unwrap();
    }
    let expected = model::content(&store);
    let backups = TempDir::new().unwrap();
    let backup = backups.path().join("today");
    let sequence = store.backup(backup.clone()).await.unwrap();
    assert_eq!(sequence, store.stats().unwrap().sequence);
    assert!(
        store.backup(backup.clone()).await.is_err(),
        "not into the same folder"
    );
    store
        .write(|tx| model::write(tx, &vec![(1, None)]))
        .await
        .unwrap();

    let target = TempDir::new().unwrap();
    let settings = model::settings(target.path());
    let restored = maintenance::restore(&backup, &settings).unwrap();
    assert_eq!(restored.sequence, sequence);
    assert!(matches!(
        maintenance::restore(&backup, &settings),
        Err(OpenError::NotEmpty(_))
    ));
    let second = model::reopen_real(target.path());
    assert_eq!(model::content(&second), expected);
    second
        .write(|tx| model::write(tx, &vec![(2, None)]))
        .await
        .unwrap();

    // Neither is taken for the other.
    assert!(second.close(PATIENCE) && store.close(PATIENCE));
    fs::remove_dir_all(target.path().join("index")).unwrap();
    fs::rename(root.path().join("index"), target.path().join("index")).unwrap();
    let second = model::reopen_real(target.path());
    let mut expected = expected;
    expected.remove(&2);
    assert_eq!(model::content(&second), expected);
}

#[tokio::test]
async fn an_incomplete_or_damaged_backup_is_refused() {
    let root = TempDir::new().unwrap();
    let store = model::reopen_real(root.path());
    store
        .write(|tx| model::write(tx, &vec![(1, Some(1))]))
        .await
        .unwrap();
    let backups = TempDir::new().unwrap();
    let backup = backups.path().join("b");
    store.backup(backup.clone()).await.unwrap();
    let target = TempDir::new().unwrap();
    let settings = model::settings(target.path());
    for entry in fs::read_dir(backup.join("journal")).unwrap() {
        let file = entry.unwrap().path();
        let whole = fs::read(&file).unwrap();
        let mut damaged = whole.clone();
        damaged[whole.len() / 2] ^= 1;
        for bytes in [None, Some(&whole[..whole.len() - 1]), Some(&damaged[..])] {
            match bytes {
                Some(bytes) => fs::write(&file, bytes).unwrap(),
                None => fs::remove_file(&file).unwrap(),
            }
            assert!(maintenance::restore(&backup, &settings).is_err());
            assert!(!target.path().join("journal").exists());
        }
        fs::write(&file, whole).unwrap();
    }
    maintenance::restore(&backup, &settings).unwrap();
}

/// Whether some bytes stand in any file of journal and snapshots.
fn stands_in_journal(root: &std::path::Path, needle: &[u8]) -> bool {
    fs::read_dir(root.join("journal"))
        .unwrap()
        .map(|entry| fs::read(entry.unwrap().path()).unwrap())
        .any(|bytes| bytes.windows(needle.len()).any(|window| window == needle))
}

fn session(number: u8) -> SessionRecord {
    SessionRecord {
        threepid: model::threepid(number),
        client_secret: ClientSecret::parse("secret").unwrap().hash(),
        send_attempt: None,
        wrong_tries: 0,
        created: Timestamp::from_millis(1),
        validated_at: None,
        expires: Timestamp::from_millis(2),
        next_link: None,
        language: None,
        brand: None,
    }
}

#[tokio::test]
async fn erased_data_is_in_no_file_of_the_journal() {
    let root = TempDir::new().unwrap();
    let store = model::reopen_real(root.path());
    let change = (0..30).map(|n| (n, Some(u64::from(n)))).collect();
    store
        .write(move |tx| model::write(tx, &change))
        .await
        .unwrap();
    store.snapshot().await.unwrap();
    let person = UserId::parse("@someone:example.org").unwrap();
    let token = AccessTokenHash::from_bytes([7; 32]);
    let record = AssociationRecord {
        mxid: person.clone(),
        ..model::record(7)
    };
    store
        .write(move |tx| {
            let account = AccountRecord {
                mxid: record.mxid.clone(),
                created: record.ts,
                last_used: record.ts,
            };
            accounts::put(tx, &token, &account)?;
            tx.put::<Sessions>(&Sid::parse("other").unwrap(), &session(10))?;
            tx.put::<Sessions>(&Sid::parse("replaced").unwrap(), &session(7))?;
            tx.put::<Sessions>(&Sid::parse("current").unwrap(), &session(7))?;
            let by_threepid = (model::threepid(7), session(7).client_secret);
            let sid = Sid::parse("current").unwrap();
            tx.put::<SessionsByThreePid>(&by_threepid, &SidRecord { sid })?;
            tx.put::<AcceptedTerms>(&record.mxid, &AcceptedTermsRecord::default())?;
            invitations::put(tx, &invited(8), &invitation(9, &record.mxid))?;
            invitations::put(tx, &invited(9), &invitation(10, &model::user(0)))?;
            let notice = RecordId::from_bytes([11; 16]);
            associations::bind(tx, &model::threepid(7), &record, notice)?;
            associations::bind(tx, &model::threepid(9), &record, notice)
        })
        .await
        .unwrap();
    assert!(stands_in_journal(root.path(), b"@someone:example.org"));
    let erased = erase(&store, Person::User(person)).await.unwrap();
    assert_eq!(
        erased,
        Erased {
            associations: 2,
            sessions: 2,
            accounts: 1,
            invitations: 1,
        }
    );
    let left = store.stats().unwrap().rows;
    for table in [
        "session by 3PID",
        "accounts",
        "accounts by user",
        "accepted terms",
    ] {
        assert!(left.contains(&(table, 0)), "{left:?}");
    }
    assert!(left.contains(&("sessions", 1)), "{left:?}");
    assert!(!stands_in_journal(root.path(), b"@someone:example.org"));
    assert!(!stands_in_journal(root.path(), b"user7@example.org"));
    // An invitation that came to the person is one of the address, and waits again.
    assert!(stands_in_journal(root.path(), b"user9@example.org"));
    let invitee = Person::ThreePid(model::threepid(9));
    assert_eq!(erase(&store, invitee).await.unwrap().invitations, 1);
    assert!(!stands_in_journal(root.path(), b"user9@example.org"));

    assert!(stands_in_journal(root.path(), b"user8@example.org"));
    let person = Person::ThreePid(model::threepid(8));
    assert_eq!(erase(&store, person.clone()).await.unwrap().associations, 1);
    assert!(!stands_in_journal(root.path(), b"user8@example.org"));
    assert_eq!(erase(&store, person).await.unwrap(), Erased::default());
    assert_eq!(model::content(&store).len(), 27);
}

#[tokio::test]
async fn compaction_leaves_the_rows_and_takes_the_space() {
    let root = TempDir::new().unwrap();
    let store = model::reopen_real(root.path());
    for version in 0..200_u64 {
        let change = (0..50).map(|n| (n, Some(version))).collect();
        store
            .write(move |tx| model::write(tx, &change))
            .await
            .unwrap();
    }
    let (expected, before) = (model::content(&store), store.stats().unwrap());
    assert!(store.close(PATIENCE));
    maintenance::compact(&model::settings(root.path()), &model::name())
        .await
        .unwrap();
    let store = model::reopen_real(root.path());
    assert_eq!(model::content(&store), expected);
    let after = store.stats().unwrap();
    assert!(after.index_bytes <= before.index_bytes);
    assert!(after.journal_bytes < before.journal_bytes / 10);
    assert_eq!(after.rows, before.rows);
}

#[tokio::test]
async fn an_index_that_takes_too_much_for_its_rows_is_made_anew_at_the_start_and_only_then() {
    use std::os::unix::fs::MetadataExt as _;
    const ROWS: u32 = 4000;
    let root = TempDir::new().unwrap();
    let options = Options {
        sizes: Sizes {
            index_spare: 1 << 20,
            ..QUIET.sizes
        },
        ..QUIET
    };
    let open = || model::open(root.path(), &TestDisk::over(root.path()), options).unwrap();
    // Held open, so that no other file is given its number.
    let file = || fs::File::open(root.path().join("index/db")).unwrap();
    let number = |file: &fs::File| file.metadata().unwrap().ino();
    let store = open();
    let key = |row: u32| Sid::parse(&format!("{row:0>200}")).unwrap();
    store
        .write(move |tx| (0..ROWS).try_for_each(|row| tx.put::<Sessions>(&key(row), &session(1))))
        .await
        .unwrap();
    store
        .write(|tx| model::write(tx, &vec![(1, Some(1)), (2, Some(2))]))
        .await
        .unwrap();
    assert!(store.close(PATIENCE));
    let full = file();
    // As long as the rows are there, it takes what it takes.
    let store = open();
    assert_eq!(number(&file()), number(&full));
    store
        .write(move |tx| (0..ROWS).try_for_each(|row| tx.delete::<Sessions>(&key(row))))
        .await
        .unwrap();
    let (expected, before) = (model::content(&store), store.stats().unwrap().index_bytes);
    assert!(before > options.sizes.index_spare, "{before}");
    assert!(store.close(PATIENCE));

    let store = open();
    assert_eq!(model::content(&store), expected);
    let after = store.stats().unwrap().index_bytes;
    assert!(after <= options.sizes.index_spare, "{before} {after}");
    assert!(store.close(PATIENCE));
    let small = file();
    assert_ne!(number(&small), number(&full));
    let store = open();
    assert_eq!(number(&file()), number(&small));
    assert_eq!(model::content(&store), expected);
}

#[tokio::test]
async fn under_steady_rebinding_the_files_stay_small() {
    let root = TempDir::new().unwrap();
    let disk = TestDisk::over(root.path());
    let store = model::open(root.path(), &disk, SMALL).unwrap();
    let mut most = 0;
    for version in 0..3000_u64 {
        let number = u8::try_from(version % 50).unwrap();
        store
            .write(move |tx| model::write(tx, &vec![(number, Some(version))]))
            .await
            .unwrap();
        if version % 100 == 0 {
            // The keeper does what waits before this.
            let stats = store.stats().unwrap();
            most = most.max(stats.journal_bytes + stats.snapshot_bytes);
        }
    }
    store.snapshot().await.unwrap();
    store.forget_deleted().await.unwrap();
    let stats = store.stats().unwrap();
    assert!(
        stats.journal_bytes + stats.snapshot_bytes < 50_000,
        "{stats:?}, {most} at most"
    );
    assert!(stats.snapshot_made.is_some());
    let rows: std::collections::BTreeMap<_, _> = stats.rows.into_iter().collect();
    assert_eq!(
        (
            rows["associations"],
            rows["associations by user"],
            rows["meta"]
        ),
        (50, 50, 2)
    );
}

#[tokio::test]
async fn every_day_has_a_snapshot_until_nothing_deleted_is_left() {
    let root = TempDir::new().unwrap();
    let snapshots = || recovery::list(&Layout::new(root.path())).unwrap().snapshots;
    let options = Options {
        sizes: Sizes {
            merge_least: u64::MAX,
            merge_most: u64::MAX,
            ..QUIET.sizes
        },
        ..QUIET
    };
    let disk = TestDisk::over(root.path());
    let store = model::open(root.path(), &disk, options).unwrap();
    store
        .write(|tx| model::write(tx, &vec![(1, Some(1)), (2, Some(2))]))
        .await
        .unwrap();
    store.snapshot().await.unwrap();
    store
        .write(|tx| model::write(tx, &vec![(1, None)]))
        .await
        .unwrap();
    assert!(stands_in_journal(root.path(), b"user1@example.org"));
    assert!(store.close(PATIENCE));
    let mut seen = Vec::new();
    for day in 0..4 {
        for sequence in snapshots() {
            let file = fs::File::open(Layout::new(root.path()).snapshot(sequence)).unwrap();
            let day_length = Duration::from_hours(24);
            // Old, or made while the clock was years ahead.
            let made = match day {
                1 => std::time::UNIX_EPOCH + day_length * 365 * 200,
                _ => std::time::UNIX_EPOCH + day_length,
            };
            file.set_modified(made).unwrap();
        }
        let store = model::open(root.path(), &disk, options).unwrap();
        // At the start it is looked whether a snapshot is due; a backup is made after that.
        let backup = root.path().join(format!("backup-{day}"));
        store.backup(backup).await.unwrap();
        seen.push(snapshots());
        assert!(store.close(PATIENCE));
    }
    assert!(!stands_in_journal(root.path(), b"user1@example.org"));
    assert!(stands_in_journal(root.path(), b"user2@example.org"));
    assert_ne!(seen[0], seen[1]);
    assert_eq!(seen[2], seen[3], "when nothing changes, nothing is made");
}

#[test]
fn an_address_that_later_rules_refuse_is_no_damage() {
    let root = TempDir::new().unwrap();
    let store = model::reopen_real(root.path());
    let address = "someone@b\u{378}.example";
    assert!(ThreePid::parse(Medium::Email, address).is_err());
    let threepid = ThreePid::stored(Medium::Email, address).unwrap();
    let of = threepid.clone();
    store
        .write_blocking(move |tx| -> Result<(), StoreError> {
            let record = SessionRecord {
                threepid: of.clone(),
                ..session(1)
            };
            tx.put::<Sessions>(&Sid::parse("of-it").unwrap(), &record)?;
            associations::put(tx, &of, &model::record(1))
        })
        .unwrap();
    assert!(store.close(PATIENCE));
    // By the rows of the index, and by those of the journal.
    for lost in [false, true] {
        if lost {
            fs::remove_dir_all(root.path().join("index")).unwrap();
        }
        let store = model::reopen_real(root.path());
        let found = store.read(|tx| tx.get::<Associations>(&threepid)).unwrap();
        assert_eq!(found, Some(model::record(1)));
        let of = Sid::parse("of-it").unwrap();
        let found = store.read(|tx| tx.get::<Sessions>(&of)).unwrap();
        assert_eq!(found.unwrap().threepid, threepid);
        assert!(store.close(PATIENCE));
    }
}

#[test]
fn the_store_can_be_sent_everywhere() {
    fn is<T: Clone + Send + Sync + 'static>() {}
    is::<Store>();
}

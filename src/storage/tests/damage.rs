//! Damaged, missing, foreign and newer files.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use super::super::changes::Changes;
use super::super::codec::{Key as _, Record};
use super::super::error::{JournalError, OpenError};
use super::super::files::RealDisk;
use super::super::frame::{Next, Reader};
use super::super::index::Index;
use super::super::layout::Layout;
use super::super::tables::{Associations, AssociationsByUser, Nothing, Table as _};
use super::super::{maintenance, recovery};
use super::crashes::copy_folder;
use super::disk::TestDisk;
use super::model::{self, Model, QUIET, SMALL};

const PATIENCE: Duration = Duration::from_mins(1);

/// A closed store of several segments, each with several frames; the journal's tail holds the last changes.
fn filled(root: &Path) -> Vec<Model> {
    let store = model::open(root, &TestDisk::over(root), SMALL_SEGMENTS).unwrap();
    let mut models = vec![Model::new()];
    for version in 0..14_u64 {
        let change = vec![
            (u8::try_from(version % 5).unwrap(), Some(version)),
            (u8::try_from((version + 2) % 5).unwrap(), None),
        ];
        model::commit(&store, &change).unwrap();
        let mut model = models.last().unwrap().clone();
        model::apply(&mut model, &change);
        models.push(model);
    }
    assert!(store.close(PATIENCE));
    models
}

const SMALL_SEGMENTS: super::super::Options = super::super::Options {
    sizes: super::super::Sizes {
        segment: 1500,
        merge_least: u64::MAX,
        ..QUIET.sizes
    },
    ..QUIET
};

fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .map(|path| {
            let bytes = fs::read(&path).unwrap();
            (path, bytes)
        })
        .collect()
}

/// Where the frames of a file begin, and its length.
fn frames(file: &Path) -> Vec<u64> {
    let mut reader = Reader::new(fs::File::open(file).unwrap());
    let mut places = vec![0];
    while let Next::Frame(_) = reader.next().unwrap() {
        places.push(reader.offset());
    }
    places
}

fn flip(file: &Path, place: u64) {
    let mut bytes = fs::read(file).unwrap();
    bytes[usize::try_from(place).unwrap()] ^= 0x10;
    fs::write(file, bytes).unwrap();
}

fn flipped<T>(file: &Path, place: u64, work: impl FnOnce() -> T) -> T {
    flip(file, place);
    let result = work();
    flip(file, place);
    result
}

/// Opens, which must be refused, and looks that nothing of the journal was touched.
#[track_caller]
fn refused(root: &Path) -> OpenError {
    let before = files(&root.join("journal"));
    let error = model::open(root, &TestDisk::over(root), QUIET)
        .err()
        .expect("it is refused");
    assert_eq!(files(&root.join("journal")), before, "nothing was written");
    assert!(
        !root.join("index.opening").exists(),
        "the index stays trusted"
    );
    let text = error.to_string();
    assert!(
        !text.contains('\n') && text.contains(root.to_str().unwrap()),
        "{text}"
    );
    error
}

#[test]
fn of_all_flipped_bytes_only_those_of_the_last_frame_are_cut() {
    let root = TempDir::new().unwrap();
    filled(root.path());
    let folder = Layout::new(root.path());
    let segments = recovery::list(&folder).unwrap().segments;
    assert!(segments.len() >= 3, "{segments:?}");
    let whole = recovery::examine(&folder).unwrap().head;
    let last = *segments.last().unwrap();
    for first in segments {
        let file = folder.segment(first);
        let places = frames(&file);
        let last_frame = places[places.len() - 2];
        assert!(places.len() > 3, "a header and at least two frames");
        for place in 0..*places.last().unwrap() {
            let found = flipped(&file, place, || recovery::examine(&folder));
            if first == last && place >= last_frame {
                let found = found.unwrap();
                assert_eq!(found.head.sequence, whole.sequence - 1);
                assert_eq!(found.tail.intact, last_frame);
                continue;
            }
            match found.unwrap_err() {
                JournalError::Damaged {
                    file: named,
                    offset,
                    later,
                    ..
                } => {
                    assert_eq!(named, file);
                    assert!(places.contains(&offset) && offset <= place);
                    assert!(later > 0 || offset == 0, "{place} in {}", file.display());
                }
                // The byte that gives the format of a segment.
                JournalError::Newer { what, .. } => assert_eq!((what, place), ("format", 4)),
                other => panic!("{other}"),
            }
        }
    }
}

#[test]
fn a_bad_end_is_cut_only_if_the_index_does_not_know_it() {
    let made = TempDir::new().unwrap();
    let models = filled(made.path());
    let stale = TempDir::new().unwrap();
    copy_folder(made.path(), stale.path());
    // One more change, which only the first index learns of.
    let store = model::reopen(made.path());
    model::commit(&store, &vec![(9, Some(99))]).unwrap();
    assert!(store.close(PATIENCE));
    let folder = Layout::new(made.path());
    let last = *recovery::list(&folder).unwrap().segments.last().unwrap();
    let places = frames(&folder.segment(last));
    let last_frame = places[places.len() - 2];
    flip(&folder.segment(last), last_frame + 60);

    assert!(matches!(
        refused(made.path()),
        OpenError::IndexAhead { journal, index, .. } if index == journal + 1
    ));
    for index in ["behind", "missing"] {
        let root = TempDir::new().unwrap();
        copy_folder(made.path(), root.path());
        fs::remove_dir_all(root.path().join("index")).unwrap();
        if index == "behind" {
            copy_folder(&stale.path().join("index"), &root.path().join("index"));
        }
        let store = model::reopen(root.path());
        assert_eq!(&model::content(&store), models.last().unwrap(), "{index}");
    }
}

#[test]
fn damage_gaps_and_foreign_files_are_refused_with_file_and_way_out() {
    let made = TempDir::new().unwrap();
    filled(made.path());
    let other = TempDir::new().unwrap();
    filled(other.path());
    let segments = recovery::list(&Layout::new(made.path())).unwrap().segments;
    let (second, last) = (segments[1], *segments.last().unwrap());
    let check = |change: &dyn Fn(&Layout), expected: &[&str]| {
        let root = TempDir::new().unwrap();
        copy_folder(made.path(), root.path());
        change(&Layout::new(root.path()));
        let text = refused(root.path()).to_string();
        for word in expected {
            assert!(text.contains(word), "{word:?} is not in: {text}");
        }
        root
    };
    check(
        &|folder| {
            flip(
                &folder.segment(second),
                frames(&folder.segment(second))[1] + 70,
            );
        },
        &[
            "is damaged at byte",
            "estore a backup",
            "salvage",
            "later ones",
        ],
    );
    check(
        &|folder| fs::remove_file(folder.segment(second)).unwrap(),
        &["the files in between are missing"],
    );
    check(
        &|folder| fs::remove_file(folder.segment(1)).unwrap(),
        &["no journal from change 1 on"],
    );
    check(
        &|folder| fs::remove_file(folder.segment(last)).unwrap(),
        &["was made and acknowledged", "restore a backup"],
    );
    check(
        &|folder| {
            let foreign = Layout::new(other.path()).segment(second);
            fs::copy(foreign, folder.segment(second)).unwrap();
        },
        &["belongs to another store"],
    );
    // A journal without any files, and none at all, beside an index that knows changes.
    check(
        &|folder| {
            for first in &segments {
                fs::remove_file(folder.segment(*first)).unwrap();
            }
        },
        &["no journal from change 1 on"],
    );
    for (place, value, word) in [(4, 2, "format 2"), (9, 3, "schema 3")] {
        check(
            &|folder| {
                let file = folder.segment(last);
                let mut bytes = fs::read(&file).unwrap();
                bytes[place] = value;
                let end = frames(&file)[1];
                let end = usize::try_from(end).unwrap();
                let sum = ring::digest::digest(&ring::digest::SHA256, &bytes[..end - 16]);
                bytes[end - 16..end].copy_from_slice(&sum.as_ref()[..16]);
                fs::write(file, bytes).unwrap();
            },
            &["newer bindery", word],
        );
    }
}

#[test]
fn a_journal_that_is_gone_is_not_made_anew() {
    let root = TempDir::new().unwrap();
    filled(root.path());
    fs::rename(root.path().join("journal"), root.path().join("lost")).unwrap();
    for _ in 0..2 {
        let error = model::open(root.path(), &TestDisk::over(root.path()), QUIET).err();
        assert!(
            error
                .unwrap()
                .to_string()
                .contains("put the missing files back")
        );
        assert!(!root.path().join("journal").exists());
    }
    fs::rename(root.path().join("lost"), root.path().join("journal")).unwrap();
    model::reopen(root.path());
}

/// Does something to a closed store.
type Harm<'a> = Box<dyn Fn(&Path) + 'a>;

#[test]
#[expect(clippy::too_many_lines, reason = "a list of harms")]
fn whatever_happens_to_the_index_costs_a_rebuild_and_no_data() {
    let made = TempDir::new().unwrap();
    let models = filled(made.path());
    let expected = models.last().unwrap();
    let other = TempDir::new().unwrap();
    filled(other.path());
    let edit = |root: &Path, edit: &dyn Fn(&Index)| {
        let index = Index::open(&root.join("index"), 1 << 20).unwrap();
        edit(&index);
        index.flush().unwrap();
    };
    let key = model::threepid(*expected.keys().next().unwrap()).to_bytes();
    let set = |record: Option<&[u8]>| {
        let (key, record) = (key.clone(), record.map(<[u8]>::to_vec));
        move |index: &Index| {
            index
                .load(Associations::ID, &key, record.as_deref())
                .unwrap();
        }
    };
    let db = |root: &Path| root.join("index").join("db");
    let overwrite = |root: &Path, from: usize, length: usize, byte: Option<u8>| {
        let mut bytes = fs::read(db(root)).unwrap();
        let end = (from + length).min(bytes.len());
        for (place, at) in bytes[from.min(end)..end].iter_mut().enumerate() {
            *at = byte.unwrap_or(u8::try_from(place * 31 % 251).unwrap());
        }
        fs::write(db(root), bytes).unwrap();
    };
    let mut harms: Vec<(String, Harm<'_>)> = vec![
        (
            "missing".into(),
            Box::new(|root| fs::remove_dir_all(root.join("index")).unwrap()),
        ),
        (
            "of another history".into(),
            Box::new(|root| {
                fs::remove_dir_all(root.join("index")).unwrap();
                copy_folder(&other.path().join("index"), &root.join("index"));
            }),
        ),
        (
            "a row dropped".into(),
            Box::new(|root| edit(root, &set(None))),
        ),
        (
            "a row garbled".into(),
            Box::new(|root| edit(root, &set(Some(b"\x01garbled")))),
        ),
        (
            "a row zeroed".into(),
            Box::new(|root| edit(root, &set(Some(&[0; 20])))),
        ),
        (
            "a row too many".into(),
            Box::new(|root| {
                let key = model::threepid(200).to_bytes();
                edit(root, &|index: &Index| {
                    index.load(Associations::ID, &key, Some(b"x")).unwrap();
                });
            }),
        ),
        (
            "no configuration".into(),
            Box::new(|root| fs::remove_file(root.join("index/conf")).unwrap()),
        ),
        (
            "an empty file".into(),
            Box::new(move |root| fs::write(db(root), b"").unwrap()),
        ),
        (
            "a folder in its place".into(),
            Box::new(move |root| {
                fs::remove_file(db(root)).unwrap();
                fs::create_dir(db(root)).unwrap();
            }),
        ),
        (
            "interrupted".into(),
            Box::new(|root| fs::write(root.join("index.opening"), b"").unwrap()),
        ),
    ];
    for place in [0, 16, 100, 1000, 4000, 9000, 20_000] {
        for byte in [Some(0), Some(0xff), None] {
            harms.push((
                format!("bytes from {place} on set to {byte:?}"),
                Box::new(move |root| overwrite(root, place, 300, byte)),
            ));
        }
    }
    for (harm, do_harm) in harms {
        let root = TempDir::new().unwrap();
        copy_folder(made.path(), root.path());
        do_harm(root.path());
        for _ in 0..2 {
            let store = model::reopen(root.path());
            assert_eq!(&model::content(&store), expected, "{harm}");
            model::commit(&store, &vec![(77, Some(7)), (77, None)]).unwrap();
            assert!(store.close(PATIENCE), "{harm}");
        }
        assert!(!root.path().join("index.opening").exists());
    }
}

#[tokio::test]
async fn a_damaged_snapshot_is_replaced_by_the_older_one() {
    let root = TempDir::new().unwrap();
    let disk = TestDisk::over(root.path());
    let store = model::open(root.path(), &disk, QUIET).unwrap();
    let mut model = Model::new();
    for version in 0..12_u64 {
        let change = vec![(u8::try_from(version).unwrap(), Some(version))];
        let (store_, change_) = (store.clone(), change.clone());
        tokio::task::spawn_blocking(move || model::commit(&store_, &change_).unwrap())
            .await
            .unwrap();
        model::apply(&mut model, &change);
        if version % 4 == 3 {
            store.snapshot().await.unwrap();
        }
    }
    assert!(store.close(PATIENCE));
    let folder = Layout::new(root.path());
    let snapshots = recovery::list(&folder).unwrap().snapshots;
    assert_eq!(snapshots.len(), 2, "two are kept");
    let newest = folder.snapshot(snapshots[1]);
    let length = fs::metadata(&newest).unwrap().len();
    for place in (0..length).step_by(7) {
        if place == 4 {
            continue;
        }
        flip(&newest, place);
        let all = |sequence| {
            let mut segments = recovery::list(&folder)?.segments;
            segments.retain(|first| *first > sequence);
            Ok(segments)
        };
        super::super::merge::with_rows(&folder, all, |moment| {
            moment.rows(&folder, &mut |_, _, _| Ok(()))
        })
        .unwrap();
        flip(&newest, place);
    }
    flip(&newest, length / 2);
    fs::remove_dir_all(root.path().join("index")).unwrap();
    let store = model::reopen(root.path());
    assert_eq!(model::content(&store), model);
    // The next snapshot takes the place of the damaged one.
    let store_ = store.clone();
    tokio::task::spawn_blocking(move || model::commit(&store_, &vec![(50, Some(50))]).unwrap())
        .await
        .unwrap();
    store.snapshot().await.unwrap();
    assert!(!newest.exists());
    assert!(store.close(PATIENCE));

    // With both gone there is nothing to begin with.
    for sequence in recovery::list(&folder).unwrap().snapshots {
        flip(&folder.snapshot(sequence), 60);
    }
    assert!(
        refused(root.path())
            .to_string()
            .contains("snapshot is damaged at byte 0")
    );
}

#[test]
fn what_stands_before_the_damage_can_be_salvaged() {
    let root = TempDir::new().unwrap();
    let models = filled(root.path());
    let folder = Layout::new(root.path());
    let segments = recovery::list(&folder).unwrap().segments;
    let file = folder.segment(segments[1]);
    flip(&file, frames(&file)[2] + 10);
    // The first change of a store is its name, so change n is that of model n - 1.
    let settings = model::settings(root.path());
    let before = files(&root.path().join("journal"));
    let looked = maintenance::salvage(&settings, true).unwrap();
    assert_eq!(files(&root.path().join("journal")), before);
    match looked.damage.unwrap() {
        JournalError::Damaged {
            file: named,
            intact,
            later,
            ..
        } => {
            assert_eq!((named, intact), (file, looked.sequence));
            // The damaged change and the later ones are all that there are.
            let whole = u64::try_from(models.len()).unwrap();
            assert_eq!(intact + 1 + later, whole);
        }
        other => panic!("{other}"),
    }

    let saved = maintenance::salvage(&settings, false).unwrap();
    assert_eq!(saved.sequence, looked.sequence);
    assert_eq!(files(&saved.kept_in.unwrap()).len(), before.len());
    let store = model::reopen(root.path());
    let expected = &models[usize::try_from(saved.sequence).unwrap() - 1];
    assert_eq!(&model::content(&store), expected);
    model::commit(&store, &vec![(1, Some(1))]).unwrap();
}

/// Adds a change whose frame is intact, but gives a digest that its rows do not have.
fn append_with_a_wrong_digest(folder: &Layout) {
    let found = recovery::examine(folder).unwrap();
    let disk = std::sync::Arc::new(RealDisk);
    let mut journal =
        super::super::journal::Journal::resume(disk, folder.clone(), QUIET.sizes, &found).unwrap();
    let key = model::threepid(90).to_bytes();
    let record = Record::to_bytes(&model::record(90)).unwrap();
    let by_user = (model::user(90), model::threepid(90)).to_bytes();
    let nothing = Record::to_bytes(&Nothing {}).unwrap();
    let mut changes = Changes::default();
    changes.set(Associations::ID, key.clone(), Some(record.clone()));
    changes.set(AssociationsByUser::ID, by_user, Some(nothing));
    // One of the two rows is missing in it.
    let mut digest = found.head.digest;
    digest.add(Associations::ID, &key, &record);
    journal.append(&changes, digest).unwrap();
}

#[test]
fn rows_that_do_not_add_up_are_refused_and_salvaged_with_a_digest_of_their_own() {
    let root = TempDir::new().unwrap();
    let models = filled(root.path());
    let folder = Layout::new(root.path());
    append_with_a_wrong_digest(&folder);
    let sequence = recovery::examine(&folder).unwrap().head.sequence;
    // The index gets the rows and is found wanting; what is made anew out of the journal is no better.
    let open = || model::open(root.path(), &TestDisk::over(root.path()), QUIET);
    for _ in 0..2 {
        let text = open().err().unwrap().to_string();
        assert!(
            text.contains(&format!("the digest of change {sequence}"))
                && text.contains("`bindery salvage`"),
            "{text}"
        );
    }
    let settings = model::settings(root.path());
    for dry_run in [true, false] {
        let saved = maintenance::salvage(&settings, dry_run).unwrap();
        assert_eq!(saved.sequence, sequence);
        let damage = saved.damage.unwrap();
        assert!(
            matches!(damage, JournalError::Digest { sequence: of, .. } if of == sequence),
            "{damage}"
        );
    }
    let mut expected = models.last().unwrap().clone();
    model::apply(&mut expected, &vec![(90, Some(90))]);
    for _ in 0..2 {
        let store = open().unwrap();
        assert_eq!(model::content(&store), expected);
        let digest = recovery::examine(&folder).unwrap().head.digest;
        model::commit(&store, &vec![(91, Some(91))]).unwrap();
        model::commit(&store, &vec![(91, None)]).unwrap();
        assert!(store.close(PATIENCE));
        assert_eq!(recovery::examine(&folder).unwrap().head.digest, digest);
    }
}

#[test]
fn a_frame_with_a_table_of_nobody_is_not_lost_silently() {
    let root = TempDir::new().unwrap();
    filled(root.path());
    let folder = Layout::new(root.path());
    let found = recovery::examine(&folder).unwrap();
    let disk = std::sync::Arc::new(RealDisk);
    let mut journal =
        super::super::journal::Journal::resume(disk, folder.clone(), QUIET.sizes, &found).unwrap();
    let mut changes = Changes::default();
    changes.set(99, b"key".to_vec(), Some(b"record".to_vec()));
    let mut digest = found.head.digest;
    digest.add(99, b"key", b"record");
    journal.append(&changes, digest).unwrap();
    let error = model::open(root.path(), &TestDisk::over(root.path()), SMALL).err();
    assert!(error.unwrap().to_string().contains("table 99"));
}

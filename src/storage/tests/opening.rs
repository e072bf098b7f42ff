//! What an operator may get wrong, and stores of earlier forms.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;

use super::super::files::RealDisk;
use super::super::index::Index;
use super::super::tables::{Meta, MetaName, MetaRecord, TABLES};
use super::super::{OpenError, SCHEMA, Store, exists};
use super::disk::TestDisk;
use super::model::{self, QUIET};
use crate::types::ServerName;

const PATIENCE: Duration = Duration::from_mins(1);

#[test]
fn a_second_instance_is_refused_before_anything_is_touched() {
    let root = TempDir::new().unwrap();
    assert!(!exists(root.path()));
    let store = model::reopen(root.path());
    assert!(exists(root.path()));
    let second = Store::open(&model::settings(root.path()), &model::name());
    assert!(matches!(second, Err(OpenError::InUse(_))));
    assert!(store.close(PATIENCE));
    model::reopen(root.path());
}

#[test]
fn a_store_keeps_to_the_name_it_was_made_with() {
    let root = TempDir::new().unwrap();
    let store = model::reopen(root.path());
    model::commit(&store, &vec![(1, Some(1))]).unwrap();
    assert!(store.close(PATIENCE));
    let other = ServerName::parse("other.example.org").unwrap();
    let refused = Store::open(&model::settings(root.path()), &other)
        .err()
        .unwrap();
    assert!(matches!(&refused, OpenError::OtherServer { found, .. } if found == "id.example.org"));
    let store = model::reopen(root.path());
    assert_eq!(model::content(&store).len(), 1);
}

#[test]
fn a_store_of_an_earlier_schema_is_opened_and_becomes_one_of_this() {
    let root = TempDir::new().unwrap();
    let schema = |store: &Store| {
        let read = store.read(|tx| tx.get::<Meta>(&MetaName::Schema)).unwrap();
        assert_eq!(model::content(store).len(), 1);
        read
    };
    let store = model::reopen(root.path());
    model::commit(&store, &vec![(1, Some(1))]).unwrap();
    store
        .write_blocking(|tx| tx.put::<Meta>(&MetaName::Schema, &MetaRecord::Schema(1)))
        .unwrap();
    assert_eq!(schema(&store), Some(MetaRecord::Schema(1)));
    assert!(store.close(PATIENCE));
    for _ in 0..2 {
        let store = model::reopen(root.path());
        assert_eq!(schema(&store), Some(MetaRecord::Schema(SCHEMA)));
        assert!(store.close(PATIENCE));
    }
    let store = model::reopen(root.path());
    store
        .write_blocking(|tx| tx.put::<Meta>(&MetaName::Schema, &MetaRecord::Schema(SCHEMA + 1)))
        .unwrap();
    assert!(store.close(PATIENCE));
    let refused = Store::open(&model::settings(root.path()), &model::name());
    assert!(matches!(refused, Err(OpenError::Newer { .. })));
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let root = TempDir::new().unwrap();
    let file = root.path().join("file");
    fs::write(&file, b"").unwrap();
    let refused = Store::open(&model::settings(&file.join("store")), &model::name());
    let text = refused.err().unwrap().to_string();
    assert!(
        text.contains("store.path") && text.contains("file/store"),
        "{text}"
    );
}

#[test]
fn a_disk_that_is_full_at_the_start_is_named() {
    let root = TempDir::new().unwrap();
    let disk = TestDisk::over(root.path());
    disk.faults(|faults| faults.create = true);
    assert!(model::open(root.path(), &disk, QUIET).is_err());
    disk.faults(|faults| faults.create = false);
    assert!(model::open(root.path(), &disk, QUIET).is_ok());
}

#[test]
fn a_store_that_was_kept_in_sled_alone_is_taken_over() {
    // The first form: the same trees and rows, without journal and without saying how far it has come.
    let root = TempDir::new().unwrap();
    let store = model::reopen(root.path());
    for number in 0..40 {
        model::commit(&store, &vec![(number, Some(u64::from(number)))]).unwrap();
    }
    let expected = model::content(&store);
    assert!(store.close(PATIENCE));
    let first_form = TempDir::new().unwrap();
    {
        let index = Index::open(&root.path().join("index"), 1 << 20).unwrap();
        let put = super::super::index::first_form(&first_form.path().join("index"));
        for table in TABLES {
            for row in index.rows(table.id) {
                let (key, record) = row.unwrap();
                put(table.id, &key, &record);
            }
        }
    }
    assert!(exists(first_form.path()));
    for _ in 0..2 {
        let store = Store::open_with(
            &model::settings(first_form.path()),
            &model::name(),
            Arc::new(RealDisk),
            QUIET,
        )
        .unwrap();
        assert_eq!(model::content(&store), expected);
        assert!(store.close(PATIENCE));
    }
    // From now on the journal is the truth.
    fs::remove_dir_all(first_form.path().join("index")).unwrap();
    assert_eq!(model::content(&model::reopen(first_form.path())), expected);
}

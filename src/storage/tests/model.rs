//! What the tests write, and plain maps to compare with.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::super::codec::Key;
use super::super::files::RealDisk;
use super::super::tables::{
    AssociationRecord, Associations, AssociationsByUser, Meta, MetaName, Table,
};
use super::super::{OpenError, Options, Sizes, Store, StoreError, Tx, associations};
use super::disk::TestDisk;
use crate::config;
use crate::types::{Medium, ServerName, ThreePid, Timestamp, UserId};

/// Who is bound to address number n, and how often that was said.
pub(super) type Model = BTreeMap<u8, u64>;

pub(super) fn threepid(number: u8) -> ThreePid {
    ThreePid::parse(Medium::Email, &format!("user{number}@example.org")).unwrap()
}

/// The number of an address that [`threepid`] made.
pub(super) fn number(threepid: &ThreePid) -> u8 {
    let address = threepid.address();
    let digits: String = address.chars().filter(char::is_ascii_digit).collect();
    digits.parse().unwrap()
}

/// The user of a version; few, so that rows by user change hands.
pub(super) fn user(version: u64) -> UserId {
    UserId::parse(&format!("@u{}:example.org", version % 3)).unwrap()
}

pub(super) fn record(version: u64) -> AssociationRecord {
    AssociationRecord {
        mxid: user(version),
        ts: Timestamp::from_millis(version),
        not_before: Timestamp::from_millis(version),
        not_after: Timestamp::from_millis(u64::MAX),
    }
}

/// A change of some addresses, each bound anew or unbound.
pub(super) type Change = Vec<(u8, Option<u64>)>;

pub(super) fn apply(model: &mut Model, change: &Change) {
    for (number, version) in change {
        match version {
            Some(version) => model.insert(*number, *version),
            None => model.remove(number),
        };
    }
}

pub(super) fn write(tx: &mut Tx<'_>, change: &Change) -> Result<(), StoreError> {
    for (number, version) in change {
        let threepid = threepid(*number);
        match version {
            Some(version) => associations::put(tx, &threepid, &record(*version))?,
            None => {
                if let Some(found) = tx.get::<Associations>(&threepid)? {
                    associations::remove(tx, &threepid, &found.mxid)?;
                }
            }
        }
    }
    Ok(())
}

pub(super) fn commit(store: &Store, change: &Change) -> Result<(), StoreError> {
    let change = change.clone();
    store.write_blocking(move |tx| write(tx, &change))
}

/// All rows of a table.
pub(super) fn rows<T: Table>(tx: &Tx<'_>) -> Vec<(T::Key, T::Record)> {
    tx.scan::<T>(&[], None, usize::MAX).unwrap()
}

/// What a store holds; the rows by user must be those of the associations, and each row must be found by its key.
#[track_caller]
pub(super) fn content(store: &Store) -> Model {
    store
        .read(|tx| -> Result<Model, StoreError> {
            let rows_found = rows::<Associations>(tx);
            let mut by_user: Vec<_> = rows_found
                .iter()
                .map(|(threepid, record)| (record.mxid.clone(), threepid.clone()))
                .collect();
            by_user.sort_by_key(Key::to_bytes);
            let stored: Vec<_> = rows::<AssociationsByUser>(tx)
                .into_iter()
                .map(|(key, _)| key)
                .collect();
            assert_eq!(
                stored, by_user,
                "rows by user are those of the associations"
            );
            let mut model = Model::new();
            for (threepid, record) in rows_found {
                assert_eq!(tx.get::<Associations>(&threepid)?.as_ref(), Some(&record));
                model.insert(number(&threepid), record.ts.as_millis());
            }
            assert!(tx.get::<Meta>(&MetaName::ServerName)?.is_some());
            Ok(model)
        })
        .unwrap()
}

pub(super) fn name() -> ServerName {
    ServerName::parse("id.example.org").unwrap()
}

pub(super) fn settings(path: &Path) -> config::Store {
    config::Store {
        path: path.to_owned(),
        cache: 1024 * 1024,
    }
}

/// Small files, so that few changes fill many.
pub(super) const SMALL: Options = Options {
    sizes: Sizes {
        segment: 2048,
        merge_least: 8 << 10,
        merge_most: 64 << 10,
        reserve: 1 << 20,
        index_spare: 8 << 20,
    },
    rebuild: false,
    any_name: false,
};

/// Files that are never ended or merged by themselves.
pub(super) const QUIET: Options = Options {
    sizes: Sizes {
        segment: u64::MAX,
        merge_least: u64::MAX,
        merge_most: u64::MAX,
        reserve: 1 << 20,
        index_spare: 8 << 20,
    },
    rebuild: false,
    any_name: false,
};

pub(super) fn open(path: &Path, disk: &TestDisk, options: Options) -> Result<Store, OpenError> {
    Store::open_with(&settings(path), &name(), Arc::new(disk.clone()), options)
}

/// Opens on a disk that does what it is asked.
#[track_caller]
pub(super) fn reopen(path: &Path) -> Store {
    open(path, &TestDisk::over(path), QUIET).unwrap()
}

/// Opens on the disk of the machine.
#[track_caller]
pub(super) fn reopen_real(path: &Path) -> Store {
    Store::open_with(&settings(path), &name(), Arc::new(RealDisk), QUIET).unwrap()
}

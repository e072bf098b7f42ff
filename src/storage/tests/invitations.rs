//! What a bind and an unbind do to invitations and outgoing work, and budgets that outlive a restart.

use std::time::Duration;

use tempfile::TempDir;

use super::super::tables::{
    Budget, EphemeralKeys, InvitationPlace, InvitationRecord, InvitationState, Invitations,
    InvitationsByToken, Outbox, OutboxItem,
};
use super::super::{Spent, Store, StoreError, Tx, associations, invitations, outbox};
use super::model;
use crate::types::{InviteDetails, InviteToken, KeyId, RecordId, RoomId, Timestamp, UserId};

/// Where the invitation for address number n stands.
pub(super) fn invited(number: u8) -> InvitationPlace {
    (model::threepid(number), RecordId::from_bytes([number; 16]))
}

/// Invitation number n, which ends at 1000.
pub(super) fn invitation(number: u8, sender: &UserId) -> InvitationRecord {
    InvitationRecord {
        token: InviteToken::presented(&format!("token {number}")),
        sender: sender.clone(),
        room_id: RoomId::parse("!room:example.org").unwrap(),
        details: InviteDetails::collect([("room_name", "Attic")]),
        language: None,
        brand: None,
        public_key: [number; 32],
        server_key: KeyId::parse("ed25519:1").unwrap(),
        stored: Timestamp::from_millis(1),
        expires: Timestamp::from_millis(1000),
        state: InvitationState::Pending,
    }
}

fn change(store: &Store, change: impl Fn(&mut Tx<'_>) -> Result<(), StoreError> + Send + 'static) {
    store.write_blocking(change).unwrap();
}

fn states(store: &Store, number: u8) -> Vec<InvitationState> {
    let found = store.read(|tx| invitations::of_threepid(tx, &model::threepid(number)));
    let found = found.unwrap().into_iter();
    found.map(|(_, record)| record.state).collect()
}

fn bind(store: &Store, number: u8, version: u64, notice: u8) {
    let notice = RecordId::from_bytes([notice; 16]);
    change(store, move |tx| {
        associations::bind(
            tx,
            &model::threepid(number),
            &model::record(version),
            notice,
        )
    });
}

#[test]
fn an_invitation_belongs_to_whoever_is_bound_until_a_homeserver_has_taken_it() {
    let root = TempDir::new().unwrap();
    let store = model::reopen(root.path());
    let sender = model::user(0);
    change(&store, move |tx| {
        for number in [1, 2] {
            let (_, id) = invited(number);
            invitations::put(tx, &(model::threepid(1), id), &invitation(number, &sender))?;
        }
        invitations::put(tx, &invited(3), &invitation(3, &sender))
    });
    let bound = |version| InvitationState::Bound {
        mxid: model::user(version),
    };
    bind(&store, 1, 1, 1);
    assert_eq!(states(&store, 1), [bound(1), bound(1)]);
    assert_eq!(states(&store, 3), [InvitationState::Pending]);
    bind(&store, 1, 2, 2);
    assert_eq!(states(&store, 1), [bound(2), bound(2)]);

    let delivered = InvitationState::Delivered {
        mxid: model::user(2),
        at: Timestamp::from_millis(9),
    };
    let settled = delivered.clone();
    change(&store, move |tx| {
        let (_, first) = invited(1);
        let place = (model::threepid(1), first);
        // Word of what somebody else's homeserver did comes too late.
        invitations::settle(tx, &place, &model::user(1), InvitationState::Pending)?;
        invitations::settle(tx, &place, &model::user(2), settled.clone())?;
        associations::remove(tx, &model::threepid(1), &model::user(2))
    });
    assert_eq!(
        states(&store, 1),
        [delivered.clone(), InvitationState::Pending]
    );
    bind(&store, 1, 3, 3);
    assert_eq!(states(&store, 1), [delivered, bound(3)]);
    let told = store.read(|tx| outbox::list(tx, None, 10)).unwrap();
    let told: Vec<UserId> = told
        .into_iter()
        .map(|(_, record)| match record.item {
            OutboxItem::Onbind { mxid, .. } => mxid,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(told, [1, 2, 3].map(model::user));
}

#[test]
fn an_invitation_that_has_ended_is_nobodys() {
    let root = TempDir::new().unwrap();
    let store = model::reopen(root.path());
    let sender = model::user(0);
    change(&store, move |tx| {
        invitations::put(tx, &invited(1), &invitation(1, &sender))
    });
    let token = InviteToken::presented("token 1").hash();
    let found = |now| {
        let now = Timestamp::from_millis(now);
        let found = store.read(|tx| invitations::by_token(tx, &token, now));
        found.unwrap().map(|(place, _)| place)
    };
    assert_eq!((found(999), found(1000)), (Some(invited(1)), None));
    bind(&store, 1, 1000, 1);
    assert_eq!(states(&store, 1), [InvitationState::Pending]);
}

#[test]
fn the_same_invitation_is_the_one_of_this_sender_into_this_room() {
    let root = TempDir::new().unwrap();
    let store = model::reopen(root.path());
    change(&store, |tx| {
        invitations::put(tx, &invited(1), &invitation(1, &model::user(0)))
    });
    let same = |number, place: &str, user, now| {
        let place = RoomId::parse(place).unwrap();
        let now = Timestamp::from_millis(now);
        store
            .read(|tx| {
                invitations::same(
                    tx,
                    &model::threepid(number),
                    &place,
                    &model::user(user),
                    now,
                )
            })
            .unwrap()
            .len()
            == 1
    };
    let attic = "!room:example.org";
    assert!(same(1, attic, 0, 5));
    assert!(!same(1, "!cellar:example.org", 0, 5), "another room");
    assert!(!same(1, attic, 1, 5), "another sender");
    assert!(!same(2, attic, 0, 5), "another address");
    assert!(!same(1, attic, 0, 1000), "it has ended");
    bind(&store, 1, 1, 1);
    assert!(!same(1, attic, 0, 5), "it waits no longer");
}

#[test]
fn a_removed_invitation_leaves_neither_token_nor_key() {
    let root = TempDir::new().unwrap();
    let store = model::reopen(root.path());
    change(&store, |tx| {
        invitations::put(tx, &invited(1), &invitation(1, &model::user(0)))
    });
    let rows = || {
        store
            .read(|tx| -> Result<_, StoreError> {
                Ok([
                    model::rows::<Invitations>(tx).len(),
                    model::rows::<InvitationsByToken>(tx).len(),
                    model::rows::<EphemeralKeys>(tx).len(),
                ])
            })
            .unwrap()
    };
    assert_eq!(rows(), [1, 1, 1]);
    let remove = || store.write_blocking(|tx| invitations::remove(tx, &invited(1)));
    assert!(remove().unwrap());
    assert_eq!(rows(), [0, 0, 0]);
    assert!(!remove().unwrap(), "there is none any more");
}

#[test]
fn work_that_somebody_else_took_away_is_not_written_again() {
    let root = TempDir::new().unwrap();
    let store = model::reopen(root.path());
    bind(&store, 1, 7, 1);
    let listed = || store.read(|tx| outbox::list(tx, None, 10)).unwrap();
    let (place, mut record) = listed().remove(0);
    assert_eq!(place.0, Timestamp::from_millis(7));
    record.attempts = 1;
    let later = Timestamp::from_millis(50);
    let again = record.clone();
    let moved = store.write_blocking(move |tx| outbox::move_to(tx, &place, later, &again));
    assert!(moved.unwrap());
    assert_eq!(listed(), [((later, place.1), record.clone())]);
    let found = outbox::find(&store, &place.1).unwrap();
    assert_eq!(found, Some((later, place.1)));
    let moved = store.write_blocking(move |tx| outbox::move_to(tx, &place, later, &record));
    assert!(!moved.unwrap(), "it stands elsewhere by now");
    let gone = (later, place.1);
    let remove = || store.write_blocking(move |tx| outbox::remove(tx, &gone));
    assert_eq!((remove().unwrap(), remove().unwrap()), (true, false));
    assert_eq!(
        store
            .read(|tx| Ok::<_, StoreError>(model::rows::<Outbox>(tx)))
            .unwrap(),
        []
    );
}

#[test]
fn a_budget_is_kept_over_a_restart_and_is_whole_again_in_time() {
    const DAY: Duration = Duration::from_hours(24);
    let root = TempDir::new().unwrap();
    let take = |store: &Store, budget: Budget, now: Timestamp| {
        store
            .write_blocking(move |tx| tx.take(&budget, 2, DAY, now))
            .unwrap()
    };
    let start = Timestamp::from_millis(1_000_000);
    let of_one = || Budget::CodesFor(model::threepid(1));
    let store = model::reopen(root.path());
    assert_eq!(take(&store, of_one(), start), Spent::Yes);
    assert_eq!(take(&store, of_one(), start), Spent::Yes);
    assert!(store.close(Duration::from_mins(1)));
    let store = model::reopen(root.path());
    let hour = Duration::from_hours(1);
    let again_in = Duration::from_hours(23);
    assert_eq!(
        take(&store, of_one(), start.plus(hour)),
        Spent::No { again_in }
    );
    for other in [
        Budget::Sms,
        Budget::CodesFor(model::threepid(2)),
        Budget::WrongCodesFor(model::threepid(1)),
    ] {
        assert_eq!(take(&store, other, start.plus(hour)), Spent::Yes);
    }
    change(&store, move |tx| tx.give_back(&of_one()));
    assert_eq!(take(&store, of_one(), start.plus(hour)), Spent::Yes);
    assert_ne!(take(&store, of_one(), start.plus(hour)), Spent::Yes);
    assert_eq!(take(&store, of_one(), start.plus(DAY)), Spent::Yes);
    // A clock that is set back gives nobody more, unless it was wrong by more than the budget's time.
    assert_eq!(take(&store, of_one(), start.plus(hour)), Spent::Yes);
    assert_ne!(take(&store, of_one(), start.plus(hour)), Spent::Yes);
    assert_eq!(take(&store, of_one(), start.plus(400 * DAY)), Spent::Yes);
    assert_eq!(take(&store, of_one(), start), Spent::Yes);
    assert_eq!(take(&store, of_one(), start), Spent::Yes);
    assert_ne!(take(&store, of_one(), start), Spent::Yes);
}

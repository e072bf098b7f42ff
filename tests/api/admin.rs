//! Commands on a store with accounts in it and no server, and what a clock that jumps does to them.

use std::sync::Arc;
use std::time::Duration;

use bindery::clock::{Clock as _, ManualClock};
use bindery::config;
use bindery::random::Random;
use bindery::services::admin::{AccountTarget, Admin, AdminAnswer, AdminParts, AdminRequest};
use bindery::signing::{KeyRing, ServerKeys};
use bindery::storage::tables::AccountRecord;
use bindery::storage::{Store, StoreError, accounts};
use bindery::types::{AccessTokenHash, Medium, ServerName, ThreePid, Timestamp, UserId};
use tempfile::TempDir;

use crate::support::server::START;

struct Office {
    admin: Admin,
    store: Store,
    clock: Arc<ManualClock>,
    _folder: TempDir,
}

impl Office {
    fn open() -> Self {
        let folder = TempDir::new().unwrap();
        let settings = config::Store {
            path: folder.path().to_owned(),
            ..config::Store::default()
        };
        let name = ServerName::localhost();
        let store = Store::open(&settings, &name).unwrap();
        let key = KeyRing::generate(&[7; 32]).into_keys().remove(0);
        let clock = Arc::new(ManualClock::at(START));
        let admin = Admin::new(AdminParts {
            store: store.clone(),
            server_name: name,
            lifetime: Duration::from_hours(1),
            pepper_grace: Duration::from_mins(10),
            keys: Arc::new(ServerKeys::new(key, Vec::new())),
            key_file: folder.path().join("signing.key"),
            secret_file: folder.path().join("secret.key"),
            clock: clock.clone(),
            random: Random::system(),
        });
        Self {
            admin,
            store,
            clock,
            _folder: folder,
        }
    }

    async fn register(&self, mxid: &str, token: u8) {
        let record = AccountRecord {
            mxid: UserId::parse(mxid).unwrap(),
            created: self.clock.now(),
            last_used: self.clock.now(),
        };
        self.store
            .write(move |tx| -> Result<(), StoreError> {
                accounts::put(tx, &AccessTokenHash::from_bytes([token; 32]), &record)
            })
            .await
            .unwrap();
    }

    async fn users(&self, user: Option<&str>) -> Vec<String> {
        let user = user.map(|mxid| UserId::parse(mxid).unwrap());
        let request = AdminRequest::AccountsList { user, after: None };
        match self.admin.execute(request, "a test").await.unwrap() {
            AdminAnswer::Accounts { items, after: None } => items
                .into_iter()
                .map(|item| item.mxid.to_string())
                .collect(),
            other => panic!("{other:?}"),
        }
    }

    async fn revoke(&self, target: AccountTarget) -> usize {
        let request = AdminRequest::AccountsRevoke { target };
        match self.admin.execute(request, "a test").await.unwrap() {
            AdminAnswer::Changed { rows } => rows,
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn accounts_are_listed_and_ended_by_user_and_by_homeserver() {
    let office = Office::open();
    for (token, mxid) in [
        (1, "@alice:one.example"),
        (2, "@alice:one.example"),
        (3, "@bob:one.example"),
        (4, "@bob:two.example"),
    ] {
        office.register(mxid, token).await;
    }
    assert_eq!(office.users(None).await.len(), 4);
    assert_eq!(office.users(Some("@alice:one.example")).await.len(), 2);

    let alice = UserId::parse("@alice:one.example").unwrap();
    assert_eq!(office.revoke(AccountTarget::User(alice.clone())).await, 2);
    assert_eq!(office.revoke(AccountTarget::User(alice)).await, 0);
    assert_eq!(
        office.users(None).await,
        ["@bob:one.example", "@bob:two.example"]
    );

    let one = ServerName::parse("one.example").unwrap();
    assert_eq!(office.revoke(AccountTarget::Homeserver(one)).await, 1);
    assert_eq!(office.users(None).await, ["@bob:two.example"]);
}

#[tokio::test]
async fn a_clock_that_jumps_harms_nothing() {
    const YEAR: Duration = Duration::from_hours(24 * 365);
    let office = Office::open();
    let ask = async |request: AdminRequest| {
        let answered = office.admin.execute(request, "a test").await;
        answered.map_err(|error| error.to_string())
    };
    let threepid = |number: usize| {
        ThreePid::parse(Medium::Email, &format!("user{number}@example.org")).unwrap()
    };
    let start = office.clock.now();
    let jumps = [
        start,
        start.plus(YEAR),
        start,
        Timestamp::from_millis(0),
        start,
    ];
    for (number, now) in jumps.into_iter().enumerate() {
        office.clock.set_wall(now);
        let mxid = UserId::parse("@alice:one.example").unwrap();
        let request = AdminRequest::AssociationsAdd {
            threepid: threepid(number),
            mxid: mxid.clone(),
        };
        assert_eq!(ask(request).await, Ok(AdminAnswer::Changed { rows: 1 }));
        let request = AdminRequest::AssociationsList {
            user: Some(mxid),
            threepid: None,
            after: None,
        };
        match ask(request).await {
            Ok(AdminAnswer::Associations { items, .. }) => {
                assert_eq!(items.len(), number + 1);
                assert_eq!(items[number].since, now);
            }
            other => panic!("{other:?}"),
        }
        // A pepper of another time, earlier or later, is in nobody's way; one of just now is, and that is said.
        let rotated = ask(AdminRequest::PepperRotate).await;
        let until = now.plus(Duration::from_mins(10));
        let expected = AdminAnswer::Pepper {
            previous_until: until,
        };
        assert_eq!(rotated, Ok(expected), "at {now:?}");
        if number > 0 {
            let refused = ask(AdminRequest::PepperRotate).await.unwrap_err();
            assert!(
                refused.contains("a moment ago") && !refused.contains('\n'),
                "{refused}"
            );
            // So it is when the clock is set by a little.
            office.clock.set_wall(now.minus(Duration::from_mins(9)));
            assert!(ask(AdminRequest::PepperRotate).await.is_err());
            office.clock.set_wall(now);
        }
        assert!(matches!(
            ask(AdminRequest::Status).await,
            Ok(AdminAnswer::Status(_))
        ));
    }
}

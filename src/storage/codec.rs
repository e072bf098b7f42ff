//! The bytes of keys and records.
//!
//! A key is a sequence of parts, each of fixed width or a text with its length before it (two bytes, big-endian), so
//! that no key is the beginning of another one and all rows that begin with the same parts stand together. A record is
//! one byte of version, then the fields in [postcard's wire format](https://postcard.jamesmunns.com/wire-format).

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::tables::{
    AcceptedTermsRecord, AccountRecord, AssociationRecord, Budget, BudgetRecord,
    EphemeralKeyRecord, InvitationPlaceRecord, InvitationRecord, MetaName, MetaRecord, Nothing,
    OutboxRecord, SessionRecord, SidRecord,
};
use crate::types::{
    AccessTokenHash, ClientSecretHash, InviteTokenHash, Medium, RecordId, Sid, ThreePid, Timestamp,
    UserId,
};

/// A key of a table, or the first parts of one.
pub trait Key: Clone + Send + Sync + 'static {
    /// Appends the bytes.
    fn encode(&self, out: &mut Vec<u8>);

    /// Takes the bytes off the front; none if they are not what [`Self::encode`] makes.
    fn decode(input: &mut &[u8]) -> Option<Self>
    where
        Self: Sized;

    /// The bytes.
    fn to_bytes(&self) -> Vec<u8> {
        // Few are longer, and one allocation is less than three.
        let mut out = Vec::with_capacity(64);
        self.encode(&mut out);
        out
    }

    /// A whole key.
    fn from_bytes(mut input: &[u8]) -> Option<Self>
    where
        Self: Sized,
    {
        Self::decode(&mut input).filter(|_| input.is_empty())
    }
}

/// A record of a table.
pub trait Record: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The version that is written.
    const VERSION: u8 = 1;

    /// The bytes.
    ///
    /// # Errors
    /// None for the records there are; the serializer's type asks for it.
    fn to_bytes(&self) -> Result<Vec<u8>, postcard::Error> {
        postcard::to_extend(self, vec![Self::VERSION])
    }

    /// Reads a record of any version there was; none if the bytes are not one.
    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (version, fields) = bytes.split_first()?;
        if *version != Self::VERSION {
            return Self::from_earlier(*version, fields);
        }
        whole(fields)
    }

    /// Reads the fields of a version before the one that is written; none if there was none.
    fn from_earlier(_version: u8, _fields: &[u8]) -> Option<Self> {
        None
    }
}

/// Fields after which nothing follows.
fn whole<T: DeserializeOwned>(fields: &[u8]) -> Option<T> {
    let (record, rest) = postcard::take_from_bytes(fields).ok()?;
    rest.is_empty().then_some(record)
}

impl Record for SessionRecord {}
impl Record for SidRecord {}
impl Record for AssociationRecord {}
impl Record for Nothing {}
impl Record for AccountRecord {}
impl Record for AcceptedTermsRecord {}
impl Record for MetaRecord {}
impl Record for InvitationRecord {}
impl Record for InvitationPlaceRecord {}
impl Record for OutboxRecord {}
impl Record for BudgetRecord {}

impl Record for EphemeralKeyRecord {
    const VERSION: u8 = 2;

    /// Version 1 did not say what the key belongs to: nothing but imported keys had been thought of.
    fn from_earlier(version: u8, fields: &[u8]) -> Option<Self> {
        (version == 1).then_some(())?;
        Some(Self {
            valid_since: whole(fields)?,
            invite: None,
        })
    }
}

fn encode_text(text: &str, out: &mut Vec<u8>) {
    // Every text in a key is a parsed value of at most 255 bytes.
    let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn decode_text<'a>(input: &mut &'a [u8]) -> Option<&'a str> {
    let length = u16::from_be_bytes(take(input)?);
    let (text, rest) = input.split_at_checked(usize::from(length))?;
    *input = rest;
    std::str::from_utf8(text).ok()
}

fn take<const N: usize>(input: &mut &[u8]) -> Option<[u8; N]> {
    let (part, rest) = input.split_first_chunk()?;
    *input = rest;
    Some(*part)
}

impl Key for Sid {
    fn encode(&self, out: &mut Vec<u8>) {
        encode_text(self.as_str(), out);
    }

    fn decode(input: &mut &[u8]) -> Option<Self> {
        Self::parse(decode_text(input)?).ok()
    }
}

impl Key for UserId {
    fn encode(&self, out: &mut Vec<u8>) {
        encode_text(self.as_str(), out);
    }

    fn decode(input: &mut &[u8]) -> Option<Self> {
        Self::parse(decode_text(input)?).ok()
    }
}

impl Key for ThreePid {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(match self.medium() {
            Medium::Email => 1,
            Medium::Msisdn => 2,
        });
        encode_text(self.address(), out);
    }

    fn decode(input: &mut &[u8]) -> Option<Self> {
        let medium = decode_medium(input)?;
        Self::stored(medium, decode_text(input)?)
    }
}

/// Medium and address of a key of the associations, which is known to be whole.
pub(super) fn threepid_parts(mut key: &[u8]) -> Option<(Medium, &str)> {
    let medium = decode_medium(&mut key)?;
    Some((medium, decode_text(&mut key)?))
}

fn decode_medium(input: &mut &[u8]) -> Option<Medium> {
    match take::<1>(input)? {
        [1] => Some(Medium::Email),
        [2] => Some(Medium::Msisdn),
        _ => None,
    }
}

impl Key for ClientSecretHash {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.as_bytes());
    }

    fn decode(input: &mut &[u8]) -> Option<Self> {
        take(input).map(Self::from_bytes)
    }
}

impl Key for AccessTokenHash {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.as_bytes());
    }

    fn decode(input: &mut &[u8]) -> Option<Self> {
        take(input).map(Self::from_bytes)
    }
}

impl Key for InviteTokenHash {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.as_bytes());
    }

    fn decode(input: &mut &[u8]) -> Option<Self> {
        take(input).map(Self::from_bytes)
    }
}

impl Key for RecordId {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.as_bytes());
    }

    fn decode(input: &mut &[u8]) -> Option<Self> {
        take(input).map(Self::from_bytes)
    }
}

impl Key for Timestamp {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.as_millis().to_be_bytes());
    }

    fn decode(input: &mut &[u8]) -> Option<Self> {
        take(input).map(u64::from_be_bytes).map(Self::from_millis)
    }
}

impl Key for Budget {
    fn encode(&self, out: &mut Vec<u8>) {
        let (number, threepid) = match self {
            Self::Sms => (1, None),
            Self::CodesFor(threepid) => (2, Some(threepid)),
            Self::WrongCodesFor(threepid) => (3, Some(threepid)),
        };
        out.push(number);
        if let Some(threepid) = threepid {
            threepid.encode(out);
        }
    }

    fn decode(input: &mut &[u8]) -> Option<Self> {
        Some(match take::<1>(input)? {
            [1] => Self::Sms,
            [2] => Self::CodesFor(ThreePid::decode(input)?),
            [3] => Self::WrongCodesFor(ThreePid::decode(input)?),
            _ => return None,
        })
    }
}

impl Key for [u8; 32] {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }

    fn decode(input: &mut &[u8]) -> Option<Self> {
        take(input)
    }
}

impl<A: Key, B: Key> Key for (A, B) {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
        self.1.encode(out);
    }

    fn decode(input: &mut &[u8]) -> Option<Self> {
        Some((A::decode(input)?, B::decode(input)?))
    }
}

impl Key for MetaName {
    fn encode(&self, out: &mut Vec<u8>) {
        encode_text(self.as_str(), out);
    }

    fn decode(input: &mut &[u8]) -> Option<Self> {
        let name = decode_text(input)?;
        Self::ALL.into_iter().find(|known| known.as_str() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::tables::{
        AcceptedPolicy, InvitationState, KeyStateEntry, OutboxItem, PeppersRecord, PreviousPepper,
    };
    use crate::types::{ClientSecret, InviteDetails, InviteToken, KeyId, KeyState, Pepper, RoomId};

    fn email() -> ThreePid {
        ThreePid::parse(Medium::Email, "a@b.example").unwrap()
    }

    fn hex(bytes: &[u8]) -> String {
        let digit = |half: u8| char::from_digit(u32::from(half), 16).unwrap();
        bytes
            .iter()
            .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
            .collect()
    }

    /// Text in the expectation is written as it is, other bytes as hexadecimal between bars.
    #[track_caller]
    fn stands_as<K: Key + PartialEq + std::fmt::Debug>(key: &K, expected: &str) {
        let mut bytes = Vec::new();
        for (place, part) in expected.split('|').enumerate() {
            if place % 2 == 0 {
                bytes.extend_from_slice(part.as_bytes());
            } else {
                for pair in part.as_bytes().chunks(2) {
                    bytes.push(u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap());
                }
            }
        }
        assert_eq!(hex(&key.to_bytes()), hex(&bytes));
        assert_eq!(K::from_bytes(&bytes).as_ref(), Some(key));
        bytes.push(0);
        assert_eq!(K::from_bytes(&bytes), None, "nothing may follow a key");
    }

    #[test]
    fn keys_have_the_bytes_that_the_documentation_says() {
        let user = UserId::parse("@u:s").unwrap();
        let hash = ClientSecret::parse("s").unwrap().hash();
        let digest = hex(hash.as_bytes());
        stands_as(&Sid::parse("abc").unwrap(), "|0003|abc");
        stands_as(&email(), "|01000b|a@b.example");
        stands_as(
            &ThreePid::parse(Medium::Msisdn, "4917012345").unwrap(),
            "|02000a|4917012345",
        );
        stands_as(&(email(), hash), &format!("|01000b|a@b.example|{digest}|"));
        stands_as(&(user, email()), "|0004|@u:s|01000b|a@b.example");
        let token = AccessTokenHash::from_bytes([7; 32]);
        stands_as(&token, &format!("|{}|", "07".repeat(32)));
        stands_as(&[7; 32], &format!("|{}|", "07".repeat(32)));
        let id = RecordId::from_bytes([7; 16]);
        let digits = "07".repeat(16);
        stands_as(&(email(), id), &format!("|01000b|a@b.example|{digits}|"));
        let token = InviteTokenHash::from_bytes([7; 32]);
        stands_as(&token, &format!("|{}|", "07".repeat(32)));
        let due = Timestamp::from_millis(300);
        stands_as(&(due, id), &format!("|000000000000012c{digits}|"));
        stands_as(&Budget::Sms, "|01|");
        stands_as(&Budget::CodesFor(email()), "|0201000b|a@b.example");
        stands_as(&Budget::WrongCodesFor(email()), "|0301000b|a@b.example");
        stands_as(&MetaName::KeyStates, "|000a|key_states");
    }

    #[test]
    fn a_key_that_is_not_in_canonical_form_is_damage() {
        assert_eq!(ThreePid::from_bytes(b"\x01\x00\x0bA@b.example"), None);
        assert_eq!(ThreePid::from_bytes(b"\x03\x00\x0ba@b.example"), None);
        assert_eq!(Sid::from_bytes(b"\x00\x03a c"), None);
        assert_eq!(Sid::from_bytes(b"\x00\x09abc"), None);
    }

    #[track_caller]
    fn is_written_as<R: Record + PartialEq + std::fmt::Debug>(record: &R, expected: &str) {
        let bytes = record.to_bytes().unwrap();
        assert_eq!(hex(&bytes), expected);
        assert_eq!(R::from_bytes(&bytes).as_ref(), Some(record));
        let mut longer = bytes.clone();
        longer.push(0);
        assert_eq!(R::from_bytes(&longer), None, "nothing may follow a record");
        assert_eq!(
            R::from_bytes(&bytes[..bytes.len() - 1]),
            None,
            "nothing may be missing"
        );
        let mut newer = bytes;
        assert_eq!(newer[0], R::VERSION);
        newer[0] += 1;
        assert_eq!(
            R::from_bytes(&newer),
            None,
            "a newer version is not guessed at"
        );
    }

    #[test]
    fn records_of_invitations_and_outgoing_work_have_the_bytes_that_the_documentation_says() {
        let text = |text: &str| format!("{:02x}{}", text.len(), hex(text.as_bytes()));
        let user = UserId::parse("@u:s").unwrap();
        let invite = RecordId::from_bytes([7; 16]);
        let place = InvitationPlaceRecord {
            threepid: email(),
            invite,
        };
        let to = format!("00{}{}", text("a@b.example"), text(&invite.to_string()));
        is_written_as(&place, &format!("01{to}"));
        let imported = EphemeralKeyRecord {
            valid_since: Timestamp::from_millis(5),
            invite: None,
        };
        is_written_as(&imported, "020500");
        assert_eq!(EphemeralKeyRecord::from_bytes(b"\x01\x05"), Some(imported));
        let key = EphemeralKeyRecord {
            valid_since: Timestamp::from_millis(5),
            invite: Some(place),
        };
        is_written_as(&key, &format!("020501{to}"));
        let mut record = InvitationRecord {
            token: InviteToken::presented("t"),
            sender: user.clone(),
            room_id: RoomId::parse("!r").unwrap(),
            details: InviteDetails::collect([("room_name", "n")]),
            language: None,
            brand: None,
            public_key: [9; 32],
            server_key: KeyId::parse("ed25519:1").unwrap(),
            stored: Timestamp::from_millis(1),
            expires: Timestamp::from_millis(2),
            state: InvitationState::Pending,
        };
        let expected = format!(
            "01{}{}{}01{}{}0000{}{}0102",
            text("t"),
            text("@u:s"),
            text("!r"),
            text("room_name"),
            text("n"),
            "09".repeat(32),
            text("ed25519:1"),
        );
        is_written_as(&record, &format!("{expected}00"));
        let at = Timestamp::from_millis(3);
        let bound = InvitationState::Bound { mxid: user.clone() };
        let (mxid, taken) = (user.clone(), user.clone());
        for (state, bytes) in [
            (bound, format!("01{}", text("@u:s"))),
            (
                InvitationState::Delivered { mxid, at },
                format!("02{}03", text("@u:s")),
            ),
            (
                InvitationState::Failed { mxid: taken, at },
                format!("03{}03", text("@u:s")),
            ),
        ] {
            record.state = state;
            is_written_as(&record, &format!("{expected}{bytes}"));
        }
        let onbind = OutboxItem::Onbind {
            threepid: email(),
            mxid: user,
            announced: true,
        };
        let verification = OutboxItem::Verification {
            sid: Sid::parse("abc").unwrap(),
            send_attempt: 300,
        };
        let invitation = OutboxItem::Invitation {
            threepid: email(),
            invite,
        };
        for (item, bytes) in [
            (
                onbind,
                format!("0000{}{}01", text("a@b.example"), text("@u:s")),
            ),
            (verification, format!("01{}ac02", text("abc"))),
            (invitation, format!("02{to}")),
        ] {
            let record = OutboxRecord {
                item,
                queued: Timestamp::from_millis(1),
                attempts: 2,
                last_error: Some("e".to_owned()),
                failed: None,
            };
            is_written_as(&record, &format!("01{bytes}010201{}00", text("e")));
        }
    }

    #[test]
    fn records_of_budgets_have_the_bytes_that_the_documentation_says() {
        let spent = BudgetRecord {
            since: Timestamp::from_millis(1),
            spent: 2,
            until: Timestamp::from_millis(300),
        };
        is_written_as(&spent, "010102ac02");
        let stopped = MetaRecord::SmsStopped {
            since: Timestamp::from_millis(5),
        };
        is_written_as(&stopped, "010405");
    }

    #[test]
    fn records_have_the_bytes_that_the_documentation_says() {
        let text = |text: &str| format!("{:02x}{}", text.len(), hex(text.as_bytes()));
        let hash = ClientSecret::parse("s").unwrap().hash();
        let digest = hex(hash.as_bytes());
        let session = SessionRecord {
            threepid: email(),
            client_secret: hash,
            send_attempt: Some(3),
            wrong_tries: 2,
            created: Timestamp::from_millis(1),
            validated_at: None,
            expires: Timestamp::from_millis(300),
            next_link: Some("https://x.example".to_owned()),
            language: None,
            brand: None,
        };
        let expected = format!(
            "0100{}{digest}0103020100ac0201{}0000",
            text("a@b.example"),
            text("https://x.example")
        );
        is_written_as(&session, &expected);
        let sid = SidRecord {
            sid: Sid::parse("abc").unwrap(),
        };
        is_written_as(&sid, &format!("01{}", text("abc")));
        let association = AssociationRecord {
            mxid: UserId::parse("@u:s").unwrap(),
            ts: Timestamp::from_millis(1),
            not_before: Timestamp::from_millis(2),
            not_after: Timestamp::from_millis(3),
        };
        is_written_as(&association, &format!("01{}010203", text("@u:s")));
        assert_eq!(hex(&Nothing {}.to_bytes().unwrap()), "01");
        let account = AccountRecord {
            mxid: UserId::parse("@u:s").unwrap(),
            created: Timestamp::from_millis(1),
            last_used: Timestamp::from_millis(2),
        };
        is_written_as(&account, &format!("01{}0102", text("@u:s")));
        let accepted = AcceptedPolicy {
            policy: "privacy".to_owned(),
            version: "1.0".to_owned(),
            url: "https://x.example".to_owned(),
            when: Timestamp::from_millis(300),
        };
        let expected = format!(
            "0101{}{}{}ac02",
            text("privacy"),
            text("1.0"),
            text("https://x.example")
        );
        let policies = vec![accepted];
        is_written_as(&AcceptedTermsRecord { policies }, &expected);
        is_written_as(&MetaRecord::Schema(1), "010001");
        is_written_as(
            &MetaRecord::ServerName("s".to_owned()),
            &format!("0101{}", text("s")),
        );
        let state = KeyStateEntry {
            version: "1".to_owned(),
            public_key: [9; 32],
            state: KeyState::Valid,
        };
        let expected = format!("010201{}{}01", text("1"), "09".repeat(32));
        is_written_as(&MetaRecord::KeyStates(vec![state]), &expected);
        let pepper = |text: &str| Pepper::parse(text).unwrap();
        let peppers = PeppersRecord {
            current: pepper("new"),
            since: Timestamp::from_millis(1),
            previous: Some(PreviousPepper {
                pepper: pepper("old"),
                until: Timestamp::from_millis(2),
            }),
        };
        let expected = format!("0103{}0101{}02", text("new"), text("old"));
        is_written_as(&MetaRecord::Peppers(peppers), &expected);
    }
}

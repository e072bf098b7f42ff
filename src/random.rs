//! The only source of secrets: ids and keys out of ring's system random.

use std::cell::RefCell;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::{SecureRandom as _, SystemRandom};

use crate::types::{AccessToken, InviteToken, Pepper, RecordId, Sid};

/// The operating system gave no random bytes.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the operating system's random source failed")]
pub struct RandomError;

thread_local! {
    /// Request ids that the system was asked for already, one after the other.
    static AHEAD: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Randomness as a parameter: everything that makes a secret or an id takes this.
#[derive(Debug, Clone)]
pub struct Random(SystemRandom);

impl Random {
    /// The system's random source.
    pub fn system() -> Self {
        Self(SystemRandom::new())
    }

    /// `N` random bytes.
    ///
    /// # Errors
    /// When the operating system's source fails.
    pub fn bytes<const N: usize>(&self) -> Result<[u8; N], RandomError> {
        let mut bytes = [0; N];
        self.0.fill(&mut bytes).map_err(|_| RandomError)?;
        Ok(bytes)
    }

    /// A new session id: 128 bits as 22 characters.
    ///
    /// # Errors
    /// When the operating system's source fails.
    pub fn sid(&self) -> Result<Sid, RandomError> {
        Sid::parse(&self.id()?).map_err(|_| RandomError)
    }

    /// 128 random bits as 22 characters of URL-safe base64.
    ///
    /// # Errors
    /// When the operating system's source fails.
    pub fn id(&self) -> Result<String, RandomError> {
        Ok(URL_SAFE_NO_PAD.encode(self.bytes::<16>()?))
    }

    /// A new pepper: 128 bits as 32 digits and letters.
    ///
    /// # Errors
    /// When the operating system's source fails.
    pub fn pepper(&self) -> Result<Pepper, RandomError> {
        let bits = u128::from_be_bytes(self.bytes()?);
        Pepper::parse(&format!("{bits:032x}")).map_err(|_| RandomError)
    }

    /// A new request id: 144 random bits as 24 characters. It is no secret, so the system is asked for many at once.
    ///
    /// # Errors
    /// When the operating system's source fails.
    pub fn request_id(&self) -> Result<String, RandomError> {
        const LENGTH: usize = 24;
        AHEAD.with_borrow_mut(|ahead| {
            if ahead.is_empty() {
                // So many bytes that no id shares a character with the next one.
                let bytes = self.bytes::<{ 256 * LENGTH / 4 * 3 }>()?;
                URL_SAFE_NO_PAD.encode_string(bytes, ahead);
            }
            Ok(ahead.split_off(ahead.len().saturating_sub(LENGTH)))
        })
    }

    /// A new id of an invitation or of a piece of outgoing work.
    ///
    /// # Errors
    /// When the operating system's source fails.
    pub fn record_id(&self) -> Result<RecordId, RandomError> {
        self.bytes().map(RecordId::from_bytes)
    }

    /// A new token of an invitation: 256 bits as 43 characters.
    ///
    /// # Errors
    /// When the operating system's source fails.
    pub fn invite_token(&self) -> Result<InviteToken, RandomError> {
        let token = URL_SAFE_NO_PAD.encode(self.bytes::<32>()?);
        Ok(InviteToken::presented(&token))
    }

    /// A new access token: 256 bits as 43 characters.
    ///
    /// # Errors
    /// When the operating system's source fails.
    pub fn access_token(&self) -> Result<AccessToken, RandomError> {
        Ok(AccessToken::presented(
            &URL_SAFE_NO_PAD.encode(self.bytes::<32>()?),
        ))
    }
}

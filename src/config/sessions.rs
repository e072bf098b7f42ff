use std::time::Duration;

use super::reader::Reader;
use super::values;
use crate::types::Invalid;

/// `[sessions]`: how long validation sessions live, and how often a token may be tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sessions {
    /// How long the owner of an e-mail address has to confirm it.
    pub email_lifetime: Duration,
    /// How long the owner of a phone number has to type the code in.
    pub sms_lifetime: Duration,
    /// How long a validated session is good for, from the moment of validation.
    pub validated_lifetime: Duration,
    /// How many wrong tokens burn an e-mail session; at least 1.
    pub email_tries: u32,
    /// How many wrong codes burn a session of a phone number; at least 1.
    pub sms_tries: u32,
}

impl Default for Sessions {
    fn default() -> Self {
        let day = Duration::from_hours(24);
        Self {
            email_lifetime: day,
            sms_lifetime: Duration::from_mins(15),
            validated_lifetime: day,
            email_tries: 10,
            sms_tries: 5,
        }
    }
}

impl Sessions {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        const TRIES: Invalid = Invalid::expecting("a number from 1 to 1000");
        // A code has six digits only.
        const SMS_TRIES: Invalid = Invalid::expecting("a number from 1 to 10");
        let default = Self::default();
        let mut section = reader.section("sessions");
        Self {
            email_lifetime: section.value(
                "email_lifetime",
                default.email_lifetime,
                values::duration,
            ),
            sms_lifetime: section.value("sms_lifetime", default.sms_lifetime, values::duration),
            validated_lifetime: section.value(
                "validated_lifetime",
                default.validated_lifetime,
                values::duration,
            ),
            email_tries: section.value("email_tries", default.email_tries, |value| {
                values::whole(value, &(1..=1000), TRIES)
            }),
            sms_tries: section.value("sms_tries", default.sms_tries, |value| {
                values::whole(value, &(1..=10), SMS_TRIES)
            }),
        }
    }
}

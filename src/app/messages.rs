//! Which service sends which message of the outbox.

use std::sync::Arc;

use crate::services::invitations::{Invitations, InviteError};
use crate::services::outbox::{Failure, Messages, Sending, Sent};
use crate::services::validation::{PhoneError, Validation, ValidationError};
use crate::services::{SendError, SmsError};
use crate::storage::tables::InvitationPlace;
use crate::types::Sid;

/// The services that write messages.
pub(super) struct Writers {
    pub(super) validation: Arc<Validation>,
    pub(super) invitations: Arc<Invitations>,
}

impl Messages for Writers {
    fn verification(&self, sid: Sid, send_attempt: u64) -> Sending<'_> {
        Box::pin(async move {
            match self.validation.send_queued(&sid, send_attempt).await {
                Ok(wanted) => Ok(sent(wanted)),
                Err(ValidationError::Send(error)) => Err(not_sent(&error)),
                Err(ValidationError::Phone(error)) => Err(no_sms(&error)),
                Err(error) => Err(Failure::of_this(error.to_string())),
            }
        })
    }

    fn invitation(&self, place: InvitationPlace) -> Sending<'_> {
        Box::pin(async move {
            match self.invitations.send_queued(&place).await {
                Ok(wanted) => Ok(sent(wanted)),
                Err(InviteError::Send(error)) => Err(not_sent(&error)),
                Err(error) => Err(Failure::of_this(error.to_string())),
            }
        })
    }
}

fn sent(wanted: bool) -> Sent {
    if wanted { Sent::Taken } else { Sent::NotWanted }
}

/// What it means that the mail transport did not take a mail.
fn not_sent(error: &SendError) -> Failure {
    let reason = error.to_string();
    if error.is_final() {
        Failure::of_good(reason)
    } else if error.is_of_this_mail() {
        Failure::of_this(reason)
    } else {
        Failure::of_all(reason)
    }
}

/// What it means that an SMS was not taken.
fn no_sms(error: &PhoneError) -> Failure {
    match error {
        PhoneError::Send(error) if error.is_final() => Failure::of_good(error.to_string()),
        PhoneError::Send(error @ SmsError::Request { .. }) => Failure::of_this(error.to_string()),
        PhoneError::Send(error) => Failure::of_all(error.to_string()),
        // While the operator has stopped SMS, each of them waits.
        _ => Failure::of_all(error.to_string()),
    }
}

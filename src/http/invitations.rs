//! # Invitation storage, and ephemeral invitation signing
//!
//! <https://spec.matrix.org/v1.19/identity-service-api/#invitation-storage>

use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::json;

use super::answer;
use super::auth::Caller;
use super::error::{ApiError, ErrCode};
use super::pages;
use super::params::{FromParams, Params, Refused};
use super::peer::Peer;
use crate::services::invitations::{Invitations, InviteRequest};
use crate::signing::EphemeralKey;
use crate::templates::Templates;
use crate::types::{Email, InviteDetails, InviteToken, Medium, RoomId, UserId};

/// The fields that are no details of an invitation: those that are read by themselves, and the token of a caller who
/// shows it in the query.
const NO_DETAILS: [&str; 6] = [
    "access_token",
    "address",
    "brand",
    "medium",
    "room_id",
    "sender",
];

/// The details that the specification knows, all of them texts.
const DETAILS: [&str; 10] = [
    "guest_access_token",
    "guest_user_id",
    "org.matrix.web_client_location",
    "room_alias",
    "room_avatar_url",
    "room_join_rules",
    "room_name",
    "room_type",
    "sender_avatar_url",
    "sender_display_name",
];

/// The body of `store-invite`.
pub struct StoreInvite {
    email: Email,
    room_id: RoomId,
    sender: UserId,
    details: InviteDetails,
    brand: Option<String>,
}

impl FromParams for StoreInvite {
    fn from_params(params: &mut Params) -> Result<Self, Refused> {
        let medium = params.required("medium", |text| Ok(text.to_owned()));
        let address = params.required("address", |text| Ok(text.to_owned()));
        let room_id = params.required("room_id", RoomId::parse);
        let sender = params.required("sender", UserId::parse);
        let brand = params.optional("brand", |text| Ok(text.to_owned()));
        let details: Result<Vec<_>, _> = DETAILS
            .into_iter()
            .map(|name| params.optional(name, |_| Ok(())))
            .collect();
        if Medium::parse(&medium?) != Ok(Medium::Email) {
            let message = "Only e-mail addresses can be invited: `medium` must be `email`.";
            return Err(params.fail(ApiError::bad_request(ErrCode::Unrecognized, message)));
        }
        let email = Email::parse(&address?).map_err(|invalid| {
            let message = format!("`address` must be {}.", invalid.expected());
            params.fail(ApiError::bad_request(ErrCode::InvalidEmail, message))
        });
        details?;
        let fields = params.fields();
        let fields = fields.iter();
        let texts = fields.filter_map(|(name, value)| Some((name.as_str(), value.as_str()?)));
        let details = texts.filter(|(name, _)| !NO_DETAILS.contains(name));
        Ok(Self {
            details: InviteDetails::collect(details),
            email: email?,
            room_id: room_id?,
            sender: sender?,
            brand: brand?,
        })
    }
}

/// `POST /_matrix/identity/{api/v1,v2}/store-invite`
///
/// Stores an invitation of an e-mail address into a room, and mails it; the same one again is mailed again.
///
/// <https://spec.matrix.org/v1.19/identity-service-api/#post_matrixidentityv2store-invite>
///
/// # Errors
/// 400 `M_UNRECOGNIZED` for another medium, `M_INVALID_EMAIL`, `M_THREEPID_IN_USE` with `mxid`, `M_EMAIL_SEND_ERROR`; 403
/// `M_UNAUTHORIZED` for a sender who is not the account's own, `M_FORBIDDEN` for what the operator does not want; 429 over
/// a limit.
pub async fn store(
    caller: Caller,
    invitations: web::Data<Invitations>,
    templates: web::Data<Templates>,
    peer: Peer,
    http: HttpRequest,
    params: Params,
) -> Result<HttpResponse, ApiError> {
    let StoreInvite {
        email,
        room_id,
        sender,
        details,
        brand,
    } = params.read()?;
    let request = InviteRequest {
        email,
        room_id,
        sender,
        details,
        language: Some(pages::language(&templates, &http)),
        brand,
    };
    let stored = invitations.store(request, caller.mxid(), peer.0).await?;
    Ok(answer::json(json!({
        "token": stored.token.expose(),
        "public_keys": [
            { "public_key": stored.server_key, "key_validity_url": invitations.server_key_url() },
            { "public_key": stored.ephemeral_key, "key_validity_url": invitations.ephemeral_key_url() },
        ],
        "public_key": stored.server_key,
        "display_name": stored.display_name,
    })))
}

/// The fields of `sign-ed25519`.
pub struct Sign {
    mxid: UserId,
    token: InviteToken,
    private_key: EphemeralKey,
}

impl FromParams for Sign {
    fn from_params(params: &mut Params) -> Result<Self, Refused> {
        let mxid = params.required("mxid", UserId::parse);
        let token = params.required("token", |text| Ok(InviteToken::presented(text)));
        let private_key = params.required("private_key", EphemeralKey::parse);
        Ok(Self {
            mxid: mxid?,
            token: token?,
            private_key: private_key?,
        })
    }
}

/// `POST /_matrix/identity/{api/v1,v2}/sign-ed25519`
///
/// Signs by the private key of an invitation's mail that a user has the invitation. Mails lead here, so version 1 answers
/// at every level of `api.v1`.
///
/// <https://spec.matrix.org/v1.19/identity-service-api/#post_matrixidentityv2sign-ed25519>
///
/// # Errors
/// 404 `M_UNRECOGNIZED` for a token of no invitation, or of one that has ended; 403 `M_FORBIDDEN` for another key.
pub async fn sign(
    _: Caller,
    invitations: web::Data<Invitations>,
    params: Params,
) -> Result<HttpResponse, ApiError> {
    let Sign {
        mxid,
        token,
        private_key,
    } = params.read()?;
    let signed = invitations.sign(&mxid, &token, &private_key)?;
    Ok(answer::json(signed))
}

//! # Authentication
//!
//! <https://spec.matrix.org/v1.19/identity-service-api/#authentication>

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use serde::Serialize;
use serde_json::{Value, json};

use super::answer;
use super::auth::{Authenticated, AuthenticatedNoTerms, Refusal};
use super::error::{ApiError, ErrCode};
use super::params::{FromParams, Params, Refused};
use super::peer::Peer;
use crate::services::accounts::Accounts;
use crate::types::{Invalid, ServerName};

/// The body of `register`: an `OpenID` token as a homeserver gives it to its user.
pub struct Register {
    access_token: String,
    matrix_server_name: ServerName,
}

impl FromParams for Register {
    fn from_params(params: &mut Params) -> Result<Self, Refused> {
        const TOKEN: Invalid = Invalid::expecting("a token of 1 to 4096 characters");
        let access_token = params.required("access_token", |text| {
            let fits = (1..=4096).contains(&text.len());
            fits.then(|| text.to_owned()).ok_or(TOKEN)
        });
        let matrix_server_name = params.required("matrix_server_name", ServerName::parse);
        // The rest of the object is not needed, but must not be nonsense.
        let token_type = params.optional("token_type", |_| Ok(()));
        let expires_in = params.optional_value("expires_in", seconds);
        token_type?;
        expires_in?;
        Ok(Self {
            access_token: access_token?,
            matrix_server_name: matrix_server_name?,
        })
    }
}

/// A whole number; what the homeserver says of the token's life does not matter here.
fn seconds(value: &Value) -> Result<(), Invalid> {
    let whole = value.is_u64()
        || value.is_i64()
        || value
            .as_str()
            .is_some_and(|text| text.parse::<i64>().is_ok());
    whole
        .then_some(())
        .ok_or(Invalid::expecting("a whole number of seconds"))
}

/// `POST /_matrix/identity/v2/account/register`
///
/// Gives a token of ours to whoever the homeserver says that the `OpenID` token belongs to.
///
/// <https://spec.matrix.org/v1.19/identity-service-api/#post_matrixidentityv2accountregister>
///
/// # Errors
/// 401 `M_UNAUTHORIZED` when the homeserver says no; 403 `M_FORBIDDEN` when its users are not served; 502 or 504 when it
/// cannot be asked.
pub async fn register(
    accounts: web::Data<Accounts>,
    peer: Peer,
    params: Params,
) -> Result<HttpResponse, ApiError> {
    let Register {
        access_token,
        matrix_server_name,
    } = params.read()?;
    let token = accounts
        .register(&matrix_server_name, &access_token, peer.0)
        .await?;
    // Clients in use read one name or the other.
    Ok(answer::json(
        json!({ "token": token.expose(), "access_token": token.expose() }),
    ))
}

/// `GET /_matrix/identity/v2/account`
///
/// The user that the token stands for.
///
/// <https://spec.matrix.org/v1.19/identity-service-api/#get_matrixidentityv2account>
///
/// # Errors
/// 401 without a token; 403 `M_TERMS_NOT_SIGNED` before the terms are accepted, by which clients know that they are to ask.
pub async fn account(Authenticated(account): Authenticated) -> HttpResponse {
    answer::json(Owner {
        user_id: account.mxid.as_str(),
    })
}

/// The answer of `GET account`.
#[derive(Serialize)]
struct Owner<'a> {
    user_id: &'a str,
}

/// `POST /_matrix/identity/v2/account/logout`
///
/// Ends the token.
///
/// <https://spec.matrix.org/v1.19/identity-service-api/#post_matrixidentityv2accountlogout>
///
/// # Errors
/// 401 `M_UNKNOWN_TOKEN` for an unknown token, 401 `M_UNAUTHORIZED` without one.
pub async fn logout(
    account: Result<AuthenticatedNoTerms, Refusal>,
    accounts: web::Data<Accounts>,
) -> Result<HttpResponse, ApiError> {
    let AuthenticatedNoTerms(account) = account.map_err(|refusal| match refusal {
        Refusal::UnknownToken => ApiError::new(
            StatusCode::UNAUTHORIZED,
            ErrCode::UnknownToken,
            "The access token is unknown or has ended.",
        ),
        other => other.into(),
    })?;
    accounts.logout(account).await?;
    Ok(answer::json(json!({})))
}

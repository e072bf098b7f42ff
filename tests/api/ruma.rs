//! The heart, lookups and terms through ruma, which was written from the specification by others: what it cannot parse is a mistake here.

use std::borrow::Cow;
use std::time::Duration;

use bindery::config::{Policy, PolicyDocument, PolicyText};
use ruma_common::api::auth_scheme::{AuthScheme, SendAccessToken};
use ruma_common::api::path_builder::PathBuilder;
use ruma_common::api::{IncomingResponseExt as _, OutgoingRequest, OutgoingRequestExt as _};
use ruma_common::authentication::TokenType;
use ruma_common::room::RoomType;
use ruma_common::serde::Base64;
use ruma_common::third_party_invite::IdentityServerBase64PublicKey;
use ruma_common::thirdparty::Medium;
use ruma_common::{OwnedClientSecret, OwnedServerName, OwnedSessionId, OwnedUserId};
use ruma_identity_service_api::association::email::create_email_validation_session::v2 as request_token;
use ruma_identity_service_api::association::email::validate_email::v2 as submit_token;
use ruma_identity_service_api::association::msisdn::create_msisdn_validation_session::v2 as request_code;
use ruma_identity_service_api::association::msisdn::validate_msisdn::v2 as submit_code;
use ruma_identity_service_api::association::{
    bind_3pid::v2 as bind, check_3pid_validity::v2 as validity, unbind_3pid::v2 as unbind,
};
use ruma_identity_service_api::authentication::{
    get_account_information::v2 as account, logout::v2 as logout, register::v2 as register,
};
use ruma_identity_service_api::discovery::get_supported_versions as versions;
use ruma_identity_service_api::invitation::{
    sign_invitation_ed25519::v2 as sign, store_invitation::v2 as store_invite,
};
use ruma_identity_service_api::keys::{
    check_public_key_validity::v2 as is_valid, get_public_key::v2 as public_key,
    validate_ephemeral_key::v2 as ephemeral_is_valid,
};
use ruma_identity_service_api::lookup::IdentifierHashingAlgorithm;
use ruma_identity_service_api::lookup::{
    get_hash_parameters::v2 as hash_details, lookup_3pid::v2 as lookup,
};
use ruma_identity_service_api::tos::{
    accept_terms_of_service::v2 as accept, get_terms_of_service::v2 as terms,
};

use crate::support::federated::Federated;
use crate::support::invites::JoinLink;
use crate::support::smsbox::SmsBox;

/// Sends a request as ruma writes it, and reads the answer as ruma reads it.
async fn call<R>(
    site: &Federated,
    request: R,
    token: <R::Authentication as AuthScheme>::Input<'_>,
    path: <R::PathBuilder as PathBuilder>::Input<'_>,
) -> R::IncomingResponse
where
    R: OutgoingRequest,
    <R::Authentication as AuthScheme>::AddAuthenticationError: std::fmt::Debug,
{
    let base = site.server.client.base();
    let request = request
        .try_into_http_request::<Vec<u8>>(base, token, path)
        .unwrap();
    let answer = site.server.client.send_http(request).await;
    let borrowed = http::Response::from_parts(answer.0, answer.1.as_slice());
    R::IncomingResponse::try_from_http_response(borrowed)
        .map_err(|_| "ruma refuses the answer")
        .unwrap()
}

#[tokio::test]
async fn ruma_walks_from_registration_to_unbinding() {
    let site = Federated::start().await;
    let user: OwnedUserId = site.user("alice").parse().unwrap();
    site.homeserver.vouch_for(user.as_str());

    let answer = call(&site, versions::Request::new(), SendAccessToken::None, ()).await;
    assert!(answer.versions.contains(&"v1.19".to_owned()));
    let supported = answer.as_supported_versions();
    let path = || Cow::Borrowed(&supported);

    let homeserver: OwnedServerName = site.homeserver.name().as_str().parse().unwrap();
    let request = register::Request::new(
        "an openid token".to_owned(),
        TokenType::Bearer,
        homeserver,
        Duration::from_hours(1),
    );
    let token = call(&site, request, SendAccessToken::None, path())
        .await
        .token;
    let answer = call(&site, account::Request::new(), token.as_str(), path()).await;
    assert_eq!(answer.user_id, user);

    let secret: OwnedClientSecret = "secret".parse().unwrap();
    let request = request_token::Request::new(
        secret.clone(),
        "Alice@Example.org".to_owned(),
        1_u32.into(),
        Some("https://app.example/".to_owned()),
    );
    let sid: OwnedSessionId = call(&site, request, token.as_str(), path()).await.sid;
    let mailed = site.server.only_mail().token();
    let request = submit_token::Request::new(sid.clone(), secret.clone(), mailed);
    assert!(call(&site, request, token.as_str(), path()).await.success);
    let request = validity::Request::new(sid.clone(), secret.clone());
    let answer = call(&site, request, token.as_str(), path()).await;
    assert_eq!(
        (answer.medium, answer.address.as_str()),
        (Medium::Email, "alice@example.org")
    );

    let request = bind::Request::new(sid.clone(), secret.clone(), user.clone());
    let bound = call(&site, request, token.as_str(), path()).await;
    assert_eq!(
        (bound.mxid, bound.address.as_str()),
        (user.clone(), "alice@example.org")
    );
    assert_eq!(bound.signatures.len(), 1);
    let request = public_key::Request::new("ed25519:1".parse().unwrap());
    let key: IdentityServerBase64PublicKey = call(&site, request, SendAccessToken::None, path())
        .await
        .public_key;
    assert!(
        call(
            &site,
            is_valid::Request::new(key),
            SendAccessToken::None,
            path()
        )
        .await
        .valid
    );

    let details = call(&site, hash_details::Request::new(), token.as_str(), path()).await;
    assert!(
        details
            .algorithms
            .iter()
            .any(|algorithm| algorithm.as_str() == "sha256")
    );
    let hash = |address: &str| {
        // As the specification tells clients to make it.
        let text = format!("{address} email {}", details.lookup_pepper);
        let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
        ruma_common::serde::Base64::<ruma_common::serde::base64::UrlSafe, &[u8]>::new(
            digest.as_ref(),
        )
        .encode()
    };
    let (alice, carol) = (hash("alice@example.org"), hash("carol@example.org"));
    let request = lookup::Request::new(
        IdentifierHashingAlgorithm::Sha256,
        details.lookup_pepper.clone(),
        vec![alice.clone(), carol],
    );
    let found = call(&site, request, token.as_str(), path()).await;
    assert_eq!(found.mappings, [(alice, user.clone())].into());

    let proof = unbind::ThreePidOwnershipProof::new(sid, secret);
    let threepid = unbind::ThirdPartyId::new(Medium::Email, "alice@example.org".to_owned());
    let request = unbind::Request::new(Some(proof), user, threepid);
    call(&site, request, token.as_str(), path()).await;
    assert_eq!(site.server.looked_up("alice@example.org").await, None);
    call(&site, logout::Request::new(), token.as_str(), path()).await;
    site.get(&token, "account", &[])
        .await
        .refused(401, "M_UNAUTHORIZED");
}

#[tokio::test]
async fn ruma_proves_a_phone_number() {
    let smsbox = SmsBox::start().await;
    let site = Federated::start_with(|config, _| smsbox.serve(&mut config.sms)).await;
    let answer = call(&site, versions::Request::new(), SendAccessToken::None, ()).await;
    let supported = answer.as_supported_versions();
    let path = || Cow::Borrowed(&supported);
    let token = site.register("alice").await;
    let secret: OwnedClientSecret = "secret".parse().unwrap();
    let request = request_code::Request::new(
        secret.clone(),
        "GB".to_owned(),
        "07400 123456".to_owned(),
        1_u32.into(),
        None,
    );
    let sid: OwnedSessionId = call(&site, request, token.as_str(), path()).await.sid;
    let code = smsbox.last().token;
    let request = submit_code::Request::new(sid.clone(), secret.clone(), code);
    assert!(call(&site, request, token.as_str(), path()).await.success);
    let request = validity::Request::new(sid, secret);
    let answer = call(&site, request, token.as_str(), path()).await;
    assert_eq!(
        (answer.medium, answer.address.as_str()),
        (Medium::Msisdn, "447400123456")
    );
}

#[tokio::test]
async fn ruma_reads_the_terms_accepts_them_and_is_let_in() {
    const URL: &str = "https://example.org/privacy";
    let site = Federated::start_with(|config, _| {
        let document = PolicyDocument {
            name: "Privacy policy".to_owned(),
            text: PolicyText::Url(URL.to_owned()),
        };
        let policy = Policy {
            version: "1.0".to_owned(),
            languages: [("en".to_owned(), document)].into(),
        };
        config.terms.policies = [("privacy".to_owned(), policy)].into();
    })
    .await;
    let token = site.register("alice").await;
    let answer = call(&site, versions::Request::new(), SendAccessToken::None, ()).await;
    let supported = answer.as_supported_versions();
    let path = || Cow::Borrowed(&supported);
    site.get(&token, "account", &[])
        .await
        .refused(403, "M_TERMS_NOT_SIGNED");
    let shown = call(&site, terms::Request::new(), SendAccessToken::None, path()).await;
    let privacy = &shown.policies["privacy"];
    let english = &privacy.localized["en"];
    assert_eq!(
        (privacy.version.as_str(), english.name.as_str()),
        ("1.0", "Privacy policy")
    );
    let request = accept::Request::new(vec![english.url.clone()]);
    call(&site, request, token.as_str(), path()).await;
    let answer = call(&site, account::Request::new(), token.as_str(), path()).await;
    assert_eq!(answer.user_id, site.user("alice"));
}

#[tokio::test]
async fn ruma_invites_and_has_the_invitation_signed() {
    let site = Federated::start().await;
    let token = site.register("alice").await;
    let supported = call(&site, versions::Request::new(), SendAccessToken::None, ()).await;
    let supported = supported.as_supported_versions();
    let path = || Cow::Borrowed(&supported);
    let alice: OwnedUserId = site.user("alice").parse().unwrap();

    let mut request = store_invite::Request::email(
        "bob@example.org".to_owned(),
        "!31hneApxJ_1o-63DmFrpeqnkFfWppnzWso1JvH3ogLM"
            .parse()
            .unwrap(),
        alice.clone(),
    );
    request.room_name = Some("Attic".to_owned());
    request.room_type = Some(RoomType::Space);
    let stored = call(&site, request, token.as_str(), path()).await;
    assert_eq!(stored.display_name, "b...@exa...");
    let own = stored.public_keys.ephemeral_key.public_key.clone();
    let request = ephemeral_is_valid::Request::new(own.clone());
    assert!(
        call(&site, request, SendAccessToken::None, path())
            .await
            .valid
    );

    let link = JoinLink::of(&site.server.only_mail());
    let key = link
        .signing("private_key")
        .replace('-', "+")
        .replace('_', "/");
    let bob: OwnedUserId = site.user("bob").parse().unwrap();
    let request = sign::Request::new(
        bob.clone(),
        stored.token.clone(),
        Base64::parse(key).unwrap(),
    );
    let signed = call(&site, request, token.as_str(), path()).await;
    assert_eq!(
        (signed.mxid, signed.sender, signed.token),
        (bob, alice, stored.token)
    );
    assert_eq!(signed.signatures.len(), 1);
}

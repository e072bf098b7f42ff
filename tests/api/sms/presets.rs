//! The presets that are shipped: each request byte for byte, and each kind of answer, as the providers document them. The
//! documents are named in the presets themselves.

use serde_json::{Value, json};

use super::{message, sms};
use crate::support::authority::Authority;
use crate::support::gateway::{Answer, Gateway};

/// What a provider's documents say.
struct Documented {
    name: &'static str,
    credentials: &'static str,
    target: &'static str,
    headers: &'static [(&'static str, &'static str)],
    body: &'static str,
    /// Answers to an SMS that was taken.
    taken: Vec<(u16, Value)>,
    /// Answers that refuse the number, and the code that the log shows.
    number: Vec<(u16, Value, &'static str)>,
    /// Answers that refuse the SMS for another reason.
    other: Vec<(u16, Value, &'static str)>,
    /// Answers that put it off.
    later: Vec<(u16, Value, &'static str)>,
}

fn twilio() -> Documented {
    let error = |status: u16, code: u32| {
        let body = json!({
            "code": code,
            "message": "The 'To' number +447700900123 is not a valid phone number.",
            "more_info": format!("https://www.twilio.com/docs/errors/{code}"),
            "status": status,
        });
        (status, body)
    };
    let refusal = |status, code, shown| {
        let (status, body) = error(status, code);
        (status, body, shown)
    };
    Documented {
        name: "twilio",
        credentials: "username = \"AC0123\"\npassword = \"t0k&n\"\n",
        target: "/2010-04-01/Accounts/AC0123/Messages.json",
        headers: &[
            ("authorization", "Basic QUMwMTIzOnQwayZu"),
            ("content-type", "application/x-www-form-urlencoded"),
        ],
        body: "To=%2B447700900123&From=%2B15005550006&Body=Your+code+is+123456",
        taken: vec![(
            201,
            json!({"sid": "SM0", "status": "queued", "error_code": null, "to": "+447700900123"}),
        )],
        number: vec![
            refusal(400, 21211, "HTTP status 400, code 21211"),
            refusal(400, 21610, "HTTP status 400, code 21610"),
            refusal(400, 21614, "HTTP status 400, code 21614"),
            refusal(400, 21635, "HTTP status 400, code 21635"),
        ],
        other: vec![
            refusal(401, 20003, "HTTP status 401, code 20003"),
            refusal(400, 21606, "HTTP status 400, code 21606"),
            refusal(403, 21408, "HTTP status 403, code 21408"),
        ],
        later: vec![
            refusal(429, 20429, "HTTP status 429, code 20429"),
            refusal(500, 20500, "HTTP status 500, code 20500"),
            refusal(503, 20503, "HTTP status 503, code 20503"),
        ],
    }
}

fn vonage() -> Documented {
    let status = |status: &str| {
        let message = json!({
            "to": "447700900123", "status": status, "error-text": "Refused for +447700900123",
            "message-id": "0C0", "remaining-balance": "3.1", "message-price": "0.03", "network": "12345",
        });
        json!({"message-count": "1", "messages": [message]})
    };
    Documented {
        name: "vonage",
        credentials: "username = \"abcd1234\"\npassword = \"s&cret\"\n",
        target: "/sms/json",
        headers: &[("content-type", "application/x-www-form-urlencoded")],
        body: "api_key=abcd1234&api_secret=s%26cret&from=%2B15005550006&to=447700900123&text=Your+code+is+123456",
        taken: vec![(200, status("0"))],
        number: vec![
            (200, status("6"), "HTTP status 200, code 6"),
            (200, status("7"), "HTTP status 200, code 7"),
            (200, status("33"), "HTTP status 200, code 33"),
        ],
        other: vec![
            (200, status("4"), "HTTP status 200, code 4"),
            (200, status("9"), "HTTP status 200, code 9"),
            (200, status("15"), "HTTP status 200, code 15"),
            (200, json!({"messages": []}), "HTTP status 200"),
        ],
        later: vec![
            (200, status("1"), "HTTP status 200, code 1"),
            (200, status("5"), "HTTP status 200, code 5"),
            (200, status("10"), "HTTP status 200, code 10"),
            (429, json!({}), "HTTP status 429"),
        ],
    }
}

fn infobip() -> Documented {
    let status = |group: u32, id: u32, name: &str| {
        let status = json!({"groupId": group, "groupName": "X", "id": id, "name": name, "description": "447700900123"});
        json!({"bulkId": "1", "messages": [{"messageId": "2", "status": status, "destination": "447700900123"}]})
    };
    Documented {
        name: "infobip",
        credentials: "api_key = \"key-1\"\n",
        target: "/sms/3/messages",
        headers: &[
            ("authorization", "App key-1"),
            ("content-type", "application/json"),
            ("accept", "application/json"),
        ],
        body: r#"{"messages":[{"sender":"+15005550006","destinations":[{"to":"447700900123"}],"content":{"text":"Your code is 123456"}}]}"#,
        taken: vec![
            (200, status(1, 26, "PENDING_ACCEPTED")),
            (200, status(3, 2, "DELIVERED_TO_OPERATOR")),
        ],
        number: vec![
            (
                200,
                status(5, 8, "REJECTED_PREFIX_MISSING"),
                "HTTP status 200, code 8",
            ),
            (
                200,
                status(5, 10, "REJECTED_DND"),
                "HTTP status 200, code 10",
            ),
            (
                200,
                status(5, 52, "REJECTED_DESTINATION"),
                "HTTP status 200, code 52",
            ),
        ],
        other: vec![
            (
                200,
                status(5, 12, "REJECTED_NOT_ENOUGH_CREDITS"),
                "HTTP status 200, code 12",
            ),
            (
                200,
                status(5, 13, "REJECTED_SENDER"),
                "HTTP status 200, code 13",
            ),
            (401, json!({"requestError": {}}), "HTTP status 401"),
        ],
        later: vec![
            (
                200,
                status(5, 21, "REJECTED_SYSTEM_ERROR"),
                "HTTP status 200, code 21",
            ),
            (500, json!({"requestError": {}}), "HTTP status 500"),
        ],
    }
}

/// Goes through all that is documented of a provider, over TLS.
async fn check(documented: Documented) {
    let authority = Authority::new();
    let tls = authority.server("localhost");
    let gateway = Gateway::start(Some(tls), Answer::Json(500, json!({}))).await;
    let Documented {
        name, credentials, ..
    } = documented;
    let text = format!(
        "[sms]\nprovider = \"{name}\"\nfrom = \"+15005550006\"\nhome_country = \"GB\"\nca_file = \"{}\"\n\
         [sms.presets.{name}]\nbase_url = \"{}/\"\n{credentials}",
        authority.file().display(),
        gateway.url(),
    );
    let sms = sms(&text);
    assert_eq!(format!("{sms:?}"), format!("Sms({name})"));
    for (status, body) in documented.taken {
        gateway.answer(Answer::Json(status, body));
        sms.send(message()).await.unwrap();
        let asked = gateway.last();
        assert_eq!(asked.method, "POST");
        assert_eq!(asked.target, documented.target);
        assert_eq!(asked.body, documented.body);
        for (header, value) in documented.headers {
            assert_eq!(asked.header(header), *value);
        }
    }
    // How final each kind is, and whether it is the number's fault.
    let kinds = [
        (documented.number, true, true),
        (documented.other, true, false),
        (documented.later, false, false),
    ];
    for (answers, is_final, is_the_number) in kinds {
        for (status, body, shown) in answers {
            gateway.answer(Answer::Json(status, body));
            let error = sms.send(message()).await.unwrap_err();
            let text = error.to_string();
            assert_eq!(
                (error.is_final(), error.refuses_number()),
                (is_final, is_the_number),
                "{text}"
            );
            assert!(
                text.starts_with(name) && text.contains(&format!("({shown})")),
                "{text}"
            );
            for secret in [
                "7700900", "123456", "t0k", "s&cret", "key-1", "AC0123", "abcd1234",
            ] {
                assert!(!text.contains(secret), "{text}");
            }
        }
    }
}

#[tokio::test]
async fn twilio_is_asked_and_understood_as_it_documents() {
    check(twilio()).await;
}

#[tokio::test]
async fn vonage_is_asked_and_understood_as_it_documents() {
    check(vonage()).await;
}

#[tokio::test]
async fn infobip_is_asked_and_understood_as_it_documents() {
    check(infobip()).await;
}

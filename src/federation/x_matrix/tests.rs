use super::*;
use crate::signing::{ServerKey, decode_base64};
use proptest::prelude::*;

/// The signature of the specification's key over the request below, with `destination_is`.
const DESTINATION_IS: &str =
    "//wzNuQFBi0M3kg5UA+vjlkwpj/uVO45fC0JZzgGxfwhkbfS15AHskSCMYn59sVfV3ieAg5mz1CBvwSKcEpeDw";
/// The same with `destination`.
const DESTINATION: &str =
    "RoZzCfXEUQ+yw1xJBctLIF1Dx9661d3h4gf1N4F2hw+tCxUEDna5EgFnp8BOwb0XB4O6K3kryXgYH3kxdRMvCw";

fn key() -> ServerKey {
    let seed = decode_base64("YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1").unwrap();
    ServerKey::from_seed(KeyId::parse("ed25519:1").unwrap(), &seed).unwrap()
}

fn content() -> Value {
    json!({
        "mxid": "@alice:origin.example",
        "threepid": { "medium": "email", "address": "Alice@Example.org" },
    })
}

/// Verifies headers over a request to unbind that reached `id.example.org`.
fn verify(headers: &[&str], content: &Value, ours: &[&str]) -> Result<ServerName, FederationError> {
    let our_names: Vec<String> = ours.iter().map(ToString::to_string).collect();
    let request = SignedRequest {
        authorization: headers.to_vec(),
        method: "POST",
        uri: "/_matrix/identity/v2/3pid/unbind",
        content,
        our_names: &our_names,
    };
    let signatures = request.signatures()?;
    let destinations = signatures.destinations(&our_names)?;
    let keys = [(key().id().clone(), key().public_key())];
    signatures.verify(&request, &destinations, &keys)?;
    Ok(signatures.origin)
}

fn header(sig: &str) -> String {
    format!(r#"X-Matrix origin="origin.example",key="ed25519:1",sig="{sig}""#)
}

#[track_caller]
fn parsed(header: &str) -> XMatrix {
    XMatrix::parse(parameters(header).unwrap()).unwrap()
}

#[test]
fn both_spellings_of_the_destination_verify_by_the_vectors() {
    for sig in [DESTINATION_IS, DESTINATION] {
        let origin = verify(&[&header(sig)], &content(), &["id.example.org"]).unwrap();
        assert_eq!(origin.as_str(), "origin.example");
    }
}

#[test]
fn all_names_of_this_server_are_tried_with_and_without_their_ports() {
    for ours in [
        ["other.example", "id.example.org"],
        ["other.example", "id.example.org:8090"],
        ["id.example.org:443", "other.example"],
    ] {
        verify(&[&header(DESTINATION_IS)], &content(), &ours).unwrap();
    }
    let error = verify(&[&header(DESTINATION_IS)], &content(), &["other.example"]).unwrap_err();
    assert!(matches!(error, FederationError::BadSignature(_)));
}

#[test]
fn a_destination_in_the_header_must_be_ours_and_may_have_a_path() {
    let sign = |destination: &str| {
        let mut object = json!({
            "method": "POST", "uri": "/_matrix/identity/v2/3pid/unbind", "origin": "origin.example",
            "destination_is": destination, "content": content(),
        });
        let object = object.as_object_mut().unwrap();
        let origin = ServerName::parse("origin.example").unwrap();
        key().sign_json(&origin, object).unwrap();
        let sig = object["signatures"]["origin.example"]["ed25519:1"].as_str();
        let sig = sig.unwrap();
        format!("{},destination=\"{destination}\"", header(sig))
    };
    let ours = ["id.example.org"];
    for destination in [
        "id.example.org",
        "id.example.org:443",
        "id.example.org/path/below",
    ] {
        verify(&[&sign(destination)], &content(), &ours).unwrap();
    }
    for destination in [
        "evil.example",
        "id.example.org.evil.example",
        "evil.example/id.example.org",
        "id.example.org:8448",
        "",
    ] {
        let error = verify(&[&sign(destination)], &content(), &ours).unwrap_err();
        assert!(matches!(error, FederationError::OtherDestination(_)));
    }
}

#[test]
fn any_change_of_the_request_breaks_the_signature() {
    let mut changed = content();
    changed["mxid"] = json!("@bob:origin.example");
    let mut extended = content();
    extended["unknown"] = json!(1);
    for content in [changed, extended, json!({}), json!({ "a": 1.5 })] {
        let error = verify(&[&header(DESTINATION_IS)], &content, &["id.example.org"]);
        assert!(matches!(error, Err(FederationError::BadSignature(_))));
    }
    for header in [
        header("AAAA"),
        header(""),
        header("no base64!"),
        header(DESTINATION_IS).replace("origin.example", "other.example"),
        header(DESTINATION_IS).replace("ed25519:1", "ed25519:2"),
    ] {
        let error = verify(&[&header], &content(), &["id.example.org"]).unwrap_err();
        assert!(
            matches!(error, FederationError::BadSignature(_)),
            "{header}"
        );
    }
}

#[test]
fn one_of_several_headers_suffices_and_other_schemes_are_passed_over() {
    let (good, bad) = (header(DESTINATION_IS), header("AAAA").replace(":1", ":2"));
    let other = header("AAAA").replace("ed25519:1", "rsa:1");
    let headers = ["Bearer abc", &bad, &other, &good];
    verify(&headers, &content(), &["id.example.org"]).unwrap();
    for headers in [
        vec!["Bearer abc"],
        vec![],
        vec![""],
        vec![&other],
        vec![&good, "X-Matrix"],
        vec![
            &good,
            r#"X-Matrix origin="other.example",key="ed25519:1",sig="AAAA""#,
        ],
        vec![good.as_str(); MOST_HEADERS + 1],
    ] {
        let error = verify(&headers, &content(), &["id.example.org"]).unwrap_err();
        assert!(matches!(error, FederationError::Malformed(_)));
    }
}

#[test]
fn headers_are_read_however_they_are_spelled() {
    let expected = XMatrix {
        origin: ServerName::parse("a.example:8448").unwrap(),
        destination: None,
        key: "ed25519:a_b".to_owned(),
        sig: "ab+/c==".to_owned(),
    };
    for header in [
        r#"X-Matrix origin="a.example:8448",key="ed25519:a_b",sig="ab+/c==""#,
        r#"x-matrix sig="ab+/c==",key="ed25519:a_b",origin="a.example:8448""#,
        "X-MATRIX origin=a.example:8448,key=ed25519:a_b,sig=ab+/c==",
        r#"X-Matrix  ORIGIN = "a.example:8448" , Key="ed25519:a_b" ,	sIg="ab+/c=="  "#,
        r#"X-Matrix ,,origin="a.\e\xample:8448",key="ed25519:a_b",,sig="ab+/c==","#,
        r#"X-Matrix origin="a.example:8448",new="a,b=\"c",key="ed25519:a_b",sig="ab+/c==",x=y"#,
    ] {
        assert_eq!(parsed(header), expected, "{header}");
    }
    let with = parsed(r#"X-Matrix origin=a.example,destination="b\"\\c",key=ed25519:1,sig=x"#);
    assert_eq!(with.destination.as_deref(), Some(r#"b"\c"#));
}

#[test]
fn malformed_headers_are_refused() {
    for header in [
        "X-Matrix",
        "X-Matrix origin",
        "X-Matrix =",
        r#"X-Matrix origin="a.example",key="ed25519:1""#,
        r#"X-Matrix origin="a.example",sig="x""#,
        r#"X-Matrix key="ed25519:1",sig="x""#,
        r#"X-Matrix origin="a.example",origin="a.example",key="ed25519:1",sig="x""#,
        r#"X-Matrix origin="a.example,key="ed25519:1",sig="x""#,
        r#"X-Matrix origin="a.example" key="ed25519:1" sig="x""#,
        r#"X-Matrix origin="a.example",key="ed25519:1",sig="x"#,
        r#"X-Matrix origin="a.example",key="ed25519:1",sig="x\"#,
        r#"X-Matrix origin="https://a.example",key="ed25519:1",sig="x""#,
        r#"X-Matrix origin="a.example/path",key="ed25519:1",sig="x""#,
        r#"X-Matrix origin="",key="ed25519:1",sig="x""#,
    ] {
        XMatrix::parse(parameters(header).unwrap()).unwrap_err();
    }
}

proptest! {
    #[test]
    fn no_header_makes_the_parser_panic(header in any::<String>()) {
        let _ = XMatrix::parse(&header);
        let _ = parameters(&header);
    }

    #[test]
    fn nothing_that_looks_like_a_header_makes_the_parser_panic(
        header in r#"X-Matrix ((origin|key|sig|destination|é)?[ \t]*=?[ \t]*"?[a-z0-9:.\\"]{0,6}"?[ ,]*){0,6}"#
    ) {
        let _ = parameters(&header).map(XMatrix::parse);
    }

    #[test]
    fn every_value_survives_quoting(destination in "[^\u{0}]{0,32}") {
        let escaped = destination.replace('\\', r"\\").replace('"', "\\\"");
        let header = format!(r#"X-Matrix origin=a.example,key=ed25519:1,destination="{escaped}",sig=x"#);
        prop_assert_eq!(parsed(&header).destination, Some(destination));
    }
}

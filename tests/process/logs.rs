//! What stands in the log, in each of its forms and at each level; and what never does.

use bindery::signing;
use bindery::types::Timestamp;
use serde_json::{Value, json};

use super::authority::Authority;
use super::dns::DnsServer;
use super::homeserver::Homeserver;
use super::invitations::sign_target;
use super::{Running, Site, V1, bound, call, call_as, mailed_token, until, validated};

const ALICE: &str = "alice.liddell@example.org";
const SECRET: &str = "hush-hush-client-secret";

/// Inviting, and signing for whoever has the mail, right and wrong. Answers what must not stand in the log.
fn invitations(server: &Running, site: &Site) -> Vec<String> {
    let address = server.address;
    let post = |path: &str, body: &Value| call(address, "POST", &format!("{V1}{path}"), body);
    let invite = json!({
        "medium": "email", "address": "bob.builder@example.net", "room_id": "!attic:hs.example",
        "sender": "@alice:hs.example", "room_name": "Room of wonders", "sender_display_name": "Alice L.",
        "guest_access_token": "token-of-a-guest", "guest_user_id": "@17:hs.example",
    });
    let (status, stored) = post("/store-invite", &invite).unwrap();
    assert_eq!(status, 200, "{stored}");
    let mut refused = invite.clone();
    refused["address"] = json!("no.address@");
    post("/store-invite", &refused);
    let target = sign_target(&site.store());
    let signs = format!("{target}&mxid=@bob.builder:hs.example");
    let (status, signed) = call(address, "POST", &signs, &Value::Null).unwrap();
    assert_eq!(status, 200, "{signed}");
    let own = stored["public_keys"][1]["public_key"].as_str().unwrap();
    let isvalid = format!("{V1}/pubkey/ephemeral/isvalid?public_key={own}");
    call(address, "GET", &isvalid, &Value::Null);
    let wrong = json!({
        "mxid": "@bob.builder:hs.example", "token": "no-token-of-an-invitation",
        "private_key": "YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1",
    });
    post("/sign-ed25519", &wrong);
    let (_, private_key) = target.split_once("private_key=").unwrap();
    let token = stored["token"].as_str().unwrap();
    let mut secrets = vec![private_key.to_owned(), token.to_owned()];
    for secret in [
        "bob.builder",
        "Room of wonders",
        "Alice L.",
        "token-of-a-guest",
        "no-token-of-an-invitation",
        "YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW",
        "private_key",
    ] {
        secrets.push(secret.to_owned());
    }
    secrets
}

/// Every flow that there is, right and wrong. Answers what must not stand in the log.
fn every_flow(server: &Running, site: &Site) -> Vec<String> {
    let address = server.address;
    let sid = validated(address, &site.store(), ALICE, SECRET);
    let post = |path: &str, body: &Value| call(address, "POST", &format!("{V1}{path}"), body);
    let get = |path: &str| call(address, "GET", &format!("{V1}{path}"), &Value::Null);
    let mxid = "@alice:hs.example";
    let bind = json!({ "sid": sid, "client_secret": SECRET, "mxid": mxid });
    post("/3pid/bind", &bind).unwrap();
    assert!(bound(address, ALICE).is_some());
    get(&format!(
        "/3pid/getValidated3pid?sid={sid}&client_secret={SECRET}"
    ));
    post(
        "/bulk_lookup",
        &json!({ "threepids": [["email", ALICE], ["msisdn", "441632960000"]] }),
    );
    let mut unbind = json!({
        "sid": sid, "client_secret": SECRET, "mxid": mxid,
        "threepid": { "medium": "email", "address": ALICE },
    });
    post("/3pid/unbind", &unbind);
    unbind["client_secret"] = json!("not-the-secret");
    post("/3pid/unbind", &unbind);
    let wrong = json!({ "sid": sid, "client_secret": SECRET, "token": "a-wrong-token" });
    post("/validate/email/submitToken", &wrong);
    get(&format!(
        "/validate/email/submitToken?sid={sid}&client_secret={SECRET}&token=a-wrong-token"
    ));
    let page = format!("/verify/email?sid={sid}&token=a-wrong-token");
    call(address, "GET", &page, &Value::Null);
    post("/validate/email/requestToken", &json!({ "email": ALICE }));
    post(
        "/validate/email/requestToken",
        &json!({ "email": "no.address@", "client_secret": SECRET, "send_attempt": 1 }),
    );
    let of_invitations = invitations(server, site);
    get("/pubkey/ed25519:1");
    get("/pubkey/isvalid?public_key=no-key");
    get("/no/such/path/of-alice.liddell@example.org");

    let v2 = |method: &str, path: &str, body: &Value| {
        call(
            address,
            method,
            &format!("/_matrix/identity/v2{path}"),
            body,
        )
        .unwrap()
    };
    // A homeserver that cannot be reached, and tokens that nobody gave out.
    let register = json!({
        "access_token": "openid-token-of-alice", "token_type": "Bearer", "expires_in": 60,
        "matrix_server_name": "127.0.0.1:1",
    });
    v2("POST", "/account/register", &register);
    v2(
        "GET",
        "/account?access_token=token-in-a-query",
        &Value::Null,
    );
    v2(
        "POST",
        "/account/logout?access_token=token-in-a-query",
        &json!({}),
    );

    let token = mailed_token(&site.store(), &sid);
    let mut secrets = vec![sid, token];
    secrets.extend(of_invitations);
    for file in ["signing.key", "secret.key"] {
        let text = std::fs::read_to_string(site.store().join(file)).unwrap();
        let secret = text.trim().rsplit(' ').next().unwrap();
        secrets.push(secret.to_owned());
    }
    for secret in [
        ALICE,
        "alice",
        "liddell",
        SECRET,
        "not-the-secret",
        "a-wrong-token",
        "441632960000",
        "no.address",
        "no-key",
        "openid-token-of-alice",
        "token-in-a-query",
        "token=",
    ] {
        secrets.push(secret.to_owned());
    }
    secrets
}

#[test]
fn no_address_token_or_secret_is_in_the_log_at_any_level() {
    for level in ["info", "debug"] {
        let site = Site::new();
        site.configure(&format!(
            "[log]\nlevel = \"{level}\"\n[federation]\nallow_ips = [\"127.0.0.1\"]\n"
        ));
        let mut server = site.serve();
        let secrets = every_flow(&server, &site);
        server.signal("TERM");
        assert!(server.wait().success());
        let log = server.log.lock().unwrap().clone();
        assert!(log.lines().count() > 15, "{log}");
        for secret in secrets {
            assert!(!log.contains(&secret), "{level}: {secret} in\n{log}");
        }
    }
}

/// Every flow of v2, with a homeserver that vouches and signs. Answers what must not stand in the log.
fn every_flow_of_v2(server: &Running, site: &Site, homeserver: &Homeserver) -> Vec<String> {
    let address = server.address;
    let name = homeserver.name();
    let mxid = format!("@alice.liddell:{name}");
    homeserver.vouch_for(&mxid);
    let path = |path: &str| format!("/_matrix/identity/v2{path}");
    let register = json!({
        "access_token": "openid-token-of-alice", "token_type": "Bearer", "expires_in": 60,
        "matrix_server_name": name.as_str(),
    });
    let (status, answer) = call(address, "POST", &path("/account/register"), &register).unwrap();
    assert_eq!(status, 200, "{answer}");
    let token = answer["token"].as_str().unwrap().to_owned();
    let bearer = format!("Bearer {token}");
    let ask = |method: &str, rest: &str, body: &Value| {
        let (status, answer) = call_as(address, &bearer, method, &path(rest), body).unwrap();
        assert_eq!(status, 200, "{rest}: {answer}");
        answer
    };
    ask("GET", "/account", &Value::Null);
    ask(
        "GET",
        &format!("/account?access_token={token}"),
        &Value::Null,
    );

    let sid = validated(address, &site.store(), ALICE, SECRET);
    let bind = json!({ "sid": sid, "client_secret": SECRET, "mxid": mxid });
    ask("POST", "/3pid/bind", &bind);
    let details = ask("GET", "/hash_details", &Value::Null);
    let pepper = details["lookup_pepper"].as_str().unwrap().to_owned();
    let hashed = ring::digest::digest(
        &ring::digest::SHA256,
        format!("{ALICE} email {pepper}").as_bytes(),
    );
    let hashed = signing::encode_base64(hashed.as_ref())
        .replace('+', "-")
        .replace('/', "_");
    let lookup = json!({ "addresses": [hashed], "algorithm": "sha256", "pepper": pepper });
    let found = ask("POST", "/lookup", &lookup);
    assert_eq!(found["mappings"][&hashed], mxid.as_str());

    let unbind = json!({ "mxid": mxid, "threepid": { "medium": "email", "address": ALICE } });
    let signed = homeserver.sign(&name, "localhost", &path("/3pid/unbind"), &unbind);
    let (status, answer) =
        call_as(address, &signed, "POST", &path("/3pid/unbind"), &unbind).unwrap();
    assert_eq!(status, 200, "{answer}");
    assert!(bound(address, ALICE).is_none());
    ask("POST", "/account/logout", &json!({}));

    let mailed = mailed_token(&site.store(), &sid);
    let mut secrets = vec![token, sid, mailed, pepper, hashed];
    for secret in [ALICE, "alice", "liddell", SECRET, "openid-token", "sig="] {
        secrets.push(secret.to_owned());
    }
    secrets
}

#[test]
fn no_token_pepper_or_address_of_v2_is_in_the_log_at_any_level() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (authority, dns) = (Authority::new(), runtime.block_on(DnsServer::start()));
    dns.host("hs.example", "127.0.0.1");
    let homeserver = runtime.block_on(Homeserver::start(&authority, "hs.example"));
    let far = Timestamp::from_millis(32_503_680_000_000);
    homeserver.show_keys(&homeserver.name(), far);
    for level in ["info", "debug"] {
        let site = Site::new();
        site.configure(&format!(
            "[log]\nlevel = \"{level}\"\n[federation]\nallow_ips = [\"127.0.0.1\"]\n\
             dns = [\"{}\"]\nca_file = \"{}\"\n",
            dns.address(),
            authority.file().display()
        ));
        let mut server = site.serve();
        let secrets = every_flow_of_v2(&server, &site, &homeserver);
        server.signal("TERM");
        assert!(server.wait().success());
        let log = server.log.lock().unwrap().clone();
        assert!(log.lines().count() > 10, "{log}");
        for secret in secrets {
            assert!(!log.contains(&secret), "{level}: {secret} in\n{log}");
        }
    }
}

#[test]
fn a_mail_server_that_fails_leaves_no_address_and_no_password() {
    for level in ["info", "debug"] {
        let site = Site::new();
        // A port that nobody listens on.
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = closed.local_addr().unwrap().port();
        drop(closed);
        site.configure(&format!(
            "[log]\nlevel = \"{level}\"\n[email]\ntransport = \"smtp\"\nfrom = \"a@b.example\"\n\
             [email.smtp]\nhost = \"127.0.0.1\"\nport = {port}\nsecurity = \"none\"\n\
             username = \"bindery\"\npassword = \"password-of-smtp\"\n"
        ));
        let mut server = site.serve();
        let body = json!({ "email": ALICE, "client_secret": SECRET, "send_attempt": 1 });
        let path = format!("{V1}/validate/email/requestToken");
        let (status, _) = call(server.address, "POST", &path, &body).unwrap();
        assert_eq!(status, 200);
        server.signal("TERM");
        assert!(server.wait().success());
        let log = server.log.lock().unwrap().clone();
        assert!(log.contains("a mail is sent later: "), "{log}");
        for secret in [ALICE, "liddell", SECRET, "password-of-smtp"] {
            assert!(!log.contains(secret), "{level}: {secret} in\n{log}");
        }
    }
}

#[test]
fn a_log_of_objects_is_one_json_object_a_line() {
    let site = Site::new();
    site.configure("[log]\nformat = \"json\"\n");
    let mut server = site.serve();
    call(server.address, "GET", "/_matrix/identity/v2", &Value::Null).unwrap();
    server.signal("TERM");
    assert!(server.wait().success());
    let log = server.log.lock().unwrap().clone();
    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    for line in &lines {
        for key in ["time", "level", "target", "message"] {
            assert!(line[key].is_string(), "{line}");
        }
    }
    let request = lines
        .iter()
        .find(|line| line["target"] == "bindery::request")
        .unwrap();
    assert_eq!(request["status"], 200);
    assert_eq!(request["route"], "/_matrix/identity/v2");
    assert_eq!(request["client"], "127.0.0.1");
}

#[test]
fn a_log_for_the_journal_has_a_priority_before_each_line() {
    let site = Site::new();
    site.configure("[log]\nformat = \"journal\"\n");
    let mut server = site.serve();
    call(server.address, "GET", "/_matrix/identity/v2", &Value::Null).unwrap();
    server.signal("TERM");
    assert!(server.wait().success());
    let log = server.log.lock().unwrap().clone();
    assert!(log.lines().count() > 3);
    for line in log.lines() {
        let priority = line.strip_prefix('<').and_then(|line| line.get(..2));
        assert!(
            priority.is_some_and(|priority| ["3>", "4>", "6>", "7>"].contains(&priority)),
            "{line}"
        );
    }
    assert!(
        log.contains("<6>bindery::request: request request_id="),
        "{log}"
    );
}

#[test]
fn a_hangup_reloads_what_can_be_and_names_what_cannot() {
    let site = Site::new();
    let mut server = site.serve();
    let get = |path: &str| call(server.address, "GET", path, &Value::Null).unwrap().0;
    assert_eq!(get("/_matrix/identity/v2"), 200);
    let requests = |server: &Running| {
        let log = server.log.lock().unwrap();
        log.lines()
            .filter(|line| line.contains("request_id="))
            .count()
    };
    assert_eq!(requests(&server), 1);

    // The log falls silent, a limit begins to hold, and what waits for the next start is named.
    let text = std::fs::read_to_string(site.config()).unwrap();
    let text = text
        .replace("enabled = false", "requests_by_ip = \"1/h\"")
        .replace("workers = 1", "workers = 2");
    std::fs::write(site.config(), format!("{text}\n[log]\nlevel = \"warn\"\n")).unwrap();
    server.signal("HUP");
    until(|| server.log.lock().unwrap().contains("next start"));
    let log = server.log.lock().unwrap().clone();
    let line = log
        .lines()
        .find(|line| line.contains("next start"))
        .unwrap();
    assert!(line.ends_with(": server.workers"), "{line}");
    assert_eq!(get("/_matrix/identity/v2"), 200);
    assert_eq!(get("/_matrix/identity/v2"), 429);
    assert_eq!(requests(&server), 1, "requests are below the level now");

    // A broken file changes nothing and says why.
    std::fs::write(site.config(), text.replace("1/h", "often")).unwrap();
    server.signal("HUP");
    until(|| {
        server
            .log
            .lock()
            .unwrap()
            .contains("the old one still holds")
    });
    let log = server.log.lock().unwrap().clone();
    assert!(log.contains("limits.requests_by_ip"), "{log}");
    assert_eq!(get("/_matrix/identity/v2"), 429);
    server.signal("TERM");
    assert!(server.wait().success());
}

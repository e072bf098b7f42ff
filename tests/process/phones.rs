//! Phone numbers and the real binary: what SIGKILL does not make forgotten, the operator's switch, and what is not in the log.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::operator::{objects, says, stop};
use super::{Running, Site, V1, call, until};

/// As it is typed in, and as it is kept.
const NUMBER: &str = "07400 123456";
const MSISDN: &str = "447400123456";
const SECRET: &str = "hush-hush-client-secret";
const SMS: &str = "[sms]\nprovider = \"file\"\nhome_country = \"GB\"\n";

fn ask(address: SocketAddr, number: &str, secret: &str) -> (u16, Value) {
    let body = json!({
        "country": "GB", "phone_number": number, "client_secret": secret, "send_attempt": 1,
    });
    let path = format!("{V1}/validate/msisdn/requestToken");
    call(address, "POST", &path, &body).unwrap()
}

fn submit(address: SocketAddr, sid: &str, code: &Value) -> (u16, Value) {
    let body = json!({ "sid": sid, "client_secret": SECRET, "token": code });
    let path = format!("{V1}/validate/msisdn/submitToken");
    call(address, "POST", &path, &body).unwrap()
}

/// The code in the SMS that was written last.
fn code(site: &Site) -> String {
    let files = std::fs::read_dir(site.store().join("outbox")).unwrap();
    let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|ending| ending == "sms"));
    files.sort();
    let text = std::fs::read_to_string(files.last().unwrap()).unwrap();
    let text = text.split_once("\n\n").unwrap().1;
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    assert_eq!(digits.len(), 6, "{text}");
    digits
}

/// Six digits that are other ones.
fn other_than(code: &str) -> Value {
    let number: u32 = code.parse().unwrap();
    json!(format!("{:06}", (number + 1) % 1_000_000))
}

#[test]
fn a_hangup_lets_another_list_of_countries_hold() {
    const GERMAN: &str = "+49 1512 3456789";
    let site = Site::new();
    site.configure(SMS);
    let mut server = site.serve();
    let (status, answer) = ask(server.address, GERMAN, SECRET);
    assert_eq!(
        (status, &answer["errcode"]),
        (400, &json!("M_DESTINATION_REJECTED"))
    );

    let text = std::fs::read_to_string(site.config()).unwrap();
    let others = text.replace("\"GB\"", "\"GB\"\nallow_countries = [\"DE\"]");
    std::fs::write(site.config(), others).unwrap();
    server.signal("HUP");
    until(|| ask(server.address, GERMAN, SECRET).0 == 200);
    let (status, answer) = ask(server.address, NUMBER, SECRET);
    assert_eq!(
        (status, &answer["errcode"]),
        (400, &json!("M_DESTINATION_REJECTED"))
    );
    assert!(!server.log.lock().unwrap().contains("next start"));
    stop(&mut server);
}

fn kill(server: &mut Running) {
    server.signal("KILL");
    assert!(!server.wait().success());
}

#[test]
fn tries_budget_and_switch_survive_sigkill() {
    let site = Site::new();
    site.configure(&format!("{SMS}daily_budget = 2\n"));
    let mut server = site.serve();
    let (status, answer) = ask(server.address, NUMBER, SECRET);
    assert_eq!(status, 200, "{answer}");
    let sid = answer["sid"].as_str().unwrap().to_owned();
    let right = code(&site);
    let wrong = other_than(&right);
    for _ in 0..4 {
        let (_, answer) = submit(server.address, &sid, &wrong);
        assert_eq!(answer["errcode"], "M_TOKEN_INCORRECT");
        kill(&mut server);
        server = site.serve();
    }
    let (_, answer) = submit(server.address, &sid, &wrong);
    assert_eq!(answer["errcode"], "M_TOKEN_INCORRECT");
    let (_, answer) = submit(server.address, &sid, &json!(right));
    assert_eq!(answer["errcode"], "M_NO_VALID_SESSION");

    let shown = says(&site, &["sms", "off"]);
    assert!(shown.contains("off since"), "{shown}");
    kill(&mut server);
    let mut server = site.serve();
    let (_, answer) = ask(server.address, NUMBER, SECRET);
    assert_eq!(answer["errcode"], "M_SEND_ERROR");
    says(&site, &["sms", "on"]);
    let (status, answer) = ask(server.address, NUMBER, SECRET);
    assert_eq!(status, 200, "{answer}");
    kill(&mut server);
    let server = site.serve();
    let (status, answer) = ask(server.address, "07400 200000", SECRET);
    assert_eq!(
        (status, answer["errcode"].as_str()),
        (429, Some("M_LIMIT_EXCEEDED"))
    );
}

#[test]
fn the_switch_works_with_and_without_a_server() {
    let site = Site::new();
    site.configure(&format!("{SMS}daily_budget = 9\n"));
    let mut server = site.serve();
    let (status, answer) = ask(server.address, NUMBER, SECRET);
    assert_eq!(status, 200, "{answer}");
    stop(&mut server);
    let before = says(&site, &["status"]);
    assert!(before.contains("on, 1 of 9 sent"), "{before}");
    let off = objects(&site, &["sms", "off"]);
    assert!(off[0]["stopped"].is_u64(), "{off:?}");
    assert_eq!(
        (&off[0]["spent"], &off[0]["daily_budget"]),
        (&json!(1), &json!(9))
    );
    let server = site.serve();
    let status = objects(&site, &["status"]);
    assert_eq!(status[0]["sms"], off[0]);
    let (_, answer) = ask(server.address, "07400 200000", SECRET);
    assert_eq!(answer["errcode"], "M_SEND_ERROR");
    let on = objects(&site, &["sms", "on"]);
    assert_eq!(on[0]["stopped"], Value::Null);
    let (status, answer) = ask(server.address, "07400 200000", SECRET);
    assert_eq!(status, 200, "{answer}");
}

/// What must not stand in the log after a number was validated, rightly and wrongly.
fn every_flow(server: &Running, site: &Site) -> Vec<String> {
    let address = server.address;
    let (status, answer) = ask(address, NUMBER, SECRET);
    assert_eq!(status, 200, "{answer}");
    let sid = answer["sid"].as_str().unwrap().to_owned();
    let code = code(site);
    let wrong = other_than(&code);
    submit(address, &sid, &wrong);
    let link = format!(
        "{V1}/validate/msisdn/submitToken?sid={sid}&client_secret={SECRET}&token={}",
        wrong.as_str().unwrap()
    );
    call(address, "GET", &link, &Value::Null);
    let (status, answer) = submit(address, &sid, &json!(code));
    assert_eq!(status, 200, "{answer}");
    let bind = json!({ "sid": sid, "client_secret": SECRET, "mxid": "@alice:hs.example" });
    call(address, "POST", &format!("{V1}/3pid/bind"), &bind).unwrap();
    let lookup = format!("{V1}/lookup?medium=msisdn&address={MSISDN}");
    let (_, answer) = call(address, "GET", &lookup, &Value::Null).unwrap();
    assert_eq!(answer["mxid"], "@alice:hs.example");
    // Numbers that are refused, and one that is switched off.
    for number in [
        "0909 879 0000",
        "020 7946 0018",
        "07400 12",
        "+49 151 23456789",
    ] {
        assert_eq!(ask(address, number, SECRET).0, 400, "{number}");
    }
    says(site, &["sms", "off"]);
    ask(address, "07400 200000", SECRET);
    says(site, &["associations", "remove", "msisdn", MSISDN]);
    let mut secrets = vec![sid, code, wrong.as_str().unwrap().to_owned()];
    for secret in [
        SECRET, MSISDN, "7400", "123456", "123 456", "9098", "909 879", "7946", "2079", "15123",
        "151 234", "200000",
    ] {
        secrets.push(secret.to_owned());
    }
    secrets
}

#[test]
fn no_number_and_no_code_is_in_the_log_at_any_level() {
    for level in ["info", "debug"] {
        let site = Site::new();
        site.configure(&format!("{SMS}[log]\nlevel = \"{level}\"\n"));
        let mut server = site.serve();
        let secrets = every_flow(&server, &site);
        stop(&mut server);
        // What is random or the time may have any digits in it.
        let log: String = said_of_flows(&server.log.lock().unwrap());
        assert!(log.lines().count() > 12, "{log}");
        for secret in secrets {
            assert!(!log.contains(&secret), "{level}: {secret} in\n{log}");
        }
    }
}

#[test]
fn a_webhook_that_is_down_leaves_no_number_and_no_code() {
    for level in ["info", "debug"] {
        let site = Site::new();
        // A port that nobody listens on.
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = closed.local_addr().unwrap().port();
        drop(closed);
        site.configure(&format!(
            "[sms]\nprovider = \"webhook\"\nhome_country = \"GB\"\n\
             [sms.webhook]\nurl = \"http://127.0.0.1:{port}/\"\nsecret = \"secret-of-the-webhook\"\n\
             [log]\nlevel = \"{level}\"\n"
        ));
        let mut server = site.serve();
        let (status, answer) = ask(server.address, NUMBER, SECRET);
        assert_eq!(status, 200, "it is sent later: {answer}");
        let sid = answer["sid"].as_str().unwrap().to_owned();
        stop(&mut server);
        let log: String = said_of_flows(&server.log.lock().unwrap());
        assert!(log.contains("an SMS is sent later"), "{log}");
        for secret in [
            &sid,
            SECRET,
            "secret-of-the-webhook",
            MSISDN,
            "7400",
            "123456",
        ] {
            assert!(!log.contains(secret), "{level}: {secret} in\n{log}");
        }
    }
}

/// The log without what is random or the time, in which any digits may stand: the time before each line, the ids of requests,
/// the names of files, and ports.
fn said_of_flows(log: &str) -> String {
    let mut said = String::new();
    for line in log.lines() {
        let line = line.split_once("] ").map_or(line, |(_, line)| line);
        for word in line.split(' ') {
            let is_id = word.starts_with("request_id=") || word.contains("client=");
            let is_file = word.contains(".sms`") || word.contains("127.0.0.1:");
            if !is_id && !is_file {
                said.push_str(word);
                said.push(' ');
            }
        }
        said.push('\n');
    }
    said
}

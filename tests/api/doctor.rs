//! `bindery doctor`: every check once as it should be, and in every way that it can see something wrong.

use std::sync::Arc;
use std::time::Duration;

use bindery::app::{Deps, Finding, Questions, Verdict, examine};
use bindery::clock::ManualClock;
use bindery::config::{
    Config, Loaded, MailTransport, Mailbox, PublicUrl, Said, Secret, SmtpSecurity, TrustedProxies,
};
use bindery::federation::Ports;
use bindery::types::{ServerName, Timestamp};
use serde_json::{Value, json};

use crate::support::authority::Authority;
use crate::support::dns::DnsServer;
use crate::support::homeserver::{Homeserver, KEYS, Reply, federate};
use crate::support::proxy::{CLIENT, Fault, Proxy};
use crate::support::server::TestServer;
use crate::support::smtp::{Behaviour, SmtpServer};

const HOST: &str = "id.example.org";
const DOMAIN: &str = "hs.example";
const CLIENT_FILE: &str = "/.well-known/matrix/client";
const FAR: Timestamp = Timestamp::from_millis(32_503_680_000_000);
const CORS: &str = "Content-Type: application/json\r\nAccess-Control-Allow-Origin: *\r\n";

/// A server behind a proxy, with a mail server, a homeserver and DNS, in which nothing is wrong.
struct Site {
    server: TestServer,
    proxy: Proxy,
    homeserver: Homeserver,
    smtp: SmtpServer,
    dns: DnsServer,
    authority: Authority,
    deps: Deps,
    questions: Questions,
}

impl Site {
    async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let (authority, dns) = (Authority::new(), DnsServer::start().await);
        for host in [HOST, DOMAIN] {
            dns.host(host, "127.0.0.1");
        }
        dns.mx("example.org", "mx.example.org");
        dns.txt("example.org", "v=spf1 mx -all");
        dns.txt("_dmarc.example.org", "v=DMARC1; p=reject");
        let key = format!("v=DKIM1; k=rsa; p={}", "A".repeat(300));
        dns.txt("mail._domainkey.mail.example.org", &key);
        dns.mx("mail.example.org", "mx.example.org");
        dns.txt("mail.example.org", "v=spf1 redirect=example.org");
        let proxy = Proxy::start(authority.server(HOST)).await;
        let homeserver = Homeserver::start(&authority, DOMAIN).await;
        homeserver.show_keys(&homeserver.name(), FAR);
        let smtp = SmtpServer::start(Behaviour {
            login: Some(("bindery", "secret-word")),
            mechanisms: "PLAIN",
            ..Behaviour::default()
        })
        .await;
        let public_url = format!("https://{HOST}:{}", proxy.port());
        let server = TestServer::start_with(|config| {
            federate(&mut config.federation, &authority, &dns);
            config.server.name = ServerName::parse(DOMAIN).unwrap();
            config.server.public_url = PublicUrl::parse(&public_url).unwrap();
            config.accounts.allow_homeservers = vec![homeserver.name()];
            config.email.transport = MailTransport::Smtp;
            config.email.from = Mailbox::parse("bindery@mail.example.org").unwrap();
            "127.0.0.1".clone_into(&mut config.email.smtp.host);
            config.email.smtp.port = smtp.port();
            config.email.smtp.security = SmtpSecurity::None;
            config.email.smtp.username = Some("bindery".to_owned());
            config.email.smtp.password = Some(Secret::new("secret-word".to_owned()));
            change(config);
        })
        .await;
        proxy.ask(server.client.address());
        let ports = Ports {
            https: homeserver.port(),
            matrix: homeserver.port(),
        };
        let site = Self {
            deps: Deps {
                homeserver_ports: ports,
                ..Deps::system()
            },
            questions: Questions {
                online: true,
                dkim_selector: Some("mail".to_owned()),
                ..Questions::default()
            },
            server,
            proxy,
            homeserver,
            smtp,
            dns,
            authority,
        };
        site.name(&public_url);
        site
    }

    /// Lets `.well-known/matrix/client` name an identity server.
    fn name(&self, url: &str) {
        let file = json!({ "m.identity_server": { "base_url": url } });
        self.homeserver.reply(CLIENT_FILE, Reply::With(CORS, file));
    }

    async fn examine(&self) -> Findings {
        self.examine_as(self.server.config.clone()).await
    }

    /// What there is to find with another configuration than the server runs with.
    async fn examine_as(&self, config: Config) -> Findings {
        let loaded = Loaded {
            config,
            file: None,
            said: Said::default(),
            secret_files: Vec::new(),
        };
        let mut found = Vec::new();
        let mut tell = |finding| found.push(finding);
        examine(&loaded, &self.deps, &self.questions, &mut tell)
            .await
            .unwrap();
        Findings(found)
    }
}

struct Findings(Vec<Finding>);

impl Findings {
    /// All that is not as it should be.
    fn complaints(&self) -> Vec<&Finding> {
        let complaints = self.0.iter();
        complaints.filter(|it| it.verdict != Verdict::Ok).collect()
    }

    /// The only thing that is not as it should be is found by this check, and says what to change.
    #[track_caller]
    fn only(&self, check: &str, verdict: Verdict, words: &str) {
        let complaints = self.complaints();
        let [only] = complaints.as_slice() else {
            panic!("{complaints:#?}");
        };
        assert_eq!((only.check, only.verdict), (check, verdict), "{only:?}");
        assert!(only.text.contains(words), "{only:?}");
        assert!(!only.text.contains('\n') && !only.text.contains("secret-word"));
    }
}

#[tokio::test]
async fn a_site_that_is_as_it_should_be_passes_every_check() {
    let site = Site::start().await;
    let found = site.examine().await;
    assert!(found.complaints().is_empty(), "{:#?}", found.complaints());
    let checks: Vec<&str> = found.0.iter().map(|finding| finding.check).collect();
    for check in [
        "configuration",
        "public_url",
        "secret files",
        "templates, mail",
        "sms",
        "store",
        "listeners",
        "dns",
        "https",
        "clock",
        "proxy",
        "path",
        "errors",
        "cors",
        "preflight",
        "client address",
        "well-known",
        "mail server",
        "mx",
        "spf",
        "dkim",
        "dmarc",
        "homeserver",
    ] {
        assert!(checks.contains(&check), "{check} is not in {checks:?}");
    }
    assert!(site.smtp.is_empty(), "no mail was sent");
    assert!(site.smtp.connections() > 0);
}

#[tokio::test]
async fn without_online_nobody_is_asked() {
    let mut site = Site::start().await;
    site.questions.online = false;
    let found = site.examine().await;
    assert!(found.complaints().is_empty(), "{:#?}", found.complaints());
    assert!(site.dns.asked().is_empty());
    assert_eq!(
        (site.smtp.connections(), site.homeserver.connections()),
        (0, 0)
    );
}

#[tokio::test]
async fn what_a_proxy_does_wrong_is_told_apart() {
    let site = Site::start().await;
    for (fault, check, verdict, words) in [
        (Fault::CutsPaths, "proxy", Verdict::Wrong, "path and all"),
        (
            Fault::AsksNobody,
            "proxy",
            Verdict::Wrong,
            "start the server",
        ),
        (Fault::EncodesPaths, "path", Verdict::Wrong, "proxy_pass"),
        (Fault::ReplacesErrors, "errors", Verdict::Wrong, "intercept"),
        (
            Fault::KeepsOptions,
            "preflight",
            Verdict::Wrong,
            "pass OPTIONS on",
        ),
        (
            Fault::HidesClients,
            "client address",
            Verdict::Wrong,
            "let the proxy set the header",
        ),
        (
            Fault::BelievesClients,
            "client address",
            Verdict::Wrong,
            "get around limits",
        ),
        (
            Fault::DropsHeaders,
            "client address",
            Verdict::Warning,
            "pass all headers on",
        ),
    ] {
        site.proxy.get_in_the_way(Some(fault));
        site.examine().await.only(check, verdict, words);
    }
    site.proxy.get_in_the_way(Some(Fault::AddsCors));
    let found = site.examine().await;
    let complaints = found.complaints();
    assert!(
        complaints[0]
            .text
            .contains("allow-origin is there more than once"),
        "{complaints:#?}"
    );
    site.proxy.get_in_the_way(Some(Fault::RemovesCors));
    let found = site.examine().await;
    let of_cors = |finding: &&&Finding| finding.check == "cors";
    assert_eq!(found.complaints().iter().filter(of_cors).count(), 3);
}

#[tokio::test]
async fn a_proxy_that_is_not_trusted_is_noticed_and_no_proxy_is_none() {
    let nobody = TrustedProxies {
        networks: Vec::new(),
        unix: false,
    };
    let site = Site::start_with(|config| config.server.trusted_proxies = nobody).await;
    let found = site.examine().await;
    found.only("client address", Verdict::Wrong, "server.trusted_proxies");
    assert!(!found.0.iter().any(|finding| finding.text.contains(CLIENT)));
    // With nobody in between, what a client claims arrives as it is, and is not believed.
    site.proxy.get_in_the_way(Some(Fault::BelievesClients));
    let found = site.examine().await;
    assert!(found.complaints().is_empty(), "{:#?}", found.complaints());
}

#[tokio::test]
async fn a_server_that_nothing_stands_before_may_be_asked_from_its_own_machine() {
    let site = Site::start().await;
    let mut config = site.server.config.clone();
    config.server.public_url = PublicUrl::parse(site.server.client.base()).unwrap();
    let found = site.examine_as(config).await;
    let of_address = |finding: &&Finding| finding.check == "client address";
    let address = found.0.iter().find(of_address).unwrap();
    assert_eq!(address.verdict, Verdict::Ok, "{address:?}");
    assert!(address.text.contains("directly"), "{address:?}");
}

#[tokio::test]
async fn another_server_at_the_public_url_is_noticed() {
    let (site, other) = (Site::start().await, TestServer::start().await);
    site.proxy.ask(other.client.address());
    let found = site.examine().await;
    found.only("proxy", Verdict::Wrong, "another server");
}

#[tokio::test]
async fn certificates_are_judged_as_clients_do() {
    let site = Site::start().await;
    let stranger = Authority::called("Somebody else");
    for (tls, words) in [
        (
            site.authority.server("www.example.org"),
            "get a certificate for this name",
        ),
        (site.authority.expired_server(HOST), "renew the certificate"),
        (stranger.server(HOST), "whole chain"),
    ] {
        site.proxy.certify(tls);
        site.examine().await.only("https", Verdict::Wrong, words);
    }
    let soon = Deps::system()
        .clock
        .now()
        .plus(Duration::from_hours(5 * 24));
    let soon = Duration::from_millis(soon.as_millis());
    let soon = humantime::format_rfc3339_seconds(std::time::UNIX_EPOCH + soon).to_string();
    let (day, _) = soon.split_once('T').unwrap();
    let parts: Vec<u16> = day.split('-').map(|part| part.parse().unwrap()).collect();
    let part = |index: usize| u8::try_from(parts[index]).unwrap();
    let day = (i32::from(parts[0]), part(1), part(2));
    site.proxy.certify(site.authority.server_until(HOST, day));
    let found = site.examine().await;
    found.only("https", Verdict::Warning, "within 14 days");
}

#[tokio::test]
async fn a_public_url_that_leads_nowhere_is_noticed() {
    let site = Site::start().await;
    site.dns.forget(HOST);
    let found = site.examine().await;
    found.only("dns", Verdict::Wrong, "make an A or AAAA record");

    let mut config = site.server.config.clone();
    site.dns.host(HOST, "127.0.0.1");
    config.federation.allow_ips = vec!["127.0.0.2/32".parse().unwrap()];
    let found = site.examine_as(config).await;
    let complaint = found.complaints()[0];
    assert_eq!(
        (complaint.check, complaint.verdict),
        ("dns", Verdict::Warning)
    );
    assert!(complaint.text.contains("127.0.0.1"), "{complaint:?}");

    let mut config = site.server.config.clone();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = closed.local_addr().unwrap().port();
    drop(closed);
    let url = format!("https://{HOST}:{port}");
    config.server.public_url = PublicUrl::parse(&url).unwrap();
    site.name(&url);
    let found = site.examine_as(config).await;
    found.only("https", Verdict::Wrong, "whether the web server runs");
}

#[tokio::test]
async fn clocks_that_differ_are_noticed() {
    let mut site = Site::start().await;
    let now = site.deps.clock.now();
    for (clock, words) in [
        (now.plus(Duration::from_mins(10)), "differs by"),
        (Timestamp::from_millis(0), "a time long past"),
        (
            now.minus(Duration::from_hours(2)),
            "later than it is by the clock",
        ),
    ] {
        site.deps.clock = Arc::new(ManualClock::at(clock));
        let found = site.examine().await;
        let of_clock = found.complaints();
        assert!(of_clock[0].check == "clock" && of_clock[0].verdict == Verdict::Wrong);
        assert!(
            of_clock.iter().any(|finding| finding.text.contains(words)),
            "{of_clock:#?}"
        );
    }
}

#[tokio::test]
async fn the_file_that_tells_clients_is_compared() {
    let site = Site::start().await;
    let url = site.server.config.server.public_url.to_string();
    let file = json!({ "m.identity_server": { "base_url": url } });
    let elsewhere = json!({ "m.identity_server": { "base_url": "https://vector.example" } });
    let json = "Content-Type: application/json\r\n";
    for (reply, verdict, words) in [
        (
            Reply::With(CORS, elsewhere),
            Verdict::Wrong,
            "sends clients to https://vector.example",
        ),
        (
            Reply::With(json, file),
            Verdict::Wrong,
            "Access-Control-Allow-Origin",
        ),
        (
            Reply::With(CORS, json!({})),
            Verdict::Warning,
            "names no identity server",
        ),
        (Reply::Html, Verdict::Warning, "names no identity server"),
        (
            Reply::Json(404, Value::Null),
            Verdict::Warning,
            "status 404",
        ),
        (Reply::Drop, Verdict::Warning, "do not learn of this server"),
    ] {
        site.homeserver.reply(CLIENT_FILE, reply);
        site.examine().await.only("well-known", verdict, words);
    }
    // A slash at the end, and a redirect, are nothing to clients.
    let path = "/elsewhere";
    let to = format!("https://{DOMAIN}:{}{path}", site.homeserver.port());
    let file = json!({ "m.identity_server": { "base_url": format!("{url}/") } });
    site.homeserver.reply(CLIENT_FILE, Reply::Redirect(to));
    site.homeserver.reply(path, Reply::With(CORS, file));
    let found = site.examine().await;
    assert!(found.complaints().is_empty(), "{:#?}", found.complaints());
}

#[tokio::test]
async fn the_mail_server_and_the_senders_domain_are_looked_at() {
    let site = Site::start().await;
    site.smtp
        .behave(|behaviour| behaviour.login = Some(("bindery", "another-word")));
    let found = site.examine().await;
    found.only("mail server", Verdict::Wrong, "email.smtp.password");
    site.smtp
        .behave(|behaviour| behaviour.login = Some(("bindery", "secret-word")));

    let key = "mail._domainkey.mail.example.org";
    site.dns.forget(key);
    site.examine()
        .await
        .only("dkim", Verdict::Wrong, "does not exist");
    site.dns.txt(key, "v=DKIM1; p=");
    site.examine().await.only("dkim", Verdict::Wrong, "revoked");
    site.dns.forget(key);
    site.dns.txt(key, "v=DKIM1; p=AAAA");

    // The record of the domain above it covers the sender.
    site.dns.forget("_dmarc.example.org");
    site.examine()
        .await
        .only("dmarc", Verdict::Warning, "p=none");
    site.dns.txt("_dmarc.mail.example.org", "v=DMARC1");
    site.examine()
        .await
        .only("dmarc", Verdict::Wrong, "without a policy");
    site.dns.forget("_dmarc.mail.example.org");
    site.dns.txt("_dmarc.example.org", "v=DMARC1; p=none");

    site.dns.txt("mail.example.org", "v=spf1 -all");
    site.examine()
        .await
        .only("spf", Verdict::Wrong, "more than one");
    site.dns.forget("mail.example.org");
    site.dns.mx("mail.example.org", "mx.example.org");
    site.examine().await.only("spf", Verdict::Warning, "v=spf1");
    site.dns.forget("mail.example.org");
    site.dns.txt("mail.example.org", "v=spf1 -all");
    site.examine().await.only("mx", Verdict::Warning, "bounces");
}

#[tokio::test]
async fn homeservers_are_reached_or_the_reason_is_told() {
    let mut site = Site::start().await;
    site.homeserver.reply(KEYS, Reply::Html);
    let found = site.examine().await;
    found.only("homeserver", Verdict::Wrong, "/_matrix/key/v2/server");
    site.questions.homeservers = vec![ServerName::parse("nowhere.example").unwrap()];
    let found = site.examine().await;
    found.only("homeserver", Verdict::Wrong, "nowhere.example");
    let mut config = site.server.config.clone();
    config.federation.allow_ips = vec!["127.0.0.2/32".parse().unwrap()];
    site.questions.homeservers = vec![site.homeserver.name()];
    let found = site.examine_as(config).await;
    let complaint = found.0.last().unwrap();
    assert!(
        complaint.text.contains("federation.allow_ips"),
        "{complaint:?}"
    );
}

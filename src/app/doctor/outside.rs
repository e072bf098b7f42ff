//! The own public URL as a client sees it: what it leads to, and what a proxy makes of requests and answers.

use std::net::IpAddr;
use std::time::{Duration, UNIX_EPOCH};

use serde_json::Value;
use url::{Host, Url};

use super::local::{Running, TOLERANCE};
use super::{Look, Report};
use crate::net::{Answer, CertificateFault, Guard, Method, RequestError};
use crate::services::admin::{KeyInfo, Sighting};
use crate::types::Timestamp;

const PREFIX: &str = "/_matrix/identity";

/// A certificate that ends sooner should have been renewed by now.
const RENEWED_BY: Duration = Duration::from_hours(14 * 24);

/// What a client claims of itself in `X-Forwarded-For`: an address for documentation.
const CLAIMED: &str = "192.0.2.1";

/// What every answer carries exactly once.
const CORS: [&str; 3] = [
    "access-control-allow-origin",
    "access-control-allow-methods",
    "access-control-allow-headers",
];

/// Makes all checks that there is an answer for; each needs the one before it.
pub(super) async fn look(look: &Look<'_>, running: &mut Running, report: &mut Report<'_>) {
    let Ok(url) = Url::parse(look.config.server.public_url.as_str()) else {
        return;
    };
    if !names(look, &url, report).await {
        return;
    }
    let versions = match look.get(&url, &format!("{PREFIX}/versions")).await {
        Ok(answer) => answer,
        Err(error) => return report.wrong("https", unreachable(&error)),
    };
    certificate(look, &url, report).await;
    date(look, &versions, report);
    if !answers(look, &url, &versions, running.key(), report).await {
        return;
    }
    path(look, &url, running.key(), report).await;
    errors(look, &url, report).await;
    cors(&versions, report);
    preflight(look, &url, report).await;
    client_address(look, &url, running, report).await;
}

impl Look<'_> {
    /// GETs a path at a URL.
    pub(super) async fn get(&self, url: &Url, path: &str) -> Result<Answer, RequestError> {
        self.ask(Method::Get, url, path, &[]).await
    }

    async fn ask(
        &self,
        method: Method,
        url: &Url,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<Answer, RequestError> {
        let mut url = url.clone();
        url.set_path(path);
        let patience = self.config.federation.timeout;
        self.client.direct(method, &url, headers, patience).await
    }
}

/// What a request that came to nothing asks the operator to change.
pub(super) fn unreachable(error: &RequestError) -> String {
    let advice = match (error, error.certificate_fault()) {
        (_, Some(CertificateFault::Name)) => "get a certificate for this name",
        (_, Some(CertificateFault::Time)) => {
            "renew the certificate, and see why that did not happen by itself"
        }
        (_, Some(CertificateFault::Issuer)) => {
            "let the web server send the whole chain of the certificate, of an authority that clients know \
             (federation.ca_file has further ones)"
        }
        (RequestError::Tls { .. } | RequestError::Broken { .. }, None) => {
            "see whether it is a web server that speaks TLS that listens there"
        }
        (RequestError::Resolve(_), _) => "make a record for it in the DNS",
        _ => "see whether the web server runs, and whether a firewall is in between",
    };
    format!("{error}: {advice}")
}

/// Whether the host of the URL is found, and by everybody.
async fn names(look: &Look<'_>, url: &Url, report: &mut Report<'_>) -> bool {
    const CHECK: &str = "dns";
    let Some(Host::Domain(host)) = url.host() else {
        report.ok(CHECK, "server.public_url has an address, which needs none");
        return true;
    };
    match look.resolver.addresses_of_server(host).await {
        Err(error) => {
            report.wrong(
                CHECK,
                format!("{error}: make an A or AAAA record for it, or mend server.public_url"),
            );
            false
        }
        Ok(found) => {
            let guard = Guard::new(&look.config.federation);
            let private = found.iter().find(|ip| guard.check(**ip).is_err());
            if let Some(ip) = private {
                report.warn(
                    CHECK,
                    format!(
                        "`{host}` leads to {ip}, where clients elsewhere do not get: let it lead to a public \
                         address if they should"
                    ),
                );
            } else {
                let found: Vec<String> = found.iter().map(IpAddr::to_string).collect();
                report.ok(CHECK, format!("`{host}` is at {}", found.join(", ")));
            }
            true
        }
    }
}

/// Whether the certificate, which holds today, still does in some days.
async fn certificate(look: &Look<'_>, url: &Url, report: &mut Report<'_>) {
    const CHECK: &str = "https";
    if url.scheme() != "https" {
        return;
    }
    let patience = look.config.federation.timeout;
    let later = look.client.direct_later(RENEWED_BY, url, patience).await;
    let ends = later.is_err_and(|error| error.certificate_fault() == Some(CertificateFault::Time));
    if ends {
        report.warn(
            CHECK,
            "the certificate ends within 14 days: see whether it is renewed by itself",
        );
    } else {
        report.ok(CHECK, "the certificate is valid");
    }
}

/// This machine's clock against that of whoever answers.
fn date(look: &Look<'_>, answer: &Answer, report: &mut Report<'_>) {
    const CHECK: &str = "clock";
    let date = answer
        .header("date")
        .and_then(|date| httpdate::parse_http_date(date).ok());
    let Some(date) = date.and_then(|date| date.duration_since(UNIX_EPOCH).ok()) else {
        return;
    };
    let theirs = Timestamp::from_millis(u64::try_from(date.as_millis()).unwrap_or(u64::MAX));
    let ours = look.deps.clock.now();
    let apart = ours.since(theirs).max(theirs.since(ours));
    if apart > TOLERANCE {
        report.wrong(
            CHECK,
            format!(
                "it differs by {} from that of the web server at server.public_url: set the one that is wrong",
                humantime::format_duration(Duration::from_secs(apart.as_secs()))
            ),
        );
    } else {
        report.ok(CHECK, "it agrees with that of the web server");
    }
}

/// Whether it is this server that answers.
async fn answers(
    look: &Look<'_>,
    url: &Url,
    versions: &Answer,
    key: Option<&KeyInfo>,
    report: &mut Report<'_>,
) -> bool {
    const CHECK: &str = "proxy";
    let listen: Vec<String> = look
        .config
        .server
        .listen
        .iter()
        .map(ToString::to_string)
        .collect();
    let listen = listen.join(", ");
    let is_list = versions
        .json()
        .is_some_and(|json| json.get("versions").is_some_and(Value::is_array));
    if versions.status != 200 || !is_list {
        let advice = match versions.status {
            502..=504 => format!("start the server, and let the proxy ask it at {listen}"),
            429 => "lift the limit, or wait".to_owned(),
            _ => {
                format!("let the proxy pass everything below {PREFIX} on to {listen}, path and all")
            }
        };
        report.wrong(
            CHECK,
            format!(
                "{}{PREFIX}/versions answers status {} and no list of versions: {advice}",
                look.config.server.public_url, versions.status
            ),
        );
        return false;
    }
    let Some(key) = key else {
        report.warn(
            CHECK,
            "a server answers, but none runs here that it could be compared with: run this beside the server",
        );
        return true;
    };
    let shown = look
        .get(url, &format!("{PREFIX}/v2/pubkey/{}", key.id))
        .await;
    if shown.is_ok_and(|answer| shows(&answer, key)) {
        report.ok(CHECK, format!("this server answers, with {}", key.id));
        return true;
    }
    report.wrong(
        CHECK,
        format!(
            "another server than this one answers at server.public_url, without the key {}: let the proxy ask this \
             one at {listen}",
            key.id
        ),
    );
    false
}

fn shows(answer: &Answer, key: &KeyInfo) -> bool {
    let json = answer.json().unwrap_or_default();
    let shown = json.get("public_key").and_then(Value::as_str);
    answer.status == 200 && shown == Some(key.public_key.as_str())
}

/// Whether an encoded path arrives as it was sent; clients send key ids like this.
async fn path(look: &Look<'_>, url: &Url, key: Option<&KeyInfo>, report: &mut Report<'_>) {
    const CHECK: &str = "path";
    let Some(key) = key else {
        return;
    };
    let encoded = key.id.as_str().replace(':', "%3A");
    match look.get(url, &format!("{PREFIX}/v2/pubkey/{encoded}")).await {
        Ok(answer) if shows(&answer, key) => report.ok(CHECK, "it arrives as it is sent"),
        _ => report.wrong(
            CHECK,
            "the proxy changes paths that have encoded characters: let it pass them on as they come (nginx: no path \
             behind the address in proxy_pass; Apache: nocanon)",
        ),
    }
}

/// Whether clients get this server's errors, which they read an errcode from.
async fn errors(look: &Look<'_>, url: &Url, report: &mut Report<'_>) {
    const CHECK: &str = "errors";
    let answer = look.get(url, &format!("{PREFIX}/v2/doctor")).await;
    let arrives = answer.is_ok_and(|answer| {
        let json = answer.json().unwrap_or_default();
        let errcode = json.get("errcode").and_then(Value::as_str);
        answer.status == 404 && errcode == Some("M_UNRECOGNIZED")
    });
    if arrives {
        report.ok(CHECK, "they arrive as they are sent");
    } else {
        report.wrong(
            CHECK,
            "the proxy answers errors with pages of its own: let it pass this server's answers on (nginx: \
             proxy_intercept_errors off)",
        );
    }
}

fn cors(answer: &Answer, report: &mut Report<'_>) {
    const CHECK: &str = "cors";
    let mut good = true;
    for name in CORS {
        let values = answer.headers(name);
        let problem = match values.as_slice() {
            [_] => continue,
            [] => "is missing: let the proxy leave it in the answer",
            _ => {
                "is there more than once, which browsers refuse: let the proxy add none of its own"
            }
        };
        good = false;
        report.wrong(CHECK, format!("the header {name} {problem}"));
    }
    if good {
        report.ok(CHECK, "each header is there once");
    }
}

/// What a browser asks before it lets a client ask.
async fn preflight(look: &Look<'_>, url: &Url, report: &mut Report<'_>) {
    const CHECK: &str = "preflight";
    let headers = [
        ("origin", "https://app.element.io"),
        ("access-control-request-method", "POST"),
        (
            "access-control-request-headers",
            "authorization,content-type",
        ),
    ];
    let path = format!("{PREFIX}/v2/lookup");
    let answer = look.ask(Method::Options, url, &path, &headers).await;
    let allowed = answer.is_ok_and(|answer| {
        let of = |name| answer.headers(name);
        let allowed = of("access-control-allow-headers")
            .join(",")
            .to_ascii_lowercase();
        (200..300).contains(&answer.status)
            && of("access-control-allow-origin") == ["*"]
            && allowed.contains("authorization")
    });
    if allowed {
        report.ok(CHECK, "OPTIONS is answered as browsers want it");
    } else {
        report.wrong(
            CHECK,
            "OPTIONS is not answered as this server answers it: let the proxy pass OPTIONS on too",
        );
    }
}

/// Whether the server is told whom it talks to, and only by whom it believes: limits and the log go by it.
async fn client_address(
    look: &Look<'_>,
    url: &Url,
    running: &mut Running,
    report: &mut Report<'_>,
) {
    const CHECK: &str = "client address";
    let Ok(nonce) = look.deps.random.id() else {
        return;
    };
    if !running.expect(&nonce).await {
        return;
    }
    let headers = [
        ("x-bindery-probe", nonce.as_str()),
        ("x-forwarded-for", CLAIMED),
    ];
    let asked = look
        .ask(Method::Get, url, &format!("{PREFIX}/versions"), &headers)
        .await;
    match running.sighting(&nonce).await {
        Some(sighting) => judge(&sighting, may_be_direct(look), report),
        None if asked.is_ok() => report.warn(
            CHECK,
            "a request did not arrive as it was sent, though others did: let the proxy pass all headers on, and cache nothing",
        ),
        None => report.warn(CHECK, "a request got no answer, though others did: try again"),
    }
}

/// Whether nobody needs to stand before this server: it speaks TLS itself, or nobody does.
fn may_be_direct(look: &Look<'_>) -> bool {
    look.config.tls.files.is_some() || !look.config.server.public_url.is_https()
}

fn judge(sighting: &Sighting, may_be_direct: bool, report: &mut Report<'_>) {
    const CHECK: &str = "client address";
    let from = match sighting.connection {
        Some(ip) => ip.to_string(),
        None => "a unix socket".to_owned(),
    };
    let forwarded = sighting.forwarded.as_deref();
    // What this machine says of itself is believed by default, and rightly.
    let from_here = sighting.connection.is_some_and(|ip| ip.is_loopback());
    match (sighting.trusted, forwarded) {
        (true, Some(CLAIMED)) if may_be_direct && from_here => {
            report.ok(CHECK, format!("requests come directly, from {from}"));
        }
        (true, Some(CLAIMED)) => report.wrong(
            CHECK,
            "the proxy passes on what clients claim in X-Forwarded-For, so that anybody can get around limits: let it set \
             the header to the client's address, or append that",
        ),
        (true, None) => report.wrong(
            CHECK,
            format!(
                "requests come from {from} without X-Forwarded-For, so that all clients look like one and share its \
                 limits: let the proxy set the header"
            ),
        ),
        (true, Some(_)) => report.ok(CHECK, "the proxy tells it"),
        // A client that claims something about itself, and that nobody stands before.
        (false, Some(CLAIMED)) => report.ok(CHECK, format!("requests come directly, from {from}")),
        (false, Some(_)) => report.wrong(
            CHECK,
            format!(
                "requests come from the proxy at {from}, which is not believed, so that all clients look like one: add it \
                 to server.trusted_proxies"
            ),
        ),
        (false, None) => report.wrong(
            CHECK,
            format!(
                "a proxy at {from} takes X-Forwarded-For away, so that all clients look like one: let it set the header, and \
                 add it to server.trusted_proxies"
            ),
        ),
    }
}

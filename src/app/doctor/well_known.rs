//! What tells clients of this server: `.well-known/matrix/client` at the domain of `server.name` (client-server API,
//! "Well-known URI").

use url::Url;

use super::outside::unreachable;
use super::{Look, Report};
use crate::net::{Answer, RequestError};

const CHECK: &str = "well-known";

const PATH: &str = "/.well-known/matrix/client";

/// Redirects that are followed.
const MOST_REDIRECTS: usize = 5;

pub(super) async fn look(look: &Look<'_>, report: &mut Report<'_>) {
    let name = &look.config.server.name;
    let port = look.deps.homeserver_ports.https;
    let Ok(url) = Url::parse(&format!("https://{}:{port}", name.host())) else {
        return;
    };
    let ours = look.config.server.public_url.as_str();
    let wanted = format!("\"m.identity_server\": {{\"base_url\": \"{ours}\"}}");
    let answer = match fetch(look, &url).await {
        Ok(answer) => answer,
        Err(error) => {
            return report.warn(
                CHECK,
                format!(
                    "{}; clients that look at {url} do not learn of this server",
                    unreachable(&error)
                ),
            );
        }
    };
    let json = answer.json().filter(|_| answer.status == 200);
    let named = json
        .as_ref()
        .and_then(|json| json.get("m.identity_server")?.get("base_url")?.as_str());
    match named {
        // Clients take a slash at the end away.
        Some(named) if named.trim_end_matches('/') == ours => {
            if answer.headers("access-control-allow-origin") == ["*"] {
                report.ok(CHECK, format!("`{}` names {ours}", name.host()));
            } else {
                report.wrong(
                    CHECK,
                    format!(
                        "browsers keep {PATH} of `{}` from clients: let it be served with the header \
                         Access-Control-Allow-Origin: *, once",
                        name.host()
                    ),
                );
            }
        }
        Some(other) => report.wrong(
            CHECK,
            format!("{PATH} of `{}` sends clients to {other}: write {wanted} there", name.host()),
        ),
        None => report.warn(
            CHECK,
            format!(
                "{PATH} of `{}` (status {}) names no identity server, so that clients do not find this one by \
                 themselves: write {wanted} there",
                name.host(),
                answer.status
            ),
        ),
    }
}

/// GETs the file, over redirects.
async fn fetch(look: &Look<'_>, url: &Url) -> Result<Answer, RequestError> {
    let mut answer = look.get(url, PATH).await?;
    for _ in 0..MOST_REDIRECTS {
        let Some(next) = answer.redirect() else {
            break;
        };
        answer = look.get(&next, next.path()).await?;
    }
    Ok(answer)
}

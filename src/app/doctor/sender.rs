//! What the DNS says of the domain that mails come from: MX, and the records of SPF (RFC 7208), DKIM (RFC 6376) and DMARC
//! (RFC 7489). Whether a record is there and is one at all is looked at, not what it makes of a mail: which hosts relay for
//! the mail server is not known here.

use super::{Questions, Report};
use crate::net::{ResolveError, Resolver};

/// What a record says, or why it is of no use; the latter one sentence that says what to change.
type Judged = Result<&'static str, Fault>;

#[derive(Debug, PartialEq, Eq)]
enum Fault {
    /// Mails go out, and more of them are taken for spam.
    Missing(&'static str),
    /// Whoever looks at the record refuses mails for it.
    Broken(&'static str),
}

/// Looks at all records of a domain, in its ASCII form.
pub(super) async fn look(
    resolver: &Resolver,
    domain: &str,
    questions: &Questions,
    report: &mut Report<'_>,
) {
    let hosts = resolver.mail_hosts(domain).await;
    let has_address = resolver.addresses_of_server(domain).await.is_ok();
    tell(
        "mx",
        domain,
        hosts.map(|hosts| mx(&hosts, has_address)),
        report,
    );

    let texts = resolver.texts(domain).await;
    tell("spf", domain, texts.map(|texts| spf(&texts)), report);

    if let Some(selector) = &questions.dkim_selector {
        let name = format!("{selector}._domainkey.{domain}");
        let texts = resolver.texts(&name).await;
        tell("dkim", &name, texts.map(|texts| dkim(&texts)), report);
    }

    tell("dmarc", domain, find_dmarc(resolver, domain).await, report);
}

fn tell(
    check: &'static str,
    name: &str,
    judged: Result<Judged, ResolveError>,
    report: &mut Report<'_>,
) {
    match judged {
        Ok(Ok(text)) => report.ok(check, format!("`{name}` {text}")),
        Ok(Err(Fault::Missing(text))) => report.warn(check, format!("`{name}` {text}")),
        Ok(Err(Fault::Broken(text))) => report.wrong(check, format!("`{name}` {text}")),
        Err(error) => report.wrong(check, format!("{error}: see to this machine's DNS")),
    }
}

/// The record of the domain, else that of the next domain above it that has one.
async fn find_dmarc(resolver: &Resolver, domain: &str) -> Result<Judged, ResolveError> {
    let mut at = domain;
    loop {
        let texts = resolver.texts(&format!("_dmarc.{at}")).await?;
        let judged = dmarc(&texts);
        match at.split_once('.') {
            Some((_, above)) if judged == Err(NO_DMARC) && above.contains('.') => at = above,
            _ => return Ok(judged),
        }
    }
}

fn mx(hosts: &[String], has_address: bool) -> Judged {
    match hosts {
        [] if has_address => Ok("takes mail at its own address"),
        [] => Err(Fault::Missing(
            "takes no mail, so that bounces are lost and some receivers refuse the sender: make an MX \
             record, or set email.from to an address of a domain that has one",
        )),
        [only] if only == "." => Err(Fault::Missing(
            "says that it never takes mail (an MX record of `.`), so that some receivers refuse the sender: \
             change the record, or set email.from to an address of another domain",
        )),
        _ => Ok("takes mail"),
    }
}

/// RFC 7208, section 4.5.
fn spf(texts: &[String]) -> Judged {
    let is_spf = |text: &&String| {
        let version = text.split(' ').next().unwrap_or_default();
        version.eq_ignore_ascii_case("v=spf1")
    };
    let found: Vec<&String> = texts.iter().filter(is_spf).collect();
    match found.as_slice() {
        [] => Err(Fault::Missing(
            "has no SPF record, so that receivers cannot tell who may send for it: make a TXT record such as \
             \"v=spf1 mx -all\" that lets your mail server send",
        )),
        [only] => match only.split(' ').find(|term| matches!(*term, "all" | "+all")) {
            Some(_) => Err(Fault::Broken(
                "lets the whole world send for it (\"all\" in its SPF record): end the record with \"-all\" or \
                 \"~all\"",
            )),
            None => Ok("has an SPF record"),
        },
        _ => Err(Fault::Broken(
            "has more than one SPF record, which counts as an error: make one of them",
        )),
    }
}

/// RFC 6376, section 3.6.1.
fn dkim(texts: &[String]) -> Judged {
    const BROKEN: Fault = Fault::Broken(
        "is no DKIM record with a key: publish the TXT record that your mail server shows for this selector",
    );
    match texts {
        [] => Err(Fault::Broken(
            "does not exist, so that signatures by this selector cannot be verified: publish the TXT record \
             that your mail server shows for it",
        )),
        [text] => {
            let tags: Vec<(&str, &str)> = tags(text);
            let of = |name| tags.iter().find(|(tag, _)| *tag == name).map(|(_, v)| *v);
            match (of("v").unwrap_or("DKIM1"), of("p")) {
                ("DKIM1", Some("")) => Err(Fault::Broken(
                    "says that its key is revoked: publish the record of the key that your mail server signs with",
                )),
                ("DKIM1", Some(_)) => Ok("has a key"),
                _ => Err(BROKEN),
            }
        }
        _ => Err(Fault::Broken(
            "has more than one TXT record, of which receivers take any: keep the one of the key in use",
        )),
    }
}

const NO_DMARC: Fault = Fault::Missing(
    "has no DMARC record, which large receivers ask for: make a TXT record \"v=DMARC1; p=none\" at _dmarc. before \
     the domain, and tighten it when all your mail passes",
);

/// RFC 7489, section 6.3.
fn dmarc(texts: &[String]) -> Judged {
    let is_dmarc = |text: &&String| {
        let first = text.split(';').next().unwrap_or_default();
        let version = first.split_once('=');
        version.is_some_and(|(name, value)| name.trim() == "v" && value.trim() == "DMARC1")
    };
    let found: Vec<&String> = texts.iter().filter(is_dmarc).collect();
    match found.as_slice() {
        [] => Err(NO_DMARC),
        [only] => {
            let tags = tags(only);
            let policy = tags.iter().find(|(tag, _)| *tag == "p");
            match policy
                .map(|(_, value)| value.to_ascii_lowercase())
                .as_deref()
            {
                Some("none" | "quarantine" | "reject") => Ok("is covered by a DMARC record"),
                _ => Err(Fault::Broken(
                    "has a DMARC record without a policy: add p=none, p=quarantine or p=reject to it",
                )),
            }
        }
        _ => Err(Fault::Broken(
            "has more than one DMARC record, which counts as none: keep one",
        )),
    }
}

/// The `tag=value` pairs of a record.
fn tags(text: &str) -> Vec<(&str, &str)> {
    let pairs = text.split(';').filter_map(|pair| pair.split_once('='));
    pairs
        .map(|(tag, value)| (tag.trim(), value.trim()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|&text| text.to_owned()).collect()
    }

    fn is_broken(judged: &Judged) -> bool {
        matches!(judged, Err(Fault::Broken(_)))
    }

    fn is_missing(judged: &Judged) -> bool {
        matches!(judged, Err(Fault::Missing(_)))
    }

    #[test]
    fn a_domain_has_one_spf_record_that_does_not_let_everybody_send() {
        let other = "google-site-verification=x";
        for good in [
            "v=spf1 mx -all",
            "V=SPF1 ip4:192.0.2.1 ~all",
            "v=spf1",
            "v=spf1 ?all",
        ] {
            assert!(spf(&texts(&[other, good])).is_ok(), "{good}");
        }
        for absent in ["v=spf10 -all", "v=spf2 -all", " v=spf1 -all", ""] {
            assert!(is_missing(&spf(&texts(&[absent]))), "{absent}");
        }
        assert!(is_missing(&spf(&[])));
        assert!(is_broken(&spf(&texts(&[
            "v=spf1 mx -all",
            "v=spf1 a -all"
        ]))));
        for open in ["v=spf1 +all", "v=spf1 mx all"] {
            assert!(is_broken(&spf(&texts(&[open]))), "{open}");
        }
    }

    #[test]
    fn a_dkim_record_has_a_key() {
        for good in ["v=DKIM1; k=rsa; p=MIGf", "k=ed25519;p=abc", "p=a"] {
            assert!(dkim(&texts(&[good])).is_ok(), "{good}");
        }
        for bad in ["v=DKIM1; p=", "v=DKIM2; p=MIGf", "v=DKIM1", "hello"] {
            assert!(is_broken(&dkim(&texts(&[bad]))), "{bad}");
        }
        assert!(is_broken(&dkim(&[])));
        assert!(is_broken(&dkim(&texts(&["p=a", "p=b"]))));
    }

    #[test]
    fn a_dmarc_record_has_a_policy() {
        for good in [
            "v=DMARC1; p=none",
            "v=DMARC1;p=reject; rua=mailto:a@b.example",
            "v = DMARC1 ; p = Quarantine",
        ] {
            assert!(dmarc(&texts(&[good])).is_ok(), "{good}");
        }
        for absent in ["p=none; v=DMARC1", "v=dmarc1; p=none", "v=DMARC2; p=none"] {
            assert!(is_missing(&dmarc(&texts(&[absent]))), "{absent}");
        }
        for bad in ["v=DMARC1", "v=DMARC1; p=", "v=DMARC1; p=perhaps"] {
            assert!(is_broken(&dmarc(&texts(&[bad]))), "{bad}");
        }
        assert!(is_broken(&dmarc(&texts(&[
            "v=DMARC1; p=none",
            "v=DMARC1; p=none"
        ]))));
    }

    #[test]
    fn a_domain_takes_its_bounces() {
        assert!(mx(&texts(&["mx.example."]), false).is_ok());
        assert!(mx(&[], true).is_ok());
        assert!(is_missing(&mx(&[], false)));
        assert!(is_missing(&mx(&texts(&["."]), true)));
    }
}

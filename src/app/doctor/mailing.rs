//! The mail server, and what other mail servers think of the sender.

use super::{Look, Questions, Report, sender};
use crate::config::MailTransport;
use crate::mail::Mailer;
use crate::types::Email;

/// Logs in to the mail server without sending anything, then looks at the sender's domain.
pub(super) async fn look(
    look: &Look<'_>,
    mailer: &Mailer,
    questions: &Questions,
    report: &mut Report<'_>,
) {
    const CHECK: &str = "mail server";
    let settings = &look.config.email;
    if settings.transport != MailTransport::Smtp {
        return;
    }
    let host = &settings.smtp.host;
    match mailer.log_in().await {
        Ok(()) => report.ok(CHECK, format!("{host} would take mail")),
        Err(error) => report.wrong(CHECK, error.to_string()),
    }
    if let Ok(address) = Email::parse(settings.from.address()) {
        let domain = address.domain_ascii();
        sender::look(&look.resolver, &domain, questions, report).await;
    }
}

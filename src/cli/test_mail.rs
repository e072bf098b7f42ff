//! `bindery test-mail ADDRESS`: sends a mail as the server would.

use super::CliError;
use crate::app::{self, Deps};
use crate::config::{Config, MailTransport};
use crate::templates::Message;
use crate::types::Email;

/// Sends the mail that validates an address, with a link that validates nothing, and says what became of it.
///
/// # Errors
/// One sentence that says what to change.
pub fn run(config: &Config, address: &Email) -> Result<(), CliError> {
    super::runtime()?.block_on(async {
        let (mailer, templates) = app::mail(config, &Deps::system())?;
        let link = format!(
            "{}/verify/email?sid=test&token=test",
            config.server.public_url
        );
        let message = Message::Verification {
            server: &config.server.name,
            link: &link,
            lifetime: config.sessions.email_lifetime,
        };
        mailer
            .send(address, templates.render_mail(message, None, None)?)
            .await?;
        let place = match config.email.transport {
            MailTransport::File => format!("written to {}", config.email.directory.display()),
            MailTransport::Smtp | MailTransport::None => {
                format!("taken by {}", config.email.smtp.host)
            }
        };
        super::say(&format!(
            "The mail was {place}. Its link validates nothing: it leads to the page that says so, \
             if {} is reached from where you open it.",
            config.server.public_url
        ))
    })
}

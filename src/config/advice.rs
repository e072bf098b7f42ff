use super::{Config, MailTransport};
use crate::types::ServerName;

impl Config {
    /// What is allowed but rarely meant, a sentence each, for whoever starts or checks the server.
    pub fn advice(&self) -> Vec<String> {
        let mut advice = Vec::new();
        let url = &self.server.public_url;
        let is_public = !url.is_local();
        let is_named = self.server.name != ServerName::localhost();
        if is_public && !url.is_https() {
            advice.push(format!(
                "`server.public_url` is {url}: clients on the web need https"
            ));
        }
        if is_public && !is_named {
            advice.push(
                "`server.name` is still `localhost`: everything is signed under that name, and it \
                 cannot be changed lightly later"
                    .to_owned(),
            );
        }
        if is_named && !is_public {
            advice.push(format!(
                "`server.public_url` is {url}: links in mails lead there, which works on this \
                 machine only"
            ));
        }
        if self.email.transport == MailTransport::File {
            advice.push(format!(
                "`email.transport` is \"file\": mails are not sent but written to {}",
                self.email.directory.display()
            ));
        }
        advice
    }
}

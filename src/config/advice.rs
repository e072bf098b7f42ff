use super::{Config, MailTransport, SmsProvider};
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
        if self.sms.provider == SmsProvider::File {
            advice.push(format!(
                "`sms.provider` is \"file\": SMS are not sent but written to {}",
                self.sms.directory.display()
            ));
        }
        let segments = self.sms.segments_of_message();
        if segments > 1 {
            advice.push(format!(
                "`sms.message` is too long for one SMS: each code is sent, and paid, as {segments}"
            ));
        }
        advice
    }
}

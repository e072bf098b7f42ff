//! Settings: one struct a section of `identity.toml`, their defaults, and the resolver that fills
//! them in.
//!
//! `identity.toml` at the top of the repository says what every key does; the structs here say what
//! it becomes. Nothing outside this module reads files or the environment for settings.

mod accounts;
mod admin;
mod advice;
mod api;
mod associations;
mod email;
mod environment;
mod federation;
mod file;
mod invites;
mod keys;
mod limits;
mod load;
mod log;
mod lookup;
mod mailbox;
mod metrics;
mod reader;
mod said;
mod secret;
mod server;
mod sessions;
mod sms;
mod store;
mod templates;
mod terms;
#[cfg(test)]
mod tests;
mod tls;
mod values;

pub use accounts::Accounts;
pub use admin::Admin;
pub use api::{Api, V1};
pub use associations::Associations;
pub use email::{Email, MailTransport, Smtp, SmtpSecurity};
pub use environment::Environment;
pub use federation::Federation;
pub use invites::{AllowedClient, Invites, WebClient};
pub use keys::Keys;
pub use limits::{Limits, Rate};
pub use load::{LoadError, Loaded};
pub use log::{Log, LogFormat};
pub use lookup::Lookup;
pub use mailbox::Mailbox;
pub use metrics::Metrics;
pub use reader::Problem;
pub use said::Said;
pub use secret::Secret;
pub use server::{Listen, PublicUrl, Server, TrustedProxies};
pub use sessions::Sessions;
pub use sms::{
    Countries, NumberType, Sms, SmsBody, SmsCondition, SmsMethod, SmsPreset, SmsProvider,
    SmsSender, SmsWebhook,
};
pub use store::Store;
pub use templates::Templates;
pub use terms::{Policy, PolicyDocument, PolicyText, Terms};
pub use tls::{Tls, TlsFiles};

/// All settings of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Who the server is and where it listens.
    pub server: Server,
    /// With which certificate it answers.
    pub tls: Tls,
    /// Where and how data is kept.
    pub store: Store,
    /// What clients may send.
    pub api: Api,
    /// The files of the server's keys.
    pub keys: Keys,
    /// How mail goes out.
    pub email: Email,
    /// How SMS go out, and to whom.
    pub sms: Sms,
    /// How long validation sessions live, and how often a token may be tried.
    pub sessions: Sessions,
    /// What a published association promises.
    pub associations: Associations,
    /// Who may have an account.
    pub accounts: Accounts,
    /// Invitations by e-mail.
    pub invites: Invites,
    /// The bounds of lookups.
    pub lookup: Lookup,
    /// How homeservers are found and asked.
    pub federation: Federation,
    /// What users must accept.
    pub terms: Terms,
    /// Where texts and pages come from.
    pub templates: Templates,
    /// How often a thing may be done.
    pub limits: Limits,
    /// What monitoring sees.
    pub metrics: Metrics,
    /// How the operator's commands reach a running server.
    pub admin: Admin,
    /// What is logged.
    pub log: Log,
}

impl Default for Config {
    fn default() -> Self {
        let server = Server::default();
        let store = Store::default();
        let email = Email::of(&server.name, &store.path);
        Self {
            keys: Keys::beside(&store.path),
            sms: Sms::beside(&email.directory),
            email,
            admin: Admin::within(&store.path),
            server,
            store,
            tls: Tls::default(),
            api: Api::default(),
            sessions: Sessions::default(),
            associations: Associations::default(),
            accounts: Accounts::default(),
            invites: Invites::default(),
            lookup: Lookup::default(),
            federation: Federation::default(),
            terms: Terms::default(),
            templates: Templates::default(),
            limits: Limits::default(),
            metrics: Metrics::default(),
            log: Log::default(),
        }
    }
}

//! The commands on what a server holds: over its socket while it runs, on the store itself while it does not.

mod bar;
mod connection;
mod show;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use self::connection::Connection;
pub use self::connection::ConnectionError;
use self::show::Show;
use super::CliError;
use crate::config::Config;
use crate::services::admin::{
    AccountTarget, AdminAnswer, AdminRequest, AssociationTarget, InviteTarget, OutboxRequest,
    Person,
};
use crate::types::{Invalid, KeyId, Medium, RecordId, ServerName, ThreePid, UserId};

/// `bindery status`, `associations`, `invites`, `accounts`, `keys`, `backup`, `pepper`, `sms`, `outbox` and `erase`.
#[derive(Debug, Clone, Subcommand)]
pub enum Operator {
    /// Show what the server is and holds
    #[command(after_help = "Example:\n  bindery status --json")]
    Status,
    /// List, add or remove associations
    #[command(subcommand)]
    Associations(Associations),
    /// List invitations, mail them again, or take them back
    #[command(subcommand)]
    Invites(Invites),
    /// List or end accounts
    #[command(subcommand)]
    Accounts(Accounts),
    /// List, rotate or revoke the server's signing keys
    #[command(subcommand)]
    Keys(Keys),
    /// Write a consistent copy of the store into a new folder, while the server serves
    #[command(after_help = "Example:\n  bindery backup /var/backups/bindery/monday")]
    Backup {
        /// The folder; it is made
        #[arg(value_name = "DIR")]
        to: PathBuf,
    },
    /// Change the pepper that addresses are hashed with in lookups
    #[command(subcommand)]
    Pepper(Pepper),
    /// Stop all SMS, or let them be sent again
    #[command(subcommand)]
    Sms(Sms),
    /// List, try or drop what waits to be sent or told to homeservers
    #[command(subcommand)]
    Outbox(Outbox),
    /// Erase all that is stored on a person: of a user, or of an address
    #[command(
        after_help = "Examples:\n  bindery erase --user @alice:example.org\n  \
                            bindery erase --address email alice@example.org"
    )]
    Erase(Whom),
}

/// `bindery associations`.
#[derive(Debug, Clone, Subcommand)]
pub enum Associations {
    /// Show who is bound: all, those of a user, or that of an address
    #[command(
        after_help = "Examples:\n  bindery associations list --user @alice:example.org\n  \
                            bindery associations list email alice@example.org"
    )]
    List {
        /// Only those of this user
        #[arg(long, value_name = "MXID", value_parser = user)]
        user: Option<UserId>,
        /// Only that of this address: MEDIUM is `email` or `msisdn`
        #[arg(num_args = 2, value_names = ["MEDIUM", "ADDRESS"], conflicts_with = "user")]
        threepid: Vec<String>,
    },
    /// Bind an address to a user without any proof, in place of whoever it was bound to
    #[command(after_help = "Example:\n  \
                            bindery associations add email alice@example.org @alice:example.org")]
    Add {
        /// `email` or `msisdn`
        #[arg(value_name = "MEDIUM", value_parser = medium)]
        medium: Medium,
        /// The address, or the digits of the phone number
        #[arg(value_name = "ADDRESS")]
        address: String,
        /// The user
        #[arg(value_name = "MXID", value_parser = user)]
        mxid: UserId,
    },
    /// Unbind an address, or everything of a user
    #[command(
        after_help = "Examples:\n  bindery associations remove email alice@example.org\n  \
                            bindery associations remove --user @alice:example.org"
    )]
    Remove {
        /// Everything of this user
        #[arg(long, value_name = "MXID", value_parser = user)]
        user: Option<UserId>,
        /// This address: MEDIUM is `email` or `msisdn`
        #[arg(
            num_args = 2, value_names = ["MEDIUM", "ADDRESS"],
            conflicts_with = "user", required_unless_present = "user"
        )]
        threepid: Vec<String>,
    },
}

/// `bindery invites`.
#[derive(Debug, Clone, Subcommand)]
pub enum Invites {
    /// Show invitations and how far they have come: all, those by a user, or those for an address
    #[command(
        after_help = "Examples:\n  bindery invites list --sender @alice:example.org\n  \
                            bindery invites list email bob@example.org"
    )]
    List {
        /// Only those by this user
        #[arg(long, value_name = "MXID", value_parser = user)]
        sender: Option<UserId>,
        /// Only those for this address: MEDIUM is `email`
        #[arg(num_args = 2, value_names = ["MEDIUM", "ADDRESS"])]
        threepid: Vec<String>,
    },
    /// Mail an invitation again that waits for somebody to bind the address
    #[command(after_help = "Example:\n  bindery invites resend b2OEKXk3mJhzz0u0hOQ3Rg")]
    Resend {
        /// The id of the invitation, as the list shows it
        #[arg(value_name = "ID", value_parser = record, allow_hyphen_values = true)]
        id: RecordId,
    },
    /// Take invitations back: one, all by a user, or all for an address
    #[command(
        after_help = "Examples:\n  bindery invites revoke b2OEKXk3mJhzz0u0hOQ3Rg\n  \
                            bindery invites revoke --sender @spam:example.org\n  \
                            bindery invites revoke --for email bob@example.org"
    )]
    Revoke(Which),
}

/// Which invitations are taken back.
#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = false)]
pub struct Which {
    /// The id of the invitation, as the list shows it
    #[arg(value_name = "ID", value_parser = record, allow_hyphen_values = true)]
    id: Option<RecordId>,
    /// All by this user
    #[arg(long, value_name = "MXID", value_parser = user)]
    sender: Option<UserId>,
    /// All for this address: MEDIUM is `email`
    #[arg(long = "for", num_args = 2, value_names = ["MEDIUM", "ADDRESS"])]
    threepid: Vec<String>,
}

/// `bindery accounts`.
#[derive(Debug, Clone, Subcommand)]
pub enum Accounts {
    /// Show who has an account: all, or those of a user
    #[command(after_help = "Example:\n  bindery accounts list --user @alice:example.org")]
    List {
        /// Only those of this user
        #[arg(long, value_name = "MXID", value_parser = user)]
        user: Option<UserId>,
    },
    /// End the accounts of a user, or of all users of a homeserver
    #[command(
        after_help = "Examples:\n  bindery accounts revoke --user @alice:example.org\n  \
                            bindery accounts revoke --homeserver example.org"
    )]
    Revoke(Whose),
}

/// Whose accounts are ended.
#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = false)]
pub struct Whose {
    /// Those of this user
    #[arg(long, value_name = "MXID", value_parser = user)]
    user: Option<UserId>,
    /// Those of all users of this homeserver
    #[arg(long, value_name = "NAME", value_parser = server)]
    homeserver: Option<ServerName>,
}

/// Whose data is erased.
#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = false)]
pub struct Whom {
    /// This user, with the sessions of its addresses
    #[arg(long, value_name = "MXID", value_parser = user)]
    user: Option<UserId>,
    /// This address: MEDIUM is `email` or `msisdn`
    #[arg(long, num_args = 2, value_names = ["MEDIUM", "ADDRESS"])]
    address: Vec<String>,
}

/// `bindery keys`.
#[derive(Debug, Clone, Subcommand)]
pub enum Keys {
    /// Show the keys, and which of them signs
    List,
    /// Make a new key that signs from now on; the one before stays valid
    Rotate,
    /// Trust a key no longer
    #[command(after_help = "Example:\n  bindery keys revoke ed25519:1")]
    Revoke {
        /// The id of the key
        #[arg(value_name = "KEY", value_parser = key)]
        key: KeyId,
        /// Also if invitations are still to be signed by it: homeservers will not take these
        #[arg(long)]
        force: bool,
    },
}

/// `bindery pepper`.
#[derive(Debug, Clone, Subcommand)]
pub enum Pepper {
    /// Bring in another pepper now; the one before it answers a while longer (lookup.grace)
    Rotate,
}

/// `bindery sms`.
#[derive(Debug, Clone, Subcommand)]
pub enum Sms {
    /// Send none from now on, also after a restart; codes that are on their way still work
    Off,
    /// Send them again
    On,
}

/// `bindery outbox`.
#[derive(Debug, Clone, Subcommand)]
pub enum Outbox {
    /// Show what waits and what was given up, with the reason
    #[command(after_help = "Example:\n  bindery outbox list --failed")]
    List {
        /// Only what was given up
        #[arg(long)]
        failed: bool,
    },
    /// Try at once, as if it had never failed
    #[command(
        after_help = "Examples:\n  bindery outbox retry 6Dkq0v4n2bT1cJxgZsV8pw\n  \
                            bindery outbox retry --all"
    )]
    Retry {
        /// The id, as the list shows it
        #[arg(value_name = "ID", value_parser = record, required_unless_present = "all")]
        id: Option<RecordId>,
        /// Everything that waits or was given up
        #[arg(long, conflicts_with = "id")]
        all: bool,
    },
    /// Forget it: nobody is told or sent anything
    #[command(after_help = "Example:\n  bindery outbox drop 6Dkq0v4n2bT1cJxgZsV8pw")]
    Drop {
        /// The id, as the list shows it
        #[arg(value_name = "ID", value_parser = record)]
        id: RecordId,
    },
}

/// Carries a command out and prints what it answers.
///
/// # Errors
/// One sentence that says what to do.
pub fn run(operator: Operator, config: &Config, json: bool) -> Result<(), CliError> {
    let request = operator.into_request()?;
    super::runtime()?.block_on(async {
        let mut connection = Connection::open(config).await?;
        let show = Show { json };
        let mut request = Some(request);
        while let Some(asked) = request.take() {
            let answer = connection.ask(asked.clone()).await?;
            request = more(asked, &answer);
            show.answer(&answer)?;
        }
        Ok(())
    })
}

/// How a list goes on, if it does.
fn more(asked: AdminRequest, answer: &AdminAnswer) -> Option<AdminRequest> {
    match (asked, answer) {
        (
            AdminRequest::AssociationsList { user, threepid, .. },
            AdminAnswer::Associations {
                after: Some(after), ..
            },
        ) => Some(AdminRequest::AssociationsList {
            user,
            threepid,
            after: Some(after.clone()),
        }),
        (
            AdminRequest::AccountsList { user, .. },
            AdminAnswer::Accounts {
                after: Some(after), ..
            },
        ) => Some(AdminRequest::AccountsList {
            user,
            after: Some(after.clone()),
        }),
        (
            AdminRequest::InvitesList {
                sender, threepid, ..
            },
            AdminAnswer::Invites {
                after: Some(after), ..
            },
        ) => Some(AdminRequest::InvitesList {
            sender,
            threepid,
            after: Some(after.clone()),
        }),
        (
            AdminRequest::Outbox {
                request: OutboxRequest::List { failed, .. },
            },
            AdminAnswer::Outbox {
                after: Some(after), ..
            },
        ) => Some(AdminRequest::Outbox {
            request: OutboxRequest::List {
                failed,
                after: Some(*after),
            },
        }),
        _ => None,
    }
}

impl Operator {
    fn into_request(self) -> Result<AdminRequest, CliError> {
        Ok(match self {
            Self::Status => AdminRequest::Status,
            Self::Associations(Associations::List {
                user,
                threepid: words,
            }) => AdminRequest::AssociationsList {
                user,
                threepid: threepid(&words)?,
                after: None,
            },
            Self::Associations(Associations::Add {
                medium,
                address,
                mxid,
            }) => AdminRequest::AssociationsAdd {
                threepid: ThreePid::parse(medium, &address).map_err(CliError::Address)?,
                mxid,
            },
            Self::Associations(Associations::Remove {
                user,
                threepid: words,
            }) => {
                let target = match (user, threepid(&words)?) {
                    (Some(user), _) => AssociationTarget::User(user),
                    (None, Some(threepid)) => AssociationTarget::Threepid(threepid),
                    (None, None) => return Err(CliError::Address(ADDRESS)),
                };
                AdminRequest::AssociationsRemove { target }
            }
            Self::Invites(Invites::List {
                sender,
                threepid: words,
            }) => AdminRequest::InvitesList {
                sender,
                threepid: threepid(&words)?,
                after: None,
            },
            Self::Invites(Invites::Resend { id }) => AdminRequest::InvitesResend { invite: id },
            Self::Invites(Invites::Revoke(Which {
                id,
                sender,
                threepid: words,
            })) => {
                let target = id.map(InviteTarget::Invite);
                let target = target.or(sender.map(InviteTarget::Sender));
                let target = target.or(threepid(&words)?.map(InviteTarget::Threepid));
                AdminRequest::InvitesRevoke {
                    target: target.ok_or(CliError::Address(WHICH))?,
                }
            }
            Self::Accounts(Accounts::List { user }) => {
                AdminRequest::AccountsList { user, after: None }
            }
            Self::Accounts(Accounts::Revoke(Whose { user, homeserver })) => {
                let target = user.map(AccountTarget::User);
                let target = target.or(homeserver.map(AccountTarget::Homeserver));
                AdminRequest::AccountsRevoke {
                    target: target.ok_or(CliError::Address(WHOSE))?,
                }
            }
            // The server may run in another folder.
            Self::Backup { to } => AdminRequest::Backup {
                to: std::path::absolute(to).map_err(CliError::Folder)?,
            },
            Self::Keys(Keys::List) => AdminRequest::KeysList,
            Self::Keys(Keys::Rotate) => AdminRequest::KeysRotate,
            Self::Keys(Keys::Revoke { key, force }) => AdminRequest::KeysRevoke { key, force },
            Self::Pepper(Pepper::Rotate) => AdminRequest::PepperRotate,
            Self::Sms(Sms::Off) => AdminRequest::SmsSwitch { on: false },
            Self::Sms(Sms::On) => AdminRequest::SmsSwitch { on: true },
            Self::Outbox(outbox) => AdminRequest::Outbox {
                request: match outbox {
                    Outbox::List { failed } => OutboxRequest::List {
                        failed,
                        after: None,
                    },
                    Outbox::Retry { id, .. } => OutboxRequest::Retry { id },
                    Outbox::Drop { id } => OutboxRequest::Drop { id },
                },
            },
            Self::Erase(Whom { user, address }) => {
                let person = match threepid(&address)? {
                    Some(threepid) => Some(Person::ThreePid(threepid)),
                    None => user.map(Person::User),
                };
                AdminRequest::Erase {
                    person: person.ok_or(CliError::Address(WHOM))?,
                }
            }
        })
    }
}

const ADDRESS: Invalid = Invalid::expecting("`email` or `msisdn`, then an address");
const WHOM: Invalid = Invalid::expecting("a user or an address");
const WHICH: Invalid = Invalid::expecting("the id of an invitation, a user, or an address");
const WHOSE: Invalid = Invalid::expecting("a user or a homeserver");

/// A medium and an address, or nothing.
fn threepid(words: &[String]) -> Result<Option<ThreePid>, CliError> {
    match words {
        [] => Ok(None),
        [medium, address] => Medium::parse(medium)
            .and_then(|medium| ThreePid::parse(medium, address))
            .map(Some)
            .map_err(CliError::Address),
        _ => Err(CliError::Address(ADDRESS)),
    }
}

fn must(expected: &Invalid) -> String {
    format!("it must be {expected}")
}

fn user(text: &str) -> Result<UserId, String> {
    UserId::parse(text).map_err(|expected| must(&expected))
}

fn medium(text: &str) -> Result<Medium, String> {
    Medium::parse(text).map_err(|expected| must(&expected))
}

fn server(text: &str) -> Result<ServerName, String> {
    ServerName::parse(text).map_err(|expected| must(&expected))
}

fn record(text: &str) -> Result<RecordId, String> {
    RecordId::parse(text).map_err(|expected| must(&expected))
}

fn key(text: &str) -> Result<KeyId, String> {
    KeyId::parse(text).map_err(|expected| must(&expected))
}

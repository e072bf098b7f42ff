//! Mails, SMS and pages: structure in minijinja templates, one folder a brand, and texts in one Fluent catalogue a language.
//!
//! Both are compiled in, and `templates.directory` may override them file by file: `<directory>/<brand>/<file>` and
//! `<directory>/<language>.ftl`. A file that a brand does not have is taken from `<directory>/default`, then from the
//! built-in ones; a text that a catalogue does not have is taken from the built-in catalogue of that language, then from
//! the default language. Everything is parsed and rendered once with sample values when it is loaded, so that a mistake
//! in an override stops the start and not a user.

mod brands;
mod catalogue;
mod markdown;
mod values;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::config;
use crate::types::{InviteDetails, ServerName, Sid, Token};

use brands::Brands;
use catalogue::Catalogue;
use values::{Document, Mail};

pub use markdown::Html;
pub use values::Failure;

/// A mail to be rendered.
#[derive(Clone, Copy)]
pub enum Message<'a> {
    /// Asks whoever reads it to confirm that the address is theirs.
    Verification {
        /// The server that asks.
        server: &'a ServerName,
        /// The link that opens [`Page::Confirm`]. Secret.
        link: &'a str,
        /// How long the link works; shown as whole minutes, hours or days.
        lifetime: Duration,
    },
    /// Invites whoever reads it into a room.
    Invitation {
        /// The server that sends it.
        server: &'a ServerName,
        /// What is said of the invitation.
        invitation: Invitation<'a>,
    },
}

/// What the mail of an invitation says. All but the link is what strangers say, and is shown so that nothing in it can
/// become a link.
#[derive(Clone, Copy)]
pub struct Invitation<'a> {
    /// The name of who invites.
    pub inviter: &'a str,
    /// The name of the room, if it has one.
    pub room: Option<&'a str>,
    /// Whether the room is a space.
    pub is_space: bool,
    /// The link that joins the room. Secret.
    pub link: &'a str,
    /// How long the invitation holds; shown as whole days, if it is a day or more.
    pub lifetime: Duration,
    /// What else the request said, which templates find under `details` by its name.
    pub details: &'a InviteDetails,
}

/// A code to be rendered as the text of an SMS.
#[derive(Clone, Copy)]
pub struct Code<'a> {
    /// The server that asks for it.
    pub server: &'a ServerName,
    /// The code. Secret.
    pub token: &'a Token,
    /// How long it works; shown as whole minutes, hours or days.
    pub lifetime: Duration,
}

/// A page to be rendered.
#[derive(Clone, Copy)]
pub enum Page<'a> {
    /// Shows what is to be confirmed, and a button that posts `sid` and `token`.
    Confirm {
        /// The server that asks.
        server: &'a ServerName,
        /// The address that is to be confirmed.
        address: &'a str,
        /// Where the form goes.
        action: &'a str,
        /// The session.
        sid: &'a Sid,
        /// The token of the mailed link.
        token: &'a Token,
    },
    /// The address is confirmed.
    Verified {
        /// The server that asked.
        server: &'a ServerName,
        /// Where the user may go on; anything but an http or https URL is left out.
        next_link: Option<&'a str>,
    },
    /// Confirming did not work.
    Failed {
        /// The server that asked.
        server: &'a ServerName,
        /// What happened.
        reason: Failure,
    },
    /// A policy that users accept.
    Policy {
        /// The server whose policy it is.
        server: &'a ServerName,
        /// What the policy is called.
        name: &'a str,
        /// The language that it is written in, whatever language the page is in.
        language: &'a str,
        /// The policy.
        content: &'a Html,
    },
    /// The front page.
    Home {
        /// The server's name.
        server: &'a ServerName,
    },
}

/// A mail that is ready to be sent but for its envelope. It carries a secret link, so `Debug` shows nothing of it.
#[derive(Clone)]
pub struct RenderedMail {
    /// One line without control characters.
    pub subject: String,
    /// The mail as plain text.
    pub text: String,
    /// The same as HTML.
    pub html: String,
}

impl std::fmt::Debug for RenderedMail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RenderedMail(…)")
    }
}

/// Templates or texts could not be loaded. Each names the file and what to change.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// A file or folder cannot be read.
    #[error("cannot read `{}`, which templates.directory leads to: {source}", path.display())]
    Unreadable {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A folder's name is not that of a brand.
    #[error("`{}` is not a brand: name the folder with 1 to 32 characters out of a-z 0-9 _ -", .0.display())]
    BrandName(PathBuf),
    /// A catalogue's name is not that of a language.
    #[error("`{}` is not a catalogue: name it by its language, such as `de.ftl`", .0.display())]
    LanguageName(PathBuf),
    /// A file overrides nothing.
    #[error("`{}` overrides no template: a brand's folder may have {known}", path.display())]
    UnknownTemplate {
        /// The file.
        path: PathBuf,
        /// The templates that there are.
        known: String,
    },
    /// A template or catalogue does not work.
    #[error("{file}, line {line}: {problem}")]
    Broken {
        /// The file, or which built-in one.
        file: String,
        /// The line, counted from 1; 0 where it is not known.
        line: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// `templates.default_brand` does not exist.
    #[error("templates.default_brand is `{0}`, but templates.directory has no such folder")]
    NoDefaultBrand(String),
    /// `templates.default_language` does not exist.
    #[error("templates.default_language is `{0}`, but there is no catalogue `{0}.ftl`")]
    NoDefaultLanguage(String),
}

/// A template failed with the values it was given, although it worked with the sample values. This is a mistake in the
/// template, never the client's. The values are left out, since some are secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the template {file} failed at line {line}: {problem}")]
pub struct RenderError {
    file: String,
    line: usize,
    problem: String,
}

/// All brands and languages, ready to render. They can be loaded anew while they are used.
#[derive(Debug)]
pub struct Templates(ArcSwap<Loaded>);

#[derive(Debug)]
struct Loaded {
    brands: Brands,
    catalogue: Catalogue,
    /// The text of every SMS, in place of the templates.
    sms: Option<String>,
}

impl Templates {
    /// Reads the overrides, and renders everything once with sample values. Blocks on the file system.
    ///
    /// # Errors
    /// Unreadable folders, names that are neither a brand's nor a language's, files that do not parse, and templates that
    /// use values or texts that there are not.
    pub fn load(settings: &config::Templates) -> Result<Self, TemplateError> {
        Ok(Self(ArcSwap::from_pointee(Loaded::load(settings)?)))
    }

    /// Reads everything again, and uses it from now on. Blocks on the file system.
    ///
    /// # Errors
    /// As [`Self::load`]; what was loaded before stays in use then.
    pub fn reload(&self, settings: &config::Templates) -> Result<(), TemplateError> {
        self.0.store(Arc::new(Loaded::load(settings)?));
        Ok(())
    }

    /// The best language for an `Accept-Language` header (RFC 9110, section 12.5.4): always one that there is.
    pub fn language(&self, accept_language: Option<&str>) -> String {
        self.0
            .load()
            .catalogue
            .negotiate(accept_language.unwrap_or_default())
    }

    /// Renders a mail. An unknown language or brand gives the default one.
    ///
    /// # Errors
    /// When a template fails with these values.
    pub fn render_mail(
        &self,
        message: Message<'_>,
        language: Option<&str>,
        brand: Option<&str>,
    ) -> Result<RenderedMail, RenderError> {
        self.0.load().mail(message.into(), language, brand)
    }

    /// Renders the text of an SMS. Where `sms.message` is set, it is the text in all languages and brands; otherwise an
    /// unknown language or brand gives the default one.
    ///
    /// # Errors
    /// When a template fails with these values.
    pub fn render_sms(
        &self,
        code: Code<'_>,
        language: Option<&str>,
        brand: Option<&str>,
    ) -> Result<String, RenderError> {
        let loaded = self.0.load();
        match &loaded.sms {
            Some(text) => Ok(text.replace("{token}", code.token.expose())),
            None => loaded.sms(code.into(), language, brand),
        }
    }

    /// Renders a page as a whole HTML document. An unknown language or brand gives the default one.
    ///
    /// # Errors
    /// When a template fails with these values.
    pub fn render_page(
        &self,
        page: Page<'_>,
        language: Option<&str>,
        brand: Option<&str>,
    ) -> Result<String, RenderError> {
        self.0.load().page(page.into(), language, brand)
    }
}

impl Loaded {
    fn load(settings: &config::Templates) -> Result<Self, TemplateError> {
        let directory = settings.directory.as_deref();
        let loaded = Self {
            catalogue: Catalogue::load(directory, &settings.default_language)?,
            brands: Brands::load(directory, &settings.default_brand)?,
            sms: settings.sms_message.clone(),
        };
        loaded.try_everything()?;
        Ok(loaded)
    }

    fn mail(
        &self,
        mail: Mail,
        language: Option<&str>,
        brand: Option<&str>,
    ) -> Result<RenderedMail, RenderError> {
        let Mail {
            name,
            subject,
            values,
        } = mail;
        let texts = self.catalogue.texts(language);
        let subject = texts
            .line(subject, &values)
            .map_err(|problem| RenderError {
                file: format!("{}.ftl", texts.language()),
                line: 0,
                problem,
            })?;
        let body = |extension: &str| {
            let file = format!("{name}.{extension}");
            self.brands.render(brand, &file, &texts, values.clone())
        };
        Ok(RenderedMail {
            subject,
            text: body("txt")?,
            html: body("html")?,
        })
    }

    fn sms(
        &self,
        sms: Document,
        language: Option<&str>,
        brand: Option<&str>,
    ) -> Result<String, RenderError> {
        // The line break at the end of a file is none of the SMS.
        self.page(sms, language, brand)
            .map(|text| text.trim().to_owned())
    }

    fn page(
        &self,
        page: Document,
        language: Option<&str>,
        brand: Option<&str>,
    ) -> Result<String, RenderError> {
        let texts = self.catalogue.texts(language);
        self.brands.render(brand, page.name, &texts, page.values)
    }

    fn try_everything(&self) -> Result<(), TemplateError> {
        for brand in self.brands.names() {
            for language in self.catalogue.languages() {
                let broken = |error: RenderError| TemplateError::Broken {
                    file: self.brands.origin(brand, &error.file),
                    line: error.line,
                    problem: format!("{} (tried in language `{language}`)", error.problem),
                };
                for mail in values::sample_mails() {
                    self.mail(mail, Some(language), Some(brand))
                        .map_err(broken)?;
                }
                self.sms(values::sample_sms(), Some(language), Some(brand))
                    .map_err(broken)?;
                for page in values::sample_pages() {
                    self.page(page, Some(language), Some(brand))
                        .map_err(broken)?;
                }
            }
        }
        Ok(())
    }
}

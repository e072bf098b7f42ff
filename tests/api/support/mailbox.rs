//! Reads a mail as its recipient does.

use std::path::Path;

use mail_parser::{Message, MessageParser, PartType};

/// A mail that arrived, parsed by another library than the one that wrote it.
pub struct Mail {
    message: Message<'static>,
}

impl Mail {
    /// Parses the bytes of a mail.
    #[track_caller]
    pub fn parse(bytes: &[u8]) -> Self {
        let message = MessageParser::default().parse(bytes).expect("a mail");
        Self {
            message: message.into_owned(),
        }
    }

    /// All `.eml` files of a folder, in the order of their names.
    pub fn all_in(folder: &Path) -> Vec<Self> {
        let mut files: Vec<_> = std::fs::read_dir(folder)
            .map(|entries| entries.map(|entry| entry.unwrap().path()).collect())
            .unwrap_or_default();
        files.retain(|path| path.extension().is_some_and(|extension| extension == "eml"));
        files.sort();
        files
            .iter()
            .map(|path| Self::parse(&std::fs::read(path).unwrap()))
            .collect()
    }

    /// All of it as it came.
    pub fn raw(&self) -> String {
        String::from_utf8_lossy(self.message.raw_message()).into_owned()
    }

    /// The address in To, with its domain as mail programs show it.
    #[track_caller]
    pub fn to(&self) -> String {
        let to = self.header("To");
        let (local, domain) = to.rsplit_once('@').expect("an address");
        let (domain, _) = idna::domain_to_unicode(domain);
        format!("{local}@{domain}")
    }

    /// The token in the link.
    #[track_caller]
    pub fn token(&self) -> String {
        let link = url::Url::parse(&self.link()).expect("a URL");
        let token = link.query_pairs().find(|(name, _)| name == "token");
        token.expect("a token").1.into_owned()
    }

    /// The decoded subject.
    pub fn subject(&self) -> &str {
        self.message.subject().expect("a subject")
    }

    /// The decoded plain text.
    pub fn text(&self) -> String {
        self.message.body_text(0).expect("a text part").into_owned()
    }

    /// The decoded HTML.
    pub fn html(&self) -> String {
        self.message
            .body_html(0)
            .expect("an HTML part")
            .into_owned()
    }

    /// The values of all headers of this name, as they came.
    pub fn headers(&self, name: &str) -> Vec<String> {
        let named = self
            .message
            .headers_raw()
            .filter(|(found, _)| found.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.trim().to_owned()).collect()
    }

    /// The value of a header that must be there once.
    #[track_caller]
    pub fn header(&self, name: &str) -> String {
        let mut values = self.headers(name);
        assert_eq!(values.len(), 1, "{name} must be there once");
        values.remove(0)
    }

    /// The one link of the mail, which must be the same in both parts.
    #[track_caller]
    pub fn link(&self) -> String {
        let text = self.text();
        let links: Vec<_> = text
            .split_whitespace()
            .filter(|word| word.contains("://"))
            .collect();
        assert_eq!(links.len(), 1, "the text must have one link");
        let html = self.html().replace("&#x2f;", "/").replace("&amp;", "&");
        let targets = html.split("href=\"").skip(1);
        for target in targets {
            assert!(
                target.starts_with(&format!("{}\"", links[0])),
                "both parts must have one link"
            );
        }
        links[0].to_owned()
    }

    /// One of each header, and exactly a text part and an HTML part.
    #[track_caller]
    pub fn assert_well_formed(&self) {
        let known = [
            "from",
            "to",
            "subject",
            "date",
            "message-id",
            "auto-submitted",
            "mime-version",
            "content-type",
        ];
        for name in known {
            self.header(name);
        }
        for (name, _) in self.message.headers_raw() {
            let name = name.to_ascii_lowercase();
            assert!(
                known.contains(&&*name) || name == "reply-to",
                "unexpected header {name}"
            );
        }
        assert!(
            self.header("content-type")
                .starts_with("multipart/alternative")
        );
        let kinds: Vec<_> = self.message.parts.iter().map(|part| &part.body).collect();
        assert!(
            matches!(
                kinds[..],
                [PartType::Multipart(_), PartType::Text(_), PartType::Html(_)]
            ),
            "a mail has two parts, text and HTML"
        );
    }
}

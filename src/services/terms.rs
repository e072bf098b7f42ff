//! Terms: the policies of this server, and who has accepted them.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::clock::Clock;
use crate::config::{self, PolicyText, PublicUrl};
use crate::storage::tables::{AcceptedPolicy, AcceptedTerms, AcceptedTermsRecord};
use crate::storage::{Store, StoreError, Tx};
use crate::templates::Html;
use crate::types::UserId;

/// Why nothing was accepted.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// No policy is read there now.
    #[error("no policy has one of the accepted URLs")]
    UnknownUrl,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A policy as users are asked to accept it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Its version.
    pub version: String,
    /// What users read, by language.
    pub languages: BTreeMap<String, Document>,
}

/// A policy in one language.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// What it is called.
    pub name: String,
    /// Where it is read. By this it is accepted.
    pub url: String,
    /// The text, if it is read here.
    pub text: Option<Html>,
}

/// All policies by name.
pub type Policies = BTreeMap<String, Policy>;

/// The service.
pub struct Terms {
    store: Store,
    clock: Arc<dyn Clock>,
    public_url: PublicUrl,
    policies: ArcSwap<Policies>,
}

impl Terms {
    /// The service over its parts.
    pub fn new(
        store: Store,
        clock: Arc<dyn Clock>,
        public_url: PublicUrl,
        settings: &config::Terms,
    ) -> Self {
        let policies = ArcSwap::from_pointee(policies(&public_url, settings));
        Self {
            store,
            clock,
            public_url,
            policies,
        }
    }

    /// From now on these policies are asked for.
    pub fn reload(&self, settings: &config::Terms) {
        let policies = policies(&self.public_url, settings);
        self.policies.store(Arc::new(policies));
    }

    /// The policies that there are now.
    pub fn policies(&self) -> Arc<Policies> {
        self.policies.load_full()
    }

    /// Whether this user has accepted every policy in its current version, each in some language. A server without
    /// policies does not ask the store.
    ///
    /// # Errors
    /// When the store fails.
    pub fn are_accepted(&self, mxid: &UserId) -> Result<bool, StoreError> {
        let policies = self.policies.load();
        if policies.is_empty() {
            return Ok(true);
        }
        let record = self.store.read(|tx| tx.get::<AcceptedTerms>(mxid))?;
        let accepted = record.unwrap_or_default().policies;
        let is_accepted = |(name, policy): (&String, &Policy)| {
            accepted
                .iter()
                .any(|entry| entry.policy == *name && entry.version == policy.version)
        };
        Ok(policies.iter().all(is_accepted))
    }

    /// Adds what is read at these URLs to what the user has accepted (identity service, `POST terms`).
    ///
    /// # Errors
    /// When one of them is not the URL of a policy now; nothing is accepted then.
    pub async fn accept(&self, mxid: UserId, urls: &[String]) -> Result<(), AcceptError> {
        let accepted = self.read_at(urls)?;
        if accepted.is_empty() {
            return Ok(());
        }
        let change = move |tx: &mut Tx<'_>| -> Result<(), StoreError> {
            let mut record: AcceptedTermsRecord =
                tx.get::<AcceptedTerms>(&mxid)?.unwrap_or_default();
            let before = record.policies.len();
            for new in &accepted {
                let is_same = |old: &AcceptedPolicy| {
                    (&old.policy, &old.version, &old.url) == (&new.policy, &new.version, &new.url)
                };
                if !record.policies.iter().any(is_same) {
                    record.policies.push(new.clone());
                }
            }
            if record.policies.len() > before {
                tx.put::<AcceptedTerms>(&mxid, &record)?;
            }
            Ok(())
        };
        Ok(self.store.write(change).await?)
    }

    /// What is accepted by these URLs. Several policies may be read at one.
    fn read_at(&self, urls: &[String]) -> Result<Vec<AcceptedPolicy>, AcceptError> {
        let when = self.clock.now();
        let policies = self.policies.load();
        let mut accepted = Vec::new();
        for url in urls {
            let mut read_here = policies
                .iter()
                .filter(|(_, policy)| policy.languages.values().any(|there| there.url == *url))
                .peekable();
            if read_here.peek().is_none() {
                return Err(AcceptError::UnknownUrl);
            }
            accepted.extend(read_here.map(|(name, policy)| AcceptedPolicy {
                policy: name.clone(),
                version: policy.version.clone(),
                url: url.clone(),
                when,
            }));
        }
        Ok(accepted)
    }
}

/// What the operator wrote, rendered, and with the URLs of what is read here.
fn policies(public_url: &PublicUrl, settings: &config::Terms) -> Policies {
    let document = |place: String, document: &config::PolicyDocument| {
        let (url, text) = match &document.text {
            PolicyText::Url(url) => (url.clone(), None),
            PolicyText::Markdown(text) => (
                format!("{public_url}/policies/{place}"),
                Some(Html::from_markdown(text)),
            ),
        };
        Document {
            name: document.name.clone(),
            url,
            text,
        }
    };
    let policy = |name: &String, policy: &config::Policy| Policy {
        version: policy.version.clone(),
        languages: policy
            .languages
            .iter()
            .map(|(language, read)| {
                let place = format!("{name}/{language}/{}", policy.version);
                (language.clone(), document(place, read))
            })
            .collect(),
    };
    let all = settings.policies.iter();
    all.map(|(name, written)| (name.clone(), policy(name, written)))
        .collect()
}

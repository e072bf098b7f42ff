//! Requests that homeservers sign (server-server API, "Request Authentication").

use std::iter::Peekable;
use std::str::Chars;

use serde_json::{Map, Value, json};

use super::FederationError;
use crate::signing::verify_json;
use crate::types::{KeyId, ServerName};

/// `Authorization` headers of one request; who has more keys has none.
const MOST_HEADERS: usize = 8;

/// What a homeserver signed, as it arrived.
#[derive(Debug, Clone)]
pub struct SignedRequest<'a> {
    /// The values of all `Authorization` headers, of whatever scheme.
    pub authorization: Vec<&'a str>,
    /// The method in capitals.
    pub method: &'a str,
    /// The request target from `/_matrix` on, with its query, as it was sent.
    pub uri: &'a str,
    /// The whole body.
    pub content: &'a Value,
    /// The names that this server may be called by.
    pub our_names: &'a [String],
}

impl SignedRequest<'_> {
    /// Whether there is an X-Matrix header, well formed or not.
    pub fn is_signed(&self) -> bool {
        self.authorization
            .iter()
            .any(|header| parameters(header).is_some())
    }

    /// Who claims to have sent the request. Nothing is verified: it tells early that somebody else is not who may ask.
    ///
    /// # Errors
    /// When a header is malformed, there is none, or several do not name the same origin.
    pub fn claimed_origin(&self) -> Result<ServerName, FederationError> {
        self.signatures().map(|signatures| signatures.origin)
    }

    pub(super) fn signatures(&self) -> Result<Signatures, FederationError> {
        let headers = self
            .authorization
            .iter()
            .filter_map(|header| parameters(header))
            .map(XMatrix::parse)
            .collect::<Result<Vec<_>, _>>()
            .map_err(FederationError::Malformed)?;
        if headers.len() > MOST_HEADERS {
            return Err(FederationError::Malformed("there are too many headers"));
        }
        let first = headers.first();
        let first = first.ok_or(FederationError::Malformed("there is no X-Matrix header"))?;
        let (origin, destination) = (first.origin.clone(), first.destination.clone());
        let same = |header: &XMatrix| header.origin == origin && header.destination == destination;
        if !headers.iter().all(same) {
            return Err(FederationError::Malformed("the headers do not agree"));
        }
        // Keys of other algorithms are not known here.
        let by_key: Vec<_> = headers
            .into_iter()
            .filter_map(|header| Some((KeyId::parse(&header.key).ok()?, header.sig)))
            .collect();
        if by_key.is_empty() {
            return Err(FederationError::Malformed("`key` is not an ed25519 key id"));
        }
        Ok(Signatures {
            origin,
            destination,
            by_key,
        })
    }
}

/// What the headers of one request say.
#[derive(Debug)]
pub(super) struct Signatures {
    pub origin: ServerName,
    destination: Option<String>,
    pub by_key: Vec<(KeyId, String)>,
}

impl Signatures {
    /// The destinations that may have been signed, the likeliest first.
    ///
    /// # Errors
    /// When the header names a destination that is not ours.
    pub fn destinations(&self, our_names: &[String]) -> Result<Vec<String>, FederationError> {
        let mut ours: Vec<String> = our_names.iter().flat_map(|name| spellings(name)).collect();
        if let Some(destination) = &self.destination {
            // Clients name an identity server with a path at times, and homeservers sign what they were given.
            let name = destination.split('/').next().unwrap_or_default();
            if !ours.iter().any(|our| our == name) {
                let origin = self.origin.to_string();
                return Err(FederationError::OtherDestination(origin));
            }
            ours.insert(0, destination.clone());
        }
        let mut distinct = Vec::new();
        for name in ours {
            if !distinct.contains(&name) {
                distinct.push(name);
            }
        }
        Ok(distinct)
    }

    /// Checks that one of the signatures is by its key and over the request, with one of the destinations in either
    /// spelling: homeservers sign `destination_is`, the specification says `destination`.
    pub fn verify(
        &self,
        request: &SignedRequest<'_>,
        destinations: &[String],
        keys: &[(KeyId, [u8; 32])],
    ) -> Result<(), FederationError> {
        let signatures: Map<String, Value> = self
            .by_key
            .iter()
            .map(|(id, sig)| (id.to_string(), sig.as_str().into()))
            .collect();
        let mut object = Map::new();
        object.insert("method".to_owned(), request.method.into());
        object.insert("uri".to_owned(), request.uri.into());
        object.insert("origin".to_owned(), self.origin.as_str().into());
        object.insert("content".to_owned(), request.content.clone());
        object.insert(
            "signatures".to_owned(),
            json!({ self.origin.as_str(): signatures }),
        );
        for destination in destinations {
            for field in ["destination_is", "destination"] {
                object.insert(field.to_owned(), destination.as_str().into());
                let holds = |(id, key): &(KeyId, [u8; 32])| {
                    verify_json(&object, self.origin.as_str(), id, key).is_ok()
                };
                if keys.iter().any(holds) {
                    return Ok(());
                }
                object.remove(field);
            }
        }
        Err(FederationError::BadSignature(self.origin.to_string()))
    }
}

/// The ways to write one name of ours: as it is, without its port, and with that of https.
fn spellings(name: &str) -> Vec<String> {
    let host = ServerName::parse(name).map_or_else(|_| name.to_owned(), |n| n.host().to_owned());
    vec![name.to_owned(), format!("{host}:443"), host]
}

/// One X-Matrix header.
#[derive(Debug, PartialEq, Eq)]
struct XMatrix {
    origin: ServerName,
    destination: Option<String>,
    key: String,
    sig: String,
}

/// What follows the scheme, if that is X-Matrix.
fn parameters(header: &str) -> Option<&str> {
    let header = header.trim();
    let (scheme, rest) = header.split_once([' ', '\t']).unwrap_or((header, ""));
    scheme.eq_ignore_ascii_case("X-Matrix").then_some(rest)
}

impl XMatrix {
    fn parse(parameters: &str) -> Result<Self, &'static str> {
        let mut fields: [(&str, Option<String>); 4] =
            ["origin", "destination", "key", "sig"].map(|name| (name, None));
        let mut rest = parameters.chars().peekable();
        loop {
            while rest.next_if(|&c| c == ',' || is_blank(c)).is_some() {}
            if rest.peek().is_none() {
                break;
            }
            let name = taken_while(&mut rest, |c| !matches!(c, '=' | ',' | '"') && !is_blank(c));
            skip_blanks(&mut rest);
            if name.is_empty() || rest.next() != Some('=') {
                return Err("a parameter is not of the form name=value");
            }
            skip_blanks(&mut rest);
            let value = match rest.next_if_eq(&'"') {
                Some(_) => quoted(&mut rest).ok_or("a quoted value does not end")?,
                None => taken_while(&mut rest, |c| !matches!(c, ',' | '"') && !is_blank(c)),
            };
            skip_blanks(&mut rest);
            if !matches!(rest.peek(), None | Some(',')) {
                return Err("parameters are not separated by commas");
            }
            let known = fields
                .iter_mut()
                .find(|(known, _)| known.eq_ignore_ascii_case(&name));
            if let Some((_, field)) = known
                && field.replace(value).is_some()
            {
                return Err("a parameter stands twice");
            }
        }
        let [(_, origin), (_, destination), (_, key), (_, sig)] = fields;
        let origin = origin.ok_or("`origin` is missing")?;
        Ok(Self {
            origin: ServerName::parse(&origin).map_err(|_| "`origin` is not a server name")?,
            destination,
            key: key.ok_or("`key` is missing")?,
            sig: sig.ok_or("`sig` is missing")?,
        })
    }
}

const fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t')
}

fn skip_blanks(rest: &mut Peekable<Chars<'_>>) {
    while rest.next_if(|&c| is_blank(c)).is_some() {}
}

fn taken_while(rest: &mut Peekable<Chars<'_>>, belongs: impl Fn(char) -> bool) -> String {
    let mut taken = String::new();
    while let Some(c) = rest.next_if(|&c| belongs(c)) {
        taken.push(c);
    }
    taken
}

/// The rest of a quoted value, escapes undone; none if it does not end.
fn quoted(rest: &mut Peekable<Chars<'_>>) -> Option<String> {
    let mut value = String::new();
    loop {
        match rest.next()? {
            '"' => return Some(value),
            '\\' => value.push(rest.next()?),
            c => value.push(c),
        }
    }
}

#[cfg(test)]
mod tests;

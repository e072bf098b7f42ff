//! The texts: one Fluent catalogue a language.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fluent_bundle::concurrent::FluentBundle;
use fluent_bundle::{FluentArgs, FluentResource, FluentValue};
use fluent_langneg::{NegotiationStrategy, negotiate_languages};
use minijinja::value::{Kwargs, Object, ObjectRepr, from_args};
use minijinja::{Error, ErrorKind, State, Value};
use unic_langid::LanguageIdentifier;

use super::TemplateError;
use super::values::Values;
use crate::types::one_line;

/// The catalogues that are compiled in.
const BUILT_IN: [(&str, &str); 1] = [("en", include_str!("en.ftl"))];

/// More languages than a browser sends; what follows in the header is left unread.
const MOST_WISHES: usize = 32;

type Bundle = FluentBundle<FluentResource>;

/// The texts of all languages.
pub(super) struct Catalogue {
    bundles: BTreeMap<String, Arc<Bundle>>,
    default: Texts,
}

/// The texts of one language, with those of the default language behind them. Templates call this as `text`.
#[derive(Clone)]
pub(super) struct Texts {
    language: String,
    bundle: Arc<Bundle>,
    fallback: Arc<Bundle>,
}

impl Catalogue {
    pub(super) fn load(directory: Option<&Path>, default: &str) -> Result<Self, TemplateError> {
        let mut building = BTreeMap::new();
        for (language, source) in BUILT_IN {
            let file = PathBuf::from(format!("built-in {language}.ftl"));
            add(&mut building, &file, language, source.to_owned())?;
        }
        if let Some(directory) = directory {
            add_overrides(&mut building, directory)?;
        }
        let bundles: BTreeMap<_, _> = building
            .into_iter()
            .map(|(language, bundle)| (language, Arc::new(bundle)))
            .collect();
        let bundle = bundles
            .get(default)
            .ok_or_else(|| TemplateError::NoDefaultLanguage(default.to_owned()))?;
        let default = Texts {
            language: default.to_owned(),
            bundle: Arc::clone(bundle),
            fallback: Arc::clone(bundle),
        };
        Ok(Self { bundles, default })
    }

    pub(super) fn languages(&self) -> impl Iterator<Item = &str> {
        self.bundles.keys().map(String::as_str)
    }

    /// The texts of a language, or of the default one.
    pub(super) fn texts(&self, language: Option<&str>) -> Texts {
        let known = language.and_then(|name| self.bundles.get_key_value(name));
        known.map_or_else(
            || self.default.clone(),
            |(language, bundle)| Texts {
                language: language.clone(),
                bundle: Arc::clone(bundle),
                fallback: Arc::clone(&self.default.bundle),
            },
        )
    }

    /// The best of our languages for an `Accept-Language` header.
    pub(super) fn negotiate(&self, accept_language: &str) -> String {
        let wishes = wishes(accept_language);
        let ours: Vec<LanguageIdentifier> =
            self.languages().filter_map(|l| l.parse().ok()).collect();
        negotiate_languages(&wishes, &ours, None, NegotiationStrategy::Lookup)
            .first()
            .map_or_else(|| self.default.language.clone(), ToString::to_string)
    }
}

/// The languages of an `Accept-Language` header, the dearest first. The negotiation itself does not know weights.
fn wishes(accept_language: &str) -> Vec<LanguageIdentifier> {
    let mut weighted: Vec<(f32, LanguageIdentifier)> = accept_language
        .split(',')
        .take(MOST_WISHES)
        .filter_map(|wish| {
            let (tag, parameters) = wish.split_once(';').unwrap_or((wish, ""));
            let weight = match parameters.trim().strip_prefix("q=") {
                Some(number) => number.trim().parse().ok()?,
                None => 1.0,
            };
            (weight > 0.0).then_some((weight, tag.trim().parse().ok()?))
        })
        .collect();
    weighted.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    weighted.into_iter().map(|(_, language)| language).collect()
}

fn add_overrides(
    bundles: &mut BTreeMap<String, Bundle>,
    directory: &Path,
) -> Result<(), TemplateError> {
    let unreadable = |path: &Path, source| TemplateError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let entries = std::fs::read_dir(directory).map_err(|error| unreadable(directory, error))?;
    for entry in entries {
        let path = entry.map_err(|error| unreadable(directory, error))?.path();
        if path.extension().is_none_or(|extension| extension != "ftl") {
            continue;
        }
        let language = path
            .file_stem()
            .and_then(|stem| stem.to_str())
            .and_then(|stem| stem.parse::<LanguageIdentifier>().ok())
            .ok_or_else(|| TemplateError::LanguageName(path.clone()))?;
        let source = std::fs::read_to_string(&path).map_err(|error| unreadable(&path, error))?;
        add(bundles, &path, &language.to_string(), source)?;
    }
    Ok(())
}

/// Adds texts to a language; they take the place of earlier ones of the same name.
fn add(
    bundles: &mut BTreeMap<String, Bundle>,
    file: &Path,
    language: &str,
    source: String,
) -> Result<(), TemplateError> {
    let id: LanguageIdentifier = language
        .parse()
        .map_err(|_| TemplateError::LanguageName(file.to_owned()))?;
    let resource = FluentResource::try_new(source).map_err(|(resource, errors)| {
        let first = errors.first();
        let before = first.and_then(|error| resource.source().get(..error.pos.start));
        TemplateError::Broken {
            file: file.display().to_string(),
            line: before.map_or(0, |text| text.matches('\n').count().saturating_add(1)),
            problem: first.map_or_else(String::new, |error| error.kind.to_string()),
        }
    })?;
    let bundle = bundles.entry(language.to_owned()).or_insert_with(|| {
        let mut bundle = Bundle::new_concurrent(vec![id]);
        // Isolation marks are for right-to-left values in running text; they would end up inside of copied addresses.
        bundle.set_use_isolating(false);
        bundle
    });
    bundle.add_resource_overriding(resource);
    Ok(())
}

impl Texts {
    /// The language that they are in.
    pub(super) fn language(&self) -> &str {
        &self.language
    }

    /// A text on one line, for a header.
    pub(super) fn line(&self, name: &str, values: &Values) -> Result<String, String> {
        let mut arguments = FluentArgs::new();
        for (name, value) in values {
            arguments.set(*name, fluent_value(value));
        }
        self.format(name, &arguments).map(|text| one_line(&text))
    }

    fn format(&self, name: &str, arguments: &FluentArgs<'_>) -> Result<String, String> {
        let (bundle, message) = [&self.bundle, &self.fallback]
            .into_iter()
            .find_map(|bundle| Some((bundle, bundle.get_message(name)?.value()?)))
            .ok_or_else(|| format!("there is no text `{name}` in `{}.ftl`", self.language))?;
        let mut errors = Vec::new();
        let text = bundle
            .format_pattern(message, Some(arguments), &mut errors)
            .into_owned();
        match errors.first() {
            None => Ok(text),
            Some(error) => Err(format!("text `{name}` of `{}.ftl`: {error}", self.language)),
        }
    }
}

fn fluent_value(value: &Value) -> FluentValue<'static> {
    match value.as_i64() {
        Some(number) => FluentValue::from(number),
        None => FluentValue::from(value.to_string()),
    }
}

impl Object for Texts {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn call(self: &Arc<Self>, _: &mut State<'_, '_>, args: &[Value]) -> Result<Value, Error> {
        let (name, given): (&str, Kwargs) = from_args(args)?;
        let mut arguments = FluentArgs::new();
        for argument in given.args() {
            arguments.set(argument.to_owned(), fluent_value(&given.get(argument)?));
        }
        // A plain string: the template escapes it like any other value.
        self.format(name, &arguments)
            .map(Value::from)
            .map_err(|problem| Error::new(ErrorKind::InvalidOperation, problem))
    }
}

impl fmt::Debug for Texts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Texts({})", self.language)
    }
}

impl fmt::Debug for Catalogue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.bundles.keys()).finish()
    }
}

//! The structure: one set of minijinja templates a brand.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;

use minijinja::{Environment, ErrorKind, UndefinedBehavior, Value};

use super::catalogue::Texts;
use super::values::Values;
use super::{RenderError, TemplateError};

/// The brand that is compiled in, and the folder that stands behind every other brand's.
const DEFAULT: &str = "default";

/// The templates that are compiled in. `page.html` is the frame of all pages.
const BUILT_IN: [(&str, &str); 11] = [
    ("page.html", include_str!("default/page.html")),
    ("confirm.html", include_str!("default/confirm.html")),
    ("verified.html", include_str!("default/verified.html")),
    ("failed.html", include_str!("default/failed.html")),
    ("policy.html", include_str!("default/policy.html")),
    ("home.html", include_str!("default/home.html")),
    (
        "verification.html",
        include_str!("default/verification.html"),
    ),
    ("verification.txt", include_str!("default/verification.txt")),
    ("sms.txt", include_str!("default/sms.txt")),
    ("invite.html", include_str!("default/invite.html")),
    ("invite.txt", include_str!("default/invite.txt")),
];

/// The templates of all brands.
pub(super) struct Brands {
    brands: BTreeMap<String, Brand>,
    default: Brand,
}

/// The templates of one brand.
#[derive(Clone)]
struct Brand {
    environment: Environment<'static>,
    /// Where each template came from, for messages.
    origins: BTreeMap<String, String>,
}

/// The files of one folder by name.
type Files = BTreeMap<String, String>;

impl Brands {
    pub(super) fn load(directory: Option<&Path>, default: &str) -> Result<Self, TemplateError> {
        let mut folders: BTreeMap<String, Files> =
            BTreeMap::from([(DEFAULT.to_owned(), Files::new())]);
        if let Some(directory) = directory {
            folders.extend(read_folders(directory)?);
        }
        let behind = folders.get(DEFAULT).cloned().unwrap_or_default();
        let mut brands = BTreeMap::new();
        for (name, files) in folders {
            brands.insert(
                name.clone(),
                Brand::build(directory, &name, files, &behind)?,
            );
        }
        let default = brands
            .get(default)
            .cloned()
            .ok_or_else(|| TemplateError::NoDefaultBrand(default.to_owned()))?;
        Ok(Self { brands, default })
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.brands.keys().map(String::as_str)
    }

    /// Where a template of a brand came from: a path, or `built-in …`. A name that is no template's stays as it is.
    pub(super) fn origin(&self, brand: &str, file: &str) -> String {
        let origins = &self.brands.get(brand).unwrap_or(&self.default).origins;
        origins
            .get(file)
            .map_or_else(|| file.to_owned(), Clone::clone)
    }

    /// Renders a template of a brand, or of the default one.
    pub(super) fn render(
        &self,
        brand: Option<&str>,
        file: &str,
        texts: &Texts,
        mut values: Values,
    ) -> Result<String, RenderError> {
        let brand = brand
            .and_then(|name| self.brands.get(name))
            .unwrap_or(&self.default);
        values.insert("language", Value::from(texts.language()));
        values.insert("text", Value::from_object(texts.clone()));
        brand
            .environment
            .get_template(file)
            .and_then(|template| template.render(values))
            .map_err(|error| RenderError {
                file: error.name().unwrap_or(file).to_owned(),
                line: error.line().unwrap_or_default(),
                problem: problem(&error),
            })
    }
}

impl Brand {
    /// A brand's own files, behind them those of the folder `default`, behind them the built-in ones.
    fn build(
        directory: Option<&Path>,
        name: &str,
        mut own: Files,
        behind: &Files,
    ) -> Result<Self, TemplateError> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        // What it would add to errors are the values, and some of them are secret.
        environment.set_debug(false);
        let mut origins = BTreeMap::new();
        for (file, built_in) in BUILT_IN {
            let path = |brand: &str| {
                let path = directory.unwrap_or(Path::new("")).join(brand).join(file);
                path.display().to_string()
            };
            let (origin, source) = match (own.remove(file), behind.get(file)) {
                (Some(source), _) => (path(name), source),
                (None, Some(source)) => (path(DEFAULT), source.clone()),
                (None, None) => (format!("built-in {file}"), built_in.to_owned()),
            };
            environment
                .add_template_owned(file, source)
                .map_err(|error| TemplateError::Broken {
                    file: origin.clone(),
                    line: error.line().unwrap_or_default(),
                    problem: problem(&error),
                })?;
            origins.insert(file.to_owned(), origin);
        }
        Ok(Self {
            environment,
            origins,
        })
    }
}

/// What went wrong, without the values that were given.
fn problem(error: &minijinja::Error) -> String {
    match (error.kind(), error.detail()) {
        (ErrorKind::InvalidOperation, Some(detail)) => detail.to_owned(),
        (kind, Some(detail)) => format!("{kind}: {detail}"),
        (kind, None) => kind.to_string(),
    }
}

fn read_folders(directory: &Path) -> Result<BTreeMap<String, Files>, TemplateError> {
    let mut folders = BTreeMap::new();
    for (name, path) in entries(directory)? {
        if path.is_dir() {
            if !is_brand(&name) {
                return Err(TemplateError::BrandName(path));
            }
            folders.insert(name, read_files(&path)?);
        }
    }
    Ok(folders)
}

fn read_files(folder: &Path) -> Result<Files, TemplateError> {
    let mut files = Files::new();
    for (name, path) in entries(folder)? {
        if BUILT_IN.iter().any(|(known, _)| *known == name) {
            let source = fs::read_to_string(&path)
                .map_err(|source| TemplateError::Unreadable { path, source })?;
            files.insert(name, source);
        } else if path
            .extension()
            .is_some_and(|extension| extension == "html" || extension == "txt")
        {
            let known = BUILT_IN.map(|(known, _)| known).join(", ");
            return Err(TemplateError::UnknownTemplate { path, known });
        }
    }
    Ok(files)
}

/// What a folder holds, but for hidden entries.
fn entries(folder: &Path) -> Result<Vec<(String, std::path::PathBuf)>, TemplateError> {
    let unreadable = |source| TemplateError::Unreadable {
        path: folder.to_owned(),
        source,
    };
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') {
            entries.push((name, entry.path()));
        }
    }
    Ok(entries)
}

/// `[a-z0-9_-]{1,32}`, so that no brand can be a path.
fn is_brand(name: &str) -> bool {
    let known = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-');
    (1..=32).contains(&name.len()) && name.bytes().all(known)
}

impl fmt::Debug for Brands {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.brands.keys()).finish()
    }
}

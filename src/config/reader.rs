use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::environment::Environment;
use super::file::File;
use super::{Said, Secret, values};
use crate::types::Invalid;

/// One thing that is wrong with the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    place: String,
    text: String,
}

impl Problem {
    pub(super) fn new(place: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            place: place.into(),
            text: text.into(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.text)
    }
}

/// Gives every key its value, out of the file and the environment. It remembers which keys were
/// asked for, so that it can tell in the end which ones nobody knows, and collects what is wrong
/// instead of stopping at the first.
pub(super) struct Reader<'a> {
    file: Option<&'a File>,
    environment: &'a Environment,
    sections: Vec<String>,
    keys: Vec<String>,
    secret_files: Vec<(String, PathBuf)>,
    problems: Vec<Problem>,
    said: Said,
}

impl<'a> Reader<'a> {
    pub fn new(file: Option<&'a File>, environment: &'a Environment) -> Self {
        Self {
            file,
            environment,
            sections: Vec::new(),
            keys: Vec::new(),
            secret_files: Vec::new(),
            problems: Vec::new(),
            said: Said::default(),
        }
    }

    /// The section with this dotted name.
    pub fn section(&mut self, name: &str) -> Section<'_, 'a> {
        self.sections.push(name.to_owned());
        Section {
            reader: self,
            name: name.to_owned(),
        }
    }

    /// The names of the tables in a section whose tables the operator names, in order. Names with dots are none: what
    /// they lead to could not be told from keys.
    pub fn tables(&mut self, section: &str) -> Vec<String> {
        self.sections.push(section.to_owned());
        let table = self.file.and_then(|file| file.get(section)?.as_table());
        let is_named = |(name, value): &(&String, &Value)| value.is_table() && !name.contains('.');
        let named = table.into_iter().flatten().filter(is_named);
        named.map(|(name, _)| name.clone()).collect()
    }

    /// The folder that systemd made for the server's data.
    pub fn state_directory(&self) -> Option<PathBuf> {
        self.environment.state_directory.clone()
    }

    /// The files that secrets were read from, each with the key it stands in or is named by.
    pub fn take_secret_files(&mut self) -> Vec<(String, PathBuf)> {
        std::mem::take(&mut self.secret_files)
    }

    /// Every key that was asked for, in order.
    pub fn into_keys(self) -> Vec<String> {
        self.keys
    }

    /// What is said of the keys; if anything is wrong, all of it, and what stands in the file or the environment and was
    /// never asked for too.
    pub fn finish(mut self) -> Result<Said, Vec<Problem>> {
        if let Some(file) = self.file {
            self.refuse_unknown_keys(file, "", file.content());
        }
        self.refuse_unknown_variables();
        if self.problems.is_empty() {
            Ok(self.said)
        } else {
            Err(self.problems)
        }
    }

    fn refuse_unknown_keys(&mut self, file: &File, prefix: &str, table: &Table) {
        for (name, value) in table {
            let key = format!("{prefix}{name}");
            let has_dot = name.contains('.');
            if !has_dot && self.keys.contains(&key) {
                continue;
            }
            let text = match value {
                _ if has_dot && self.keys.contains(&key) => {
                    format!("`{key}` is not a key: write it without quotes")
                }
                Value::Table(inner) if self.is_section(&key) => {
                    self.refuse_unknown_keys(file, &format!("{key}."), inner);
                    continue;
                }
                Value::Table(_) => {
                    let near = did_you_mean(nearest(&key, &self.sections));
                    format!("`{key}` is not a table{near}")
                }
                _ if self.is_section(&key) => {
                    format!("`{key}` must be a table: write `[{key}]`, and its keys below")
                }
                _ => {
                    let near = did_you_mean(nearest(&key, &self.keys));
                    format!("`{key}` is not a key{near}")
                }
            };
            self.problems.push(Problem::new(file.place(&key), text));
        }
    }

    fn refuse_unknown_variables(&mut self) {
        let known: Vec<String> = self
            .keys
            .iter()
            .map(|key| Environment::variable(key))
            .collect();
        for name in self
            .environment
            .keys
            .keys()
            .filter(|name| !known.contains(name))
        {
            // Of a whole section, no single key was meant.
            let is_section = |section: &String| Environment::variable(section) == *name;
            let near = if self.sections.iter().any(is_section) {
                String::new()
            } else {
                did_you_mean(nearest(name, &known))
            };
            self.problems.push(Problem::new(
                name,
                format!("this variable stands for no key{near}"),
            ));
        }
    }

    /// True for a section, and for a table that only holds sections.
    fn is_section(&self, key: &str) -> bool {
        self.sections.iter().any(|section| {
            section
                .strip_prefix(key)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        })
    }

    /// Where the value of a key comes from.
    fn place(&self, key: &str) -> String {
        let variable = Environment::variable(key);
        if self.environment.keys.contains_key(&variable) {
            return variable;
        }
        self.file
            .map_or_else(|| "configuration".to_owned(), |file| file.place(key))
    }

    /// The configuration file, if that is where a key has its value.
    fn path_of(&self, key: &str) -> Option<PathBuf> {
        let variable = Environment::variable(key);
        let file = self.file.filter(|file| file.get(key).is_some())?;
        let in_file = !self.environment.keys.contains_key(&variable);
        in_file.then(|| file.path().to_owned())
    }

    /// Notes a problem at the place of a key or table.
    pub fn refuse(&mut self, key: &str, text: String) {
        let place = self.place(key);
        self.problems.push(Problem::new(place, text));
    }

    /// The value of a key, if it has one and `parse` takes it.
    fn take<T>(&mut self, key: &str, parse: impl Fn(&Value) -> Result<T, Invalid>) -> Option<T> {
        let parsed = if let Some(setting) = self.environment.keys.get(&Environment::variable(key)) {
            let text = setting.text().ok_or(Invalid::expecting("UTF-8"));
            text.and_then(|text| {
                self.said.note(key, text);
                in_variable(text, parse)
            })
        } else {
            let value = self.file?.get(key)?;
            self.said.note(key, &value.to_string());
            parse(value)
        };
        match parsed {
            Ok(value) => Some(value),
            Err(expected) => {
                self.refuse(key, format!("`{key}` must be {expected}"));
                None
            }
        }
    }
}

/// What stands in a variable is TOML where it can be read as that, otherwise a text. A password like
/// `12345` is a number to TOML: what the key cannot use is tried as a text as well.
fn in_variable<T>(text: &str, parse: impl Fn(&Value) -> Result<T, Invalid>) -> Result<T, Invalid> {
    let as_text = Value::String(text.to_owned());
    match text.parse::<Value>() {
        Ok(value) => parse(&value).or_else(|refused| parse(&as_text).map_err(|_| refused)),
        Err(_) => parse(&as_text),
    }
}

/// One section while it is read.
pub(super) struct Section<'r, 'a> {
    reader: &'r mut Reader<'a>,
    name: String,
}

impl Section<'_, '_> {
    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.name)
    }

    /// The value of a key; the default where it is absent, or wrong, which is then noted.
    pub fn value<T>(
        &mut self,
        name: &str,
        default: T,
        parse: impl Fn(&Value) -> Result<T, Invalid>,
    ) -> T {
        self.optional(name, parse).unwrap_or(default)
    }

    /// The value of a key that may be absent.
    pub fn optional<T>(
        &mut self,
        name: &str,
        parse: impl Fn(&Value) -> Result<T, Invalid>,
    ) -> Option<T> {
        let key = self.key(name);
        let value = self.reader.take(&key, parse);
        self.reader.keys.push(key);
        value
    }

    /// The value of a key that must have one.
    pub fn required<T>(
        &mut self,
        name: &str,
        parse: impl Fn(&Value) -> Result<T, Invalid>,
    ) -> Option<T> {
        let is_set = self.is_set(name);
        let value = self.optional(name, parse);
        if !is_set {
            let text = format!("`{}` needs `{name}`", self.name);
            self.reader.refuse(&self.name, text);
        }
        value
    }

    /// A secret: in the key itself, in the file that its `_file` twin names, or in the systemd
    /// credential that is called like the key. Two of these at once are refused, since nobody could
    /// tell which one is meant.
    pub fn secret(&mut self, name: &str) -> Option<Secret> {
        let (key, twin) = (self.key(name), self.key(&format!("{name}_file")));
        let credential = self.credential(&key);
        let mut sources = Vec::new();
        for key in [&key, &twin] {
            if self.is_set_at(key) {
                sources.push(self.reader.place(key));
            }
        }
        if credential.is_some() {
            sources.push("the systemd credential".to_owned());
        }
        let inline = self.optional(name, values::secret);
        let file = self.optional(&format!("{name}_file"), values::path);
        if sources.len() > 1 {
            let sources = sources.join(", ");
            self.reader.refuse(
                &key,
                format!("`{key}` is set more than once ({sources}): keep one"),
            );
            return None;
        }
        if inline.is_some()
            && let Some(path) = self.reader.path_of(&key)
        {
            self.reader.secret_files.push((key.clone(), path));
        }
        match (
            inline,
            file.map(|path| (twin, path))
                .or(credential.map(|path| (key, path))),
        ) {
            (Some(secret), _) => Some(secret),
            (None, Some((key, path))) => self.secret_in(&key, &path),
            (None, None) => None,
        }
    }

    /// The path of a file: what the key says, else the systemd credential that is called like the key.
    pub fn file(&mut self, name: &str) -> Option<PathBuf> {
        let credential = self.credential(&self.key(name));
        self.optional(name, values::path).or(credential)
    }

    /// True if a file is named in one of the ways there are, rightly or wrongly.
    pub fn has_file(&self, name: &str) -> bool {
        self.is_set(name) || self.credential(&self.key(name)).is_some()
    }

    fn secret_in(&mut self, key: &str, path: &Path) -> Option<Secret> {
        let problem = match fs::read_to_string(path).map(Secret::new) {
            Ok(content) => {
                let line = content.expose().trim_end_matches(['\r', '\n']);
                if !line.is_empty() && !line.contains(char::is_control) {
                    self.reader.said.note(key, line);
                    let found = (key.to_owned(), path.to_owned());
                    self.reader.secret_files.push(found);
                    return Some(Secret::new(line.to_owned()));
                }
                "it must hold one line".to_owned()
            }
            Err(error) => format!("cannot read it: {error}"),
        };
        self.reader.refuse(
            key,
            format!("`{key}` is the file {}: {problem}", path.display()),
        );
        None
    }

    /// True if a secret is given in any of the ways there are, right or wrong.
    pub fn has_secret(&self, name: &str) -> bool {
        self.is_set(name)
            || self.is_set(&format!("{name}_file"))
            || self.credential(&self.key(name)).is_some()
    }

    /// The systemd credential that is called like the key.
    fn credential(&self, key: &str) -> Option<PathBuf> {
        let directory = self.reader.environment.credentials_directory.as_ref()?;
        Some(directory.join(key)).filter(|path| path.exists())
    }

    /// True if the key has a value, right or wrong.
    pub fn is_set(&self, name: &str) -> bool {
        self.is_set_at(&self.key(name))
    }

    fn is_set_at(&self, key: &str) -> bool {
        self.reader
            .environment
            .keys
            .contains_key(&Environment::variable(key))
            || self.reader.file.is_some_and(|file| file.get(key).is_some())
    }

    /// Notes that a key does not go together with others; the text follows the key's name.
    pub fn refuse(&mut self, name: &str, text: &str) {
        let key = self.key(name);
        self.reader.refuse(&key, format!("`{key}` {text}"));
    }

    /// The same of a key of another section, given by its dotted name.
    pub fn refuse_elsewhere(&mut self, key: &str, text: &str) {
        self.reader.refuse(key, format!("`{key}` {text}"));
    }
}

fn did_you_mean(near: Option<&String>) -> String {
    near.map(|near| format!("; did you mean `{near}`?"))
        .unwrap_or_default()
}

/// The known name that was most likely meant: one a few letters away, else one that ends alike.
fn nearest<'k>(name: &str, known: &'k [String]) -> Option<&'k String> {
    let last = |text: &str| text.rsplit(['.', '_']).next().map(str::to_owned);
    // In a short name, three letters are all there is.
    let limit = (name.chars().count() / 3).min(3);
    known
        .iter()
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
        .or_else(|| known.iter().find(|candidate| last(candidate) == last(name)))
}

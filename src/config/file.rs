use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};
use toml::{Table, Value};

use super::Problem;

/// A configuration file that was read: its content, and where each key stands in it.
pub(super) struct File {
    path: PathBuf,
    content: Table,
    lines: BTreeMap<String, usize>,
}

impl File {
    /// Reads TOML.
    ///
    /// # Errors
    /// Every error of syntax that was found, each with its place.
    pub fn parse(path: &Path, text: &str) -> Result<Self, Vec<Problem>> {
        let (positions, mut errors) = DeTable::parse_recoverable(text);
        errors.sort_by_key(|error| error.span().map(|span| span.start));
        let refused = |error: &toml::de::Error| {
            let (line, column) = position(text, error.span().map_or(0, |span| span.start));
            // Not the error's own text, which quotes the line: it may hold a password.
            let message = error.message().lines().collect::<Vec<_>>().join(" ");
            Problem::new(
                format!("{}:{line}:{column}", path.display()),
                format!("not valid TOML: {message}"),
            )
        };
        if !errors.is_empty() {
            return Err(errors.iter().map(refused).collect());
        }
        let content = toml::from_str(text).map_err(|error| vec![refused(&error)])?;
        let mut lines = BTreeMap::new();
        note_lines(&mut lines, "", positions.get_ref(), text);
        Ok(Self {
            path: path.to_owned(),
            content,
            lines,
        })
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The whole content.
    pub fn content(&self) -> &Table {
        &self.content
    }

    /// The value of a dotted key.
    pub fn get(&self, key: &str) -> Option<&Value> {
        let (sections, name) = key.rsplit_once('.').unwrap_or(("", key));
        let mut table = &self.content;
        for section in sections.split('.').filter(|section| !section.is_empty()) {
            table = table.get(section)?.as_table()?;
        }
        table.get(name)
    }

    /// Where a key stands: file and line; the file alone for a key that is not in it.
    pub fn place(&self, key: &str) -> String {
        match self.lines.get(key) {
            Some(line) => format!("{}:{line}", self.path.display()),
            None => self.path.display().to_string(),
        }
    }
}

fn note_lines(lines: &mut BTreeMap<String, usize>, prefix: &str, table: &DeTable<'_>, text: &str) {
    for (name, value) in table {
        let key = format!("{prefix}{}", name.get_ref());
        if let DeValue::Table(inner) = value.get_ref() {
            note_lines(lines, &format!("{key}."), inner, text);
        }
        lines.insert(key, position(text, name.span().start).0);
    }
}

/// Line and column of a byte, both counted from 1.
fn position(text: &str, byte: usize) -> (usize, usize) {
    let before = text.get(..byte).unwrap_or(text);
    let line = before.matches('\n').count().saturating_add(1);
    let column = before
        .rsplit('\n')
        .next()
        .map_or(0, |start| start.chars().count());
    (line, column.saturating_add(1))
}

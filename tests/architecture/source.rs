//! Reads Rust as far as paths are concerned.

use std::collections::BTreeSet;

/// A source file: the module it belongs to, and its text without comments, strings and tests.
pub struct Source {
    pub path: String,
    /// From the top: `["config", "server"]` for `src/config/server.rs`.
    pub module: Vec<String>,
    code: String,
}

impl Source {
    pub fn new(path: &str, text: &str) -> Self {
        let inner = path.trim_start_matches("src/").trim_end_matches(".rs");
        let module = match inner {
            "lib" => Vec::new(),
            inner => inner.split('/').map(str::to_owned).collect(),
        };
        Self {
            path: path.to_owned(),
            module,
            code: without_tests(&code_of(text)),
        }
    }

    /// The module at the top that it belongs to.
    pub fn top(&self) -> &str {
        self.module.first().map_or("lib", String::as_str)
    }

    /// The paths that stand in the code, from `crate` on where they are ours: `crate::types::Email`,
    /// `sled::Db`.
    pub fn paths(&self) -> BTreeSet<String> {
        let mut paths = BTreeSet::new();
        let mut modules = self.module.clone();
        let mut closing = Vec::new();
        let mut depth = 0_usize;
        let words = words_of(&self.code);
        let mut at = 0;
        while let Some(word) = words.get(at) {
            match word.as_str() {
                "{" => depth += 1,
                "}" => {
                    if closing.last() == Some(&depth) {
                        closing.pop();
                        modules.pop();
                    }
                    depth = depth.saturating_sub(1);
                }
                "mod" if words.get(at + 2).is_some_and(|next| next == "{") => {
                    modules.push(words[at + 1].clone());
                    closing.push(depth + 1);
                }
                _ => {}
            }
            let starts = is_name(word) && words.get(at + 1).is_some_and(|next| next == "::");
            let continues = at > 0 && words[at - 1] == "::";
            let is_use = at > 0 && words[at - 1] == "use";
            if (starts || is_use) && is_name(word) && !continues {
                let (found, next) = path_at(&words, at);
                paths.extend(found.iter().filter_map(|path| absolute(path, &modules)));
                // The braces of a group were read with the path.
                at = next;
            } else {
                at += 1;
            }
        }
        paths
    }
}

/// The path from `crate` on; none for one that stays where it is.
fn absolute(path: &str, module: &[String]) -> Option<String> {
    let mut here = module.to_vec();
    let mut parts = path.split("::").peekable();
    match parts.peek().copied() {
        Some("self" | "super") => {}
        Some("Self") => return None,
        _ => return Some(path.to_owned()),
    }
    while let Some(&part) = parts.peek() {
        match part {
            "self" => {}
            "super" => {
                here.pop();
            }
            _ => break,
        }
        parts.next();
    }
    here.insert(0, "crate".to_owned());
    here.extend(parts.map(str::to_owned));
    Some(here.join("::"))
}

/// The paths that start at this word, a group in braces being several, and the word after them.
fn path_at(words: &[String], start: usize) -> (Vec<String>, usize) {
    let mut prefix = String::new();
    let mut at = start;
    loop {
        match words.get(at).map(String::as_str) {
            Some("{") => {
                let mut paths = Vec::new();
                at += 1;
                while let Some(word) = words.get(at) {
                    match word.as_str() {
                        "}" => return (paths, at + 1),
                        "," => at += 1,
                        _ => {
                            let (inner, next) = path_at(words, at);
                            // In a group, `self` is what stands before it.
                            let whole = |path: String| match path.as_str() {
                                "self" => prefix.trim_end_matches("::").to_owned(),
                                path => format!("{prefix}{path}"),
                            };
                            paths.extend(inner.into_iter().map(whole));
                            at = next.max(at + 1);
                        }
                    }
                }
                return (paths, at);
            }
            Some(word) if is_name(word) || word == "*" => {
                prefix.push_str(word);
                at += 1;
            }
            _ => return (vec![prefix.trim_end_matches("::").to_owned()], at),
        }
        if words.get(at).is_some_and(|word| word == "::") {
            prefix.push_str("::");
            at += 1;
        } else {
            // `as name` is no part of the path, but it is of the item in a group.
            if words.get(at).is_some_and(|word| word == "as") {
                at += 2;
            }
            return (vec![prefix], at);
        }
    }
}

fn is_name(word: &str) -> bool {
    word.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Names, `::`, and single signs.
fn words_of(code: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut name = String::new();
    let mut characters = code.chars().peekable();
    while let Some(c) = characters.next() {
        if c.is_alphanumeric() || c == '_' {
            name.push(c);
            continue;
        }
        if !name.is_empty() {
            words.push(std::mem::take(&mut name));
        }
        if c == ':' && characters.peek() == Some(&':') {
            characters.next();
            words.push("::".to_owned());
        } else if !c.is_whitespace() {
            words.push(c.to_string());
        }
    }
    words.extend((!name.is_empty()).then_some(name));
    words
}

/// The text without comments and without what stands in quotes.
fn code_of(text: &str) -> String {
    let mut code = String::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some(length) = raw_string(rest).filter(|_| !code.ends_with(is_part_of_name)) {
            length
        } else if c == '"' {
            quoted(rest)
        } else if c == '\'' {
            character(rest)
        } else {
            0
        };
        if skipped == 0 {
            code.push(c);
            rest = &rest[c.len_utf8()..];
        } else {
            code.push(' ');
            rest = &rest[skipped..];
        }
    }
    code
}

fn is_part_of_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// How long the raw string is that starts here.
fn raw_string(text: &str) -> Option<usize> {
    let after = text.strip_prefix("br").or_else(|| text.strip_prefix('r'))?;
    let hashes = after.len() - after.trim_start_matches('#').len();
    let body = after[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let length = body.find(&end).map_or(body.len(), |at| at + end.len());
    Some(text.len() - body.len() + length)
}

/// How long the string is that starts here.
fn quoted(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// How long the character literal is that starts here; nothing for a lifetime.
fn character(text: &str) -> usize {
    let mut inner = text.chars().skip(1);
    match (inner.next(), inner.next()) {
        (Some('\\'), _) => text[2..].find('\'').map_or(0, |end| {
            // A quote that is itself escaped ends one later.
            if end == 0 { 4 } else { end + 3 }
        }),
        (Some(c), Some('\'')) => c.len_utf8() + 2,
        _ => 0,
    }
}

/// The code up to its unit tests, which may name what they like.
fn without_tests(code: &str) -> String {
    let tests = code
        .find("#[cfg(test)]\nmod tests {")
        .or_else(|| code.find("#[cfg(test)]\r\nmod tests {"));
    code[..tests.unwrap_or(code.len())].to_owned()
}

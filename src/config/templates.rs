use std::path::PathBuf;

/// `[templates]`: where texts and pages come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Templates {
    /// A folder whose files take the place of built-in ones, file by file.
    pub directory: Option<PathBuf>,
    /// The brand of requests that name none that is known.
    pub default_brand: String,
    /// The language of requests that ask for none that is known.
    pub default_language: String,
}

impl Default for Templates {
    fn default() -> Self {
        Self {
            directory: None,
            default_brand: "default".to_owned(),
            default_language: "en".to_owned(),
        }
    }
}

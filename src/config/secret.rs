use std::fmt;

use subtle::ConstantTimeEq as _;
use zeroize::Zeroize as _;

/// A secret setting, such as a password. It shows itself only through [`Secret::expose`], and is wiped
/// when dropped.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// A secret with this content.
    pub const fn new(content: String) -> Self {
        Self(content)
    }

    /// The content, for whoever has to send it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}

impl Eq for Secret {}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

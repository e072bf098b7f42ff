use super::Invalid;
/// placeholder
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Email(String);
impl Email {
    /// placeholder
    /// # Errors
    /// placeholder
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        Ok(Self(text.to_owned()))
    }
    /// placeholder
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

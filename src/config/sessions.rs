use std::time::Duration;

/// `[sessions]`: how long validation sessions live, and how often a token may be tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sessions {
    /// How long the owner of an e-mail address has to confirm it.
    pub email_lifetime: Duration,
    /// How long a validated session is good for, from the moment of validation.
    pub validated_lifetime: Duration,
    /// How many wrong tokens burn an e-mail session; at least 1.
    pub email_tries: u32,
}

impl Default for Sessions {
    fn default() -> Self {
        let day = Duration::from_hours(24);
        Self {
            email_lifetime: day,
            validated_lifetime: day,
            email_tries: 10,
        }
    }
}

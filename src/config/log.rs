/// `[log]`: what is logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// Which messages, in the filter syntax of `env_logger`.
    pub level: String,
    /// Whether the line of a request has the client's address.
    pub client_ip: bool,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            level: "info".to_owned(),
            client_ip: true,
        }
    }
}

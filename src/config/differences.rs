use super::Config;

impl Config {
    /// The keys whose values differ; of the terms, whose policies have names of their own, the table.
    pub fn differences(&self, other: &Self) -> Vec<&'static str> {
        let all = self.compare(other);
        let differing = all.into_iter().filter(|(_, differs)| *differs);
        differing.map(|(key, _)| key).collect()
    }

    /// Every key there is, which a test makes sure of, and whether it differs.
    #[expect(clippy::too_many_lines, reason = "a list of keys")]
    fn compare(&self, other: &Self) -> Vec<(&'static str, bool)> {
        vec![
            ("server.name", self.server.name != other.server.name),
            (
                "server.aliases",
                self.server.aliases != other.server.aliases,
            ),
            (
                "server.public_url",
                self.server.public_url != other.server.public_url,
            ),
            ("server.listen", self.server.listen != other.server.listen),
            (
                "server.workers",
                self.server.workers != other.server.workers,
            ),
            ("store.path", self.store.path != other.store.path),
            ("store.cache", self.store.cache != other.store.cache),
            ("api.max_body", self.api.max_body != other.api.max_body),
            (
                "api.max_requests",
                self.api.max_requests != other.api.max_requests,
            ),
            (
                "api.next_link_hosts",
                self.api.next_link_hosts != other.api.next_link_hosts,
            ),
            ("keys.file", self.keys.file != other.keys.file),
            ("keys.secret", self.keys.secret != other.keys.secret),
            (
                "email.transport",
                self.email.transport != other.email.transport,
            ),
            (
                "email.directory",
                self.email.directory != other.email.directory,
            ),
            ("email.from", self.email.from != other.email.from),
            (
                "email.reply_to",
                self.email.reply_to != other.email.reply_to,
            ),
            (
                "email.smtp.host",
                self.email.smtp.host != other.email.smtp.host,
            ),
            (
                "email.smtp.port",
                self.email.smtp.port != other.email.smtp.port,
            ),
            (
                "email.smtp.security",
                self.email.smtp.security != other.email.smtp.security,
            ),
            (
                "email.smtp.username",
                self.email.smtp.username != other.email.smtp.username,
            ),
            (
                "email.smtp.password",
                self.email.smtp.password != other.email.smtp.password,
            ),
            (
                "email.smtp.hello_name",
                self.email.smtp.hello_name != other.email.smtp.hello_name,
            ),
            (
                "email.smtp.ca_file",
                self.email.smtp.ca_file != other.email.smtp.ca_file,
            ),
            (
                "email.smtp.timeout",
                self.email.smtp.timeout != other.email.smtp.timeout,
            ),
            (
                "federation.dns",
                self.federation.dns != other.federation.dns,
            ),
            (
                "federation.ca_file",
                self.federation.ca_file != other.federation.ca_file,
            ),
            (
                "federation.deny_ips",
                self.federation.deny_ips != other.federation.deny_ips,
            ),
            (
                "federation.allow_ips",
                self.federation.allow_ips != other.federation.allow_ips,
            ),
            (
                "federation.timeout",
                self.federation.timeout != other.federation.timeout,
            ),
            (
                "federation.max_response",
                self.federation.max_response != other.federation.max_response,
            ),
            (
                "sessions.email_tries",
                self.sessions.email_tries != other.sessions.email_tries,
            ),
            (
                "accounts.idle_expiry",
                self.accounts.idle_expiry != other.accounts.idle_expiry,
            ),
            (
                "accounts.expiry",
                self.accounts.expiry != other.accounts.expiry,
            ),
            (
                "associations.lifetime",
                self.associations.lifetime != other.associations.lifetime,
            ),
            (
                "lookup.algorithms",
                self.lookup.algorithms != other.lookup.algorithms,
            ),
            (
                "lookup.max_addresses",
                self.lookup.max_addresses != other.lookup.max_addresses,
            ),
            ("lookup.grace", self.lookup.grace != other.lookup.grace),
            ("terms", self.terms != other.terms),
            (
                "templates.directory",
                self.templates.directory != other.templates.directory,
            ),
            (
                "templates.default_brand",
                self.templates.default_brand != other.templates.default_brand,
            ),
            (
                "limits.enabled",
                self.limits.enabled != other.limits.enabled,
            ),
            (
                "limits.requests_by_ip",
                self.limits.requests_by_ip != other.limits.requests_by_ip,
            ),
            (
                "limits.register_by_ip",
                self.limits.register_by_ip != other.limits.register_by_ip,
            ),
            (
                "limits.email_by_ip",
                self.limits.email_by_ip != other.limits.email_by_ip,
            ),
            (
                "limits.unbinds_by_ip",
                self.limits.unbinds_by_ip != other.limits.unbinds_by_ip,
            ),
            (
                "limits.lookups_by_ip",
                self.limits.lookups_by_ip != other.limits.lookups_by_ip,
            ),
            (
                "metrics.listen",
                self.metrics.listen != other.metrics.listen,
            ),
            ("admin.socket", self.admin.socket != other.admin.socket),
            ("log.level", self.log.level != other.log.level),
            ("log.format", self.log.format != other.log.format),
            ("log.client_ip", self.log.client_ip != other.log.client_ip),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_there_is_can_be_named() {
        let config = Config::default();
        let mut compared: Vec<&str> = config
            .compare(&config)
            .into_iter()
            .map(|(key, differs)| {
                assert!(!differs, "{key}");
                key
            })
            .filter(|key| *key != "terms")
            .collect();
        let mut known: Vec<String> = Config::keys();
        // A secret and its file are one setting.
        known.retain(|key| !key.ends_with("password_file"));
        compared.sort_unstable();
        known.sort();
        assert_eq!(compared, known);
    }

    #[test]
    fn what_differs_is_named_by_its_key() {
        let config = Config::default();
        let mut other = Config::default();
        assert!(config.differences(&other).is_empty());
        other.api.max_requests += 1;
        other.log.client_ip = false;
        other.email.smtp.port = 1;
        assert_eq!(
            config.differences(&other),
            ["api.max_requests", "email.smtp.port", "log.client_ip"]
        );
    }
}

//! The catalogue of rules: what a finding says, without where and when.

use super::Severity;

/// What a detector looks for, and what is told of it.
#[derive(Debug)]
pub(super) struct Rule {
    /// Name; part of the id of a finding, so it never changes.
    pub(super) name: &'static str,
    /// One line.
    pub(super) title: &'static str,
    /// How bad, unless the evidence says otherwise.
    pub(super) severity: Severity,
    /// OWASP API Security Top 10 2023.
    pub(super) owasp: &'static str,
    /// Common Weakness Enumeration number.
    pub(super) cwe: Option<u32>,
    /// What it means.
    pub(super) description: &'static str,
    /// How to fix it.
    pub(super) remediation: &'static str,
}

/// Personal or secret data for whoever asks.
pub(super) static UNAUTHENTICATED_SENSITIVE_DATA: Rule = Rule {
    name: "unauthenticated-sensitive-data",
    title: "Sensitive data is answered without authentication",
    severity: Severity::High,
    owasp: "API2:2023",
    cwe: Some(306),
    description: "A request without any credential was answered successfully, and the \
                  response holds personal or secret data. Whoever reaches the service can \
                  read it.",
    remediation: "Require authentication for this endpoint, check that the caller may see \
                  the record, and leave fields out of the response that no caller needs.",
};

/// Credentials that can be read on the way.
pub(super) static PLAINTEXT_CREDENTIALS: Rule = Rule {
    name: "plaintext-credentials",
    title: "Credentials are sent without TLS",
    severity: Severity::High,
    owasp: "API8:2023",
    cwe: Some(319),
    description: "A credential went over a connection that is not encrypted. Whoever can \
                  listen on the way can take and use it.",
    remediation: "Serve the endpoint over TLS only, redirect or refuse plaintext requests, \
                  and replace the credentials that were sent.",
};

/// Secrets where logs and histories keep them.
pub(super) static SECRET_IN_URL: Rule = Rule {
    name: "secret-in-url",
    title: "A secret is part of the URL",
    severity: Severity::Medium,
    owasp: "API8:2023",
    cwe: Some(598),
    description: "A password, key or token is in the path or the query of a request. URLs \
                  are kept in access logs, proxies, browser histories and Referer fields.",
    remediation: "Send secrets in the Authorization field or in the body, and replace those \
                  that were sent in URLs.",
};

/// The password in every request.
pub(super) static BASIC_AUTH: Rule = Rule {
    name: "basic-auth",
    title: "HTTP Basic authentication is in use",
    severity: Severity::Low,
    owasp: "API2:2023",
    cwe: Some(522),
    description: "The user's password itself goes with every request, protected by nothing \
                  but the connection. It neither expires nor can be limited.",
    remediation: "Use short-lived tokens of limited scope, e.g. OAuth 2.0, or client \
                  certificates between services.",
};

/// Tokens that anyone can make.
pub(super) static JWT_ALG_NONE: Rule = Rule {
    name: "jwt-alg-none",
    title: "An unsigned JSON web token was sent",
    severity: Severity::Critical,
    owasp: "API2:2023",
    cwe: Some(347),
    description: "A request carried a JSON web token whose algorithm is `none`. Where such a \
                  token is accepted, anyone can claim to be anyone.",
    remediation: "Verify tokens with a fixed list of algorithms and refuse all others; find \
                  out who sent the token.",
};

/// The inside of a server on its outside.
pub(super) static VERBOSE_ERROR: Rule = Rule {
    name: "verbose-error",
    title: "Error responses show the inside of the server",
    severity: Severity::Medium,
    owasp: "API8:2023",
    cwe: Some(209),
    description: "A response holds a stack trace or a message of a database. It tells \
                  attackers of code, versions and queries, and may show an injection.",
    remediation: "Log the details and answer with a general message and an id; turn debug \
                  mode off in production.",
};

/// Many failures at once.
pub(super) static ERROR_RATE_SPIKE: Rule = Rule {
    name: "error-rate-spike",
    title: "Server errors rose suddenly",
    severity: Severity::Medium,
    // No entry of the list is about failures. Exhaustion is what most often makes an
    // endpoint fail all at once, hence API4 (unrestricted resource consumption).
    owasp: "API4:2023",
    cwe: None,
    description: "A large share of the calls of this endpoint was answered 5xx within a \
                  minute, many times more than before: an outage, an overload or input \
                  that the server cannot cope with.",
    remediation: "Look at the logs and the latest deployment of the service; limit rates and \
                  validate input where clients cause the errors.",
};

/// Someone looks for what is not linked.
pub(super) static NOT_FOUND_SCAN: Rule = Rule {
    name: "not-found-scan",
    title: "A client tries paths that do not exist",
    severity: Severity::Medium,
    // Scans look for what is deployed and forgotten: API9, improper inventory.
    owasp: "API9:2023",
    cwe: Some(200),
    description: "One client asked for many different paths, and nearly all were answered \
                  404: it searches for forgotten endpoints, files or known weaknesses.",
    remediation: "Limit or block the client, and see which of its requests were not \
                  answered 404.",
};

/// Every rule.
static ALL: [&Rule; 8] = [
    &UNAUTHENTICATED_SENSITIVE_DATA,
    &PLAINTEXT_CREDENTIALS,
    &SECRET_IN_URL,
    &BASIC_AUTH,
    &JWT_ALG_NONE,
    &VERBOSE_ERROR,
    &ERROR_RATE_SPIKE,
    &NOT_FOUND_SCAN,
];

impl Rule {
    /// The rule of this name; a store may hold findings of rules that are gone.
    pub(super) fn named(name: &str) -> Option<&'static Self> {
        ALL.into_iter().find(|rule| rule.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_is_complete_and_found_by_its_name() {
        for rule in ALL {
            assert!(std::ptr::eq(Rule::named(rule.name).unwrap(), rule), "{}", rule.name);
            assert!(rule.owasp.starts_with("API") && rule.owasp.ends_with(":2023"));
            for text in [rule.title, rule.description, rule.remediation] {
                assert!(text.len() > 10 && !text.contains("  "), "{text:?}");
            }
        }
        assert!(Rule::named("").is_none());
    }
}

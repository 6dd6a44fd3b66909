//! How a request says who it comes from.

use serde::{Deserialize, Serialize};

/// Authentication scheme that a request carried.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuthScheme {
    /// No credential was recognised.
    None,
    /// `Authorization: Basic` (RFC 7617).
    Basic,
    /// `Authorization: Digest` (RFC 7616).
    Digest,
    /// `Authorization: Bearer` with an opaque token (RFC 6750).
    Bearer,
    /// A JSON web token (RFC 7519), as bearer token or elsewhere.
    Jwt,
    /// An API key in a header.
    ApiKeyHeader,
    /// An API key in the query.
    ApiKeyQuery,
    /// A session cookie.
    Cookie,
    /// `Authorization: Negotiate` or `NTLM`.
    Negotiate,
    /// AWS Signature Version 4.
    AwsSigV4,
    /// Another scheme of the `Authorization` field.
    Other,
}

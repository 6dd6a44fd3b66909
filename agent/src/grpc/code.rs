//! Status codes (<https://github.com/grpc/grpc/blob/master/doc/statuscodes.md>).

use serde::{Deserialize, Serialize};

/// How a call ended, as its server says: `grpc-status`.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Code(pub u32);

/// What a code is called that has no name.
const OTHER: &str = "_OTHER";

impl Code {
    /// The names, in the order of their codes.
    const NAMES: [&str; 17] = [
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    ];

    /// Stands for all codes that have no name.
    pub const OTHER: Self = Self(u32::MAX);

    /// Itself, or [`Self::OTHER`]: one of 18.
    #[must_use]
    pub fn named(self) -> Self {
        if usize::try_from(self.0).is_ok_and(|code| code < Self::NAMES.len()) {
            self
        } else {
            Self::OTHER
        }
    }

    /// Its name: OpenTelemetry `rpc.response.status_code`. Codes that have none share one, so
    /// that there are 18 at most.
    pub fn as_str(self) -> &'static str {
        let index = usize::try_from(self.0).unwrap_or(usize::MAX);
        Self::NAMES.get(index).copied().unwrap_or(OTHER)
    }

    /// Whether the call failed.
    pub const fn is_error(self) -> bool {
        self.0 != 0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn codes_have_the_names_of_the_protocol() {
        assert_eq!(Code(0).as_str(), "OK");
        assert_eq!(Code(16).as_str(), "UNAUTHENTICATED");
        assert_eq!(Code(17).as_str(), "_OTHER");
        assert_eq!(Code(u32::MAX).as_str(), "_OTHER");
        assert!(!Code(0).is_error() && Code(1).is_error());
        assert_eq!((Code(16).named(), Code(17).named()), (Code(16), Code::OTHER));
    }

    #[test]
    fn codes_can_be_stored_as_keys() {
        let calls = BTreeMap::from([(Code(0), 2_u64), (Code::OTHER, 1)]);
        let stored = serde_json::to_string(&calls).unwrap();
        assert_eq!(stored, r#"{"0":2,"4294967295":1}"#);
        assert_eq!(serde_json::from_str::<BTreeMap<Code, u64>>(&stored).unwrap(), calls);
    }
}

//! Status codes (<https://github.com/grpc/grpc/blob/master/doc/statuscodes.md>).

use serde::{Deserialize, Serialize};

/// How a call ended, as its server says: `grpc-status`.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Code(u32);

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

    /// The code of a number: one of 18.
    pub fn new(number: u32) -> Self {
        let named = usize::try_from(number).is_ok_and(|code| code < Self::NAMES.len());
        if named { Self(number) } else { Self::OTHER }
    }

    /// Its name: OpenTelemetry `rpc.response.status_code`.
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
        assert_eq!(Code::new(0).as_str(), "OK");
        assert_eq!(Code::new(16).as_str(), "UNAUTHENTICATED");
        assert_eq!((Code::new(17), Code::new(u32::MAX)), (Code::OTHER, Code::OTHER));
        assert_eq!(Code::OTHER.as_str(), "_OTHER");
        assert!(!Code::new(0).is_error() && Code::new(1).is_error() && Code::OTHER.is_error());
    }

    #[test]
    fn codes_can_be_stored_as_keys() {
        let calls = BTreeMap::from([(Code::new(0), 2_u64), (Code::OTHER, 1)]);
        let stored = serde_json::to_string(&calls).unwrap();
        assert_eq!(stored, r#"{"0":2,"4294967295":1}"#);
        assert_eq!(serde_json::from_str::<BTreeMap<Code, u64>>(&stored).unwrap(), calls);
    }
}

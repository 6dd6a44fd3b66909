//! Schemas learned from bodies: streaming, mergeable, bounded, without values.

use serde::{Deserialize, Serialize};

/// What is known of the values at one place of a body.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Schema {}

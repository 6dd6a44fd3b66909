//! What the kernel programs and the agent must agree on: records, map values,
//! counters and limits. No logic, no allocation, no standard library.
//!
//! Every type that crosses the boundary is `repr(C)` and [`bytemuck::Pod`]:
//! explicit padding, no enums, no `bool`, so that any bit pattern is a value.

#![no_std]

pub mod counter;
pub mod layout;
pub mod limits;
pub mod record;
pub mod scope;
pub mod state;

/// aya reads and writes maps of these types.
#[cfg(feature = "user")]
mod user {
    use crate::{
        layout::Layout,
        scope::{FileKey, ScopeEntry},
        state::{FlowState, SessionKey},
    };

    // SAFETY: `bytemuck::Pod` holds for the type, which is a stronger claim.
    unsafe impl aya::Pod for Layout {}
    // SAFETY: as above.
    unsafe impl aya::Pod for FileKey {}
    // SAFETY: as above.
    unsafe impl aya::Pod for ScopeEntry {}
    // SAFETY: as above.
    unsafe impl aya::Pod for FlowState {}
    // SAFETY: as above.
    unsafe impl aya::Pod for SessionKey {}
}

//! The kernel side of apiscope: decide, copy, count.
//!
//! Every program first checks that the current process is in scope, and reads
//! nothing of it before. Programs never write to the memory of a process.

#![no_std]
#![no_main]
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_possible_wrap,
    reason = "kernel registers are wider than what they carry; each cast is bounded beside it"
)]
#![expect(
    clippy::inline_always,
    reason = "a call costs the verifier's patience and one of eight stack frames"
)]
#![expect(clippy::needless_pass_by_value, reason = "the aya macros pass the context by value")]
#![expect(
    clippy::needless_borrows_for_generic_args,
    reason = "map helpers take addresses; a key passed by value is copied to make one"
)]

mod budget;
mod capture;
mod ciphertext;
mod classify;
mod datagram;
mod emit;
mod frames;
mod kernel;
mod maps;
mod probes;
mod registers;
mod scope;
mod settings;
mod socket;
mod steps;

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

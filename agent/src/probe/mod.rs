//! Loads and attaches the kernel programs: the only user of aya.

mod object;

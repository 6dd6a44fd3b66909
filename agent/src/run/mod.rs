//! Builds the stages, owns their tasks and their end.

pub mod capture;
pub mod child;

//! The nouns: ids, names, values, limits, events. No I/O, no async, no clock, no randomness.

#![forbid(unsafe_code)]

pub mod arn;
pub mod function;
pub mod ids;
pub mod invocation;
pub mod limits;
pub mod names;
pub mod principal;
pub mod runtime;
pub mod usage;

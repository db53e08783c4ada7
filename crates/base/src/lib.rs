//! Tools without domain words: clock, entropy, stop, backoff, error chain, sizes.

#![forbid(unsafe_code)]

pub mod backoff;
pub mod chain;
pub mod entropy;
pub mod sizes;
pub mod stop;
pub mod time;

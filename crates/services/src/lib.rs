//! Every public operation: authorize, ask, answer.

#![forbid(unsafe_code)]

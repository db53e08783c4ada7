//! Who may do what: pure evaluation.

#![forbid(unsafe_code)]

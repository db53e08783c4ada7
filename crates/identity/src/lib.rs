//! Accounts, access keys, credentials of functions.

#![forbid(unsafe_code)]

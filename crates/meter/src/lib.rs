//! Usage facts: recorded without ever blocking an invocation.

#![forbid(unsafe_code)]

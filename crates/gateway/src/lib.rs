//! The door: listeners, authentication, limits, the AWS API over HTTP.

#![forbid(unsafe_code)]

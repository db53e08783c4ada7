//! Log groups, streams and events.

#![forbid(unsafe_code)]

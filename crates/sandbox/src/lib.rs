//! The wall: start, feed and stop guest code; the Runtime API; language packs.

#![forbid(unsafe_code)]

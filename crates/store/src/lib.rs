//! The durable floor: records, journals, due-times, blobs, segments.

#![forbid(unsafe_code)]

//! Which instance, now or later, or why not: resolve, admit, pool, settle.

#![forbid(unsafe_code)]

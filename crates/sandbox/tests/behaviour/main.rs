//! The behaviour of guests as their authors and callers see it, one table for all languages; without a wall.

#![allow(clippy::unwrap_used)]

mod failures;
mod hostile;
mod node;
mod python;
mod runtime_api;
mod support;
mod table;
mod transcript;

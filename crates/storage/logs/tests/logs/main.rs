//! Groups, streams and events from outside, over both stores: each test is a script of operations and their answers.

#![allow(clippy::unwrap_used)]

mod script;

mod events;
mod failures;
mod functions;
mod groups;
mod pace;
mod streams;

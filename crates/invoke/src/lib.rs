//! Which instance, now or later, or why not: resolve, admit, pool, settle.
//!
//! [`pool`] decides, [`Invoker`] performs; [`events`] keeps what was accepted for later until it is done.

#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod driver;
pub mod events;
mod instance_log;
mod keeper;
pub mod lines;
pub mod pool;
pub mod ports;
pub mod resolve;

pub use driver::{Answered, Instances, Invoker, InvokerParts, NotRun, Request};

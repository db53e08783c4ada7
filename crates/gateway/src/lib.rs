//! The door: listeners, authentication, limits, and the AWS API over HTTP. Business rules live elsewhere.

#![forbid(unsafe_code)]

mod api;
mod authenticate;
mod body;
mod door;
mod listen;
mod patience;
mod platform;

pub use door::{Door, Trust};
pub use listen::{BindError, Gateway, GatewayLimits, GatewayParts, bind};
pub use platform::{Health, PlatformPages};

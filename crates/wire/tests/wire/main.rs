//! The crate as its users see it: requests in, inputs or errors out.

mod answers;
mod oracle;
mod random;
mod requests;
mod routing;
mod sample;
mod validation;

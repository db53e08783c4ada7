//! The catalogue: functions, their settings and their code packages; what is deployed, never what runs.

#![forbid(unsafe_code)]

mod catalogue;
pub mod compat;
mod packages;
mod ports;
mod record;
mod snapshot;

pub use catalogue::{
    Catalogue, CatalogueParts, ChangeError, CreateFunction, OpenError, UpdateCode, Updated, package_digest,
    refusal_text,
};
pub use packages::{Package, PackageError};
pub use ports::{BoxFuture, Contents, Interpreters, NativeCode, Refused, Served, Unpacker};
pub use snapshot::{Entry, Listed, Snapshot};

//! Who makes a request, once it is authenticated.

use crate::ids::{AccountId, FunctionId};

/// An authenticated caller.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Principal {
    /// The holder of an access key of the account itself: may do everything in it.
    Account(AccountId),
    /// A running function with its own short-lived credentials.
    Function(FunctionId),
}

impl Principal {
    /// The account that the caller belongs to.
    pub fn account(&self) -> AccountId {
        match self {
            Self::Account(account) => *account,
            Self::Function(function) => function.account,
        }
    }
}

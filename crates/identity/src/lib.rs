//! Accounts, their access keys, and the short-lived credentials of functions.
//!
//! Keys live in the store, sealed under the master key, and are read into memory once. Credentials of functions are
//! derived from the master key, so that handing them out writes nothing and a restart loses nothing.

#![forbid(unsafe_code)]

mod keys;
mod link;
mod session;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use base::entropy::Entropy;
use base::time::{Clock, Timestamp};
use model::ids::AccountId;
use model::principal::Principal;
use store::seal::MasterKey;
use store::{Batch, Store};
use zeroize::Zeroizing;

pub use keys::AccessKey;
pub use session::SessionCredentials;

use keys::{AccountRecord, KeyRecord};

/// How long the credentials of an instance are accepted.
pub const SESSION_LIFETIME: Duration = Duration::from_secs(3600);

/// Identity could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// Reading accounts and keys failed.
    #[error("read accounts and keys")]
    Read(#[source] store::StoreError),
    /// A key's secret cannot be opened with this master key.
    #[error("open the secret of access key {0}: name the master key that sealed it with --key-file")]
    Unseal(String, #[source] store::seal::UnsealError),
    /// Creating an account failed.
    #[error("create account {0}")]
    Create(AccountId, #[source] store::CommitError),
}

/// Who holds a key, as the verifier of signatures asks.
#[derive(Debug)]
pub enum Found {
    /// A valid key: its secret, for the signature, and whom it stands for.
    Valid {
        /// The secret access key.
        secret: Zeroizing<String>,
        /// Whom it stands for, once the signature is right.
        principal: Principal,
    },
    /// Session credentials whose time is over.
    Expired,
    /// No such key, or a session token that was not made here.
    Unknown,
}

/// Accounts and keys in memory, published whole after each change.
pub struct Identity {
    keys: ArcSwap<HashMap<String, Arc<AccessKey>>>,
    sessions: session::Sessions,
    links: link::Links,
}

impl Identity {
    /// Reads every account and key, and creates `account` with one access key if it is not there.
    pub async fn open(
        store: Arc<dyn Store>,
        master: Arc<MasterKey>,
        account: AccountId,
        clock: &dyn Clock,
        entropy: &dyn Entropy,
    ) -> Result<Self, IdentityError> {
        let mut keys = keys::read_all(store.as_ref(), &master).await?;
        if !keys.values().any(|key| key.account == account) {
            let key = Arc::new(create_account(store.as_ref(), &master, account, clock.now(), entropy).await?);
            keys.insert(key.id.clone(), key);
        }
        Ok(Self {
            keys: ArcSwap::from_pointee(keys),
            sessions: session::Sessions::new(&master),
            links: link::Links::new(&master),
        })
    }

    /// The first access key of an account, for `pinfold env` and the client's file.
    pub fn first_key(&self, account: AccountId) -> Option<Arc<AccessKey>> {
        let keys = self.keys.load();
        keys.values().filter(|key| key.account == account).min_by_key(|key| (key.created, key.id.clone())).cloned()
    }

    /// Looks up an access key id, with the session token if the request carried one.
    pub fn find(&self, access_key_id: &str, session_token: Option<&str>, now: Timestamp) -> Found {
        if let Some(token) = session_token {
            return self.sessions.open(access_key_id, token, now);
        }
        match self.keys.load().get(access_key_id) {
            Some(key) => Found::Valid { secret: key.secret.clone(), principal: Principal::Account(key.account) },
            None => Found::Unknown,
        }
    }

    /// Makes credentials for one instance of a function, valid for [`SESSION_LIFETIME`].
    pub fn issue(
        &self,
        function: &model::ids::FunctionId,
        now: Timestamp,
        entropy: &dyn Entropy,
    ) -> SessionCredentials {
        self.sessions.issue(function, now.plus(SESSION_LIFETIME), entropy)
    }

    /// Signs a path that may be fetched without credentials until `expires`; answers the query string.
    pub fn sign_link(&self, path: &str, expires: Timestamp) -> String {
        self.links.sign(path, expires)
    }

    /// Whether `query` is what [`sign_link`](Self::sign_link) gave for this path and its time is not over.
    pub fn verify_link(&self, path: &str, query: &str, now: Timestamp) -> bool {
        self.links.verify(path, query, now)
    }
}

async fn create_account(
    store: &dyn Store,
    master: &MasterKey,
    account: AccountId,
    now: Timestamp,
    entropy: &dyn Entropy,
) -> Result<AccessKey, IdentityError> {
    let key = AccessKey::generate(account, now, entropy);
    let record = KeyRecord::seal(&key, master);
    let account_key = keys::account_key(account);
    let mut batch = Batch::new(entropy);
    batch.require_absent(&account_key);
    batch.put_record(&account_key, &AccountRecord { id: account, created: now });
    batch.put_record(&keys::key_key(&key.id), &record);
    store.commit(batch).await.map_err(|source| IdentityError::Create(account, source))?;
    Ok(key)
}

//! Access keys: how they look, and how they are kept.

use std::collections::HashMap;
use std::sync::Arc;

use base::entropy::Entropy;
use base::time::Timestamp;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use model::ids::AccountId;
use serde::{Deserialize, Serialize};
use store::seal::{MasterKey, UnsealError};
use store::{Key, Record, Scan, Shard, Store};
use zeroize::Zeroizing;

use crate::IdentityError;

/// A long-lived access key of an account.
pub struct AccessKey {
    /// `AKIA` and sixteen capitals and digits.
    pub id: String,
    /// Forty characters.
    pub secret: Zeroizing<String>,
    /// Whose it is.
    pub account: AccountId,
    /// When it was made.
    pub created: Timestamp,
}

impl AccessKey {
    pub(crate) fn generate(account: AccountId, now: Timestamp, entropy: &dyn Entropy) -> Self {
        let mut bytes = Zeroizing::new([0; 30]);
        entropy.fill(bytes.as_mut());
        let secret = Zeroizing::new(STANDARD.encode(bytes.as_ref()));
        Self { id: key_id("AKIA", entropy), secret, account, created: now }
    }
}

/// A prefix and sixteen characters of the base32 alphabet (RFC 4648), as AWS forms its unique ids.
pub(crate) fn key_id(prefix: &str, entropy: &dyn Entropy) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let random = entropy.id();
    let letters = random.iter().map(|byte| char::from(ALPHABET[usize::from(byte & 31)]));
    prefix.chars().chain(letters).collect()
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct AccountRecord {
    pub(crate) id: AccountId,
    pub(crate) created: Timestamp,
}

impl Record for AccountRecord {
    const KIND: &'static str = "account";
    const VERSION: u32 = 1;
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct KeyRecord {
    id: String,
    account: AccountId,
    created: Timestamp,
    /// The secret, sealed with the key's id as context, in base64.
    sealed: String,
}

impl Record for KeyRecord {
    const KIND: &'static str = "access key";
    const VERSION: u32 = 1;
}

impl KeyRecord {
    pub(crate) fn seal(key: &AccessKey, master: &MasterKey) -> Self {
        let sealed = STANDARD.encode(master.seal(&context(&key.id), key.secret.as_bytes()));
        Self { id: key.id.clone(), account: key.account, created: key.created, sealed }
    }

    fn open(self, master: &MasterKey) -> Result<AccessKey, IdentityError> {
        let damaged = |source| IdentityError::Unseal(self.id.clone(), source);
        let sealed = STANDARD.decode(&self.sealed).map_err(|_| damaged(UnsealError))?;
        let plain = master.unseal(&context(&self.id), &sealed).map_err(damaged)?;
        let secret = std::str::from_utf8(&plain).map_err(|_| damaged(UnsealError))?;
        let secret = Zeroizing::new(secret.to_owned());
        Ok(AccessKey { id: self.id, secret, account: self.account, created: self.created })
    }
}

fn context(id: &str) -> Vec<u8> {
    format!("access key {id}").into_bytes()
}

fn shard() -> Shard {
    Shard::new(&["identity"])
}

pub(crate) fn account_key(account: AccountId) -> Key {
    shard().key(&["account", account.as_str()])
}

pub(crate) fn key_key(id: &str) -> Key {
    shard().key(&["key", id])
}

pub(crate) async fn read_all(
    store: &dyn Store,
    master: &MasterKey,
) -> Result<HashMap<String, Arc<AccessKey>>, IdentityError> {
    let mut keys = HashMap::new();
    let mut after = None;
    loop {
        let scan = Scan::new(shard().under(&["key"])).after(after);
        let page = store::scan_records::<KeyRecord>(store, scan).await.map_err(IdentityError::Read)?;
        for (_, record, _) in page.0 {
            let key = record.open(master)?;
            keys.insert(key.id.clone(), Arc::new(key));
        }
        match page.1 {
            Some(next) => after = Some(next),
            None => return Ok(keys),
        }
    }
}

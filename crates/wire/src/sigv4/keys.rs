//! Signing keys: derived from a secret for a day, a region and a service, and remembered in a bounded cache.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard};

use aws_lc_rs::{constant_time, hmac};
use zeroize::Zeroizing;

use super::TERMINATOR;

/// Keys that one generation of the cache holds; there are two.
const GENERATION_MAX: usize = 512;

/// Recently used signing keys. Two generations: when the young one is full it becomes the old one, and what was old is forgotten,
/// unless it was used meanwhile.
#[derive(Default)]
pub struct SigningKeys(Mutex<Generations>);

#[derive(Default)]
struct Generations {
    young: HashMap<Box<str>, Entry>,
    old: HashMap<Box<str>, Entry>,
}

#[derive(Clone)]
struct Entry {
    /// The key was derived from this; another secret under the same id must not find it.
    secret: Zeroizing<String>,
    key: hmac::Key,
}

impl fmt::Debug for SigningKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKeys").finish_non_exhaustive()
    }
}

impl SigningKeys {
    /// An empty cache.
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, Generations> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// `credential` is `KEY/DATE/REGION/SERVICE/aws4_request`.
    pub(super) fn get(&self, credential: &str, secret: &str) -> Option<hmac::Key> {
        let generations = self.lock();
        let entry = generations.young.get(credential).or_else(|| generations.old.get(credential))?;
        let same = constant_time::verify_slices_are_equal(entry.secret.as_bytes(), secret.as_bytes()).is_ok();
        same.then(|| entry.key.clone())
    }

    /// Remembers the key of a signature that was right.
    pub(super) fn put(&self, credential: &str, secret: &Zeroizing<String>, key: hmac::Key) {
        let mut generations = self.lock();
        if generations.young.get(credential).is_some_and(|entry| entry.secret == *secret) {
            return;
        }
        if generations.young.len() >= GENERATION_MAX {
            generations.old = std::mem::take(&mut generations.young);
        }
        generations.young.insert(credential.into(), Entry { secret: secret.clone(), key });
    }
}

/// The signing key: four HMACs.
pub(super) fn derive(secret: &str, date: &str, region: &str, service: &str) -> hmac::Key {
    let start = Zeroizing::new(format!("AWS4{secret}"));
    let mut key = hmac::Key::new(hmac::HMAC_SHA256, start.as_bytes());
    for part in [date, region, service, TERMINATOR] {
        key = hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&key, part.as_bytes()).as_ref());
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stays_bounded_and_keeps_what_is_used() {
        let keys = SigningKeys::new();
        let secret = Zeroizing::new("secret".to_owned());
        let key = derive(&secret, "20150830", "us-east-1", "iam");
        for index in 0..10 * GENERATION_MAX {
            keys.put(&format!("K{index}"), &secret, key.clone());
            keys.put("busy", &secret, key.clone());
        }
        assert!(keys.get("busy", &secret).is_some());
        let generations = keys.lock();
        assert!(generations.young.len() + generations.old.len() <= 2 * GENERATION_MAX);
    }

    #[test]
    fn a_changed_secret_does_not_find_the_old_key() {
        let keys = SigningKeys::new();
        let old = Zeroizing::new("old".to_owned());
        keys.put("K", &old, derive(&old, "20150830", "us-east-1", "iam"));
        assert!(keys.get("K", "new").is_none());
        let new = Zeroizing::new("new".to_owned());
        keys.put("K", &new, derive(&new, "20150830", "us-east-1", "iam"));
        assert!(keys.get("K", "new").is_some() && keys.get("K", "old").is_none());
    }
}

//! Links that carry their own permission: a path, an end, and a MAC over both.

use aws_lc_rs::hmac;
use base::time::Timestamp;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use store::seal::MasterKey;

pub(crate) struct Links(hmac::Key);

impl Links {
    pub(crate) fn new(master: &MasterKey) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, master.derive(b"links").as_ref()))
    }

    pub(crate) fn sign(&self, path: &str, expires: Timestamp) -> String {
        let until = expires.as_secs();
        let mac = hmac::sign(&self.0, message(path, until).as_bytes());
        format!("expires={until}&signature={}", URL_SAFE_NO_PAD.encode(mac))
    }

    pub(crate) fn verify(&self, path: &str, query: &str, now: Timestamp) -> bool {
        let mut parts = query.splitn(2, '&');
        let until = parts.next().and_then(|part| part.strip_prefix("expires=")).and_then(|text| text.parse().ok());
        let mac = parts.next().and_then(|part| part.strip_prefix("signature="));
        let mac = mac.and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
        let (Some(until), Some(mac)) = (until, mac) else { return false };
        now.as_secs() < until && hmac::verify(&self.0, message(path, until).as_bytes(), &mac).is_ok()
    }
}

fn message(path: &str, until: u64) -> String {
    format!("{until}\n{path}")
}

//! Credentials of functions: a sealed token that says whose they are and until when, and a secret derived from it.

use aws_lc_rs::hmac;
use base::entropy::Entropy;
use base::time::Timestamp;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use model::ids::FunctionId;
use model::principal::Principal;
use serde::{Deserialize, Serialize};
use store::seal::MasterKey;
use zeroize::Zeroizing;

use crate::{Found, keys};

/// A longer token was not made here.
const TOKEN_BYTES_MAX: usize = 2048;

/// What a function's SDK signs with.
#[derive(Clone)]
pub struct SessionCredentials {
    /// `ASIA` and sixteen capitals and digits.
    pub access_key_id: String,
    /// Forty-four characters.
    pub secret_access_key: Zeroizing<String>,
    /// Goes with each request as `X-Amz-Security-Token`.
    pub session_token: String,
    /// When it is no longer accepted.
    pub expires: Timestamp,
}

#[derive(Serialize, Deserialize)]
struct Claims {
    function: FunctionId,
    expires: Timestamp,
}

pub(crate) struct Sessions {
    secrets: hmac::Key,
    tokens: MasterKey,
}

impl Sessions {
    pub(crate) fn new(master: &MasterKey) -> Self {
        Self {
            secrets: hmac::Key::new(hmac::HMAC_SHA256, master.derive(b"session secrets").as_ref()),
            tokens: MasterKey::from_bytes(*master.derive(b"session tokens")),
        }
    }

    pub(crate) fn issue(&self, function: &FunctionId, expires: Timestamp, entropy: &dyn Entropy) -> SessionCredentials {
        let access_key_id = keys::key_id("ASIA", entropy);
        let claims = serde_json::to_vec(&Claims { function: function.clone(), expires })
            .expect("claims hold only text and numbers");
        let sealed = self.tokens.seal(access_key_id.as_bytes(), &claims);
        SessionCredentials {
            secret_access_key: self.secret(&access_key_id),
            session_token: STANDARD.encode(sealed),
            access_key_id,
            expires,
        }
    }

    pub(crate) fn open(&self, access_key_id: &str, token: &str, now: Timestamp) -> Found {
        let claims = (token.len() <= TOKEN_BYTES_MAX)
            .then(|| STANDARD.decode(token).ok())
            .flatten()
            .and_then(|sealed| self.tokens.unseal(access_key_id.as_bytes(), &sealed).ok())
            .and_then(|plain| serde_json::from_slice::<Claims>(&plain).ok());
        match claims {
            None => Found::Unknown,
            Some(claims) if claims.expires <= now => Found::Expired,
            Some(claims) => {
                Found::Valid { secret: self.secret(access_key_id), principal: Principal::Function(claims.function) }
            }
        }
    }

    fn secret(&self, access_key_id: &str) -> Zeroizing<String> {
        Zeroizing::new(STANDARD.encode(hmac::sign(&self.secrets, access_key_id.as_bytes())))
    }
}

//! Signs requests as every AWS client does.

use base::time::{Clock, SystemClock};
use bytes::Bytes;
use wire::Parts;
use wire::sigv4::{BodyHash, Credentials, sign};

use super::Target;

impl Target {
    /// Adds the headers of a signature; `host` must be there already.
    pub(super) fn sign(&self, service: &str, request: &mut http::Request<Bytes>) {
        let credentials = Credentials {
            access_key_id: &self.key.id,
            secret: &self.key.secret,
            session_token: self.key.session_token.as_deref(),
        };
        let parts = Parts {
            method: request.method(),
            path: request.uri().path(),
            query: request.uri().query().unwrap_or_default(),
            headers: request.headers(),
        };
        let body = BodyHash::Of(request.body());
        for (name, value) in sign(&parts, body, credentials, &self.region, service, SystemClock.now()) {
            request.headers_mut().insert(name, value);
        }
    }
}

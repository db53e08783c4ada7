//! Which server, and with which key: `--endpoint`, then `AWS_*`, then the file in the data directory.

use std::fmt;
use std::path::PathBuf;

use super::connection::{Connection, FileError};

/// An `http://` address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Without the brackets of an IPv6 address.
    pub host: String,
    /// 80 unless given.
    pub port: u16,
}

/// An access key.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    /// `AKIA…`
    pub id: String,
    /// Its secret.
    pub secret: String,
    /// For temporary keys.
    pub session_token: Option<String>,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("id", &self.id).finish_non_exhaustive()
    }
}

/// A server with the key to sign for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub endpoint: Endpoint,
    pub key: Key,
    pub region: String,
}

/// Why no server was found.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    /// Nothing names one.
    #[error("no server is known: there is no {}", file.display())]
    NoServer {
        /// Where a running server would have left its address.
        file: PathBuf,
    },
    /// The address cannot be used.
    #[error("{text:?} is not an endpoint: {problem}")]
    BadEndpoint {
        /// What was given.
        text: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// An address without a key.
    #[error("there is no access key for {endpoint}")]
    NoKey {
        /// The server.
        endpoint: String,
    },
    /// The file is there and cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
}

impl Endpoint {
    /// Reads `http://HOST[:PORT][/]`.
    pub fn parse(text: &str) -> Result<Self, FindError> {
        let bad = |problem| FindError::BadEndpoint { text: text.to_owned(), problem };
        if text.starts_with("https://") {
            return Err(bad("https is not supported yet; Pinfold listens on plain http"));
        }
        let rest = text.strip_prefix("http://").ok_or_else(|| bad("it must begin with http://"))?;
        let authority: http::uri::Authority =
            rest.strip_suffix('/').unwrap_or(rest).parse().map_err(|_| bad("host and port cannot be read"))?;
        if authority.as_str().contains('@') || authority.host().is_empty() {
            return Err(bad("only a host and a port can follow http://"));
        }
        let port = match authority.as_str()[authority.host().len()..].strip_prefix(':') {
            None => 80,
            Some(port) => port.parse().map_err(|_| bad("the port is not between 0 and 65535"))?,
        };
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Self { host, port })
    }

    /// What stands in a `Host` header.
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}", self.authority())
    }
}

impl Target {
    /// The server of a connection file.
    pub fn of(connection: &Connection) -> Result<Self, FindError> {
        Ok(Self {
            endpoint: Endpoint::parse(&connection.endpoint)?,
            key: Key {
                id: connection.access_key_id.clone(),
                secret: connection.secret_access_key.clone(),
                session_token: None,
            },
            region: connection.region.clone(),
        })
    }
}

/// Finds the server. `variable` reads the environment, `file` is where a running server leaves its address.
///
/// The keys of `AWS_*` count only beside an endpoint that was given too: without one they are somebody's real
/// keys of AWS, and a server on this machine would not know them.
pub fn find(
    endpoint: Option<&str>,
    variable: impl Fn(&str) -> Option<String>,
    file: PathBuf,
) -> Result<Target, FindError> {
    let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
    let given = endpoint
        .map(str::to_owned)
        .or_else(|| variable("AWS_ENDPOINT_URL_LAMBDA"))
        .or_else(|| variable("AWS_ENDPOINT_URL"));
    let region = variable("AWS_REGION").or_else(|| variable("AWS_DEFAULT_REGION"));
    let Some(given) = given else {
        let connection = Connection::read(&file)?.ok_or(FindError::NoServer { file })?;
        return Target::of(&connection);
    };
    let endpoint = Endpoint::parse(&given)?;
    let (id, secret) = (variable("AWS_ACCESS_KEY_ID"), variable("AWS_SECRET_ACCESS_KEY"));
    if let (Some(id), Some(secret)) = (id, secret) {
        let key = Key { id, secret, session_token: variable("AWS_SESSION_TOKEN") };
        return Ok(Target { endpoint, key, region: region.unwrap_or_else(|| "us-east-1".to_owned()) });
    }
    let connection = Connection::read(&file)?.ok_or_else(|| FindError::NoKey { endpoint: endpoint.to_string() })?;
    let found = Target::of(&connection)?;
    Ok(Target { endpoint, region: region.unwrap_or(found.region), key: found.key })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(endpoint: Option<&str>, variables: &[(&str, &str)], with_file: bool, expected: &str) {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("client.json");
        if with_file {
            let connection = Connection {
                endpoint: "http://127.0.0.1:1".into(),
                access_key_id: "FILE".into(),
                secret_access_key: "s".into(),
                account_id: "000000000000".into(),
                region: "file-1".into(),
                pid: 1,
            };
            connection.write(&file).expect("write");
        }
        let lookup = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        let shown = match find(endpoint, lookup, file.clone()) {
            Ok(target) => format!("{} {} {}", target.endpoint, target.key.id, target.region),
            Err(error) => error.to_string().replace(&file.display().to_string(), "FILE"),
        };
        assert_eq!(shown, expected);
    }

    #[test]
    fn flag_then_environment_then_file() {
        let keys = [("AWS_ACCESS_KEY_ID", "ENV"), ("AWS_SECRET_ACCESS_KEY", "s")];
        let url = ("AWS_ENDPOINT_URL", "http://127.0.0.1:2");
        check(None, &[], false, "no server is known: there is no FILE");
        check(None, &[], true, "http://127.0.0.1:1 FILE file-1");
        check(None, &keys, true, "http://127.0.0.1:1 FILE file-1");
        check(None, &[url, keys[0], keys[1], ("AWS_REGION", "env-1")], true, "http://127.0.0.1:2 ENV env-1");
        check(
            None,
            &[url, ("AWS_ENDPOINT_URL_LAMBDA", "http://h:3"), keys[0], keys[1]],
            true,
            "http://h:3 ENV us-east-1",
        );
        check(None, &[url], true, "http://127.0.0.1:2 FILE file-1");
        check(None, &[url], false, "there is no access key for http://127.0.0.1:2");
        check(Some("http://[::1]:4"), &[url, keys[0], keys[1]], true, "http://[::1]:4 ENV us-east-1");
        check(None, &[("AWS_ENDPOINT_URL", "")], true, "http://127.0.0.1:1 FILE file-1");
    }

    #[test]
    fn addresses_that_cannot_be_used_are_named() {
        let problem = |text| Endpoint::parse(text).expect_err(text).to_string();
        assert!(problem("https://x").contains("https is not supported yet"));
        for bad in
            ["localhost:4566", "http://", "http://a b", "http://u@h", "http://h:99999", "http://h/path", "http://h:"]
        {
            problem(bad);
        }
        assert_eq!(Endpoint::parse("http://localhost/").expect("good").to_string(), "http://localhost:80");
    }
}

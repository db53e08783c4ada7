//! `pinfold env`: points a shell's AWS tools at the server, or writes an AWS profile that does.

use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::profile;
use crate::cli::{Context, Endpoint, Exit, Failure};
use crate::client::Target;

/// The port is tried for so long before a remark says that nobody answers.
const PROBE: Duration = Duration::from_millis(500);
/// A token of another account makes every signature wrong, and a profile goes before these variables.
const IN_THE_WAY: [&str; 2] = ["AWS_SESSION_TOKEN", "AWS_PROFILE"];

#[derive(Debug, Args)]
pub struct Env {
    /// Write an AWS profile instead; everything else in the AWS files stays as it is
    #[arg(long, value_name = "NAME", num_args = 0..=1, default_missing_value = "pinfold")]
    profile: Option<String>,
    #[command(flatten)]
    endpoint: Endpoint,
}

pub fn run(command: &Env, context: &Context) -> Result<Exit, Failure> {
    let target = context.target(&command.endpoint)?;
    if let Some(name) = &command.profile {
        return write_profile(name, &target, context);
    }
    if !answers(&target) {
        context.out.remark(format_args!("warning: nothing answers at {}; `pinfold up` starts it", target.endpoint));
    }
    let exports = exports(&target);
    if context.out.is_json() {
        context.out.json(&exports.into_iter().map(|(name, value)| (name.to_owned(), json!(value))).collect());
    } else {
        let in_the_way = |name: &&str| std::env::var_os(name).is_some();
        let script = as_shell(&exports, &IN_THE_WAY.iter().copied().filter(in_the_way).collect::<Vec<_>>());
        context.out.bytes(script.as_bytes());
    }
    Ok(Exit::Done)
}

fn exports(target: &Target) -> Vec<(&'static str, String)> {
    let mut exports = vec![
        ("AWS_ENDPOINT_URL", target.endpoint.to_string()),
        ("AWS_ACCESS_KEY_ID", target.key.id.clone()),
        ("AWS_SECRET_ACCESS_KEY", target.key.secret.clone()),
        ("AWS_DEFAULT_REGION", target.region.clone()),
        ("AWS_REGION", target.region.clone()),
        // Names such as `sync-127.0.0.1` do not resolve.
        ("AWS_DISABLE_HOST_PREFIX_INJECTION", "true".to_owned()),
    ];
    exports.extend(target.key.session_token.clone().map(|token| ("AWS_SESSION_TOKEN", token)));
    exports
}

fn as_shell(exports: &[(&str, String)], in_the_way: &[&str]) -> String {
    let unset = in_the_way.iter().filter(|name| exports.iter().all(|(exported, _)| exported != *name));
    let unset = unset.map(|name| format!("unset {name}\n"));
    exports.iter().map(|(name, value)| format!("export {name}={}\n", quoted(value))).chain(unset).collect()
}

/// A word for a shell: in single quotes where a shell would do something with it.
pub(super) fn quoted(value: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+=,".contains(c);
    if !value.is_empty() && value.chars().all(plain) {
        value.to_owned()
    } else {
        format!("'{}'", value.replace('\'', r"'\''"))
    }
}

fn answers(target: &Target) -> bool {
    use std::net::{TcpStream, ToSocketAddrs};
    let addresses = (target.endpoint.host.as_str(), target.endpoint.port).to_socket_addrs();
    addresses.is_ok_and(|mut all| all.any(|address| TcpStream::connect_timeout(&address, PROBE).is_ok()))
}

fn write_profile(name: &str, target: &Target, context: &Context) -> Result<Exit, Failure> {
    let files = profile::Files::of_this_user()?;
    files.write(name, target)?;
    if context.out.is_json() {
        context.out.json(&json!({ "profile": name, "config": files.config, "credentials": files.credentials }));
    } else {
        context.out.line(format_args!(
            "wrote profile {name} to {} and {}",
            files.config.display(),
            files.credentials.display()
        ));
        context.out.line(format_args!("use it: aws --profile {name} lambda list-functions"));
    }
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::client::find::{Endpoint, Key};

    fn target(secret: &str, session_token: Option<&str>) -> Target {
        Target {
            endpoint: Endpoint { host: "127.0.0.1".into(), port: 4566 },
            key: Key { id: "AKIA1".into(), secret: secret.into(), session_token: session_token.map(str::to_owned) },
            region: "us-east-1".into(),
        }
    }

    #[test]
    fn a_shell_reads_the_exports() {
        expect![[r#"
            export AWS_ENDPOINT_URL=http://127.0.0.1:4566
            export AWS_ACCESS_KEY_ID=AKIA1
            export AWS_SECRET_ACCESS_KEY='a$b'\''c'
            export AWS_DEFAULT_REGION=us-east-1
            export AWS_REGION=us-east-1
            export AWS_DISABLE_HOST_PREFIX_INJECTION=true
            unset AWS_PROFILE
        "#]]
        .assert_eq(&as_shell(&exports(&target("a$b'c", None)), &["AWS_PROFILE"]));
        let with_token = as_shell(&exports(&target("s", Some("token"))), &["AWS_SESSION_TOKEN"]);
        assert!(with_token.contains("export AWS_SESSION_TOKEN=token\n") && !with_token.contains("unset"));
    }
}

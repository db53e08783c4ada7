//! An AWS profile in the files that the AWS tools share, written without touching anything else in them.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::cli::Failure;
use crate::client::Target;
use crate::client::connection::write_whole;

/// The two files (AWS SDKs and tools reference guide, "Location of the shared config and credentials files").
#[derive(Debug)]
pub struct Files {
    pub config: PathBuf,
    pub credentials: PathBuf,
}

impl Files {
    /// `AWS_CONFIG_FILE` and `AWS_SHARED_CREDENTIALS_FILE`, else `~/.aws/config` and `~/.aws/credentials`.
    pub fn of_this_user() -> Result<Self, Failure> {
        let home = std::env::var_os("HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
        let place = |variable: &str, name: &str| {
            let given = std::env::var_os(variable).filter(|path| !path.is_empty()).map(PathBuf::from);
            given.or_else(|| home.as_ref().map(|home| home.join(".aws").join(name))).ok_or_else(|| {
                Failure::usage(format!("there is no place for the profile: neither {variable} nor HOME is set"))
            })
        };
        Ok(Self {
            config: place("AWS_CONFIG_FILE", "config")?,
            credentials: place("AWS_SHARED_CREDENTIALS_FILE", "credentials")?,
        })
    }

    /// Writes the profile, or brings it up to date.
    pub fn write(&self, name: &str, target: &Target) -> Result<(), Failure> {
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)) {
            return Err(Failure::usage(format!("{name:?} is no profile name: use letters, digits, - _ and .")));
        }
        let section = if name == "default" { name.to_owned() } else { format!("profile {name}") };
        let endpoint = target.endpoint.to_string();
        let config = [
            ("region", Some(target.region.as_str())),
            ("endpoint_url", Some(&endpoint)),
            ("disable_host_prefix_injection", Some("true")),
        ];
        let credentials = [
            ("aws_access_key_id", Some(target.key.id.as_str())),
            ("aws_secret_access_key", Some(&target.key.secret)),
            ("aws_session_token", target.key.session_token.as_deref()),
        ];
        edit(&self.config, &section, &config)?;
        edit(&self.credentials, name, &credentials)
    }
}

fn edit(path: &Path, section: &str, wanted: &[(&str, Option<&str>)]) -> Result<(), Failure> {
    let failed = |doing: &str, error: io::Error| Failure::new(format!("{doing} {}: {error}", path.display()));
    // A link stays a link: dotfiles are often kept elsewhere.
    let real = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let (before, mode) = match fs::read_to_string(&real) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => (String::new(), 0o600),
        Err(error) => return Err(failed("read", error)),
        Ok(text) => (text, fs::metadata(&real).map_or(0o600, |found| found.permissions().mode() & 0o777)),
    };
    let after = with_section(&before, section, wanted);
    if let Some(parent) = real.parent() {
        fs::create_dir_all(parent).map_err(|error| failed("make a folder for", error))?;
    }
    if after != before {
        write_whole(&real, after.as_bytes(), mode).map_err(|error| failed("write", error))?;
    }
    Ok(())
}

/// The text with these keys in this section: a value replaces, `None` removes; every other line stays.
fn with_section(text: &str, section: &str, wanted: &[(&str, Option<&str>)]) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let header = |line: &str| {
        let inside = line.trim().strip_prefix('[')?.split(']').next()?;
        Some(inside.replace('"', "").split_whitespace().collect::<Vec<_>>().join(" "))
    };
    let start = lines.iter().position(|line| header(line).as_deref() == Some(section));
    let own: Vec<String> = wanted.iter().filter_map(|(key, value)| Some(format!("{key} = {}", (*value)?))).collect();
    let Some(start) = start else {
        let mut out = text.to_owned();
        if !out.is_empty() {
            out.push_str(if out.ends_with('\n') { "\n" } else { "\n\n" });
        }
        return format!("{out}[{section}]\n{}\n", own.join("\n"));
    };
    let end = lines[start + 1..].iter().position(|line| header(line).is_some()).map_or(lines.len(), |n| start + 1 + n);
    let mut kept: Vec<&str> = Vec::new();
    let mut inside_replaced = false;
    for line in &lines[start + 1..end] {
        // An indented line belongs to the key above it.
        let nested = line.starts_with([' ', '\t']) && !line.trim().is_empty();
        let key = line.split('=').next().unwrap_or_default().trim();
        inside_replaced = if nested { inside_replaced } else { wanted.iter().any(|(name, _)| *name == key) };
        if !inside_replaced {
            kept.push(line);
        }
    }
    let mut out: Vec<&str> = lines[..=start].to_vec();
    out.extend(own.iter().map(String::as_str));
    out.extend(kept);
    out.extend(&lines[end..]);
    out.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;
    use crate::client::find::{Endpoint, Key};

    fn check(text: &str, expected: Expect) {
        let wanted = [("region", Some("r")), ("endpoint_url", Some("u")), ("token", None)];
        let once = with_section(text, "profile pinfold", &wanted);
        expected.assert_eq(&once);
        assert_eq!(with_section(&once, "profile pinfold", &wanted), once, "twice is the same as once");
    }

    #[test]
    fn a_profile_is_added_to_an_empty_file() {
        check(
            "",
            expect![[r#"
                [profile pinfold]
                region = r
                endpoint_url = u
            "#]],
        );
    }

    #[test]
    fn foreign_lines_stay_as_they_are() {
        check(
            "# mine\n[default]\nregion=eu-1\n\n[profile \"work\"]\nsso = x\ns3 =\n  max = 1",
            expect![[r#"
                # mine
                [default]
                region=eu-1

                [profile "work"]
                sso = x
                s3 =
                  max = 1

                [profile pinfold]
                region = r
                endpoint_url = u
            "#]],
        );
    }

    #[test]
    fn an_older_profile_is_brought_up_to_date() {
        check(
            "[profile pinfold] # x\noutput = json\nendpoint_url = old\n; note\ntoken = t\ns3 =\n  region = kept\n\n[other]\nregion = o\n",
            expect![[r#"
                [profile pinfold] # x
                region = r
                endpoint_url = u
                output = json
                ; note
                s3 =
                  region = kept

                [other]
                region = o
            "#]],
        );
    }

    #[test]
    fn new_files_are_for_their_owner_and_links_stay_links() {
        let dir = tempfile::tempdir().expect("a folder");
        let files = Files { config: dir.path().join("aws/config"), credentials: dir.path().join("aws/credentials") };
        let real = dir.path().join("dotfiles");
        fs::create_dir(dir.path().join("aws")).expect("a folder");
        fs::write(&real, "[default]\nregion = x\n").expect("write");
        std::os::unix::fs::symlink(&real, &files.config).expect("link");
        let target = Target {
            endpoint: Endpoint { host: "127.0.0.1".into(), port: 4566 },
            key: Key { id: "A".into(), secret: "S".into(), session_token: None },
            region: "us-east-1".into(),
        };
        files.write("pinfold", &target).expect("written");
        assert!(fs::symlink_metadata(&files.config).expect("there").is_symlink());
        assert!(fs::read_to_string(&real).expect("read").starts_with("[default]\nregion = x\n\n[profile pinfold]\n"));
        assert_eq!(
            fs::read_to_string(&files.credentials).expect("read"),
            "[pinfold]\naws_access_key_id = A\naws_secret_access_key = S\n"
        );
        assert_eq!(fs::metadata(&files.credentials).expect("there").permissions().mode() & 0o777, 0o600);
        assert!(files.write("a]b", &target).is_err());
    }
}

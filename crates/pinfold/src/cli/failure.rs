//! Exit codes, and failures that say what was tried, whose fault it is and what to do.

use std::process::ExitCode;

use serde_json::json;

use crate::client::ClientError;
use crate::client::connection::FileError;
use crate::client::find::FindError;
use crate::config::resolve::Mistakes;

/// How the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// What was asked for is done.
    Done = 0,
    /// It is not.
    Failed = 1,
    /// The command or the configuration is wrong.
    Usage = 2,
    /// No server answers.
    Unreachable = 3,
    /// The platform did its part; the function failed.
    FunctionFailed = 4,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// Why a command did not do what it should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// AWS's name of the error, or ours.
    pub code: String,
    /// What went wrong, with its causes.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

impl Failure {
    /// The command failed.
    pub fn new(message: impl Into<String>) -> Self {
        Self { exit: Exit::Failed, code: "Failed".to_owned(), message: message.into(), hint: None }
    }

    /// The user asked for something that cannot be.
    pub fn usage(message: impl Into<String>) -> Self {
        Self { exit: Exit::Usage, code: "Usage".to_owned(), ..Self::new(message) }
    }

    /// No server answers.
    pub fn unreachable(message: impl Into<String>) -> Self {
        Self { exit: Exit::Unreachable, code: "Unreachable".to_owned(), ..Self::new(message) }
    }

    /// With what to do.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// From an error with all its causes.
    pub fn of(error: &(dyn std::error::Error + 'static)) -> Self {
        Self::new(base::chain::Chain(error).to_string())
    }

    /// The text for people; `colour` for a terminal.
    pub fn text(&self, colour: bool) -> String {
        let (red, dim, off) = if colour { ("\x1b[1;31m", "\x1b[2m", "\x1b[0m") } else { ("", "", "") };
        let hint = self.hint.as_deref().map(|hint| format!("\n  {dim}{}{off}", hint.replace('\n', "\n  ")));
        format!("{red}error:{off} {}{}", self.message, hint.unwrap_or_default())
    }

    /// The same for programs.
    pub fn json(&self) -> serde_json::Value {
        let Self { exit, code, message, hint } = self;
        json!({ "error": { "code": code, "message": message, "hint": hint, "exit_code": *exit as u8 } })
    }
}

impl From<Mistakes> for Failure {
    fn from(mistakes: Mistakes) -> Self {
        Self { code: "Configuration".to_owned(), ..Self::usage(mistakes.to_string()) }
            .hint("nothing was started or changed; `pinfold config check` shows every key with its value and origin")
    }
}

impl From<FileError> for Failure {
    fn from(error: FileError) -> Self {
        Self::of(&error)
    }
}

impl From<FindError> for Failure {
    fn from(error: FindError) -> Self {
        let message = base::chain::Chain(&error).to_string();
        match error {
            FindError::NoServer { .. } => Self::unreachable(message)
                .hint("start one with `pinfold up`, or name one with --endpoint, AWS_ENDPOINT_URL or --data-dir"),
            FindError::NoKey { .. } => Self::usage(message).hint(
                "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name the server's data directory with --data-dir",
            ),
            FindError::BadEndpoint { .. } => Self::usage(message),
            FindError::File(FileError::Understand { path, .. }) => Self::new(message)
                .hint(format!("remove {}; a running server writes it again when it is started anew", path.display())),
            FindError::File(_) => Self::new(message).hint("only the user who started the server can read its key"),
        }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let message = base::chain::Chain(&error).to_string();
        match error {
            ClientError::Endpoint(_) => Self::usage(message),
            ClientError::Unreachable { .. } => Self::unreachable(message)
                .hint("is the server running? start it with `pinfold up`, or name another with --endpoint"),
            ClientError::Broken { .. } => Self::unreachable(message).hint(
                "the server may have been stopped; what it had acknowledged is kept: `pinfold up`, then try again",
            ),
            ClientError::TimedOut { .. } => Self::unreachable(message).hint("`pinfold status` tells how the server is"),
            ClientError::Strange { .. } => Self::new(message).hint("does this address belong to another program?"),
            ClientError::Refused { status, code, .. } => {
                let failure = Self { code: code.clone(), ..Self::new(message) };
                match hint_for(status, &code) {
                    Some(hint) => failure.hint(hint),
                    None => failure,
                }
            }
        }
    }
}

/// What to do about an error that the server names.
fn hint_for(status: u16, code: &str) -> Option<&'static str> {
    Some(match code {
        "ResourceNotFoundException" => "`pinfold functions` lists what there is",
        "ResourceConflictException" => {
            "another change is under way, or the name is taken; look with `pinfold functions`"
        }
        "TooManyRequestsException" => {
            "the platform is at its limit; try again, or raise instances.* in its configuration"
        }
        "RequestEntityTooLargeException" | "RequestTooLargeException" => "the event is larger than Lambda allows",
        "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "InvalidSignatureException"
        | "SignatureDoesNotMatch" => {
            "the access key is not this server's: `eval \"$(pinfold env)\"` sets the right one, or unset AWS_ENDPOINT_URL"
        }
        "AccessDeniedException" => "this access key may not do that",
        _ if status == 501 => "Pinfold does not do this yet",
        _ if status >= 500 => "the platform's fault, not yours; its log says more",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_failure_has_its_exit_code() {
        let refused = |status, code: &str| {
            Failure::from(ClientError::Refused { status, code: code.to_owned(), message: "m".to_owned() })
        };
        let io = || std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        let endpoint = || "http://x".to_owned();
        for (failure, exit) in [
            (refused(404, "ResourceNotFoundException"), 1),
            (Failure::from(ClientError::Unreachable { endpoint: endpoint(), source: io() }), 3),
            (Failure::from(FindError::NoServer { file: "f".into() }), 3),
            (Failure::from(FindError::NoKey { endpoint: endpoint() }), 2),
            (Failure::from(Mistakes(Vec::new())), 2),
        ] {
            assert_eq!(failure.exit as u8, exit, "{failure:?}");
            assert!(failure.hint.is_some(), "{failure:?}");
        }
        assert_eq!(refused(501, "NotImplemented").hint.as_deref(), Some("Pinfold does not do this yet"));
    }

    #[test]
    fn colour_is_only_for_terminals() {
        let failure = Failure::new("what").hint("do\nthis");
        assert_eq!(failure.text(false), "error: what\n  do\n  this");
        assert!(failure.text(true).contains('\x1b'));
        assert_eq!(failure.json()["error"]["exit_code"], 1);
    }
}

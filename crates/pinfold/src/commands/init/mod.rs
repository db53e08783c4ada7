//! `pinfold init`: a small real function to start from; nothing is ever overwritten.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde_json::json;

use super::deploy::guess;
use crate::cli::{Context, Exit, Failure};

#[derive(Debug, Args)]
pub struct Init {
    /// The language of the function
    #[arg(value_enum)]
    language: Language,
    /// Where it is written; made if it is not there
    #[arg(default_value = "hello")]
    dir: PathBuf,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Language {
    Python,
    Node,
}

pub fn run(command: &Init, context: &Context) -> Result<Exit, Failure> {
    let name = guess::name_of(&command.dir)?;
    let (file, code) = match command.language {
        Language::Python => ("app.py", include_str!("python/app.py")),
        Language::Node => ("index.mjs", include_str!("node/index.mjs")),
    };
    let dir = command.dir.display().to_string();
    let readme = include_str!("README.md").replace("{dir}", &dir).replace("{name}", &name).replace("{file}", file);
    let files = [(file, code.to_owned()), ("README.md", readme)];
    write(&command.dir, &files)?;
    let out = &context.out;
    if out.is_json() {
        let files: Vec<&str> = files.iter().map(|(file, _)| *file).collect();
        out.json(&json!({ "dir": command.dir, "files": files, "name": name }));
        return Ok(Exit::Done);
    }
    out.line(format_args!("wrote {dir}/{file} and {dir}/README.md"));
    out.line(format_args!("next: pinfold deploy {dir} && pinfold invoke {name} -d '{{\"name\":\"Ada\"}}'"));
    Ok(Exit::Done)
}

fn write(dir: &Path, files: &[(&str, String)]) -> Result<(), Failure> {
    for (file, _) in files {
        let path = dir.join(file);
        // A link that points nowhere is something, too.
        if fs::symlink_metadata(&path).is_ok() {
            return Err(Failure::new(format!("{} is there already; nothing was written", path.display()))
                .hint("name another directory: pinfold init python another"));
        }
    }
    fs::create_dir_all(dir).map_err(|error| Failure::new(format!("make {}: {error}", dir.display())))?;
    for (file, text) in files {
        let path = dir.join(file);
        let written = fs::OpenOptions::new().write(true).create_new(true).open(&path);
        written
            .and_then(|mut open| open.write_all(text.as_bytes()))
            .map_err(|error| Failure::new(format!("write {}: {error}", path.display())))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_overwritten() {
        let dir = tempfile::tempdir().expect("a folder");
        let files = [("a", "one".to_owned()), ("b", "two".to_owned())];
        fs::write(dir.path().join("b"), "mine").expect("write");
        assert!(write(dir.path(), &files).expect_err("b is there").message.contains("nothing was written"));
        assert!(!dir.path().join("a").exists());
        assert_eq!(fs::read_to_string(dir.path().join("b")).expect("read"), "mine");
        write(&dir.path().join("new/deep"), &files).expect("an empty place");
    }

    #[test]
    fn what_init_writes_deploy_understands() {
        for (file, code, handler) in [
            ("app.py", include_str!("python/app.py"), "app.handler"),
            ("index.mjs", include_str!("node/index.mjs"), "index.handler"),
        ] {
            let dir = tempfile::tempdir().expect("a folder");
            write(dir.path(), &[(file, code.to_owned())]).expect("written");
            assert_eq!(guess::guess(dir.path()).expect("guessed").handler, handler);
        }
    }
}

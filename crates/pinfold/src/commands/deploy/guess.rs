//! What a directory seems to hold: name, runtime and handler, with the reason for each guess.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use model::names::FunctionName;

use crate::cli::Failure;
use crate::commands::interpreters;

/// Without an interpreter here: what AWS offers longest.
const PYTHON_RUNTIME: &str = "python3.13";
const NODE_RUNTIME: &str = "nodejs22.x";
const PROVIDED_RUNTIME: &str = "provided.al2023";
/// A file whose handler is looked for is read up to here.
const SOURCE_BYTES_MAX: u64 = 1024 * 1024;

/// Files that hold a handler by convention, in the order in which they are tried.
const PYTHON_FILES: [&str; 6] = ["lambda_function.py", "app.py", "main.py", "handler.py", "index.py", "function.py"];
const NODE_FILES: [&str; 9] =
    ["index.mjs", "index.js", "index.cjs", "app.mjs", "app.js", "app.cjs", "handler.mjs", "handler.js", "handler.cjs"];
/// Names that a handler has by convention, in the order in which they are tried.
const PYTHON_NAMES: [&str; 2] = ["lambda_handler", "handler"];
const NODE_NAMES: [&str; 3] = ["handler", "lambdaHandler", "default"];

/// Which language a directory holds, and where its handler is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guess {
    pub language: Kind,
    /// `app.handler`.
    pub handler: String,
    /// Why, in words.
    pub reason: String,
}

/// What runs the code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Python,
    Node,
    Provided,
}

impl Kind {
    /// The runtime to ask for: the installed version where that can be seen.
    pub fn runtime(self) -> String {
        let packs = sandbox::Packs::new();
        match self {
            Self::Python => interpreters::python_runtime(&packs).unwrap_or_else(|| PYTHON_RUNTIME.to_owned()),
            Self::Node => interpreters::node_runtime(&packs).unwrap_or_else(|| NODE_RUNTIME.to_owned()),
            Self::Provided => PROVIDED_RUNTIME.to_owned(),
        }
    }
}

/// The directory's own name, as far as a function can have it.
pub fn name_of(dir: &Path) -> Result<String, Failure> {
    let absolute = std::path::absolute(dir).map_err(|error| Failure::usage(format!("{}: {error}", dir.display())))?;
    // `.` and `..` have a name only once they are followed.
    let real = fs::canonicalize(&absolute).unwrap_or(absolute);
    let name = real.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let name: String = name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' }).collect();
    match FunctionName::parse(name.trim_matches('-')) {
        Ok(name) => Ok(name.to_string()),
        Err(_) => Err(Failure::usage(format!("{} does not make a function name; give --name", dir.display()))),
    }
}

/// Looks for a bootstrap, then for Python, then for Node.js.
pub fn guess(dir: &Path) -> Result<Guess, Failure> {
    if let Ok(found) = fs::metadata(dir.join("bootstrap"))
        && found.is_file()
    {
        if found.permissions().mode() & 0o111 == 0 {
            return Err(Failure::usage(format!("{} is not executable", dir.join("bootstrap").display()))
                .hint("chmod +x bootstrap, or name --runtime and --handler"));
        }
        let reason = "there is an executable bootstrap".to_owned();
        return Ok(Guess { language: Kind::Provided, handler: "bootstrap".to_owned(), reason });
    }
    let main = package_main(dir);
    let node_files: Vec<&str> = main.as_deref().into_iter().chain(NODE_FILES).collect();
    let found = in_files(dir, &PYTHON_FILES, Kind::Python)
        .or_else(|| in_files(dir, &node_files, Kind::Node))
        .or_else(|| only_file(dir, "py").and_then(|file| in_files(dir, &[&file], Kind::Python)))
        .or_else(|| ["mjs", "js", "cjs"].iter().find_map(|ext| in_files(dir, &[&only_file(dir, ext)?], Kind::Node)));
    found.ok_or_else(|| {
        Failure::usage(format!("no handler found in {}", dir.display())).hint(
            "looked for an executable bootstrap, a Python file such as app.py with `def handler(event, context)`, and a \
             JavaScript file such as index.mjs that exports handler; else name --runtime and --handler",
        )
    })
}

fn in_files(dir: &Path, files: &[&str], language: Kind) -> Option<Guess> {
    let names: &[&str] = if language == Kind::Python { &PYTHON_NAMES } else { &NODE_NAMES };
    files.iter().find_map(|file| {
        let path = dir.join(file);
        let small = fs::metadata(&path).is_ok_and(|found| found.is_file() && found.len() <= SOURCE_BYTES_MAX);
        let text = small.then(|| fs::read_to_string(&path).ok()).flatten()?;
        let defines = |name: &&&str| {
            if language == Kind::Python { python_defines(&text, name) } else { node_exports(&text, name) }
        };
        let name = names.iter().find(defines)?;
        let module = file.rsplit_once('.').map_or(*file, |(stem, _)| stem);
        let verb = if language == Kind::Python { "defines" } else { "exports" };
        Some(Guess { language, handler: format!("{module}.{name}"), reason: format!("{file} {verb} {name}") })
    })
}

/// `def name(` or `async def name(` or `name =`, at the start of a line.
fn python_defines(text: &str, name: &str) -> bool {
    text.lines().any(|line| {
        let function = line.strip_prefix("async ").unwrap_or(line).strip_prefix("def ");
        let (rest, follows): (&str, &[char]) = match function {
            Some(rest) => (rest.trim_start(), &['(']),
            None => (line, &['=', ':']),
        };
        let after = rest.strip_prefix(name).map(str::trim_start);
        after.is_some_and(|after| after.starts_with(follows) && !after.starts_with("=="))
    })
}

/// `export const name`, `export async function name`, `export { name }`, `exports.name =`, `module.exports = { name`.
fn node_exports(text: &str, name: &str) -> bool {
    let word =
        |text: &str| text.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$')).any(|word| word == name);
    text.lines().map(str::trim_start).any(|line| {
        let commonjs = line.strip_prefix("module.").unwrap_or(line).strip_prefix("exports");
        if let Some(rest) = commonjs {
            let rest = rest.trim_start();
            return match rest.strip_prefix('.') {
                Some(property) => property.strip_prefix(name).is_some_and(|after| after.trim_start().starts_with('=')),
                None => rest.starts_with('=') && word(rest),
            };
        }
        let Some(rest) = line.strip_prefix("export ") else { return false };
        let declared = rest.split(['=', '(', ';']).next().unwrap_or(rest);
        if rest.trim_start().starts_with('{') { word(rest) } else { word(declared) }
    })
}

/// `main` of package.json, if it lies beside it.
fn package_main(dir: &Path) -> Option<String> {
    let text = fs::read_to_string(dir.join("package.json")).ok()?;
    let package: serde_json::Value = serde_json::from_str(&text).ok()?;
    let main = package["main"].as_str()?;
    let main = main.strip_prefix("./").unwrap_or(main);
    (!main.contains("..") && !main.starts_with('/')).then(|| main.to_owned())
}

/// The one file with this ending, if there is exactly one.
fn only_file(dir: &Path, extension: &str) -> Option<String> {
    let entries = fs::read_dir(dir).ok()?.flatten();
    let mut names = entries
        .filter(|entry| entry.path().extension().is_some_and(|found| found == extension))
        .filter_map(|entry| entry.file_name().into_string().ok());
    match (names.next(), names.next()) {
        (Some(only), None) => Some(only),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(files: &[(&str, &str)], expected: &str) {
        let dir = tempfile::tempdir().expect("a folder");
        for (name, text) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().expect("has one")).expect("a folder");
            fs::write(&path, text).expect("write");
            if text.starts_with("#!") {
                fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("mode");
            }
        }
        let shown = match guess(dir.path()) {
            Ok(guess) => format!("{:?} {}: {}", guess.language, guess.handler, guess.reason),
            Err(failure) => failure.message.replace(&dir.path().display().to_string(), "DIR"),
        };
        assert_eq!(shown, expected, "{files:?}");
    }

    #[test]
    fn a_directory_is_recognized_by_its_files() {
        let python = "import x\n\ndef handler(event, context):\n    pass\n";
        check(&[("app.py", python)], "Python app.handler: app.py defines handler");
        check(
            &[("lambda_function.py", "async def lambda_handler (e, c): ..."), ("app.py", python)],
            "Python lambda_function.lambda_handler: lambda_function.py defines lambda_handler",
        );
        check(&[("app.py", "handler = Mangum(app)\n")], "Python app.handler: app.py defines handler");
        check(&[("greet.py", python)], "Python greet.handler: greet.py defines handler");
        check(&[("app.py", "class A:\n    def handler(self): ...\nhandler == 1\n")], "no handler found in DIR");
        check(
            &[("index.mjs", "export const handler = async () => {}")],
            "Node index.handler: index.mjs exports handler",
        );
        check(&[("index.js", "exports.handler = f;\n")], "Node index.handler: index.js exports handler");
        check(&[("index.js", "module.exports = { other, handler };")], "Node index.handler: index.js exports handler");
        check(&[("index.cjs", "module.exports.handler = f")], "Node index.handler: index.cjs exports handler");
        check(
            &[("app.js", "export async function lambdaHandler(e) {}")],
            "Node app.lambdaHandler: app.js exports lambdaHandler",
        );
        check(
            &[("index.mjs", "const handler = 1;\nexport { handler };")],
            "Node index.handler: index.mjs exports handler",
        );
        check(&[("index.mjs", "export const other = handler;")], "no handler found in DIR");
        check(
            &[("package.json", r#"{"main":"./src/api.js"}"#), ("src/api.js", "exports.handler = 1")],
            "Node src/api.handler: src/api.js exports handler",
        );
        check(
            &[("bootstrap", "#!/bin/sh"), ("app.py", python)],
            "Provided bootstrap: there is an executable bootstrap",
        );
        check(&[("bootstrap", "no mode")], "DIR/bootstrap is not executable");
        check(&[], "no handler found in DIR");
    }

    #[test]
    fn a_directory_gives_its_name() {
        let dir = tempfile::tempdir().expect("a folder");
        for (given, name) in [("hello", "hello"), ("my.api v2", "my-api-v2"), ("_x", "_x")] {
            assert_eq!(name_of(&dir.path().join(given)).expect(given), name);
        }
        assert!(name_of(Path::new("/")).is_err());
        assert!(name_of(Path::new(".")).is_ok());
    }
}

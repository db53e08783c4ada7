//! Whether a package can run here at all: pure, by the names and headers of its native files.

use model::function::Architecture;
use model::runtime::Language;

use crate::ports::{Contents, NativeCode};

/// `e_machine` of x86-64 (System V ABI, AMD64 supplement).
pub const MACHINE_X86_64: u16 = 62;
/// `e_machine` of AArch64 (ELF for the Arm 64-bit architecture).
pub const MACHINE_AARCH64: u16 = 183;

/// The machine that this binary was built for.
pub const MACHINE_HERE: u16 = if cfg!(target_arch = "aarch64") { MACHINE_AARCH64 } else { MACHINE_X86_64 };

fn machine_name(machine: u16) -> String {
    match machine {
        MACHINE_X86_64 => "x86_64".to_owned(),
        MACHINE_AARCH64 => "arm64".to_owned(),
        other => format!("processor type {other}"),
    }
}

/// Says why the package cannot work with what serves its runtime, in one sentence for the caller.
///
/// `asked` is the runtime's language, `served` what will run it, `machine` the processor's `e_machine`.
pub fn check(
    contents: &Contents,
    architecture: Architecture,
    asked: Language,
    served: Language,
    machine: u16,
) -> Result<(), String> {
    match served {
        Language::Provided => check_bootstrap(contents, architecture, machine),
        Language::Python { minor } => check_python(contents, asked, minor, machine),
        Language::Node { .. } => check_node(contents, machine),
    }
}

fn check_bootstrap(contents: &Contents, architecture: Architecture, machine: u16) -> Result<(), String> {
    let wanted = match architecture {
        Architecture::X86_64 => MACHINE_X86_64,
        Architecture::Arm64 => MACHINE_AARCH64,
    };
    let bootstrap = contents.native.iter().find(|file| file.path == "bootstrap");
    match bootstrap {
        Some(file) if file.machine != machine => Err(format!(
            "The package's bootstrap is machine code for {}; this machine is {}. Build it for this processor.",
            machine_name(file.machine),
            machine_name(machine)
        )),
        Some(_) | None if wanted != machine && !contents.native.is_empty() => Err(format!(
            "Architecture {} is not available for machine code; this machine is {}.",
            machine_name(wanted),
            machine_name(machine)
        )),
        _ => Ok(()),
    }
}

/// An extension module is loaded by its stem, so one fitting file among several is enough.
fn check_python(contents: &Contents, asked: Language, minor: u32, machine: u16) -> Result<(), String> {
    for file in &contents.native {
        let Some(stem) = module_stem(&file.path) else { continue };
        if fits_python(file, minor, machine) {
            continue;
        }
        let has_fitting = contents
            .native
            .iter()
            .any(|other| module_stem(&other.path) == Some(stem) && fits_python(other, minor, machine));
        if has_fitting {
            continue;
        }
        let path = &file.path;
        return Err(match python_tag(path) {
            Some(tag) if tag != minor => format!(
                "The native module {path} was built for CPython 3.{tag}; {asked} is served by CPython 3.{minor} here. \
                 Build the package for CPython 3.{minor}, or install Python 3.{tag}."
            ),
            _ => format!(
                "The native module {path} is machine code for {}; this machine is {}.",
                machine_name(file.machine),
                machine_name(machine)
            ),
        });
    }
    Ok(())
}

/// The part of the path that `import` looks for: everything before the first dot of the file name, if it is a module.
fn module_stem(path: &str) -> Option<&str> {
    let name_start = path.rfind('/').map_or(0, |slash| slash + 1);
    let name = &path[name_start..];
    let is_module = name.ends_with(".so") && !name.starts_with("lib");
    let dot = name.find('.')?;
    is_module.then(|| &path[..name_start + dot])
}

/// 12 for `x.cpython-312-x86_64-linux-gnu.so`; `None` for a name without a version (`.abi3.so`, `.so`).
fn python_tag(path: &str) -> Option<u32> {
    let (_, tag) = path.rsplit_once(".cpython-3")?;
    let digits: String = tag.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

fn fits_python(file: &NativeCode, minor: u32, machine: u16) -> bool {
    file.machine == machine && python_tag(&file.path).is_none_or(|tag| tag == minor)
}

/// Packages of Node.js bring builds for many platforms and choose when they run: only a package without any fitting
/// one cannot work.
fn check_node(contents: &Contents, machine: u16) -> Result<(), String> {
    let addons: Vec<&NativeCode> = contents.native.iter().filter(|file| file.path.ends_with(".node")).collect();
    match addons.first() {
        Some(first) if addons.iter().all(|file| file.machine != machine) => Err(format!(
            "The native add-on {} is machine code for {}; this machine is {}.",
            first.path,
            machine_name(first.machine),
            machine_name(machine)
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PYTHON_311: Language = Language::Python { minor: 11 };
    const NODE_20: Language = Language::Node { major: 20 };

    fn check_case(served: Language, files: &[(&str, u16)], expected: Result<(), &str>) {
        let native = files.iter().map(|(path, machine)| NativeCode { path: (*path).to_owned(), machine: *machine });
        let contents = Contents { bytes: 0, entries: 0, native: native.collect() };
        let asked = if served == PYTHON_311 { Language::Python { minor: 12 } } else { served };
        let result = check(&contents, Architecture::X86_64, asked, served, MACHINE_X86_64);
        match (&result, expected) {
            (Ok(()), Ok(())) => {}
            (Err(text), Err(part)) => assert!(text.contains(part), "{text}"),
            _ => panic!("{files:?}: {result:?}"),
        }
    }

    #[test]
    fn python_modules_must_fit_version_and_processor() {
        let x86 = MACHINE_X86_64;
        let arm = MACHINE_AARCH64;
        check_case(PYTHON_311, &[], Ok(()));
        check_case(PYTHON_311, &[("a/b.cpython-311-x86_64-linux-gnu.so", x86)], Ok(()));
        check_case(PYTHON_311, &[("a/b.cpython-312-x86_64-linux-gnu.so", x86)], Err("CPython 3.12"));
        check_case(PYTHON_311, &[("b.cpython-312-x86_64-linux-gnu.so", x86), ("b.cpython-311-x.so", x86)], Ok(()));
        check_case(PYTHON_311, &[("b.abi3.so", x86)], Ok(()));
        check_case(PYTHON_311, &[("b.abi3.so", arm)], Err("arm64"));
        check_case(PYTHON_311, &[("numpy.libs/libopenblas.so.0", arm)], Ok(()));
        check_case(PYTHON_311, &[("b.cpython-311-aarch64-linux-gnu.so", arm)], Err("arm64"));
    }

    #[test]
    fn node_needs_one_fitting_add_on() {
        check_case(NODE_20, &[("x/arm/a.node", MACHINE_AARCH64)], Err("arm64"));
        check_case(NODE_20, &[("x/arm/a.node", MACHINE_AARCH64), ("x/x64/a.node", MACHINE_X86_64)], Ok(()));
    }

    #[test]
    fn a_bootstrap_must_be_for_this_processor() {
        check_case(Language::Provided, &[("bootstrap", MACHINE_AARCH64)], Err("bootstrap"));
        check_case(Language::Provided, &[("bootstrap", MACHINE_X86_64)], Ok(()));
        check_case(Language::Provided, &[], Ok(()));
    }
}

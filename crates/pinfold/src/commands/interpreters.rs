//! Which runtimes this machine can serve with exactly the version that their names say: for guesses and the demo.

use model::runtime::Language;
use sandbox::Packs;

/// What AWS has: guesses name no other.
const PYTHON_MINORS: std::ops::RangeInclusive<u32> = 8..=14;
const NODE_MAJORS: [u32; 5] = [16, 18, 20, 22, 24];
/// What is asked for first.
const WANTED: [Language; 2] = [Language::Python { minor: 13 }, Language::Node { major: 22 }];

/// `python3.13`, or what comes nearest to it here.
pub fn python_runtime(packs: &Packs) -> Option<String> {
    runtime_of(installed(packs, WANTED[0])?)
}

/// `nodejs22.x`, or what comes nearest to it here.
pub fn node_runtime(packs: &Packs) -> Option<String> {
    runtime_of(installed(packs, WANTED[1])?)
}

fn installed(packs: &Packs, wanted: Language) -> Option<Language> {
    packs.serve(wanted).ok()?.interpreter.map(|interpreter| interpreter.language)
}

/// AWS's name for a language: its version, or the nearest below that AWS has.
fn runtime_of(language: Language) -> Option<String> {
    match language {
        Language::Python { minor } => {
            Some(format!("python3.{}", minor.clamp(*PYTHON_MINORS.start(), *PYTHON_MINORS.end())))
        }
        Language::Node { major } => {
            let nearest = NODE_MAJORS.iter().rev().find(|known| **known <= major).unwrap_or(&NODE_MAJORS[0]);
            Some(format!("nodejs{nearest}.x"))
        }
        Language::Provided => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_language_has_the_name_that_aws_gives_it() {
        for (language, name) in [
            (Language::Python { minor: 11 }, Some("python3.11")),
            (Language::Python { minor: 99 }, Some("python3.14")),
            (Language::Node { major: 23 }, Some("nodejs22.x")),
            (Language::Node { major: 4 }, Some("nodejs16.x")),
            (Language::Provided, None),
        ] {
            assert_eq!(runtime_of(language).as_deref(), name);
        }
    }
}

//! The catalogue: functions and their code packages.

#![forbid(unsafe_code)]

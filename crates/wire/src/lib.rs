//! The AWS wire: generated shapes, protocols, SigV4, error codes, the parity table.

#![forbid(unsafe_code)]

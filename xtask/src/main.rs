//! The words of CI.

fn main() {}

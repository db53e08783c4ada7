//! Pinfold: a serverless platform in one binary.

fn main() {}

//! Names for powers of 1,024, so that limits read as they are spoken.

/// Bytes in a kibibyte.
pub const KIB: usize = 1024;
/// Bytes in a mebibyte.
pub const MIB: usize = 1024 * KIB;
/// Bytes in a gibibyte.
pub const GIB: usize = 1024 * MIB;

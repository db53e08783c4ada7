//! What the store takes at most; whoever asks for more gets a clear error before anything is written.

use base::sizes::{KIB, MIB};

/// An encoded shard.
pub const SHARD_BYTES_MAX: usize = 512;
/// The encoded name of a key within its shard.
pub const NAME_BYTES_MAX: usize = 3 * KIB;
/// A record's value, a journal's entry or a due-time's hint.
pub const VALUE_BYTES_MAX: usize = 2 * MIB;
/// Above this a value is better kept as a blob: guidance for callers, not enforced.
pub const INLINE_BYTES_MAX: usize = 32 * KIB;
/// All keys and values of one batch.
pub const BATCH_BYTES_MAX: usize = 16 * MIB;
/// Checks and operations of one batch.
pub const BATCH_PARTS_MAX: usize = 8192;
/// Keys and scans of one read.
pub const READ_PARTS_MAX: usize = 1024;
/// Records of one page.
pub const PAGE_ITEMS_MAX: usize = 10_000;
/// Keys and values of one page; one record that is larger is a page of its own.
pub const PAGE_BYTES_MAX: usize = 8 * MIB;
/// Due-times of one answer.
pub const DUE_ITEMS_MAX: usize = 10_000;
/// Content of one `get` of a blob; what is larger is read in ranges.
pub const BLOB_READ_BYTES_MAX: u64 = 64 * MIB as u64;
/// Batches whose answers are remembered for a repeated commit.
pub const REMEMBERED_BATCHES_MAX: usize = 32_768;
/// For how long they are remembered.
pub const REMEMBERED_SECS: u64 = 600;

const _: () = assert!(INLINE_BYTES_MAX <= VALUE_BYTES_MAX);
const _: () = assert!(VALUE_BYTES_MAX + NAME_BYTES_MAX + SHARD_BYTES_MAX <= BATCH_BYTES_MAX);
const _: () = assert!(VALUE_BYTES_MAX <= PAGE_BYTES_MAX);

//! Every bound of the system, with the sum that justifies it. Relations between bounds are
//! asserted at compile time at the end of the file. Nothing else in the project invents a bound.

pub const KIB: usize = 1 << 10;
pub const MIB: usize = 1 << 20;
pub const GIB: u64 = 1 << 30;
pub const TIB: u64 = 1 << 40;

// ---- S3: https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html ----

/// Bytes of an object key, UTF-8 encoded.
pub const KEY_BYTES_MAX: usize = 1024;
pub const BUCKET_NAME_BYTES_MIN: usize = 3;
pub const BUCKET_NAME_BYTES_MAX: usize = 63;
/// Body of one PutObject, CopyObject or UploadPart.
pub const PUT_BYTES_MAX: u64 = 5 * GIB;
pub const OBJECT_BYTES_MAX: u64 = 50 * TIB;
pub const PART_BYTES_MIN: u64 = 5 << 20;
pub const PART_NUMBER_MAX: u16 = 10_000;
/// Sum of the lengths of the names (without `x-amz-meta-`) and values of user metadata.
pub const USER_METADATA_BYTES_MAX: usize = 2 * KIB;
pub const LIST_KEYS_MAX: usize = 1000;
pub const DELETE_KEYS_MAX: usize = 1000;
pub const TAGS_MAX: usize = 10;
/// A presigned URL lives at most a week.
pub const PRESIGN_SECONDS_MAX: u64 = 7 * 24 * 3600;
/// Difference between the client's clock and ours that a signature tolerates.
pub const CLOCK_SKEW_SECONDS_MAX: u64 = 15 * 60;

// ---- HTTP ----

/// Request line and headers together. AWS allows 8 KiB of headers; presigned URLs of today's
/// clients with a 1 KiB key percent-encoded (3 KiB) and a session token stay below 16 KiB.
pub const REQUEST_HEAD_BYTES_MAX: usize = 32 * KIB;
pub const REQUEST_HEADERS_MAX: usize = 128;
/// An XML request body: 1,000 keys of 1 KiB, escaped up to 6 bytes a character in the worst
/// honest case `&quot;`, and their tags; CompleteMultipartUpload with 10,000 parts is ~2 MiB.
pub const XML_BODY_BYTES_MAX: usize = 8 * MIB;
/// One chunk header line of an aws-chunked body: size, signature and slack.
pub const CHUNK_LINE_BYTES_MAX: usize = 256;
/// The trailer section of an aws-chunked body.
pub const TRAILER_BYTES_MAX: usize = 4 * KIB;

// ---- On the drives: docs/FORMAT.md ----

/// Alignment of every address, length and buffer of direct I/O.
pub const PAGE: usize = 4096;
/// A coded block as it stands on a drive, header included.
pub const BLOCK_BYTES: usize = 64 * KIB;
pub const BLOCK_HEADER_BYTES: usize = 64;
/// Room for the AES-GCM tag of a sealed block, kept free in every block from the first format on.
pub const BLOCK_TAG_BYTES: usize = 16;
/// Object bytes in one full block.
pub const BLOCK_PAYLOAD_BYTES: usize = BLOCK_BYTES - BLOCK_HEADER_BYTES - BLOCK_TAG_BYTES;
/// Blocks in one chunk, so a chunk is at most 4 MiB: large enough that one drive operation moves
/// half a MiB and more, small enough to fit many times into the smallest segment.
pub const CHUNK_BLOCKS_MAX: usize = 64;
pub const CHUNK_BYTES_MAX: usize = CHUNK_BLOCKS_MAX * BLOCK_BYTES;
/// Objects up to this size travel inside the log record.
pub const INLINE_BYTES_MAX: usize = 16 * KIB;
/// k + m.
pub const STRIPE_CHUNKS_MAX: usize = 16;
pub const POOL_DRIVES_MAX: usize = 256;
pub const SHARDS_MAX: u16 = 64;
/// Shards of a new pool: enough for 8 cores to own two each or more; a LIST asks all of them.
pub const SHARDS_DEFAULT: u16 = 8;
pub const SEGMENT_BYTES_MIN: u64 = 8 << 20;
pub const SEGMENT_BYTES_MAX: u64 = 256 << 20;
/// A drive must hold the log, the catalog and something to store.
pub const DRIVE_BYTES_MIN: u64 = 512 << 20;
/// One catalog record in the log, without inline object bytes: a version of 10,000 parts at
/// about 60 bytes each, or a 5 GiB part at k = 1 in 1,280 stripes of 16 chunks.
pub const RECORD_BYTES_MAX: usize = MIB;

/// One manifest slot: about 100 bytes for each of a few hundred runs of a shard.
pub const MANIFEST_BYTES: usize = 64 * KIB;
// ---- io ----

/// Submission entries of one ring: small, so that a burst is handed to the kernel early.
pub const RING_ENTRIES: u32 = 64;
/// Completion entries of one ring: 16 bytes each, 16 KiB. More operations than this may be in flight;
/// the kernel then keeps the surplus in a list.
pub const RING_COMPLETIONS: u32 = 1024;
/// Period of the kick that hands queued operations to the kernel while a thread is busy.
pub const RING_KICK_MS: u64 = 1;
/// Threads that perform disk operations for one runtime where io_uring is denied: the queue depth
/// at which an NVMe drive reaches most of its throughput, at 64 KiB of used stack each.
pub const IO_THREADS: usize = 8;
/// Operations handed to those threads and not yet finished; the next one waits for its turn.
pub const IO_THREAD_OPERATIONS_MAX: usize = 256;
/// Freed buffers one thread keeps for reuse: 16 of the largest recycled size.
pub const BUFFER_CACHE_BYTES_MAX: usize = 16 * MIB;
/// Buffers above this size go back to the allocator.
pub const BUFFER_CACHED_BYTES_MAX: usize = MIB;
/// One write of zeros where the file system cannot zero by itself.
pub const ZERO_WRITE_BYTES: usize = MIB;

const _: () = assert!(RING_ENTRIES.is_power_of_two() && RING_COMPLETIONS >= 2 * RING_ENTRIES);
const _: () = assert!(IO_THREADS <= IO_THREAD_OPERATIONS_MAX);
const _: () = assert!(BUFFER_CACHED_BYTES_MAX * 16 <= BUFFER_CACHE_BYTES_MAX);
const _: () = assert!(ZERO_WRITE_BYTES.is_multiple_of(PAGE));

// ---- The catalog's index: docs/FORMAT-catalog.md ----

/// Key of an index entry: bucket and object key with every byte escaped into two, and a version.
pub const INDEX_KEY_BYTES_MAX: usize = 4 * KIB;
/// Value of an index entry: a record.
pub const INDEX_VALUE_BYTES_MAX: usize = RECORD_BYTES_MAX;
/// A larger value stands in value blocks of its own, so that a data block with a key of any length
/// stays below the 64 KiB that its two-byte offsets reach.
pub const INLINE_VALUE_BYTES_MAX: usize = 32 * KIB;
/// Size at which a data block of a run is closed: about 70 records of 200 bytes, one read of four
/// pages, 1 us of checksum and decoding.
pub const RUN_BLOCK_BYTES: usize = 16 * KIB;
/// What a run is written and given back in: 1,000 records, 200 us of merging between two writes.
pub const RUN_EXTENT_BYTES: usize = 256 * KIB;
/// What a scan or a merge reads ahead in one operation: 500 records, 100 us of merging.
pub const RUN_READ_BYTES_MAX: usize = 128 * KIB;
/// A run is closed at this size, so that the space a merge replaces comes back in pieces and the
/// extent list of a run (about 260) stays below 8 KiB at three copies.
pub const RUN_BYTES_MAX: u64 = 64 << 20;
/// Keys of one filter block: 16 KiB at 10 bits a key. A run of 64 MiB has about 20 of them.
pub const FILTER_KEYS_MAX: usize = 13_000;
/// A run is also closed when its root index or its extent list reaches this, so that a footer
/// with both, nine copies an extent, and two keys of full length fits one extent.
pub const RUN_ROOT_BYTES_MAX: usize = 16 * KIB;
pub const RUN_EXTENTS_MAX: usize = 512;
/// A value of full length, the blocks that a run is closed with: free until a run closes.
pub const RUN_EXTENTS_RESERVED: usize = 16;
/// A piece of a value that stands in value blocks.
pub const VALUE_PIECE_BYTES_MAX: usize = 63 * KIB;
/// Levels of the index: with four times the bytes on each, more than any pool holds.
pub const INDEX_LEVELS_MAX: usize = 16;
/// Sorted sequences a level collects before they are merged into the next: a key is rewritten once
/// a level, a reader meets up to three sequences a level.
pub const INDEX_FANOUT: usize = 4;
/// Deletions that justify merging everything, when they are also a quarter of all entries.
pub const INDEX_TOMBSTONES_MERGED: u64 = 4096;
/// Entries a scan passes before it lets other tasks run: about 100 us.
pub const SCAN_STEPS_MAX: u32 = 1024;

const _: () = assert!(INLINE_VALUE_BYTES_MAX + INDEX_KEY_BYTES_MAX + 64 < 64 * KIB);
const _: () = assert!(RUN_BLOCK_BYTES + RUN_ROOT_BYTES_MAX < 64 * KIB);
const _: () =
    assert!((INDEX_VALUE_BYTES_MAX + RUN_ROOT_BYTES_MAX) / (RUN_EXTENT_BYTES / 2) < RUN_EXTENTS_RESERVED);
const _: () = assert!(RUN_EXTENT_BYTES / PAGE <= 256, "a page number in an extent is one byte");
const _: () = assert!(RUN_READ_BYTES_MAX <= RUN_EXTENT_BYTES && RUN_EXTENT_BYTES <= MIB);
const _: () = assert!(
    RUN_EXTENTS_MAX * (3 + 9 * 8) + 2 * RUN_ROOT_BYTES_MAX + 3 * INDEX_KEY_BYTES_MAX < RUN_EXTENT_BYTES
);

const _: () = assert!(BLOCK_BYTES % PAGE == 0);
const _: () = assert!(BLOCK_PAYLOAD_BYTES % 2 == 0, "the erasure code works on pairs of bytes");
const _: () = assert!(CHUNK_BYTES_MAX as u64 + PAGE as u64 <= SEGMENT_BYTES_MIN);
const _: () = assert!(INLINE_BYTES_MAX <= BLOCK_PAYLOAD_BYTES);
const _: () = assert!((RECORD_BYTES_MAX + INLINE_BYTES_MAX) as u64 * 4 < SEGMENT_BYTES_MIN);

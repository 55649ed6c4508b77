//! Every bound of the system, with the sum that justifies it.
//!
//! Nothing else in the project invents a bound. Relations between bounds are asserted at compile
//! time, behind the bounds they are about. Sizes are bytes unless the name says otherwise.

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
pub const BUCKET_TAGS_MAX: usize = 50;
pub const TAG_KEY_CHARS_MAX: usize = 128;
pub const TAG_VALUE_CHARS_MAX: usize = 256;
/// Grants of one ACL.
pub const GRANTS_MAX: usize = 100;
/// Fields of a POST form in front of its file, their heads included, and the boundary between them
/// (RFC 2046 section 5.1.1).
pub const POST_FIELDS_BYTES_MAX: usize = 20 * KIB + 8 * KIB;
pub const BOUNDARY_BYTES_MAX: usize = 70;
/// `x-amz-website-redirect-location`.
pub const REDIRECT_BYTES_MAX: usize = 2 * KIB;
/// Rules of a CORS, of a website and of a lifecycle configuration, and the ids of rules.
pub const CORS_RULES_MAX: usize = 100;
pub const ROUTING_RULES_MAX: usize = 50;
pub const LIFECYCLE_RULES_MAX: usize = 1000;
pub const RULE_ID_CHARS_MAX: usize = 255;
/// Noncurrent versions that a lifecycle rule can keep.
pub const NONCURRENT_VERSIONS_MAX: u32 = 100;
pub const NOTIFICATIONS_MAX: usize = 100;
pub const INVENTORIES_MAX: usize = 1000;
pub const INVENTORIES_LISTED_MAX: usize = 100;
pub const INVENTORY_ID_BYTES_MAX: usize = 64;
/// Prefix of the reports: with bucket, id, and at most 60 bytes behind that it is a key.
pub const INVENTORY_PREFIX_BYTES_MAX: usize = 512;
/// Default retention of a bucket with object lock.
pub const RETENTION_DAYS_MAX: u32 = 36_500;
pub const RETENTION_YEARS_MAX: u32 = 100;
/// A presigned URL lives at most a week.
pub const PRESIGN_SECONDS_MAX: u64 = 7 * 24 * 3600;
/// Difference between the client's clock and ours that a signature tolerates.
pub const CLOCK_SKEW_SECONDS_MAX: u64 = 15 * 60;

const _: () = assert!(
    INVENTORY_PREFIX_BYTES_MAX + BUCKET_NAME_BYTES_MAX + INVENTORY_ID_BYTES_MAX + 64 <= KEY_BYTES_MAX
);

// ---- HTTP ----

/// Request line and headers together. AWS allows 8 KiB of headers; presigned URLs of today's
/// clients with a 1 KiB key percent-encoded (3 KiB) and a session token stay below 16 KiB.
pub const REQUEST_HEAD_BYTES_MAX: usize = 32 * KIB;
pub const REQUEST_HEADERS_MAX: usize = 128;
/// An XML request body: 1,000 keys of 1 KiB, escaped up to 6 bytes a character in the worst
/// honest case `&quot;`, and their tags; CompleteMultipartUpload with 10,000 parts is ~2 MiB, and
/// ~3 MiB with SHA-512.
pub const XML_BODY_BYTES_MAX: usize = 8 * MIB;
/// Memory that documents of requests and answers may take together: one part in this many, and at least one
/// document a core. Whoever finds it taken is told to try again.
pub const DOCUMENTS_SHARE: u64 = 16;
/// What a document of a request counts for: itself, the room it grew into, and what is read from it. The answer
/// comes when the document itself is gone.
pub const DOCUMENT_COPIES: usize = 2;
/// What an entry of a listing counts for while it is made: a key of full length as it was read, and in a document
/// where some of it is escaped. What the document takes in the end is known when it is there.
pub const LIST_ENTRY_BYTES: usize = 4 * KIB;
/// How long a listing waits for memory, until it is told to try again.
pub const DOCUMENT_SECONDS_MAX: u64 = 5;
/// An answer up to this is part of what the connection takes.
pub const ANSWER_BYTES: usize = 16 * KIB;
/// A whole small document, or one entry of a document of many: ten times a key of which every byte
/// is escaped. What is read between two rests: 10 us a KiB where it is dense with markup, so below
/// the 1 ms of rule R1.
pub const XML_PIECE_BYTES_MAX: usize = 64 * KIB;
/// XML written between two rests: 0.4 ms where every byte of the text is escaped. A page of a
/// thousand usual keys is less.
pub const XML_STEP_BYTES: usize = 512 * KIB;
/// A rest in a long computation: the shortest that timers measure.
pub const REST_MS: u64 = 1;
/// One chunk header line of an aws-chunked body: size, signature and slack.
pub const CHUNK_LINE_BYTES_MAX: usize = 256;
/// The least data of a chunk of an aws-chunked body that is not the last. S3 asks for it, so that the lines between
/// chunks and their signatures stay below 2 % of a body.
pub const CHUNK_BYTES_MIN: u64 = 8 * KIB as u64;
/// The trailer section of an aws-chunked body.
pub const TRAILER_BYTES_MAX: usize = 4 * KIB;
/// Derived signing keys that one core keeps: one for each active access key and day, about 3 KiB
/// each with the state of its HMAC, so at most 3 MiB a core.
pub const SIGNING_KEYS_MAX: usize = 1024;
/// The same of admin requests, of one user in one region: today's, and yesterday's for requests around midnight.
pub const ADMIN_SIGNING_KEYS_MAX: usize = 2;

// ---- The client edge ----

/// From accept, or from the first byte of a further request, to the end of the head, unless the
/// operator says otherwise. Slower than this is slowloris: 32 KiB at 1 KiB a second take 32 s.
pub const REQUEST_HEAD_SECONDS_MAX: u64 = 30;
/// A connection without a request, unless the operator says otherwise: as long as common load balancers keep
/// theirs.
pub const IDLE_SECONDS_DEFAULT: u64 = 60;
/// Both directions of a body are judged once in this time, which is longer than any pause of a
/// live TCP connection that recovers from losses.
pub const BODY_WINDOW_SECONDS: u64 = 20;
/// What must move in a window in which we waited for the client: 1 KiB a second, slower than any
/// link an uploader lives behind.
pub const BODY_WINDOW_BYTES_MIN: u64 = 1024 * BODY_WINDOW_SECONDS;
/// Memory of transfers that a client keeps waiting so long, row by row of blocks, is given up when others wait
/// for it: at two data chunks that is a client of less than 13 KiB a second, where all memory is taken.
pub const BUFFER_PATIENCE_SECONDS: u64 = 10;
/// How often that is looked at, and the least a client takes of an answer in between when others wait.
pub const BUFFER_LOOK_SECONDS: u64 = 5;
pub const BUFFER_LOOK_BYTES_MIN: u64 = 13 * 1024 * BUFFER_LOOK_SECONDS;
/// A client that takes or fills a group of rows in no less than this is slow, and gets one row at a time: an
/// eighth of the memory, and drives that wait for it anyway.
pub const SLOW_GROUP_SECONDS: u64 = 1;
/// The memory of connections with a request, together: one part in this many.
pub const CONNECTIONS_SHARE: u64 = 10;
/// One that begins to read takes so much: 8 KiB to read into, what hyper and the handler keep (17 KiB measured), an
/// answer of `ANSWER_BYTES` or a body that is kept for the log. Half of all is kept for these; with `--memory 256MiB`
/// that is 273 at a time, and 546 when nobody needs more than this.
pub const SEAT_BYTES: usize = 48 * KIB;
/// What a connection may read at once: at first, and as far as there is memory. hyper doubles its buffer when a read
/// fills it, so the bytes of a long head are within the next of these.
pub const READ_BYTES: [usize; 3] = [8 * KIB, 64 * KIB, CONNECTION_BUFFER_BYTES_MAX];
/// Reads of one connection that are in memory: being filled, on the way to the handler, and with it.
pub const CONNECTION_READS: usize = 3;
/// After this a connection between two requests is a socket and nothing else.
pub const IDLE_AWAKE_MS: u64 = 1_000;
/// While connections wait for memory: how often it is looked who could make room, how long a head may then take, and
/// the least that a client sends or takes in a time when its turn it is: 13 KiB a second.
pub const ROOM_LOOK_MS: u64 = 100;
pub const ROOM_HEAD_MS: u64 = 1_000;
pub const ROOM_PACE_MS: u64 = 2_000;
pub const ROOM_PACE_BYTES_MIN: u64 = 13 * 1024 * ROOM_PACE_MS / 1000;
/// hyper's buffers for one connection: what it reads ahead of us at most.
pub const CONNECTION_BUFFER_BYTES_MAX: usize = 256 * KIB;
/// What is hashed of one body in one step at most: 0.35 ms of MD5 (0.6 where eight are hashed with AVX2) and 0.07 ms of
/// SHA-256 in a slow hour of the reference machine, below the 1 ms of rule R1.
pub const HASH_STEP_BYTES_MAX: usize = 128 * KIB;
/// What may wait of one body until others are hashed beside it: most uploads whole, so that those that are on their
/// way to the drives fill the lanes of the others. Who is the last pays for it with 2 to 5 ms, in steps.
pub const MD5_BACKLOG_BYTES_MAX: usize = MIB;
/// What may wait at one core: half of a backlog for each of its eight lanes. So many bodies may have one.
pub const MD5_BACKLOGS_BYTES_MAX: usize = 4 * MIB;
pub const MD5_WAITING_BODIES_MAX: usize = 64;
/// Backlogs are kept in pieces of this size; so many are kept when no body is being hashed, enough for small objects,
/// which come and go.
pub const MD5_PIECE_BYTES: usize = 16 * KIB;
pub const MD5_SPARE_PIECES: usize = 8;
/// Less than this is hashed at once: moving it would cost more than it saves.
pub const MD5_WAIT_BYTES_MIN: usize = 4 * KIB;
/// A copy answers at the latest after this, and then a space each time: clients give up at 60 s.
pub const COPY_SILENCE_SECONDS_MAX: u64 = 10;
/// A refused request's body up to this is read and dropped so that the connection can go on.
pub const DRAIN_BYTES_MAX: u64 = 256 * KIB as u64;
pub const DRAIN_SECONDS_MAX: u64 = 2;
/// A larger one is read and dropped after the answer, because closing at once would reset the
/// connection and take the answer from a client that is still sending.
pub const LINGER_BYTES_MAX: u64 = 64 << 20;
/// Deletes of one batch that are under way together: enough to fill a batch of the log, few enough
/// for one task to look after.
pub const DELETES_AT_ONCE_MAX: usize = 32;
/// Batches that one core works on at a time; others wait for their turn. Each takes 300 KiB for the deletes under way
/// and as much for a thousand keys and outcomes, beside its document: 5 MiB.
pub const DELETE_BATCHES_MAX: usize = 8;
/// Buckets in an answer to a ListBuckets that does not ask for pages; AWS's own bound.
pub const LIST_BUCKETS_MAX: usize = 10_000;

// ---- Who may ----

/// A bucket policy, AWS's own bound. A compiled one takes about four times its text.
pub const POLICY_BYTES_MAX: usize = 20 * KIB;
/// Steps of matching patterns that one policy may take to judge one request, below half a millisecond: policies come
/// from tenants and values from anybody, and both together can make a `*` try millions of places. A policy of 20 KiB
/// that takes more than this is no policy that people write; it denies.
pub const POLICY_STEPS_MAX: usize = 1 << 18;
/// Levels of JSON in a policy: document, statements, statement, condition, operator, values; and two
/// to spare.
pub const POLICY_DEPTH_MAX: usize = 8;
/// The least statement has about 60 bytes, so this is what fits into a policy.
pub const POLICY_STATEMENTS_MAX: usize = 400;
/// Values of one element: four bytes each at least, so more than this do not fit.
pub const POLICY_VALUES_MAX: usize = 5_000;

/// Every core keeps all accounts and users in memory. An account is about 1 KiB with its maps, a user
/// with two keys and full policies about 20 KiB, so the worst is 1 MiB and 100 MiB a core.
pub const ACCOUNTS_MAX: usize = 1_000;
/// Of all accounts together; AWS allows one account 5,000.
pub const USERS_MAX: usize = 5_000;
/// AWS's own bound, for a root and for a user.
pub const ACCESS_KEYS_PER_IDENTITY_MAX: usize = 2;
/// How much later a use of an access key must be to be noted again; `aws iam get-access-key-last-used` tells
/// times that are up to this much too early.
pub const KEY_USE_SECONDS: u64 = 60;
/// How often what was noted is written down: what a kill may forget. With all keys of all roots and users in use it
/// is 12,000 values of 60 bytes, or 0.7 MiB of log in five minutes.
pub const KEY_USE_KEEP_SECONDS: u64 = 300;
/// Last uses in one record: 60 bytes each.
pub const KEY_USES_AT_ONCE: usize = 256;
/// Characters of all inline policies of a user, white space not counted; AWS's own bound.
pub const USER_POLICY_CHARS_MAX: usize = 2_048;
/// The same with white space, which is kept as it was sent: a policy that is laid out for readers is twice or three
/// times its characters.
pub const USER_POLICY_BYTES_MAX: usize = 4 * USER_POLICY_CHARS_MAX;
/// The least policy has about 60 characters, so that more than this do not fit.
pub const USER_POLICIES_MAX: usize = 40;
/// Names of users and their policies (IAM API: userNameType, policyNameType), and of accounts here.
pub const USER_NAME_BYTES_MAX: usize = 64;
pub const POLICY_NAME_BYTES_MAX: usize = 128;
pub const ACCOUNT_NAME_BYTES_MAX: usize = 64;
pub const IAM_PATH_BYTES_MAX: usize = 512;
/// The form of an IAM or STS request: the longest policy, percent-encoded, and its name.
pub const FORM_BYTES_MAX: usize = 128 * KIB;

// ---- The operator: configuration, credentials, admin requests ----

/// Memory the server plans with: memtables, block cache, buffers and read cache. The least with which two
/// cores can hold a memtable, a commit batch and the stripe of one upload each.
pub const MEMORY_BYTES_MIN: u64 = 64 << 20;
/// Keeps a small machine small; larger machines are told to use more by `--memory`.
pub const MEMORY_BYTES_DEFAULT: u64 = 256 << 20;
/// Part of the memory given to object bytes, unless `--read-cache` says otherwise: one in this many.
pub const READ_CACHE_SHARE_DEFAULT: u64 = 6;
/// Open connections, unless the operator says otherwise, and fewer where `CONNECTIONS_IDLE_SHARE` of the memory does
/// not hold so many that wait for their clients. Those that have something to do share `CONNECTIONS_SHARE` of it.
pub const CONNECTIONS_DEFAULT: usize = 4096;
/// One that waits for its client: its task and what is known about it, without the buffers of the kernel.
pub const CONNECTION_IDLE_BYTES: usize = 5 * KIB / 2;
/// Their part of the memory.
pub const CONNECTIONS_IDLE_SHARE: u64 = 24;
/// Connections beyond these that are taken while others make way for them.
pub const CONNECTIONS_CLOSING_MAX: usize = 64;
/// As many as a process may have descriptors under the unit file that we ship, less those for drives.
pub const CONNECTIONS_MAX: usize = 60_000;
/// How long a stop waits for requests in flight: below the 30 s after which Kubernetes kills, and the 90 s
/// of systemd.
pub const DRAIN_SECONDS_DEFAULT: u64 = 25;
/// Any wait that an operator may configure.
pub const TIMEOUT_SECONDS_MAX: u64 = 3600;
pub const CORES_MAX: usize = 256;
/// A region name; AWS's longest has 14 characters.
pub const REGION_BYTES_MAX: usize = 64;
/// A host name, RFC 1035 section 2.3.4.
pub const DOMAIN_BYTES_MAX: usize = 253;
pub const DOMAINS_MAX: usize = 32;
/// Seconds between two deliveries of access logs: an object each time for each bucket and core.
pub const ACCESS_LOG_SECONDS_DEFAULT: u64 = 300;
pub const ACCESS_LOG_SECONDS_MAX: u64 = 24 * 3600;
/// The configuration file: hundreds of drives with long paths fit ten times.
pub const CONFIG_FILE_BYTES_MAX: u64 = 1 << 20;
/// The credentials file: two short lines and comments.
pub const CREDENTIALS_FILE_BYTES_MAX: u64 = 64 << 10;
/// AWS's own bounds for the access key (IAM API, data type AccessKey).
pub const ACCESS_KEY_BYTES_MIN: usize = 16;
pub const ACCESS_KEY_BYTES_MAX: usize = 128;
pub const ACCESS_KEY_BYTES_NEW: usize = 20;
/// Short secrets can be guessed offline from one captured signature.
pub const SECRET_KEY_BYTES_MIN: usize = 16;
pub const SECRET_KEY_BYTES_MAX: usize = 128;
pub const SECRET_KEY_BYTES_NEW: usize = 40;
/// How long an admin request waits for the figures of all cores. A core answers in microseconds, or it is
/// stuck and the operator should hear so.
pub const SNAPSHOT_SECONDS_MAX: u64 = 5;
/// How long `basalt status` waits for a connection, and for each part of the answer.
pub const STATUS_SECONDS_MAX: u64 = 10;
/// An answer to `basalt status`: 256 drives at about 1 KiB of JSON each, eight times over.
pub const STATUS_BYTES_MAX: usize = 2 * MIB;
/// Damaged pieces that `basalt inspect` lists at its end: more than anybody reads. The rest is counted.
pub const INSPECT_DAMAGE_MAX: usize = 1000;

const _: () = assert!(MEMORY_BYTES_MIN <= MEMORY_BYTES_DEFAULT);
const _: () = assert!(
    CONNECTIONS_DEFAULT * CONNECTION_IDLE_BYTES <= (MEMORY_BYTES_DEFAULT / CONNECTIONS_IDLE_SHARE) as usize
);
// The shares: memtables, blocks and buffers in `server`, and these.
const _: () = assert!(
    (2 + 3 + 3 + 1) * 1000 / 16
        + 1000 / READ_CACHE_SHARE_DEFAULT
        + 1000 / CONNECTIONS_SHARE
        + 1000 / CONNECTIONS_IDLE_SHARE
        + 1000 / DOCUMENTS_SHARE
        + 1000 / SPACE_MAPS_SHARE
        + 1000 / ACCESS_LOG_SHARE
        <= 1000
);
const _: () = assert!(READ_BYTES[0] + 2 * ANSWER_BYTES <= SEAT_BYTES);
const _: () = assert!(2 * REQUEST_HEAD_BYTES_MAX <= READ_BYTES[1] * CONNECTION_READS);
const _: () = assert!(CONNECTIONS_DEFAULT <= CONNECTIONS_MAX);
const _: () = assert!(DRAIN_SECONDS_DEFAULT <= TIMEOUT_SECONDS_MAX);
const _: () = assert!(BODY_WINDOW_SECONDS.is_multiple_of(BUFFER_LOOK_SECONDS));
const _: () =
    assert!(ACCESS_KEY_BYTES_MIN <= ACCESS_KEY_BYTES_NEW && ACCESS_KEY_BYTES_NEW <= ACCESS_KEY_BYTES_MAX);
const _: () =
    assert!(SECRET_KEY_BYTES_MIN <= SECRET_KEY_BYTES_NEW && SECRET_KEY_BYTES_NEW <= SECRET_KEY_BYTES_MAX);
/// Buckets in one answer of the admin API, at about 400 bytes of JSON each.
pub const ADMIN_BUCKETS_MAX: usize = 1_000;
/// Buckets with metrics of their own, five samples of 1 us each: below the 1 ms of rule R1.
pub const METRICS_BUCKETS_MAX: usize = 100;

const _: () = assert!(ADMIN_BUCKETS_MAX * KIB <= STATUS_BYTES_MAX);
const _: () = assert!(POOL_DRIVES_MAX * KIB * 8 <= STATUS_BYTES_MAX);

// ---- Access logs ----

/// Memory that lines of access logs may take together: one part in this many. 4 MiB of the default 256 MiB, some
/// 10,000 lines; they are delivered long before that many have come, unless the drives are slower than the clients.
pub const ACCESS_LOG_SHARE: u64 = 64;
/// Of one core. The longest line has a whole request head in it, each byte percent-encoded.
pub const ACCESS_LOG_BYTES_MIN: usize = 256 * KIB;
pub const ACCESS_LOG_BYTES_MAX: usize = 16 * MIB;
/// A part in this many of a core's memory for lines makes an object at once, and is copied while it is written.
pub const ACCESS_LOG_OBJECTS_BUFFERED: usize = 4;
/// `TargetPrefix`: leaves room for account, region, bucket, date and time behind it in a key.
pub const LOG_PREFIX_BYTES_MAX: usize = 800;

const _: () = assert!(3 * (REQUEST_HEAD_BYTES_MAX + KEY_BYTES_MAX) <= ACCESS_LOG_BYTES_MIN);

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
/// half a MiB and more.
pub const CHUNK_BLOCKS_MAX: usize = 64;
pub const CHUNK_BYTES_MAX: usize = CHUNK_BLOCKS_MAX * BLOCK_BYTES;
/// Objects announced at this size or above are written in chunks of `CHUNK_BLOCKS_MAX` blocks, on small drives of
/// fewer; smaller ones in chunks of `CHUNK_BLOCKS`.
pub const LARGE_BYTES_MIN: u64 = 64 << 20;
pub const CHUNK_BLOCKS: usize = 16;
/// Object bytes in one pack: large enough that its stripes are written in long pieces.
pub const PACK_BYTES: usize = MIB;
/// Object bytes of a pack that is not made smaller where there is no place for it: it takes a few pages of each drive.
pub const PACK_BYTES_SPLIT_MIN: usize = 16 * 1024;
/// Usages of buckets whose values a checkpoint reads at a time, and what a change to one takes in memory; as
/// packs. Usages that a start reads in one step of a shard: less than 1 ms.
pub const USAGES_FOLDED_AT_ONCE: usize = PACKS_FOLDED_AT_ONCE;
pub const USAGE_CHANGE_BYTES: usize = 64;
pub const USAGES_READ_AT_ONCE: usize = 500;
/// Catalog bytes in the record that installs a pack.
pub const PACK_RECORD_BYTES: usize = 512 * KIB;
/// The directory at the end of a pack: it names each object with less than the record does.
pub const PACK_DIRECTORY_BYTES_MAX: usize = PACK_RECORD_BYTES;
/// Packs whose value a checkpoint reads at a time: as deep as a drive likes its queue.
pub const PACKS_FOLDED_AT_ONCE: usize = 16;
/// Packs, maps of space or counts of buckets that go into the memtable between two rests: at most 10 us each.
pub const FOLDED_STEPS_MAX: usize = 64;
/// Objects that are looked up on their way into packs between two rests: about 500 us when all of it is in memory.
pub const MOVES_STEPS_MAX: usize = 256;
/// What a change to a pack that is not in the catalog yet takes in memory; counted with the memtable.
pub const PACK_CHANGE_BYTES: usize = 48;
/// Places of packs that a shard keeps at hand, at about 250 bytes each: 128 KiB a shard, for the
/// 512 MiB of small objects that are read most.
pub const PACK_EXTENTS_CACHED: usize = 512;
/// Packs a shard remembers as worth compacting, 16 bytes each. What does not fit is found again by a
/// walk over the packs.
pub const PACKS_SPARSE_MAX: usize = 1024;
/// Packs that one step of that walk looks at.
pub const PACKS_WALKED_AT_ONCE: usize = 1024;
/// Packs that one turn of compaction empties: 16 MiB are read and at most 8 MiB written, a second or
/// less of one slow drive.
pub const PACKS_COMPACTED_AT_ONCE: usize = 16;
/// Turns of the upkeep tick between two turns of compaction of a core: a quarter of a second.
pub const COMPACT_TICKS: u32 = 10;
/// Turns of the upkeep tick after which packs that lost objects, and segments that a full drive waits for, are folded
/// into the catalog though the memtable has not grown: five seconds, so that deleting gives space back soon.
pub const FOLD_TICKS: u32 = 200;
/// How often a core looks whether its shards and log want tending.
pub const TEND_TICK_MS: u64 = 25;
/// Ticks without a request of any client after which it looks only every so many: after ten seconds, four times a
/// second. What fills a memtable or a segment of the log meanwhile comes from clients, and a quarter of a second of it
/// has room in both.
pub const QUIET_TICKS: u64 = 400;
pub const TICKS_WHEN_QUIET: u64 = 10;
/// Buckets of one store: AWS allows an account 10,000 by default.
pub const BUCKETS_MAX: usize = 10_000;
/// One setting of a bucket, as it is kept: 1,000 lifecycle rules of 500 bytes each, and a CORS configuration
/// (AWS: 64 KiB) eight times over. Writing it takes half a millisecond; it is read with rests.
pub const SETTING_BYTES_MAX: usize = 512 * KIB;
/// Settings of all buckets together, as documents: one part of the memory in this many, and in any case room for the
/// usual ones of 10,000 buckets. In memory they take two to three times as much, which `--memory` does not count;
/// without a bound 10,000 buckets with 1,000 lifecycle rules each took 10 GiB.
pub const SETTINGS_SHARE: u64 = 16;
pub const SETTINGS_BYTES_MIN: usize = 8 * MIB;
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
/// Segments a drive should have for each shard, since each owns some on every drive.
pub const SHARD_SEGMENTS_MIN: u64 = 32;
/// A drive must hold the log, the catalog and something to store.
pub const DRIVE_BYTES_MIN: u64 = 512 << 20;
/// One catalog record in the log, without inline object bytes: a version of 10,000 parts at
/// 72 bytes each with the longest checksum, or a 5 GiB part at k = 1 in 1,280 stripes of 16 chunks.
pub const RECORD_BYTES_MAX: usize = MIB;

/// Rows moved by one drive operation: half a MiB of each chunk, behind which drives get no faster.
pub const GROUP_ROWS_MAX: u32 = 8;
/// Groups of rows one writer has on their way to the drives while it fills the next: enough that
/// receiving, coding and writing overlap. At 2+2 each is 2 MiB of buffers.
pub const WRITE_GROUPS_MAX: usize = 2;
/// Groups of rows one reader has asked for, the one being delivered included.
pub const READ_GROUPS_MAX: usize = 3;

/// Starts of a pool: an epoch has 24 bits in every sequence number and log id, which is a start every ten
/// seconds for five years. A superblock that says more is damaged.
pub const EPOCHS_MAX: u32 = (1 << 24) - 1;
/// One manifest slot: about 43 bytes for each run of a shard at three copies, so 1,500 runs of 64 MiB, which
/// is 96 GiB of catalog a shard. Behind that checkpoints fail, the log fills up, and writes answer 507.
pub const MANIFEST_BYTES: usize = 64 * KIB;

// ---- Notifications ----

/// Targets a server may have: each has a task for every shard that has events for it.
pub const WEBHOOKS_MAX: usize = 16;
/// Name of a target; AWS allows that of a queue 80.
pub const WEBHOOK_NAME_BYTES_MAX: usize = 64;
pub const WEBHOOK_URL_BYTES_MAX: usize = 2 * KIB;
pub const WEBHOOK_TOKEN_BYTES_MAX: usize = 4 * KIB;
/// Events that wait for one target, in all shards together: half an hour of a target that is down beside
/// 50 changes a second. One takes 300 bytes on the drives, 3 KiB with the longest key and id, and 16 bytes in
/// memory: 1.6 MiB a target.
pub const EVENTS_DEFAULT: usize = 100_000;
pub const EVENTS_MAX: usize = 10_000_000;
/// Events of one shard that are read, told and then deleted together: what may be told twice after a crash.
pub const EVENTS_PAGE: usize = 32;
/// From the connection to the end of the answer: of one event, and of the test of a new configuration, for
/// which a client waits.
pub const WEBHOOK_SECONDS_MAX: u64 = 10;
pub const WEBHOOK_TEST_SECONDS_MAX: u64 = 5;
/// How long the rest of an answer may take before its connection is given up.
pub const WEBHOOK_DRAIN_SECONDS_MAX: u64 = 1;
/// What is read of an answer, for which nobody cares; a connection with more to come is closed.
pub const WEBHOOK_ANSWER_BYTES_MAX: usize = 64 * KIB;
/// The pause behind the first failure, doubled with each further one up to the longest.
pub const WEBHOOK_PAUSE_MS_MIN: u64 = 500;
pub const WEBHOOK_PAUSE_MS_MAX: u64 = 60_000;
/// Keys of which a target refuses an event, while others of the shard go on; with more it counts as down.
pub const WEBHOOK_REFUSED_KEYS_MAX: usize = 64;

const _: () = assert!(EVENTS_PAGE * 4 * KIB <= RECORD_BYTES_MAX);

// ---- I/O ----

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
/// And a part of what it may have in use, one in this many: both are memory at the same time.
pub const BUFFER_CACHE_SHARE: usize = 4;
/// Buffers above this size go back to the allocator.
pub const BUFFER_CACHED_BYTES_MAX: usize = MIB;
/// One write of zeros where the file system cannot zero by itself.
pub const ZERO_WRITE_BYTES: usize = MIB;

const _: () = assert!(RING_ENTRIES.is_power_of_two() && RING_COMPLETIONS >= 2 * RING_ENTRIES);
const _: () = assert!(IO_THREADS <= IO_THREAD_OPERATIONS_MAX);
const _: () = assert!(BUFFER_CACHED_BYTES_MAX * 16 <= BUFFER_CACHE_BYTES_MAX);
const _: () = assert!(ZERO_WRITE_BYTES.is_multiple_of(PAGE));

// ---- Cores, the log and space ----

/// One batch of the log: room for the largest record, and for 100 and more of the small objects
/// that wait while the batch before is in flight. Each core keeps two.
pub const BATCH_BYTES: usize = 2 * MIB;
/// Jobs waiting for one core; above it the asker is told to slow down.
pub const CORE_QUEUE_MAX: usize = 4096;
/// Jobs waiting for one background core: a flush and a merge of every shard and a log segment to pack,
/// twice over. Who finds it full waits.
pub const BACKGROUND_QUEUE_MAX: usize = 2 * (2 * SHARDS_MAX as usize + 1);
/// The longest rest between two steps of background work beside clients: a step that took longer than this
/// waited for the drives, not for us.
pub const PACE_REST_MS_MAX: u64 = 50;
/// Connections the kernel holds until they are accepted: as many as clients open in the milliseconds in which
/// the accepting thread is away. The kernel's own bound (`net.core.somaxconn`) may be lower.
pub const ACCEPT_BACKLOG: i32 = 1024;
/// Connections accepted and not yet taken over by their core.
pub const ACCEPT_QUEUE_MAX: usize = 256;
/// Part of the memory given to maps of free space: one in this many. A map takes a bit a page, 8 KiB
/// for a segment of 256 MiB: 8 MiB of the default 256 MiB hold the maps of 1,024 segments, and a shard
/// writes to one segment of each drive at a time. The rest is away, in the catalog. What grows with
/// the drives then is some 60 bytes a segment (2,048 to 4,096 segments on the smallest drive, one for each
/// 256 MiB of one above 1 TiB): 240 KiB a TiB, where the maps themselves took 64 MiB. One map of each
/// drive stays with each shard, whatever the share: 64 KiB a drive with 8 shards.
pub const SPACE_MAPS_SHARE: u64 = 32;
/// What a change of space in a segment whose map is away takes in memory, and at most in its map:
/// a run in each of two sets. Counted with the memtable, so a checkpoint comes before it matters.
pub const SPACE_CHANGE_BYTES: usize = 32;
/// Space maps that a checkpoint reads at a time.
pub const SPACE_MAPS_SAVED_AT_ONCE: usize = 16;
/// Segments whose maps are brought back for one piece of space before a new segment is claimed: a
/// fragmented store must not be searched for every piece while there is untouched room.
pub const SPACE_MAPS_TRIED: usize = 4;
/// Segments of each drive that object bytes leave to the log and the catalog.
pub const SYSTEM_SEGMENTS: usize = 8;
/// Segments' worth of space that each directory drive holds for the log, beside `SYSTEM_SEGMENTS` for the catalog,
/// when its file system fills up: a start takes up to two for each core, on m + 1 of the drives. Together 0.4 to 0.8 %
/// of the capacity, and 128 MiB on small drives.
pub const BALLAST_LOG_SEGMENTS: usize = 8;
/// Log segments of one core that may hold records at a time: what recovery reads, 512 MiB at the
/// usual segment size, in well under a second.
pub const LOG_BYTES_MAX: u64 = 512 << 20;
/// Never fewer, however large a segment is (1.5 GiB at the largest): one being filled, one ready, and
/// half of the others before the oldest is emptied.
pub const LOG_SEGMENTS_MIN: usize = 6;
/// How long a log segment has to be unreadable, at every try and without a longer pause between two, before what cannot
/// be read of it counts as lost: long enough for a drive that stalls, short enough that the log does not fill up.
pub const LOG_LOST_SECONDS: u64 = 600;
/// Segments that a log can still fill when it begins with all it may have: packing commits records, so
/// without one nothing is ever emptied. The current one, the next one, and one before writers have to wait.
pub const LOG_SEGMENTS_RETIRING: usize = 3;
/// Bytes read at a time from a log segment: any batch fits whole. 4 MiB, for each log segment that is packed, and
/// once for each core's share of a start.
pub const LOG_WINDOW_BYTES: usize = 2 * BATCH_BYTES;
/// Segment headers read at a time from one drive: a page each, so 256 KiB a drive, and as deep as a drive likes
/// its queue.
pub const HEADERS_READ_AT_ONCE: usize = 64;
/// Pause before a log segment is begun again where there was no room for one.
pub const LOG_SEGMENT_PAUSE_MS: u64 = 100;
/// Pause before a log segment that could not be emptied is tried again: each try reads it.
pub const RETIRE_PAUSE_MS: u64 = 250;
/// The same for all but the oldest, which may be a dozen a core: 4 MiB of each are read before it is known that there
/// is no place.
pub const RETIRE_YOUNGER_PAUSE_MS: u64 = 4_000;
/// The same for one that lacks mirrors: nobody waits for its room, and trying may go on for as long as a drive is
/// bad.
pub const RETIRE_WEAK_PAUSE_MS: u64 = 30_000;
/// Turns of the upkeep tick between two looks at empty segments: ten seconds.
pub const SURRENDER_TICKS: u32 = 400;
/// The same between two looks at the reserve of the drives: it counts some thousand slots a drive.
pub const RESERVE_TICKS: u32 = 20;
/// Empty segments a shard keeps on each drive before it gives one back: the next claim costs a write of its header.
pub const SPARE_SEGMENTS_MAX: usize = 1;
/// Bytes a memtable need not exceed however much memory there is: a larger one only makes the next start longer,
/// 8 shards of 8 MiB being a third of a second of replay. The least is a flush every thousand records.
pub const MEMTABLE_BYTES_MAX: u64 = 8 << 20;
pub const MEMTABLE_BYTES_MIN: u64 = 256 << 10;
/// Parts of an upload looked at in one step: 200 bytes each, and one record when they are freed.
pub const PARTS_AT_ONCE: usize = 64;
/// Parts that are freed together, so that they share a batch of the log. The extent of each may be as large as a
/// record (`RECORD_BYTES_MAX`) where k = 1, and is in memory twice: 16 MiB.
pub const PARTS_FREED_AT_ONCE: usize = 8;

const _: () =
    assert!(POLICY_BYTES_MAX <= SETTING_BYTES_MAX && SETTING_BYTES_MAX + 4 * KIB <= RECORD_BYTES_MAX);
const _: () = assert!(BLOCK_BYTES.is_multiple_of(PAGE));
const _: () = assert!(RECORD_BYTES_MAX + INLINE_BYTES_MAX + PAGE <= BATCH_BYTES);
const _: () = assert!(BATCH_BYTES as u64 + PAGE as u64 <= SEGMENT_BYTES_MIN);

// ---- Repair and scrub ----

/// Damaged places one core remembers until it has repaired them: about 100 bytes each. A drive that fails in
/// many places is the business of a scrub.
pub const REPAIR_QUEUE_MAX: usize = 1024;
/// What a scrub reads and writes in a second at most: a tenth of what a slow NVMe drive gives, 5 TiB a day.
pub const SCRUB_BYTES_PER_SECOND: u64 = 64 << 20;
/// The same while a drive is being filled again: then the data stands with less redundancy than promised, and
/// half of the time is left to clients all the same.
pub const REBUILD_BYTES_PER_SECOND: u64 = 1 << 30;
/// How long a drive may be out before it is given up: longer than a restart of the machine or the change of a
/// cable, and short beside the time until the next drive fails.
pub const EVACUATE_MINUTES_DEFAULT: u64 = 60;
pub const EVACUATE_MINUTES_MAX: u64 = 365 * 24 * 60;
/// Pause before an evacuation is tried again that found no room: each try walks the catalog.
pub const EVACUATION_RETRY_SECONDS: u64 = 600;
/// Headers of one look: 64 reads of 4 KiB, some milliseconds of one drive, once a second at most.
pub const HEADERS_SAMPLED_MAX: usize = 64;
/// A drive is doubtful when this many of them are wrong, or all that there are, and one part in so many.
pub const HEADERS_WRONG_MIN: usize = 3;
pub const HEADERS_WRONG_SHARE: usize = 4;
/// Wrong blocks between two full scrubs that make a drive doubtful whatever its headers are: what readers find is
/// mended at once, so these are others each time, 256 MiB of blocks of 64 KiB.
pub const DOUBT_BLOCKS_MAX: u64 = 4096;
/// One part in so many of the blocks that a full scrub has read: when more are beyond repair, the drives they stand on
/// lost what was written to them, whatever their headers are. A single object that is lost is far less.
pub const LOST_SHARE: u64 = 16;
/// And this many: where little is stored a single bad place is a large share. What goes bad at once on a drive that is
/// sound otherwise are neighbouring sectors, up to a track or an erase block of some MiB; 64 blocks of 64 KiB are 4
/// MiB. Three drives of 2+2 that lose a small object in the same row lose three.
pub const LOST_BLOCKS_MIN: u64 = 64;
/// Bytes an extent is copied between two pauses: a quarter of a chunk.
pub const SCRUB_STEP_BYTES: u64 = 1 << 20;
/// Values a scrub looks at in one turn of their owner: at most the keys of so many are on their way to it, 1 MiB.
pub const HOLDINGS_LOOKED_AT: usize = 256;
/// How often a busy owner is asked again by work that nobody waits for, and the pause between: five seconds.
pub const BUSY_TRIES_MAX: usize = 100;
pub const BUSY_PAUSE_MS: u64 = 50;
/// Lines of the log that one place in the code may write at once, one for each drive of the largest pool; and
/// the time in which it gets another one: ten places that never stop write a gigabyte in a week.
pub const LOG_LINES_AT_ONCE: u32 = POOL_DRIVES_MAX as u32;
pub const LOG_LINE_SECONDS: u64 = 1;
pub const SCRUB_DAYS_DEFAULT: u64 = 30;
pub const SCRUB_DAYS_MAX: u64 = 3650;

// ---- Inventories ----

/// How often it is looked whether a report is due: 0.1 ms for as many buckets as there may be. A short lifecycle day is
/// looked at four times.
pub const INVENTORY_LOOK_SECONDS: u64 = 5;
/// Buckets, or inventories, that are looked at between two rests: 0.2 us each, and as much for each name.
pub const INVENTORY_LOOKS_MAX: usize = 512;
/// Lines of one file of a report: 200 bytes each before they are compressed.
pub const INVENTORY_LINES_MAX: u64 = 1_000_000;
/// Files of one report, whose names are kept until its manifest is written: 10^10 objects, 20 MiB.
pub const INVENTORY_FILES_MAX: usize = 10_000;
/// Compressed bytes that are handed on at a time.
pub const INVENTORY_STEP_BYTES: usize = 64 * KIB;

// ---- Lifecycle ----

/// Entries that an owner gives out at a time to whoever looks for what is due: 10 to 20 us of its thread, and as much
/// of the background thread, which may have no processor but that of the owner. Readers wait for both.
pub const LIFECYCLE_PAGE_STEPS: usize = 32;
/// Rests beside clients of a step that found nothing due, in lengths of the step: a pass over a million versions is
/// a second or two of work, and nobody waits for it.
pub const LIFECYCLE_RESTS: u32 = 4;
/// What seeking over a range without rules counts in such entries.
pub const LIFECYCLE_SEEK_STEPS: usize = 8;
/// Versions of one key that go before others get at the key: 64 commits, some 10 ms.
pub const EXPIRED_AT_ONCE_MAX: usize = 64;
/// Versions whose removal is decided about between two rests: 3 us each with all that is attached.
pub const EXPIRED_TOLD_MAX: usize = 128;
/// Seconds of `--lifecycle-day`: up to a real day.
pub const LIFECYCLE_DAY_SECONDS_MAX: u64 = 24 * 3600;
/// How often rules that changed are looked for, and passes that left something owed are repeated.
pub const LIFECYCLE_LOOK_SECONDS: u64 = 3600;

// ---- The catalog's index: docs/FORMAT.md ----

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
/// Filter and index blocks that a flush or a merge brings along for the cache: those of two full runs.
pub const WARM_BYTES_MAX: usize = MIB;
/// Levels of the index: with four times the bytes on each, more than any pool holds.
pub const INDEX_LEVELS_MAX: usize = 16;
/// Sorted sequences a level collects before they are merged into the next: a key is rewritten once
/// a level, a reader meets up to three sequences a level.
pub const INDEX_FANOUT: usize = 4;
/// Sequences beyond what merging leaves on each level, at which it takes no rest: one merge is under way and
/// the next one is due.
pub const INDEX_BACKLOG_URGENT: usize = 2 * INDEX_FANOUT;
/// The same at which writers wait for merges: a lookup of an absent key asks the filter of each sequence.
pub const INDEX_BACKLOG_MAX: usize = 6 * INDEX_FANOUT;
/// A merge of less than this takes a second or two and does not wait for larger ones, which take minutes.
pub const MERGE_SMALL_BYTES: u64 = 64 << 20;
/// Deletions that justify merging everything, when they are also a quarter of all entries.
pub const INDEX_TOMBSTONES_MERGED: u64 = 4096;
/// How often a look at the versions of a key begins anew because one came and one went since it began. The second
/// time it finds the one that came in front, and the blocks in the cache.
pub const SCAN_RETRIES_MAX: u32 = 64;
/// How often what is attached to a version is changed anew because somebody else changed meanwhile who may; after
/// that the client is told to try again.
pub const AMEND_TRIES_MAX: usize = 16;
/// Old versions of a key that a listing passes one by one before it seeks behind all of them: a seek
/// costs about as much as this many steps.
pub const VERSIONS_STEPPED_MAX: u32 = 4;
/// Parts of listed objects that are stepped over between two rests: 20 ns each, twice where owners are listed.
pub const LISTED_PARTS_MAX: usize = 10_000;
/// Versions of a page whose ids are made in one go: at most 3 us each, for a key of full length.
pub const VERSIONS_TOLD_MAX: usize = 256;
/// Entries a scan passes between two rests: about 400 us when all of them are in memory. A page of a listing is
/// less, so it never rests.
pub const SCAN_STEPS_MAX: usize = 4096;

const _: () = assert!(INLINE_VALUE_BYTES_MAX + INDEX_KEY_BYTES_MAX + 64 < 64 * KIB);
const _: () = assert!(RUN_BLOCK_BYTES + RUN_ROOT_BYTES_MAX < 64 * KIB);
const _: () =
    assert!((INDEX_VALUE_BYTES_MAX + RUN_ROOT_BYTES_MAX) / (RUN_EXTENT_BYTES / 2) < RUN_EXTENTS_RESERVED);
const _: () = assert!(RUN_EXTENT_BYTES / PAGE <= 256, "a page number in an extent is one byte");
const _: () = assert!(RUN_READ_BYTES_MAX <= RUN_EXTENT_BYTES && RUN_EXTENT_BYTES <= MIB);
const _: () = assert!(
    RUN_EXTENTS_MAX * (3 + 9 * 8) + 2 * RUN_ROOT_BYTES_MAX + 3 * INDEX_KEY_BYTES_MAX < RUN_EXTENT_BYTES
);

// Blocks, chunks and heads, across the sections above.
const _: () = assert!(BLOCK_PAYLOAD_BYTES.is_multiple_of(2), "the erasure code works on pairs of bytes");
const _: () = assert!(CHUNK_BYTES_MAX as u64 + PAGE as u64 <= SEGMENT_BYTES_MIN);
const _: () = assert!(INLINE_BYTES_MAX <= BLOCK_PAYLOAD_BYTES);
const _: () = assert!(REQUEST_HEAD_BYTES_MAX <= CONNECTION_BUFFER_BYTES_MAX);

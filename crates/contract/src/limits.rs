//! The bounds of the v1 contract. Everything that comes from outside has one.

/// Largest request body that is read, in bytes (1 MiB). Longer: HTTP 413.
pub const MAX_BODY_BYTES: usize = 1 << 20;
/// Largest single comment, in bytes of UTF-8 (64 KiB). Longer: HTTP 413.
pub const MAX_CONTENT_BYTES: usize = 64 << 10;
/// Longest target, author, hash, reply and wxid, in bytes of UTF-8 (2 KiB). Longer: HTTP 413.
pub const MAX_ADDRESS_BYTES: usize = 2 << 10;
/// Largest `vars`, in bytes of their names and values (16 KiB). Larger: HTTP 413.
pub const MAX_VARS_BYTES: usize = 16 << 10;
/// Most comments in one batch. More: HTTP 413.
pub const MAX_BATCH_COMMENTS: usize = 1000;
/// Longest idempotency key, in characters of visible ASCII.
pub const MAX_KEY_CHARS: usize = 255;
/// Shortest deadline a caller may ask for, in milliseconds.
pub const MIN_DEADLINE_MS: u64 = 1;
/// Longest deadline a caller may ask for, in milliseconds (ten minutes).
pub const MAX_DEADLINE_MS: u64 = 600_000;

//! Points in time as the store keeps them: nanoseconds since the Unix epoch, UTC.
//!
//! A plain number that stands in records and superblocks. The clock itself is part of the world (`io::world`);
//! nothing here reads it.

/// Nanoseconds since 1970-01-01T00:00:00Z. Enough until the year 2554.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nanos(pub u64);

impl Nanos {
    pub const PER_SECOND: u64 = 1_000_000_000;

    /// Whole seconds since the Unix epoch, rounded down.
    pub fn seconds(self) -> u64 {
        self.0 / Self::PER_SECOND
    }

    /// The point `seconds` after the Unix epoch; saturates at the end of the range.
    pub fn from_seconds(seconds: u64) -> Self {
        Nanos(seconds.saturating_mul(Self::PER_SECOND))
    }
}

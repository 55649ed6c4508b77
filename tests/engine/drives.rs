//! Drives that go away, lie, or come back: with m of them gone everything reads and writes.

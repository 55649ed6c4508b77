//! Full drives, and space that is given back.

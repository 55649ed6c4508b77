//! The s3 layer.

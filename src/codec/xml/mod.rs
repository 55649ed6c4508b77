//! The XML of S3: request documents read with bounds, response documents written fast.
//!
//! May use: `base::limits`, `codec::{checksum, date, uri}`, quick-xml for reading. Requests are
//! read as a stream of elements into plain structures; nothing outside the known shapes is
//! accepted, so nothing is silently ignored. Responses are written from borrowed structures whose
//! timestamps are already text. Shapes follow the API model of 2006-03-01.

mod read;
mod bucket;
mod request;
mod response;
mod write;

pub use bucket::*;
pub use read::{Fault, XmlError};
pub use request::{
    CompleteMultipartUpload, CompletedPart, CreateBucketConfiguration, Delete, DeleteObject,
    parse_complete_multipart_upload, parse_create_bucket_configuration, parse_delete,
};
pub use response::{
    Bucket, ChecksumText, CompleteMultipartUploadResult, CopyResult, DeleteResult, DeletedObject,
    ErrorDocument, FailedDelete, InitiateMultipartUploadResult, ListAllMyBucketsResult, ListBucketResult,
    ListBucketV1, ListBucketV2, ListMultipartUploadsResult, ListPartsResult, ObjectEntry, Owner, PartEntry,
    UploadEntry, complete_multipart_upload, copy_object, copy_part, delete_result, error,
    initiate_multipart_upload, list_buckets, list_multipart_uploads, list_objects_v1, list_objects_v2,
    list_parts, location_constraint,
};
pub use write::XmlWriter;

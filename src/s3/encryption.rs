//! Headers that ask for encryption. It is not built, so each of them is refused: what AWS refuses too with the
//! error of AWS, everything else with NotImplemented.
//!
//! Pure. May use `codec::checksum`, `s3::headers`, `s3::route` and `s3::error`. Asked only for a request that has
//! such a header. Invariant: there is no way out of here but an error.
//!
//! Documents: "Specifying server-side encryption with customer-provided keys", "Specifying server-side encryption
//! with AWS KMS", Amazon S3 User Guide.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;

use super::error::{Code, S3Error};
use super::headers::text;
use super::route::Operation;
use crate::codec::checksum::{Checksum, ChecksumAlgorithm, parse_md5_base64};

const METHOD: &str = "x-amz-server-side-encryption";
const KMS_KEY: &str = "x-amz-server-side-encryption-aws-kms-key-id";
const CUSTOMER: &str = "x-amz-server-side-encryption-customer";
const SOURCE: &str = "x-amz-copy-source-server-side-encryption-customer";

/// True for a header that this file answers.
pub(super) fn is_one(name: &str) -> bool {
    name.starts_with(METHOD) || name.starts_with(SOURCE)
}

/// Why the header `name` among `headers` does not get what it asks for.
pub(super) fn refusal(operation: Operation, headers: &HeaderMap, name: &str) -> S3Error {
    let wrong = if name.starts_with(SOURCE) {
        customer_key(headers, SOURCE)
    } else if name.starts_with(CUSTOMER) {
        customer_key(headers, CUSTOMER)
    } else {
        method(operation, headers)
    };
    wrong.err().unwrap_or_else(|| S3Error::not_implemented(name))
}

/// A method that S3 has, where S3 takes one.
fn method(operation: Operation, headers: &HeaderMap) -> Result<(), S3Error> {
    let wrong = |name, value, message: &'static str| Err(S3Error::argument(name, value, message));
    let method = text(headers, METHOD)?;
    if !takes_method(operation) {
        let message = "x-amz-server-side-encryption header is not supported for this operation.";
        return wrong(METHOD, method.unwrap_or(""), message);
    }
    let key = text(headers, KMS_KEY)?;
    match (method, key) {
        (Some("aws:kms" | "aws:kms:dsse"), _) | (Some("AES256" | "aws:fsx") | None, None) => Ok(()),
        (Some("AES256" | "aws:fsx") | None, Some(key)) => {
            wrong(KMS_KEY, key, "A key of AWS KMS is for the method aws:kms or aws:kms:dsse only.")
        }
        (Some(other), _) => wrong(METHOD, other, "The encryption method specified is not supported"),
    }
}

fn takes_method(operation: Operation) -> bool {
    use Operation::{CopyObject, CreateMultipartUpload, PostObject, PutObject};
    matches!(operation, PutObject | CopyObject | CreateMultipartUpload | PostObject)
}

/// The three headers of a key that the client brings.
fn customer_key(headers: &HeaderMap, prefix: &str) -> Result<(), S3Error> {
    let of = |what: &str| text(headers, &format!("{prefix}-{what}"));
    let wrong = |message: &'static str| Err(S3Error::argument(METHOD, "null", message));
    match of("algorithm")? {
        Some("AES256") => {}
        Some(_) => return Err(Code::InvalidEncryptionAlgorithmError.into()),
        None => return wrong("A key of the customer needs its encryption algorithm."),
    }
    let Some(key) = of("key")? else { return wrong("The algorithm needs a key of the customer.") };
    let Some(md5) = of("key-md5")? else { return wrong("A key of the customer needs its MD5.") };
    match STANDARD.decode(key) {
        Ok(key) if key.len() == AES256_KEY_BYTES => {
            let sum = Checksum::of(ChecksumAlgorithm::Md5, &key);
            match parse_md5_base64(md5) {
                Ok(given) if sum.bytes() == given => Ok(()),
                _ => wrong("The calculated MD5 hash of the key did not match the hash that was provided."),
            }
        }
        _ => wrong("The secret key was invalid for the specified algorithm."),
    }
}

const AES256_KEY_BYTES: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, HeaderValue};

    fn code(operation: Operation, pairs: &[(String, &str)]) -> Code {
        let pair = |(name, value): &(String, &str)| {
            (HeaderName::try_from(name.as_str()).unwrap(), HeaderValue::from_str(value).unwrap())
        };
        let headers: HeaderMap = pairs.iter().map(pair).collect();
        refusal(operation, &headers, &pairs[0].0).code()
    }

    #[test]
    fn methods() {
        let put = |pairs: &[(&str, &'static str)]| {
            let pairs: Vec<_> = pairs.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
            code(Operation::PutObject, &pairs)
        };
        for method in ["AES256", "aws:kms", "aws:kms:dsse"] {
            assert_eq!(put(&[(METHOD, method)]), Code::NotImplemented, "{method}");
            assert_eq!(code(Operation::GetObject, &[(METHOD.into(), method)]), Code::InvalidArgument);
        }
        assert_eq!(put(&[(METHOD, "rot13")]), Code::InvalidArgument);
        assert_eq!(put(&[(KMS_KEY, "k")]), Code::InvalidArgument);
        assert_eq!(put(&[(METHOD, "AES256"), (KMS_KEY, "k")]), Code::InvalidArgument);
        assert_eq!(put(&[(METHOD, "aws:kms"), (KMS_KEY, "k")]), Code::NotImplemented);
        assert_eq!(put(&[("x-amz-server-side-encryption-bucket-key-enabled", "true")]), Code::NotImplemented);
    }

    #[test]
    fn keys_of_customers() {
        let key = STANDARD.encode([7; AES256_KEY_BYTES]);
        let md5 = Checksum::of(ChecksumAlgorithm::Md5, &[7; AES256_KEY_BYTES]).to_base64();
        for prefix in [CUSTOMER, SOURCE] {
            let told = |algorithm: &str, key: &str, md5: &str| {
                let named = [("algorithm", algorithm), ("key", key), ("key-md5", md5)];
                let sent = named.into_iter().filter(|(_, value)| !value.is_empty());
                let pairs: Vec<_> = sent.map(|(what, value)| (format!("{prefix}-{what}"), value)).collect();
                code(Operation::GetObject, &pairs)
            };
            assert_eq!(told("AES256", &key, &md5), Code::NotImplemented);
            assert_eq!(told("DES", &key, &md5), Code::InvalidEncryptionAlgorithmError);
            assert_eq!(told("", &key, &md5), Code::InvalidArgument);
            assert_eq!(told("AES256", "", &md5), Code::InvalidArgument);
            assert_eq!(told("AES256", &key, ""), Code::InvalidArgument);
            assert_eq!(told("AES256", "c2hvcnQ=", &md5), Code::InvalidArgument);
            assert_eq!(told("AES256", &key, "1B2M2Y8AsgTpgAmY7PhCfg=="), Code::InvalidArgument);
        }
    }
}

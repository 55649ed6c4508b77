//! PostObject: a browser's form with a file, judged by the policy its signer put into it.
//!
//! The fields come before the file, so all of it is judged before the first byte of the file is
//! taken: signature (SigV4, or SigV2 as old forms have it), policy, access. The file streams into
//! the same Writer as that of a PUT. May use `codec::{form, postpolicy, checksum}`, `s3::put`.
//! https://docs.aws.amazon.com/AmazonS3/latest/API/RESTObjectPOST.html

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{CONTENT_TYPE, ETAG, LOCATION};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::auth::{Carrier, GLOBAL_REGION, Proof, Scheme};
use super::authorize;
use super::body::{Intake, catch_up, content_md5, hash_step, header_checksum};
use super::error::{Code, Result, S3Error};
use super::expiration::expiration_header;
use super::put::{DEFAULT_CHECKSUM, attached, begin_transfer, check_size};
use super::response::{Reply, checksum_headers, empty, etag_text, etag_value, set, xml};
use super::route::{Operation, check_key};
use super::service::Call;
use super::versions::version_header;
use super::{headers, settings};
use crate::base::limits::POST_FIELDS_BYTES_MAX;
use crate::base::time::Nanos;
use crate::catalog::keyuse::{KeyUse, Service};
use crate::codec::checksum::Digests;
use crate::codec::date::parse_amz_date;
use crate::codec::form::{FormEvent, FormReader};
use crate::codec::postpolicy::PostPolicy;
use crate::codec::sigv4::{PayloadKind, SigningKey, Verified};
use crate::codec::uri::encode_component;
use crate::codec::xml::{Configuration, Tags, XmlWriter};
use crate::iam::Caller;
use crate::object::decisions::condition::Conditions;
use crate::object::decisions::events::Cause;
use crate::object::meta::{Checksum as StoredChecksum, ETag as Tag};
use crate::object::store::{Commit, Committed, Writer};

/// What stood in front of the file; names in lower case, the first of each counts.
struct Fields(Vec<(String, String)>);

impl Fields {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}

/// `call` knows the bucket and nobody yet; who posts stands in the form.
pub(super) async fn post_object(call: Call<'_>) -> Result<Reply> {
    let mut reader = reader(call.headers)?;
    let mut fields = Fields(vec![("bucket".into(), call.bucket.into())]);
    let filename = read_fields(call.intake, &mut reader, &mut fields).await?;
    name_key(&mut fields, filename.as_deref().unwrap_or(""))?;
    let key = fields.get("key").unwrap_or("").to_owned();
    let now = call.edge.store.now();
    let (caller, proof, policy) = identify(&call, &fields, now)?;
    let length = policy.as_ref().map_or((0, u64::MAX), PostPolicy::length);
    if let Some(policy) = policy {
        policy.check(&fields.0, now).map_err(|error| S3Error::with(Code::AccessDenied, error.to_string()))?;
    }
    let bucket_url = super::service::location(&call);
    let asked = as_headers(&fields)?;
    headers::check_features(Operation::PostObject, &asked)?;
    let verified = Verified { payload: PayloadKind::Unsigned, seed: None };
    let operation = Operation::PutObject;
    // Those of this moment: the fields came as slowly as the client liked.
    let rules = Some(call.edge.rules(call.bucket)?);
    let (headers, caller, verified) = (&asked, &caller, &verified);
    let call = Call { operation, key: &key, headers, caller, proof, verified, rules, ..call };
    call.trace.meets(call.rules.as_ref(), call.caller, call.proof);
    call.trace.set_key(call.key);
    authorize::admit(&call).await?;
    settings::charged(&call)?;
    let (committed, call) = store(call, &mut reader, length).await?;
    let mut reply = answer(&fields, &bucket_url, &committed);
    expiration_header(reply.headers_mut(), &call, &committed.meta);
    Ok(reply)
}

fn reader(headers: &HeaderMap) -> Result<FormReader> {
    headers::text(headers, CONTENT_TYPE.as_str())?.and_then(FormReader::new).ok_or_else(|| {
        S3Error::new(Code::PreconditionFailed)
            .field("Condition", "Bucket POST must be of the enclosure-type multipart/form-data")
    })
}

/// Reads up to the file; gives its name.
async fn read_fields(
    intake: &mut Intake,
    reader: &mut FormReader,
    fields: &mut Fields,
) -> Result<Option<String>> {
    let mut fed = 0;
    loop {
        match reader.next_event()? {
            Some(FormEvent::Field { name, value }) => {
                let name = name.to_ascii_lowercase();
                if fields.get(&name).is_none() {
                    fields.0.push((name, value));
                }
            }
            // What the part of the file says of its type does not count: only a field does.
            Some(FormEvent::File { filename }) => return Ok(filename),
            Some(_) => return Err(Code::MalformedPOSTRequest.into()),
            None if reader.is_done() => {
                let message = "POST requires exactly one file upload per request.";
                return Err(S3Error::argument("file", "0", message));
            }
            None => match intake.frame().await? {
                Some(frame) => {
                    fed += frame.len();
                    intake.hold_memory(fed.min(POST_FIELDS_BYTES_MAX))?;
                    reader.feed(&frame);
                }
                None => return Err(Code::MalformedPOSTRequest.into()),
            },
        }
    }
}

/// The key, with the name of the user's file where the form wants it.
fn name_key(fields: &mut Fields, filename: &str) -> Result<()> {
    let name = filename.rsplit(['/', '\\']).next().unwrap_or("");
    let Some((_, key)) = fields.0.iter_mut().find(|(field, _)| field == "key") else {
        let message = "Bucket POST must contain a field named 'key'.  If it is specified, please check the \
                       order of the fields.";
        return Err(S3Error::argument("key", "", message));
    };
    *key = key.replace("${filename}", name);
    if key.is_empty() {
        return Err(S3Error::argument("key", "", "User key must have a length greater than 0."));
    }
    check_key(key)
}

// ---- Who posts ----

type Identity = (Caller, Option<Proof>, Option<PostPolicy>);

fn identify(call: &Call<'_>, fields: &Fields, now: Nanos) -> Result<Identity> {
    let signed = ["x-amz-signature", "x-amz-credential", "x-amz-algorithm", "signature", "awsaccesskeyid"];
    let Some(document) = fields.get("policy") else {
        return match signed.iter().find(|name| fields.get(name).is_some()) {
            None => Ok((Caller::Anonymous, None, None)),
            Some(_) => Err(needed("policy")),
        };
    };
    let is_v4 = fields.get("x-amz-algorithm").is_some() || fields.get("x-amz-signature").is_some();
    let ((caller, time), scheme) = match is_v4 {
        true => (check_v4(call, fields, document)?, Scheme::V4),
        false => ((check_v2(call, fields, document)?, now), Scheme::V2),
    };
    if let Some(token) = fields.get("x-amz-security-token") {
        // Permanent credentials have none.
        return Err(S3Error::new(Code::InvalidToken).field("Token-0", token));
    }
    let bad = |message: String| S3Error::with(Code::InvalidPolicyDocument, message);
    let document = STANDARD.decode(document.split_whitespace().collect::<String>());
    let document = document.map_err(|_| bad("Invalid Policy: it is not base64.".into()))?;
    let policy = PostPolicy::parse(&document).map_err(|error| bad(error.to_string()))?;
    Ok((caller, Some(Proof { carrier: Carrier::Form, scheme, time }), Some(policy)))
}

fn needed(name: &str) -> S3Error {
    let message = format!(
        "Bucket POST must contain a field named '{name}'.  If it is specified, please check the order of the fields."
    );
    S3Error::argument(name, "", message)
}

/// https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-authentication-HTTPPOST.html
fn check_v4(call: &Call<'_>, fields: &Fields, document: &str) -> Result<(Caller, Nanos)> {
    let field = |name: &'static str| fields.get(name).ok_or_else(|| needed(name));
    let (algorithm, credential) = (field("x-amz-algorithm")?, field("x-amz-credential")?);
    let (date, signature) = (field("x-amz-date")?, field("x-amz-signature")?);
    if algorithm != "AWS4-HMAC-SHA256" {
        let message = "X-Amz-Algorithm only supports \"AWS4-HMAC-SHA256\"";
        return Err(S3Error::argument("x-amz-algorithm", algorithm, message));
    }
    let malformed = |message: &'static str| S3Error::argument("x-amz-credential", credential, message);
    let mut scope = credential.rsplitn(5, '/');
    let (Some("aws4_request"), Some("s3"), Some(region), Some(day), Some(access_key)) =
        (scope.next(), scope.next(), scope.next(), scope.next(), scope.next())
    else {
        return Err(malformed("the Credential is mal-formed"));
    };
    if region != call.edge.settings.region {
        return Err(malformed("the region of the Credential is wrong"));
    }
    let time = parse_amz_date(date).filter(|_| date.starts_with(day) && day.len() == 8);
    let time =
        time.ok_or_else(|| S3Error::argument("x-amz-date", date, "The date is not that of the Credential"))?;
    let caller = known(call, access_key, |secret| {
        let expected = SigningKey::derive(secret, day, region, "s3").sign(document.as_bytes());
        let given = hex::decode(signature).unwrap_or_default();
        verify_slices_are_equal(&expected, &given).map_err(|_| mismatch(access_key, document, signature))
    })?;
    Ok((caller, time))
}

/// As old forms are signed: HMAC-SHA1 of the policy.
fn check_v2(call: &Call<'_>, fields: &Fields, document: &str) -> Result<Caller> {
    let access_key = fields.get("awsaccesskeyid").ok_or_else(|| needed("AWSAccessKeyId"))?;
    let signature = fields.get("signature").ok_or_else(|| needed("Signature"))?;
    known(call, access_key, |secret| {
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret.as_bytes());
        let given = STANDARD.decode(signature.trim()).unwrap_or_default();
        hmac::verify(&key, document.as_bytes(), &given).map_err(|_| mismatch(access_key, document, signature))
    })
}

fn known(call: &Call<'_>, access_key: &str, prove: impl FnOnce(&str) -> Result<()>) -> Result<Caller> {
    let (store, region) = (&call.edge.store, &call.edge.settings.region);
    let used = KeyUse::new(store.now(), Service::S3, region == GLOBAL_REGION);
    match Caller::of_key(store.identities(), access_key, used, prove) {
        Some(found) => Ok(found?.0),
        None => Err(S3Error::new(Code::InvalidAccessKeyId).field("AWSAccessKeyId", access_key)),
    }
}

fn mismatch(access_key: &str, document: &str, signature: &str) -> S3Error {
    S3Error::new(Code::SignatureDoesNotMatch)
        .field("AWSAccessKeyId", access_key)
        .field("StringToSign", document)
        .field("SignatureProvided", signature)
}

// ---- What is stored ----

/// Fields that a PUT would have sent as headers.
fn as_headers(fields: &Fields) -> Result<HeaderMap> {
    const PLAIN: [&str; 7] = [
        "cache-control",
        "content-type",
        "content-disposition",
        "content-encoding",
        "content-language",
        "content-md5",
        "expires",
    ];
    let mut asked = HeaderMap::new();
    if let Some(document) = fields.get("tagging") {
        let tags = Tags::parse(document.as_bytes())?.0;
        let pair = |(key, value): &(String, String)| {
            format!("{}={}", encode_component(key), encode_component(value))
        };
        set(
            &mut asked,
            HeaderName::from_static("x-amz-tagging"),
            &tags.iter().map(pair).collect::<Vec<_>>().join("&"),
        );
    }
    for (name, value) in &fields.0 {
        let name = match name.as_str() {
            "acl" => "x-amz-acl",
            // They sign the form, and of the body a form says nothing.
            "x-amz-content-sha256"
            | "x-amz-algorithm"
            | "x-amz-credential"
            | "x-amz-date"
            | "x-amz-signature" => continue,
            name if PLAIN.contains(&name) || name.starts_with("x-amz-") => name,
            _ => continue,
        };
        let header = HeaderName::try_from(name).ok().zip(HeaderValue::from_bytes(value.as_bytes()).ok());
        let (header, value) =
            header.ok_or_else(|| S3Error::argument(name, value, "The field cannot be a header"))?;
        asked.insert(header, value);
    }
    Ok(asked)
}

async fn store<'r>(
    call: Call<'r>,
    reader: &mut FormReader,
    (min, max): (u64, u64),
) -> Result<(Committed, Call<'r>)> {
    let stored = headers::stored(call.headers)?;
    let attached = attached(&call)?;
    let origin = call.origin(Cause::Post);
    let (claimed, claimed_md5) = (header_checksum(call.headers)?, content_md5(call.headers)?);
    let algorithm = claimed.as_ref().map_or(DEFAULT_CHECKSUM, |checksum| checksum.algorithm());
    let mut digests = Digests::new(Some(&call.edge.md5), false, Some(algorithm));
    call.look_for_place(Cause::Post).await?;
    let mut writer = call.edge.store.put(call.bucket, call.key, None).await?;
    take_file(call.intake, reader, &mut writer, &mut digests, max).await?;
    if writer.len() < min {
        return Err(S3Error::new(Code::EntityTooSmall)
            .field("ProposedSize", writer.len().to_string())
            .field("MinSizeAllowed", min.to_string()));
    }
    call.trace.set_size(writer.len());
    let writer = writer.settle().await?;
    catch_up(&mut digests).await;
    let values = digests.finish();
    if claimed.is_some() && claimed != values.checksum {
        let message =
            format!("The {} you specified did not match the calculated checksum.", algorithm.name());
        return Err(S3Error::with(Code::BadDigest, message));
    }
    if claimed_md5.is_some() && claimed_md5 != values.md5 {
        return Err(Code::BadDigest.into());
    }
    let etag = Tag { md5: values.md5.unwrap_or_default(), parts: 0 };
    let checksum = values.checksum.map(StoredChecksum::of_whole);
    let conditions = Conditions::default();
    let commit = Commit { headers: stored, etag, checksum, attached, conditions, origin };
    Ok((writer.commit(commit).await?, call))
}

async fn take_file(
    intake: &mut Intake,
    reader: &mut FormReader,
    writer: &mut Writer,
    digests: &mut Digests,
    max: u64,
) -> Result<()> {
    loop {
        match reader.next_event()? {
            Some(FormEvent::Data(mut data)) => {
                let size = writer.len().saturating_add(data.len() as u64);
                check_size(size)?;
                begin_transfer(intake, size)?;
                if size > max {
                    return Err(S3Error::new(Code::EntityTooLarge)
                        .field("ProposedSize", size.to_string())
                        .field("MaxSizeAllowed", max.to_string()));
                }
                while !data.is_empty() {
                    writer.write(hash_step(&mut data, digests).await).await?;
                }
            }
            Some(FormEvent::End) => break,
            Some(_) => return Err(Code::MalformedPOSTRequest.into()),
            None => match intake.frame_for(&|| writer.gives_way()).await? {
                Some(frame) => reader.feed(&frame),
                None => return Err(Code::MalformedPOSTRequest.into()),
            },
        }
    }
    // Fields behind the file do not count, but the connection goes on behind them.
    let mut left = POST_FIELDS_BYTES_MAX;
    while let Some(frame) = intake.frame().await? {
        left = left.checked_sub(frame.len()).ok_or(Code::MaxPostPreDataLengthExceededError)?;
    }
    Ok(())
}

// ---- The answer ----

fn answer(fields: &Fields, bucket_url: &str, committed: &Committed) -> Reply {
    let (bucket, key) = (fields.get("bucket").unwrap_or(""), fields.get("key").unwrap_or(""));
    let etag = etag_text(&committed.meta.etag);
    // S3 encodes the slashes of a key here too.
    let place = format!("{}/{}", bucket_url.trim_end_matches('/'), encode_component(key));
    let redirect = fields.get("success_action_redirect").or_else(|| fields.get("redirect"));
    let redirect = redirect.filter(|url| url.starts_with("http://") || url.starts_with("https://"));
    let mut reply = match (redirect, fields.get("success_action_status")) {
        (Some(url), _) => {
            let mut reply = empty(StatusCode::SEE_OTHER);
            let mark = if url.contains('?') { '&' } else { '?' };
            let (name, etag) = (encode_component(key), encode_component(&format!("\"{etag}\"")));
            let url = format!("{url}{mark}bucket={}&key={name}&etag={etag}", encode_component(bucket));
            set(reply.headers_mut(), LOCATION, &url);
            reply
        }
        (None, Some("201")) => {
            let mut w = XmlWriter::new();
            w.open("PostResponse");
            w.text("Location", &place);
            w.text("Bucket", bucket);
            w.text("Key", key);
            w.etag(&etag);
            w.close("PostResponse");
            let mut reply = xml(w.finish());
            *reply.status_mut() = StatusCode::CREATED;
            set(reply.headers_mut(), LOCATION, &place);
            reply
        }
        (None, status) => {
            let status = if status == Some("200") { StatusCode::OK } else { StatusCode::NO_CONTENT };
            let mut reply = empty(status);
            set(reply.headers_mut(), LOCATION, &place);
            reply
        }
    };
    reply.headers_mut().insert(ETAG, etag_value(&committed.meta.etag));
    if let Some(checksum) = &committed.meta.checksum {
        checksum_headers(reply.headers_mut(), checksum);
    }
    version_header(reply.headers_mut(), committed.version_id.as_deref());
    reply
}

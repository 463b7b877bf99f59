use std::ops::Range;

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{
    CompletedMultipartUpload, CompletedPart, EncodingType, MetadataDirective, MultipartUpload,
    Object,
};
use bytes::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::errors::{Call, Failure, broken};
use super::reply::{self, NO_TYPE, decoded, tag};
use super::{S3Conditions, S3Remote};
use crate::remote::rules::{self, KEY_MAX, PAGE_MAX};
use crate::remote::{
    RemoteAttributes, RemoteCondition, RemoteEntry, RemoteError, RemoteErrorKind, RemoteFuture,
    RemoteGet, RemoteHead, RemoteList, RemoteObject, RemotePage, RemotePart, RemoteStore,
    RemoteUpload,
};

/// Behind a rolled-up prefix it stands above every key below that, but for those that begin so.
const LAST: char = char::MAX;
/// What may stand unescaped in `x-amz-copy-source`.
const SOURCE: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.').remove(b'~');

impl RemoteStore for S3Remote {
    fn identity(&self) -> String {
        self.identity.clone()
    }

    fn is_elsewhere(&self) -> bool {
        true
    }

    fn get<'a>(&'a self, key: &'a str, get: RemoteGet) -> RemoteFuture<'a, RemoteObject> {
        Box::pin(async move {
            if get.range.as_ref().is_some_and(Range::is_empty) {
                return Err(self.nothing_of(key, &get).await);
            }
            let range = get.range.as_ref().map(range_header);
            let wanted = get.if_match.as_deref().map(quoted);
            let sent = self
                .call(Call::Get, |client| {
                    let request = client.get_object().bucket(&self.settings.bucket);
                    let request = request.key(self.key(key)).set_range(range.clone());
                    request.set_if_match(wanted.clone()).send()
                })
                .await;
            reply::object(&get, sent.map_err(error)?)
        })
    }

    fn head<'a>(&'a self, key: &'a str) -> RemoteFuture<'a, RemoteHead> {
        Box::pin(async move {
            let sent = self
                .call(Call::Head, |client| {
                    client.head_object().bucket(&self.settings.bucket).key(self.key(key)).send()
                })
                .await;
            reply::head(sent.map_err(error)?)
        })
    }

    fn put<'a>(
        &'a self,
        key: &'a str,
        body: Bytes,
        attributes: &'a RemoteAttributes,
        condition: RemoteCondition,
    ) -> RemoteFuture<'a, String> {
        Box::pin(async move {
            rules::check_attributes(attributes)?;
            let (present, absent) = self.conditions(condition, S3Conditions::Writes)?;
            let sent = self
                .call(Call::Put, |client| {
                    let request = client.put_object().bucket(&self.settings.bucket);
                    request
                        .key(self.key(key))
                        .content_type(type_of(attributes))
                        .set_content_encoding(attributes.content_encoding.clone())
                        .set_metadata(metadata(attributes))
                        .set_if_match(present.clone())
                        .set_if_none_match(absent.clone())
                        .body(ByteStream::from(body.clone()))
                        .send()
                })
                .await;
            tag(Call::Put, sent.map_err(error)?.e_tag())
        })
    }

    fn begin<'a>(
        &'a self,
        key: &'a str,
        attributes: &'a RemoteAttributes,
    ) -> RemoteFuture<'a, String> {
        Box::pin(async move {
            rules::check_attributes(attributes)?;
            let sent = self
                .call(Call::Begin, |client| {
                    let request = client.create_multipart_upload().bucket(&self.settings.bucket);
                    request
                        .key(self.key(key))
                        .content_type(type_of(attributes))
                        .set_content_encoding(attributes.content_encoding.clone())
                        .set_metadata(metadata(attributes))
                        .send()
                })
                .await;
            let upload = sent.map_err(error)?.upload_id;
            upload
                .filter(|id| !id.is_empty())
                .ok_or_else(|| broken(Call::Begin, "it has no upload id"))
        })
    }

    fn put_part<'a>(
        &'a self,
        key: &'a str,
        upload: &'a str,
        number: u32,
        body: Bytes,
    ) -> RemoteFuture<'a, String> {
        Box::pin(async move {
            let number = part_number(number)?;
            let sent = self
                .call(Call::PutPart, |client| {
                    let request = client.upload_part().bucket(&self.settings.bucket);
                    let request = request.key(self.key(key)).upload_id(upload).part_number(number);
                    request.body(ByteStream::from(body.clone())).send()
                })
                .await;
            tag(Call::PutPart, sent.map_err(error)?.e_tag())
        })
    }

    fn complete<'a>(
        &'a self,
        key: &'a str,
        upload: &'a str,
        parts: &'a [RemotePart],
        condition: RemoteCondition,
    ) -> RemoteFuture<'a, String> {
        Box::pin(async move {
            let (present, absent) = self.conditions(condition, S3Conditions::Writes)?;
            rules::check_parts(parts)?;
            let parts = parts.iter().map(completed).collect::<Result<Vec<_>, _>>()?;
            let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
            let sent = self
                .call(Call::Complete, |client| {
                    let request = client.complete_multipart_upload().bucket(&self.settings.bucket);
                    request
                        .key(self.key(key))
                        .upload_id(upload)
                        .multipart_upload(parts.clone())
                        .set_if_match(present.clone())
                        .set_if_none_match(absent.clone())
                        .send()
                })
                .await;
            tag(Call::Complete, sent.map_err(error)?.e_tag())
        })
    }

    fn abort<'a>(&'a self, key: &'a str, upload: &'a str) -> RemoteFuture<'a, ()> {
        Box::pin(async move {
            let sent = self
                .call(Call::Abort, |client| {
                    let request = client.abort_multipart_upload().bucket(&self.settings.bucket);
                    request.key(self.key(key)).upload_id(upload).send()
                })
                .await;
            match sent {
                Err(failure) if failure.code.as_deref() == Some("NoSuchUpload") => Ok(()),
                sent => sent.map(drop).map_err(error),
            }
        })
    }

    fn uploads<'a>(&'a self, prefix: &'a str) -> RemoteFuture<'a, Vec<RemoteUpload>> {
        Box::pin(async move {
            let sent = self
                .call(Call::Uploads, |client| {
                    let request = client.list_multipart_uploads().bucket(&self.settings.bucket);
                    request
                        .prefix(self.key(prefix))
                        .max_uploads(PAGE_MAX as i32)
                        .encoding_type(EncodingType::Url)
                        .send()
                })
                .await;
            let sent = sent.map_err(error)?;
            let encoded = sent.encoding_type() == Some(&EncodingType::Url);
            sent.uploads().iter().map(|upload| self.upload(upload, encoded)).collect()
        })
    }

    fn delete<'a>(&'a self, key: &'a str, condition: RemoteCondition) -> RemoteFuture<'a, ()> {
        Box::pin(async move {
            if condition == RemoteCondition::Absent {
                return Err(unsupported("S3 has no delete on condition that nothing is there"));
            }
            let (present, _) = self.conditions(condition, S3Conditions::All)?;
            let sent = self
                .call(Call::Delete, |client| {
                    let request = client.delete_object().bucket(&self.settings.bucket);
                    request.key(self.key(key)).set_if_match(present.clone()).send()
                })
                .await;
            match sent {
                Err(failure) if failure.error.kind() == RemoteErrorKind::NotFound => {
                    match present {
                        None => Ok(()),
                        Some(_) => Err(RemoteError::new(
                            RemoteErrorKind::PreconditionFailed,
                            "there is no object in the bucket where one was expected",
                        )),
                    }
                }
                sent => sent.map(drop).map_err(error),
            }
        })
    }

    fn copy<'a>(
        &'a self,
        from: &'a str,
        to: &'a str,
        attributes: Option<&'a RemoteAttributes>,
        condition: RemoteCondition,
    ) -> RemoteFuture<'a, String> {
        Box::pin(async move {
            let (present, absent) = self.conditions(condition, S3Conditions::All)?;
            attributes.map_or(Ok(()), rules::check_attributes)?;
            let source = format!("{}/{}", self.settings.bucket, self.key(from));
            let source = utf8_percent_encode(&source, SOURCE).to_string();
            let sent = self
                .call(Call::Copy, |client| {
                    let request = client.copy_object().bucket(&self.settings.bucket);
                    let request = request
                        .key(self.key(to))
                        .copy_source(&source)
                        .set_if_match(present.clone())
                        .set_if_none_match(absent.clone());
                    match attributes {
                        None => request.send(),
                        Some(attributes) => request
                            .metadata_directive(MetadataDirective::Replace)
                            .content_type(type_of(attributes))
                            .set_content_encoding(attributes.content_encoding.clone())
                            .set_metadata(metadata(attributes))
                            .send(),
                    }
                })
                .await;
            let sent = sent.map_err(error)?;
            tag(Call::Copy, sent.copy_object_result().and_then(|copy| copy.e_tag()))
        })
    }

    fn list(&self, list: RemoteList) -> RemoteFuture<'_, RemotePage> {
        Box::pin(async move {
            let Some(prefix) = rolled_up_at(&list) else {
                return self.page(&list, list.after.as_deref().map(|after| self.key(after))).await;
            };
            let mut page = self.page(&list, Some(self.key(&format!("{prefix}{LAST}")))).await?;
            if page.prefixes.iter().any(|name| name == prefix) {
                page = self.page(&list, Some(last_below(self.key(prefix)))).await?;
                // A server may name it again all the same.
                page.prefixes.retain(|name| name != prefix);
            }
            if page.next.as_deref() == Some(prefix) {
                return Err(broken(Call::List, "a page ends where it began"));
            }
            Ok(page)
        })
    }
}

impl S3Remote {
    /// An empty range cannot be asked for, and any object misses it.
    async fn nothing_of(&self, key: &str, get: &RemoteGet) -> RemoteError {
        match self.head(key).await {
            Ok(head) => match rules::wanted_range(get, &head) {
                Ok(_) => broken(Call::Head, "an empty range exists in it"),
                Err(error) => error,
            },
            Err(error) => error,
        }
    }

    async fn page(
        &self,
        list: &RemoteList,
        after: Option<String>,
    ) -> Result<RemotePage, RemoteError> {
        let limit = match list.limit {
            0 => PAGE_MAX,
            limit => limit.min(PAGE_MAX),
        };
        let sent = self
            .call(Call::List, |client| {
                let request = client.list_objects_v2().bucket(&self.settings.bucket);
                request
                    .prefix(self.key(&list.prefix))
                    .set_delimiter(list.delimiter.clone().filter(|text| !text.is_empty()))
                    .set_start_after(after.clone())
                    .max_keys(limit as i32)
                    .encoding_type(EncodingType::Url)
                    .send()
            })
            .await;
        let sent = sent.map_err(error)?;
        let encoded = sent.encoding_type() == Some(&EncodingType::Url);
        let mut page = RemotePage::default();
        for object in sent.contents() {
            page.entries.push(self.entry(object, encoded)?);
        }
        for prefix in sent.common_prefixes().iter().filter_map(|prefix| prefix.prefix()) {
            page.prefixes.push(self.own_key(Call::List, prefix, encoded)?);
        }
        if sent.is_truncated() == Some(true) {
            let last = page.entries.last().map(|entry| entry.key.as_str());
            let last = last.max(page.prefixes.last().map(String::as_str));
            let last = last.ok_or_else(|| broken(Call::List, "an empty page before others"))?;
            page.next = Some(last.to_owned());
        }
        Ok(page)
    }

    /// The values of If-Match and If-None-Match.
    fn conditions(
        &self,
        condition: RemoteCondition,
        needed: S3Conditions,
    ) -> Result<(Option<String>, Option<String>), RemoteError> {
        if condition != RemoteCondition::None && self.conditions < needed {
            return Err(unsupported(
                "this server is not known to make such a change on condition only; see the bucket's settings",
            ));
        }
        Ok(match condition {
            RemoteCondition::None => (None, None),
            RemoteCondition::Absent => (None, Some("*".to_owned())),
            RemoteCondition::Match(tag) => (Some(quoted(&tag)), None),
        })
    }

    fn own_key(&self, call: Call, key: &str, encoded: bool) -> Result<String, RemoteError> {
        let key = decoded(call, key, encoded)?;
        match key.strip_prefix(&self.settings.prefix) {
            Some(key) => Ok(key.to_owned()),
            None => Err(broken(call, "a key in it has another prefix")),
        }
    }

    fn entry(&self, object: &Object, encoded: bool) -> Result<RemoteEntry, RemoteError> {
        let key = object.key().ok_or_else(|| broken(Call::List, "an entry has no key"))?;
        Ok(RemoteEntry {
            key: self.own_key(Call::List, key, encoded)?,
            size: reply::length(Call::List, object.size())?,
            etag: tag(Call::List, object.e_tag())?,
            modified: reply::modified(object.last_modified()),
        })
    }

    fn upload(&self, upload: &MultipartUpload, encoded: bool) -> Result<RemoteUpload, RemoteError> {
        match (upload.key(), upload.upload_id()) {
            (Some(key), Some(id)) => Ok(RemoteUpload {
                key: self.own_key(Call::Uploads, key, encoded)?,
                upload: id.to_owned(),
            }),
            _ => Err(broken(Call::Uploads, "an upload has no key or no id")),
        }
    }
}

fn error(failure: Failure) -> RemoteError {
    failure.error
}

fn unsupported(message: &str) -> RemoteError {
    RemoteError::new(RemoteErrorKind::Unsupported, message)
}

fn quoted(tag: &str) -> String {
    format!("\"{tag}\"")
}

fn range_header(range: &Range<u64>) -> String {
    // Servers read the numbers as signed ones; no object is that long.
    format!("bytes={}-{}", range.start, (range.end - 1).min(i64::MAX as u64))
}

fn part_number(number: u32) -> Result<i32, RemoteError> {
    rules::check_part_number(number)?;
    i32::try_from(number).map_err(|_| rules::refused("no such part number"))
}

fn completed(part: &RemotePart) -> Result<CompletedPart, RemoteError> {
    let number = part_number(part.number)?;
    Ok(CompletedPart::builder().part_number(number).e_tag(quoted(&part.etag)).build())
}

fn type_of(attributes: &RemoteAttributes) -> &str {
    attributes.content_type.as_deref().unwrap_or(NO_TYPE)
}

fn metadata(attributes: &RemoteAttributes) -> Option<std::collections::HashMap<String, String>> {
    let pairs = &attributes.metadata;
    (!pairs.is_empty())
        .then(|| pairs.iter().map(|(name, value)| (name.clone(), value.clone())).collect())
}

/// The last key there can be below this prefix.
fn last_below(prefix: String) -> String {
    let mut key = prefix;
    for filler in [LAST, '\u{ffff}', '\u{7ff}', '\u{7f}'] {
        while key.len() + filler.len_utf8() <= KEY_MAX {
            key.push(filler);
        }
    }
    key
}

/// The rolled-up prefix that a page ended with, or in. S3 would begin with it again, because keys
/// below it are still to come.
fn rolled_up_at(list: &RemoteList) -> Option<&str> {
    let after = list.after.as_deref()?;
    let delimiter = list.delimiter.as_deref().filter(|text| !text.is_empty())?;
    let rest = after.strip_prefix(&list.prefix)?;
    after.get(..list.prefix.len() + rest.find(delimiter)? + delimiter.len())
}

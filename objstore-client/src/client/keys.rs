//! Objects by their key in the bucket: there the bucket is the truth, and a node is a cache.

use std::sync::Arc;

use http::Method;
use http::header::HeaderName;
use serde::Deserialize;

use super::Client;
use super::lines::Lines;
use super::put::repeat;
use crate::body::Body;
use crate::error::Error;
use crate::object::Object;
use crate::options::{CopyOptions, DeleteOptions, GetOptions, KeyListOptions, PutOptions};
use crate::transport::{Repeat, Request};
use crate::types::{KeyEntry, KeyPage, ObjectKey, ObjectMeta};
use crate::wire::{headers, routes};

impl Client {
    /// Gets what the bucket has under a key, or a range of it. The body is as that of
    /// [`get`](Self::get).
    ///
    /// # Errors
    /// Those of `Node::get_key`; [`ErrorKind::Forbidden`](crate::ErrorKind::Forbidden) where the
    /// node does not serve this key to other machines;
    /// [`ErrorKind::Transport`](crate::ErrorKind::Transport) when no node answered.
    ///
    /// # Cancellation
    /// As [`get`](Self::get).
    pub async fn get_key(&self, key: &ObjectKey, options: GetOptions) -> Result<Object, Error> {
        self.get_at(routes::key(key), &options).await
    }

    /// What is known about an object under a key.
    ///
    /// # Errors
    /// As [`get_key`](Self::get_key).
    ///
    /// # Cancellation
    /// May be dropped at any time.
    pub async fn head_key(
        &self,
        key: &ObjectKey,
        options: GetOptions,
    ) -> Result<Arc<ObjectMeta>, Error> {
        let mut request = Request::new(Method::HEAD, routes::key(key), Repeat::Safe).describing();
        request.get_options(&GetOptions { range: None, ..options })?;
        self.ask(&request, |answer| async move { answer.meta() }).await
    }

    /// Stores an object in the bucket under a key, and returns its metadata once the bucket has
    /// confirmed it. Conditions are judged by the bucket. Of the options `name`, `level`, `write`
    /// and `min_replicas` say nothing here.
    ///
    /// # Errors
    /// Those of `Node::put_key`, and as [`put`](Self::put).
    ///
    /// # Cancellation
    /// As [`put`](Self::put).
    pub async fn put_key(
        &self,
        key: &ObjectKey,
        body: impl Into<Body>,
        options: PutOptions,
    ) -> Result<Arc<ObjectMeta>, Error> {
        let repeat = repeat(options.conditions.is_empty());
        let mut request = Request::new(Method::PUT, routes::key(key), repeat).describing();
        request.put_options(&options)?;
        self.change(&request, Some(body.into())).await
    }

    /// Removes what the bucket has under a key. One that is not there is not an error.
    ///
    /// # Errors
    /// Those of `Node::delete_key`, and as [`delete`](Self::delete).
    ///
    /// # Cancellation
    /// Dropping the future leaves the object as it was or removed.
    pub async fn delete_key(&self, key: &ObjectKey, options: DeleteOptions) -> Result<(), Error> {
        let repeat = repeat(options.conditions.is_empty());
        let mut request = Request::new(Method::DELETE, routes::key(key), repeat);
        request.conditions(&options.conditions)?;
        self.call(&request, None).await.map(drop)
    }

    /// Copies what the bucket has under a key to another, with all that is kept beside it; the bytes
    /// do not come by here. Conditions are about the target, and are judged by the bucket.
    ///
    /// # Errors
    /// Those of `Node::copy_key`, and as [`put`](Self::put).
    ///
    /// # Cancellation
    /// Dropping the future leaves the old object under the target, or the copy.
    pub async fn copy_key(
        &self,
        from: &ObjectKey,
        to: &ObjectKey,
        options: CopyOptions,
    ) -> Result<(), Error> {
        let repeat = repeat(options.conditions.is_empty());
        let mut request = Request::new(Method::PUT, routes::key(to), repeat);
        request.set(HeaderName::from_static(headers::COPY_FROM), routes::encode_key(from))?;
        request.conditions(&options.conditions)?;
        self.call(&request, None).await.map(drop)
    }

    /// One page of the bucket's keys, in order of their bytes, as the bucket has them now.
    ///
    /// # Errors
    /// Those of `Node::list_keys`; [`ErrorKind::Forbidden`](crate::ErrorKind::Forbidden) where the
    /// node does not serve keys with this prefix to other machines;
    /// [`ErrorKind::Transport`](crate::ErrorKind::Transport) when no node answered.
    ///
    /// # Cancellation
    /// May be dropped at any time.
    pub async fn list_keys(&self, options: KeyListOptions) -> Result<KeyPage, Error> {
        let limit = options.limit.clamp(1, KeyListOptions::MAX_LIMIT);
        let mut path = format!("{}?limit={limit}", routes::KEYS);
        let prefix = Some(options.prefix).filter(|prefix| !prefix.is_empty());
        for (name, value) in
            [("prefix", prefix), ("delimiter", options.delimiter), ("after", options.after)]
        {
            if let Some(value) = value {
                path.push_str(&format!("&{name}={}", routes::encode(&value)));
            }
        }
        let request = Request::get(path);
        let page = self.ask(&request, |answer| async move {
            let mut lines = Lines::of(answer)?;
            let mut page = KeyPage::default();
            while let Some(line) = lines.next().await? {
                match line {
                    Line::Key(entry) => page.entries.push(entry),
                    Line::Prefix { prefix } => page.prefixes.push(prefix),
                    Line::Next { next } => page.next = Some(next),
                }
            }
            Ok(page)
        });
        page.await
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    Key(KeyEntry),
    Prefix { prefix: String },
    Next { next: String },
}

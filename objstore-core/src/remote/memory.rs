use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};

use super::error::RemoteError;
use super::rules::{self, Md5Sum};
use super::store::{
    RemoteAttributes, RemoteCondition, RemoteEntry, RemoteFuture, RemoteGet, RemoteHead,
    RemoteList, RemoteObject, RemotePage, RemotePart, RemoteStore, RemoteUpload,
};
use crate::env::{Clock, SystemClock};

/// A bucket in memory, which behaves as S3 does: for tests, and for nodes that touch no disk.
///
/// Every change is one step under one lock, conditions included. Tags are those of S3: the MD5 of
/// the content, or of the parts' MD5s with their number behind. Calls are done when they return.
#[derive(Debug)]
pub struct MemoryRemote {
    name: String,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    objects: BTreeMap<String, Stored>,
    uploads: BTreeMap<String, Upload>,
    uploads_begun: u64,
}

#[derive(Debug)]
struct Stored {
    head: RemoteHead,
    body: Bytes,
}

#[derive(Debug)]
struct Upload {
    key: String,
    attributes: RemoteAttributes,
    parts: BTreeMap<u32, (Md5Sum, Bytes)>,
}

impl MemoryRemote {
    /// An empty bucket of this name on the machine's clock.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self::with_clock(name, Arc::new(SystemClock))
    }

    /// An empty bucket of this name whose objects are dated by this clock.
    #[must_use]
    pub fn with_clock(name: impl Into<String>, clock: Arc<dyn Clock>) -> Self {
        Self { name: name.into(), clock, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get_now(&self, key: &str, get: &RemoteGet) -> Result<RemoteObject, RemoteError> {
        let state = self.state();
        let Stored { head, body } = state.object(key)?;
        let range = rules::wanted_range(get, head)?;
        let at = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX).min(body.len());
        let body = body.slice(at(range.start)..at(range.end));
        Ok(RemoteObject::new(head.clone(), range, body.into()))
    }

    fn put_now(
        &self,
        key: &str,
        body: Bytes,
        attributes: &RemoteAttributes,
        condition: &RemoteCondition,
    ) -> Result<String, RemoteError> {
        rules::check_key(key)?;
        rules::check_attributes(attributes)?;
        let etag = rules::hex(&rules::md5(&body));
        let mut state = self.state();
        state.check(key, condition)?;
        Ok(self.store(&mut state, key, body, etag, attributes.clone()))
    }

    fn store(
        &self,
        state: &mut State,
        key: &str,
        body: Bytes,
        etag: String,
        attributes: RemoteAttributes,
    ) -> String {
        let modified = self.clock.wall_nanos();
        let head = RemoteHead { size: body.len() as u64, etag: etag.clone(), modified, attributes };
        state.objects.insert(key.to_owned(), Stored { head, body });
        etag
    }

    fn begin_now(&self, key: &str, attributes: &RemoteAttributes) -> Result<String, RemoteError> {
        rules::check_key(key)?;
        rules::check_attributes(attributes)?;
        let mut state = self.state();
        state.uploads_begun += 1;
        let name = format!("upload-{}", state.uploads_begun);
        let attributes = attributes.clone();
        let upload = Upload { key: key.to_owned(), attributes, parts: BTreeMap::new() };
        state.uploads.insert(name.clone(), upload);
        Ok(name)
    }

    fn put_part_now(
        &self,
        key: &str,
        upload: &str,
        number: u32,
        body: Bytes,
    ) -> Result<String, RemoteError> {
        rules::check_part_number(number)?;
        let sum = rules::md5(&body);
        let mut state = self.state();
        let upload = state.uploads.get_mut(upload).filter(|upload| upload.key == key);
        upload.ok_or_else(rules::no_such_upload)?.parts.insert(number, (sum, body));
        Ok(rules::hex(&sum))
    }

    fn complete_now(
        &self,
        key: &str,
        upload: &str,
        parts: &[RemotePart],
        condition: &RemoteCondition,
    ) -> Result<String, RemoteError> {
        let mut state = self.state();
        let begun = state.uploads.get(upload).filter(|upload| upload.key == key);
        let begun = begun.ok_or_else(rules::no_such_upload)?;
        rules::check_parts(parts)?;
        let (mut sums, mut body) = (Vec::new(), BytesMut::new());
        for (index, part) in parts.iter().enumerate() {
            let (sum, bytes) = begun.parts.get(&part.number).ok_or_else(rules::no_such_part)?;
            rules::check_part(parts, index, &rules::hex(sum), bytes.len() as u64)?;
            sums.push(*sum);
            body.extend_from_slice(bytes);
        }
        state.check(key, condition)?;
        let attributes = state.uploads.remove(upload).map(|upload| upload.attributes);
        let (body, etag) = (body.freeze(), rules::parts_etag(&sums));
        Ok(self.store(&mut state, key, body, etag, attributes.unwrap_or_default()))
    }

    fn copy_now(
        &self,
        from: &str,
        to: &str,
        attributes: Option<&RemoteAttributes>,
        condition: &RemoteCondition,
    ) -> Result<String, RemoteError> {
        rules::check_key(to)?;
        attributes.map_or(Ok(()), rules::check_attributes)?;
        let mut state = self.state();
        let Stored { head, body } = state.object(from)?;
        let (body, etag) = (body.clone(), head.etag.clone());
        let attributes = attributes.unwrap_or(&head.attributes).clone();
        state.check(to, condition)?;
        Ok(self.store(&mut state, to, body, etag, attributes))
    }

    fn list_now(&self, list: &RemoteList) -> RemotePage {
        let state = self.state();
        let names = rules::page(state.objects.keys().map(String::as_str), list);
        let entry = |key: &&str| {
            let head = &state.objects.get(*key)?.head;
            let (size, etag, modified) = (head.size, head.etag.clone(), head.modified);
            Some(RemoteEntry { key: (*key).to_owned(), size, etag, modified })
        };
        let entries = names.keys.iter().filter_map(entry).collect();
        let prefixes = names.prefixes.into_iter().map(str::to_owned).collect();
        RemotePage { entries, prefixes, next: names.next }
    }
}

impl State {
    fn object(&self, key: &str) -> Result<&Stored, RemoteError> {
        self.objects.get(key).ok_or_else(rules::not_found)
    }

    fn check(&self, key: &str, condition: &RemoteCondition) -> Result<(), RemoteError> {
        let etag = self.objects.get(key).map(|stored| stored.head.etag.as_str());
        rules::check_condition(condition, etag)
    }
}

impl RemoteStore for MemoryRemote {
    fn identity(&self) -> String {
        format!("memory:{}", self.name)
    }

    fn is_elsewhere(&self) -> bool {
        true
    }

    fn get<'a>(&'a self, key: &'a str, get: RemoteGet) -> RemoteFuture<'a, RemoteObject> {
        Box::pin(async move { self.get_now(key, &get) })
    }

    fn head<'a>(&'a self, key: &'a str) -> RemoteFuture<'a, RemoteHead> {
        Box::pin(async move { Ok(self.state().object(key)?.head.clone()) })
    }

    fn put<'a>(
        &'a self,
        key: &'a str,
        body: Bytes,
        attributes: &'a RemoteAttributes,
        condition: RemoteCondition,
    ) -> RemoteFuture<'a, String> {
        Box::pin(async move { self.put_now(key, body, attributes, &condition) })
    }

    fn begin<'a>(
        &'a self,
        key: &'a str,
        attributes: &'a RemoteAttributes,
    ) -> RemoteFuture<'a, String> {
        Box::pin(async move { self.begin_now(key, attributes) })
    }

    fn put_part<'a>(
        &'a self,
        key: &'a str,
        upload: &'a str,
        number: u32,
        body: Bytes,
    ) -> RemoteFuture<'a, String> {
        Box::pin(async move { self.put_part_now(key, upload, number, body) })
    }

    fn complete<'a>(
        &'a self,
        key: &'a str,
        upload: &'a str,
        parts: &'a [RemotePart],
        condition: RemoteCondition,
    ) -> RemoteFuture<'a, String> {
        Box::pin(async move { self.complete_now(key, upload, parts, &condition) })
    }

    fn abort<'a>(&'a self, key: &'a str, upload: &'a str) -> RemoteFuture<'a, ()> {
        Box::pin(async move {
            let mut state = self.state();
            if state.uploads.get(upload).is_some_and(|upload| upload.key == key) {
                state.uploads.remove(upload);
            }
            Ok(())
        })
    }

    fn uploads<'a>(&'a self, prefix: &'a str) -> RemoteFuture<'a, Vec<RemoteUpload>> {
        Box::pin(async move {
            let state = self.state();
            let begun = state.uploads.iter().filter(|(_, upload)| upload.key.starts_with(prefix));
            let named = |(name, upload): (&String, &Upload)| RemoteUpload {
                key: upload.key.clone(),
                upload: name.clone(),
            };
            Ok(begun.map(named).take(rules::PAGE_MAX).collect())
        })
    }

    fn delete<'a>(&'a self, key: &'a str, condition: RemoteCondition) -> RemoteFuture<'a, ()> {
        Box::pin(async move {
            let mut state = self.state();
            state.check(key, &condition)?;
            state.objects.remove(key);
            Ok(())
        })
    }

    fn copy<'a>(
        &'a self,
        from: &'a str,
        to: &'a str,
        attributes: Option<&'a RemoteAttributes>,
        condition: RemoteCondition,
    ) -> RemoteFuture<'a, String> {
        Box::pin(async move { self.copy_now(from, to, attributes, &condition) })
    }

    fn list(&self, list: RemoteList) -> RemoteFuture<'_, RemotePage> {
        Box::pin(async move { Ok(self.list_now(&list)) })
    }
}

//! What every [`RemoteStore`] does, as checks that any of them can be put to.

mod lists;
mod objects;
mod parts;

use std::fmt::Debug;
use std::sync::Arc;

use bytes::Bytes;

use crate::remote::{
    RemoteAttributes, RemoteCondition, RemoteError, RemoteErrorKind, RemoteGet, RemoteList,
    RemoteObject, RemoteStore,
};

/// Puts a store to every check, on keys that begin with `prefix` (any text, at most 500 bytes; it
/// should be new for each run), and removes what it made there. Moves about 100 MiB, and makes some
/// hundred calls, one after the other but where they are to meet.
///
/// A store may answer [`Unsupported`](RemoteErrorKind::Unsupported) to conditions on delete and
/// copy, and to nothing else.
///
/// # Panics
/// At the first thing that is not as it has to be, naming the check and what is wrong.
pub async fn remote_suite(store: Arc<dyn RemoteStore>, prefix: &str) {
    let suite = Suite { store, prefix: prefix.to_owned() };
    objects::checks(&suite).await;
    parts::checks(&suite).await;
    lists::checks(&suite).await;
    let end = suite.check("the end leaves nothing");
    end.clean(prefix).await;
    let page = end.list(&RemoteList { prefix: prefix.to_owned(), ..RemoteList::default() }).await;
    end.same("what is left", &page.0, &Vec::new());
}

struct Suite {
    store: Arc<dyn RemoteStore>,
    prefix: String,
}

impl Suite {
    fn check(&self, name: &'static str) -> Check {
        let prefix = format!("{}{}/", self.prefix, name.replace(' ', "-"));
        Check { store: Arc::clone(&self.store), name, prefix }
    }
}

/// One check, with keys of its own.
struct Check {
    store: Arc<dyn RemoteStore>,
    name: &'static str,
    prefix: String,
}

impl Check {
    fn fail(&self, what: &str) -> ! {
        panic!("{} does not conform: {}: {what}", self.store.identity(), self.name)
    }

    fn ok<T>(&self, what: &str, result: Result<T, RemoteError>) -> T {
        match result {
            Ok(value) => value,
            Err(error) => self.fail(&format!("{what} failed: {}: {error}", error.kind())),
        }
    }

    fn that(&self, what: &str, holds: bool) {
        if !holds {
            self.fail(what);
        }
    }

    fn same<T: PartialEq + Debug>(&self, what: &str, found: &T, expected: &T) {
        if found != expected {
            let (found, expected) = (format!("{found:?}"), format!("{expected:?}"));
            let brief = |text: String| text.chars().take(400).collect::<String>();
            self.fail(&format!("{what}: {}, expected {}", brief(found), brief(expected)));
        }
    }

    fn fails<T>(&self, what: &str, result: Result<T, RemoteError>, kinds: &[RemoteErrorKind]) {
        match result {
            Ok(_) => self.fail(&format!("{what} succeeded, expected {kinds:?}")),
            Err(error) if kinds.contains(&error.kind()) => {}
            Err(error) => {
                self.fail(&format!("{what}: {}: {error}, expected {kinds:?}", error.kind()))
            }
        }
    }

    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    async fn put(&self, key: &str, body: impl Into<Bytes>) -> String {
        let attributes = RemoteAttributes::default();
        let put = self.store.put(key, body.into(), &attributes, RemoteCondition::None).await;
        self.ok(&format!("put {key:?}"), put)
    }

    async fn read(&self, key: &str) -> Bytes {
        let object = self.ok("get", self.store.get(key, RemoteGet::default()).await);
        self.bytes(object).await
    }

    async fn bytes(&self, object: RemoteObject) -> Bytes {
        let promised = object.range.end - object.range.start;
        match object.body.collect(usize::MAX).await {
            Ok(bytes) if bytes.len() as u64 == promised => bytes,
            Ok(bytes) => self.fail(&format!(
                "a body of {} bytes ended well, {promised} were promised",
                bytes.len()
            )),
            Err(error) => self.fail(&format!("a body broke: {error}")),
        }
    }

    async fn is_gone(&self, key: &str) {
        let kinds = [RemoteErrorKind::NotFound];
        self.fails(
            &format!("get {key:?}"),
            self.store.get(key, RemoteGet::default()).await,
            &kinds,
        );
        self.fails(&format!("head {key:?}"), self.store.head(key).await, &kinds);
    }

    /// All keys and prefixes of a list, page by page.
    async fn list(&self, list: &RemoteList) -> (Vec<String>, Vec<String>) {
        let (mut keys, mut prefixes) = (Vec::new(), Vec::new());
        let mut list = list.clone();
        loop {
            let page = self.ok("list", self.store.list(list.clone()).await);
            let count = page.entries.len() + page.prefixes.len();
            let limit = if list.limit == 0 { 1000 } else { list.limit };
            self.that("a page longer than its limit", count <= limit);
            keys.extend(page.entries.into_iter().map(|entry| entry.key));
            prefixes.extend(page.prefixes);
            self.that("a list without end", keys.len() + prefixes.len() < 100_000);
            match page.next {
                Some(next) => {
                    self.that("an empty page that is not the last", count > 0);
                    self.that("a next page that is this one", list.after.as_ref() != Some(&next));
                    list.after = Some(next);
                }
                None => return (keys, prefixes),
            }
        }
    }

    async fn clean(&self, prefix: &str) {
        for upload in self.ok("uploads", self.store.uploads(prefix).await) {
            self.ok("abort", self.store.abort(&upload.key, &upload.upload).await);
        }
        let all = RemoteList { prefix: prefix.to_owned(), ..RemoteList::default() };
        for key in self.list(&all).await.0 {
            self.ok("delete", self.store.delete(&key, RemoteCondition::None).await);
        }
    }
}

fn some_bytes(len: usize, seed: u8) -> Bytes {
    (0..len).map(|i| (i / 251) as u8 ^ (i % 251) as u8 ^ seed).collect::<Vec<u8>>().into()
}

use std::fmt::Debug;
use std::sync::Arc;

use bytes::Bytes;

use crate::remote::{
    RemoteAttributes, RemoteCondition, RemoteError, RemoteFuture, RemoteGet, RemoteHead,
    RemoteList, RemoteObject, RemotePage, RemotePart, RemoteStore, RemoteUpload,
};

/// Which call of a [`RemoteStore`] it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)] // as the calls are named
pub enum CallKind {
    Get,
    Head,
    Put,
    Begin,
    PutPart,
    Complete,
    Abort,
    Uploads,
    Delete,
    Copy,
    List,
}

/// A call of a [`RemoteStore`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Call {
    /// Which.
    pub kind: CallKind,
    /// The key, of a copy the target, or the prefix.
    pub key: String,
    /// What a get asks for.
    pub get: RemoteGet,
    /// What a change demands.
    pub condition: RemoteCondition,
    /// The number of a part, else 0.
    pub part: u32,
    /// Bytes of body that are sent.
    pub bytes: u64,
}

impl Call {
    fn new(kind: CallKind, key: &str) -> Self {
        let (get, condition) = (RemoteGet::default(), RemoteCondition::None);
        Self { kind, key: key.to_owned(), get, condition, part: 0, bytes: 0 }
    }

    fn demanding(self, condition: &RemoteCondition) -> Self {
        Self { condition: condition.clone(), ..self }
    }
}

/// Something done around each call of a store.
pub trait Around: Send + Sync + Debug {
    /// Before the call. An error is its answer, and the store is not asked.
    fn before<'a>(&'a self, call: &'a Call) -> RemoteFuture<'a, ()>;

    /// After a call that succeeded. An error takes the place of its answer: the change was made,
    /// and the caller is not told.
    ///
    /// # Errors
    /// What the caller is to be told.
    fn after(&self, call: &Call) -> Result<(), RemoteError> {
        let _ = call;
        Ok(())
    }

    /// Takes what a get is answered with, and gives what the caller gets.
    fn object(&self, call: &Call, object: RemoteObject) -> RemoteObject {
        let _ = call;
        object
    }
}

/// A store with something done around each of its calls.
#[derive(Debug)]
pub struct Adapted<A> {
    store: Arc<dyn RemoteStore>,
    pub(super) around: A,
}

impl<A: Around> Adapted<A> {
    /// A store with this around it.
    pub fn around(store: Arc<dyn RemoteStore>, around: A) -> Self {
        Self { store, around }
    }

    async fn call<T>(&self, call: &Call, answer: RemoteFuture<'_, T>) -> Result<T, RemoteError> {
        self.around.before(call).await?;
        let answer = answer.await?;
        self.around.after(call)?;
        Ok(answer)
    }
}

/// The stores' calls do nothing before they are awaited, so one that is refused is never made.
impl<A: Around> RemoteStore for Adapted<A> {
    fn identity(&self) -> String {
        self.store.identity()
    }

    fn is_elsewhere(&self) -> bool {
        self.store.is_elsewhere()
    }

    fn get<'a>(&'a self, key: &'a str, get: RemoteGet) -> RemoteFuture<'a, RemoteObject> {
        Box::pin(async move {
            let call = Call { get: get.clone(), ..Call::new(CallKind::Get, key) };
            let object = self.call(&call, self.store.get(key, get)).await?;
            Ok(self.around.object(&call, object))
        })
    }

    fn head<'a>(&'a self, key: &'a str) -> RemoteFuture<'a, RemoteHead> {
        Box::pin(
            async move { self.call(&Call::new(CallKind::Head, key), self.store.head(key)).await },
        )
    }

    fn put<'a>(
        &'a self,
        key: &'a str,
        body: Bytes,
        attributes: &'a RemoteAttributes,
        condition: RemoteCondition,
    ) -> RemoteFuture<'a, String> {
        Box::pin(async move {
            let call = Call { bytes: body.len() as u64, ..Call::new(CallKind::Put, key) }
                .demanding(&condition);
            self.call(&call, self.store.put(key, body, attributes, condition)).await
        })
    }

    fn begin<'a>(
        &'a self,
        key: &'a str,
        attributes: &'a RemoteAttributes,
    ) -> RemoteFuture<'a, String> {
        Box::pin(async move {
            self.call(&Call::new(CallKind::Begin, key), self.store.begin(key, attributes)).await
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
            let bytes = body.len() as u64;
            let call = Call { bytes, part: number, ..Call::new(CallKind::PutPart, key) };
            self.call(&call, self.store.put_part(key, upload, number, body)).await
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
            let call = Call::new(CallKind::Complete, key).demanding(&condition);
            self.call(&call, self.store.complete(key, upload, parts, condition)).await
        })
    }

    fn abort<'a>(&'a self, key: &'a str, upload: &'a str) -> RemoteFuture<'a, ()> {
        Box::pin(async move {
            self.call(&Call::new(CallKind::Abort, key), self.store.abort(key, upload)).await
        })
    }

    fn uploads<'a>(&'a self, prefix: &'a str) -> RemoteFuture<'a, Vec<RemoteUpload>> {
        Box::pin(async move {
            self.call(&Call::new(CallKind::Uploads, prefix), self.store.uploads(prefix)).await
        })
    }

    fn delete<'a>(&'a self, key: &'a str, condition: RemoteCondition) -> RemoteFuture<'a, ()> {
        Box::pin(async move {
            let call = Call::new(CallKind::Delete, key).demanding(&condition);
            self.call(&call, self.store.delete(key, condition)).await
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
            let call = Call::new(CallKind::Copy, to).demanding(&condition);
            self.call(&call, self.store.copy(from, to, attributes, condition)).await
        })
    }

    fn list(&self, list: RemoteList) -> RemoteFuture<'_, RemotePage> {
        Box::pin(async move {
            let call = Call::new(CallKind::List, &list.prefix);
            self.call(&call, self.store.list(list)).await
        })
    }
}

#![allow(unsafe_code)] // exports, and the caller's buffer

use std::sync::{Arc, Mutex, MutexGuard, TryLockError};
use std::task::Poll;

use bytes::{Buf, Bytes};
use objstore_core::types::ObjectMeta;
use objstore_core::{Body, Object};

use crate::boundary::{call, check_len, copy_out, free_with, quietly, set, wanted};
use crate::cancel::Cancel;
use crate::engine::Engine;
use crate::error::Failure;
use crate::handles::{self, Handle};
use crate::meta::Meta;
use crate::status::{OBJSTORE_FINISHED, OBJSTORE_IN_USE, objstore_status};
use crate::types::{objstore_error, objstore_meta, objstore_reader};

/// An object on its way out. It has what it needs, so the store may be closed before it.
pub(crate) struct Reader {
    engine: Arc<Engine>,
    record: Arc<ObjectMeta>,
    range: std::ops::Range<u64>,
    cancels: Vec<Cancel>,
    /// Of this reader alone.
    own: Cancel,
    state: Mutex<State>,
}

struct State {
    /// None while it is under way elsewhere, and after an error.
    body: Option<Body>,
    /// What has come and was not taken.
    chunk: Bytes,
    /// What the caller was given to look at.
    lent: Bytes,
    /// What came behind the last of the bytes that were given.
    failed: Option<Failure>,
}

/// What a look for the next chunk came back with.
pub(crate) type Next = (Body, Option<Result<Bytes, objstore_core::Error>>);

impl Handle for Reader {
    type Opaque = objstore_reader;
}

impl Drop for Reader {
    fn drop(&mut self) {
        // The body may hold on to something that knows the runtime.
        let state = self.state.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
        let body = state.body.take();
        self.engine.within(|| drop(body));
    }
}

impl Reader {
    pub(crate) fn new(engine: Arc<Engine>, object: Object, cancels: Vec<Cancel>) -> Self {
        let state = Mutex::new(State {
            body: Some(object.body),
            chunk: Bytes::new(),
            lent: Bytes::new(),
            failed: None,
        });
        let (record, range) = (object.meta, object.range);
        Self { engine, record, range, cancels, own: Cancel::new(), state }
    }

    fn alone(&self) -> Result<MutexGuard<'_, State>, Failure> {
        let mut state = alone(&self.state, "reader")?;
        if self.state.is_poisoned() {
            // A look for more has panicked: what it would go on with is not known.
            state.body = None;
        }
        Ok(state)
    }

    pub(crate) fn cancels(&self) -> Vec<Cancel> {
        self.cancels.iter().chain([&self.own]).cloned().collect()
    }

    /// Makes sure that something has come, or that the end is reached.
    fn fill(&self, state: &mut State) -> Result<(), Failure> {
        if state.chunk.has_remaining() {
            return Ok(());
        }
        if let Some(failure) = state.failed.take() {
            return Err(failure);
        }
        if self.own.is_triggered() || self.cancels.iter().any(Cancel::is_triggered) {
            state.body = None;
            return Err(Cancel::failure());
        }
        if self.engine.within(|| is_here(state))? {
            return Ok(());
        }
        let next = self.engine.run(next(take_body(state)?, self.cancels()))?;
        arrived(state, next)
    }

    /// Begins a look for the next chunk; none when one is here already.
    pub(crate) fn begin(&self) -> Result<Option<Body>, Failure> {
        let mut state = self.alone()?;
        if state.chunk.has_remaining() || state.failed.is_some() {
            return Ok(None);
        }
        take_body(&mut state).map(Some)
    }

    /// Keeps what a look came back with.
    pub(crate) fn end(&self, next: Next) -> Result<(), Failure> {
        let mut state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        arrived(&mut state, next)
    }

    pub(crate) fn engine(&self) -> Arc<Engine> {
        Arc::clone(&self.engine)
    }
}

/// Whether something has come, or the end is reached, without anybody having to wait for it. Inside the
/// runtime.
fn is_here(state: &mut State) -> Result<bool, Failure> {
    let body = state.body.as_mut().ok_or_else(finished)?;
    let looked = Engine::look(std::pin::pin!(chunk(body)));
    match looked {
        Poll::Ready(Some(Ok(chunk))) => state.chunk = chunk,
        Poll::Ready(Some(Err(error))) => {
            state.body = None;
            return Err(error.into());
        }
        Poll::Ready(None) => {}
        Poll::Pending => return Ok(false),
    }
    Ok(true)
}

fn take_body(state: &mut State) -> Result<Body, Failure> {
    state.body.take().ok_or_else(finished)
}

fn finished() -> Failure {
    let why = "the reader has failed before, or is being fetched; free it, or wait";
    Failure::new(OBJSTORE_FINISHED, why)
}

fn arrived(state: &mut State, (body, next): Next) -> Result<(), Failure> {
    match next {
        Some(Ok(chunk)) => state.chunk = chunk,
        Some(Err(error)) => return Err(error.into()),
        None => {}
    }
    state.body = Some(body);
    Ok(())
}

/// The next chunk that has bytes.
pub(crate) async fn next(mut body: Body, cancels: Vec<Cancel>) -> Result<Next, Failure> {
    Cancel::or(cancels, async move {
        let next = chunk(&mut body).await;
        Ok((body, next))
    })
    .await
}

async fn chunk(body: &mut Body) -> Option<Result<Bytes, objstore_core::Error>> {
    loop {
        match body.chunk().await {
            Some(Ok(chunk)) if chunk.is_empty() => {}
            next => return next,
        }
    }
}

/// What only one thread may use at a time.
pub(crate) fn alone<'a, T>(state: &'a Mutex<T>, what: &str) -> Result<MutexGuard<'a, T>, Failure> {
    match state.try_lock() {
        Ok(state) => Ok(state),
        Err(TryLockError::Poisoned(poisoned)) => Ok(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => {
            let why = format!("another thread is using this {what}; it is for one at a time");
            Err(Failure::new(OBJSTORE_IN_USE, why))
        }
    }
}

/// Reads the next bytes into `buffer`: `length` of them at most, at least one unless the object is
/// at its end, where `*got` is 0, as it is of a `length` of 0. Blocks until there is something, the first
/// time too. After an error from 100 on, or OBJSTORE_CANCELLED, the reader can only be freed (later ones
/// say OBJSTORE_CANCELLED or OBJSTORE_FINISHED), and what was read must not be taken for the whole.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_reader_read(
    reader: *mut objstore_reader,
    buffer: *mut u8,
    length: usize,
    got: Option<&mut usize>,
    error: Option<&mut *mut objstore_error>,
) -> objstore_status {
    call(error, || {
        let got = wanted(got, "got")?;
        *got = 0;
        check_len(buffer, length)?;
        let reader = handles::get::<Reader>(reader)?;
        let mut state = reader.alone()?;
        let mut give = |state: &mut State| {
            let count = state.chunk.len().min(length - *got);
            // SAFETY: the header asks for room for `length` bytes, of which `*got` are taken.
            unsafe { copy_out(state.chunk.get(..count).unwrap_or_default(), buffer.add(*got)) };
            state.chunk.advance(count);
            *got += count;
            count > 0 && *got < length
        };
        if length == 0 {
            return Ok(());
        }
        reader.fill(&mut state)?;
        if give(&mut state) {
            // More of what is here; what goes wrong with it is told the next time.
            reader.engine.within(|| {
                while state.body.is_some() {
                    match is_here(&mut state) {
                        Ok(_) if give(&mut state) => {}
                        Ok(_) => break,
                        Err(failure) => state.failed = Some(failure),
                    }
                }
            });
        }
        Ok(())
    })
}

/// The next bytes where they are, without a copy: `*data` points at `*length` of them, 0 at the end.
/// They belong to the reader, until the next call on it. Otherwise as objstore_reader_read().
#[unsafe(no_mangle)]
pub extern "C" fn objstore_reader_next(
    reader: *mut objstore_reader,
    data: Option<&mut *const u8>,
    length: Option<&mut usize>,
    error: Option<&mut *mut objstore_error>,
) -> objstore_status {
    call(error, || {
        let (data, length) = (wanted(data, "data")?, wanted(length, "length")?);
        (*data, *length) = (std::ptr::null(), 0);
        let reader = handles::get::<Reader>(reader)?;
        let mut state = reader.alone()?;
        // The place it had may be the one for what comes, and is still in the CPU's cache.
        state.lent = Bytes::new();
        reader.fill(&mut state)?;
        let chunk = std::mem::take(&mut state.chunk);
        (*data, *length) = (chunk.as_ptr(), chunk.len());
        state.lent = chunk;
        Ok(())
    })
}

/// The version that is read. To be freed with objstore_meta_free(); null when `reader` is none.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_reader_meta(reader: *const objstore_reader) -> *mut objstore_meta {
    quietly(std::ptr::null_mut(), || {
        let record = Arc::clone(&handles::get::<Reader>(reader)?.record);
        Ok(handles::give(Meta::new(record)))
    })
}

/// Which bytes of the object the reader gives: the position of the first and how many, which is all
/// of them unless a range was asked for.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_reader_range(
    reader: *const objstore_reader,
    first: Option<&mut u64>,
    length: Option<&mut u64>,
) -> objstore_status {
    set(|| {
        let (first, length) = (wanted(first, "first")?, wanted(length, "length")?);
        let reader = handles::get::<Reader>(reader)?;
        (*first, *length) = (reader.range.start, reader.range.end - reader.range.start);
        Ok(())
    })
}

/// Ends a read that another thread waits in, and the next one, with OBJSTORE_CANCELLED. From any
/// thread; does not block.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_reader_cancel(reader: *mut objstore_reader) -> objstore_status {
    set(|| {
        handles::get::<Reader>(reader)?.own.trigger();
        Ok(())
    })
}

/// Frees a reader; null is fine. What was not read is not brought. A thread that waits in it, and a fetch
/// that is under way, is told OBJSTORE_CANCELLED.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_reader_free(reader: *mut objstore_reader) -> objstore_status {
    free_with::<Reader>(reader, |reader| reader.own.trigger())
}

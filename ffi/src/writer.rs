#![allow(unsafe_code)] // exports, and bytes of the caller's

use std::ffi::{c_char, c_void};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use objstore_core::types::ObjectMeta;
use objstore_core::{Body, Error, ErrorKind};
use tokio::sync::{mpsc, oneshot};

use crate::backend::Target;
use crate::boundary::{Out, bytes, call, cleared, copied, free_with, place, set};
use crate::cancel::Cancel;
use crate::engine::Engine;
use crate::error::Failure;
use crate::handles::{self, Handle};
use crate::operations::{by_id, give_meta, key};
use crate::options;
use crate::queue::{Found, To, objstore_done};
use crate::reader::alone;
use crate::status::{OBJSTORE_FINISHED, OBJSTORE_STOPPING, objstore_status};
use crate::store::Store;
use crate::types::{
    objstore_error, objstore_id, objstore_meta, objstore_put_options, objstore_queue,
    objstore_store, objstore_writer,
};

/// The bytes that are copied at a time, and how many such pieces may wait to be taken.
const PIECE: usize = 256 * 1024;
const PIECES: usize = 4;

/// An object on its way in: a put of a body that comes in pieces.
pub(crate) struct Writer {
    engine: Arc<Engine>,
    own: Cancel,
    state: Mutex<State>,
}

struct State {
    /// None once it was finished or has failed.
    open: Option<Open>,
}

struct Open {
    pieces: mpsc::Sender<Piece>,
    done: oneshot::Receiver<Result<Arc<ObjectMeta>, Failure>>,
}

enum Piece {
    Bytes(Bytes),
    End,
}

impl Handle for Writer {
    type Opaque = objstore_writer;
}

impl Writer {
    fn begin(
        store: &Store,
        target: Target,
        options: *const objstore_put_options,
        size: i64,
    ) -> Result<Self, Failure> {
        let (options, cancels) = options::of(options)?;
        let size = match u64::try_from(size) {
            Ok(size) => Some(size),
            Err(_) if size == OBJSTORE_SIZE_UNKNOWN => None,
            Err(_) => {
                let why = "the size is negative and not OBJSTORE_SIZE_UNKNOWN";
                return Err(Failure::argument(why));
            }
        };
        let own = Cancel::new();
        let (pieces, incoming) = mpsc::channel(PIECES);
        let body = Body::from_stream(futures_util::stream::unfold(Some(incoming), arriving), size);
        let (report, done) = oneshot::channel();
        let cancels = cancels.into_iter().chain([own.clone()]).collect::<Vec<_>>();
        let backend = store.backend.clone();
        let put = async move { Ok(backend.put(target, body, options).await?) };
        // Close does not wait for it: a writer may be left open for as long as its owner likes.
        store.engine.spawn(Cancel::or(cancels, put), move |done| {
            // Nobody may be left to hear it.
            let _ = report.send(done);
        });
        let state = Mutex::new(State { open: Some(Open { pieces, done }) });
        Ok(Self { engine: Arc::clone(&store.engine), own, state })
    }

    fn alone(&self) -> Result<MutexGuard<'_, State>, Failure> {
        alone(&self.state, "writer")
    }

    /// Takes it out for a step, after which it is put back unless that failed.
    fn open(state: &mut State) -> Result<Open, Failure> {
        state.open.take().ok_or_else(finished)
    }
}

impl Open {
    /// Hands the put what comes next, once there is room for it.
    async fn send(self, piece: Piece) -> Result<Self, Failure> {
        if self.pieces.send(piece).await.is_ok() {
            return Ok(self);
        }
        // The put has ended before the body has: it says why.
        match self.outcome().await {
            Err(failure) => Err(failure),
            Ok(_) => Err(finished()),
        }
    }

    async fn finish(self) -> Result<Arc<ObjectMeta>, Failure> {
        self.send(Piece::End).await?.outcome().await
    }

    async fn outcome(self) -> Result<Arc<ObjectMeta>, Failure> {
        let Self { pieces, done } = self;
        let outcome = done.await.unwrap_or_else(|_| {
            let why = "the store was closed; open it again and put once more";
            Err(Failure::new(OBJSTORE_STOPPING, why))
        });
        // Until then the end of the channel would be that of a writer that was freed.
        drop(pieces);
        outcome
    }
}

/// The next piece of the body, and what the ones after it come from.
async fn arriving(
    incoming: Option<mpsc::Receiver<Piece>>,
) -> Option<(Result<Bytes, Error>, Option<mpsc::Receiver<Piece>>)> {
    let mut incoming = incoming?;
    match incoming.recv().await {
        Some(Piece::Bytes(bytes)) => Some((Ok(bytes), Some(incoming))),
        Some(Piece::End) => None,
        // An end that nobody announced is none.
        None => {
            let why = "the writer was freed before it was finished; nothing was stored";
            Some((Err(Error::new(ErrorKind::IncompleteBody, why)), None))
        }
    }
}

fn finished() -> Failure {
    let why = "the writer was finished, or has failed, or is being written; free it, or wait";
    Failure::new(OBJSTORE_FINISHED, why)
}

fn begin(
    store: *const objstore_store,
    target: Result<Target, Failure>,
    size: i64,
    options: *const objstore_put_options,
    writer: Out<'_, *mut objstore_writer>,
) -> Result<(), Failure> {
    let writer = place(writer, "writer")?;
    let store = handles::get::<Store>(store)?;
    *writer = handles::give(Writer::begin(&store, target?, options, size)?);
    Ok(())
}

/// The size of a body of which it is not known beforehand.
pub const OBJSTORE_SIZE_UNKNOWN: i64 = -1;

/// Begins to put an object whose body is written piece by piece. `size` is the length of the body,
/// or OBJSTORE_SIZE_UNKNOWN; a body that turns out otherwise is not stored
/// (OBJSTORE_INCOMPLETE_BODY, of objstore_writer_finish() or of the write that was too much). Nobody
/// sees anything of the object before objstore_writer_finish(). Does not block: what the put itself meets,
/// such as a condition that does not hold or a full disk, is told by a later write or by
/// objstore_writer_finish().
#[unsafe(no_mangle)]
pub extern "C" fn objstore_put_begin(
    store: *mut objstore_store,
    id: Option<&objstore_id>,
    size: i64,
    options: *const objstore_put_options,
    writer: Option<&mut *mut objstore_writer>,
    error: Option<&mut *mut objstore_error>,
) -> objstore_status {
    call(error, || begin(store, by_id(id), size, options, writer))
}

/// The same by the key of the bucket.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_put_key_begin(
    store: *mut objstore_store,
    key: *const c_char,
    size: i64,
    options: *const objstore_put_options,
    writer: Option<&mut *mut objstore_writer>,
    error: Option<&mut *mut objstore_error>,
) -> objstore_status {
    // SAFETY: the header asks for a text.
    call(error, || begin(store, unsafe { self::key(key) }, size, options, writer))
}

/// Writes the next bytes of the body; they are copied. Blocks while those before them, up to 1 MiB,
/// have not been taken. After an error from 100 on, or OBJSTORE_CANCELLED, the writer can only be freed
/// (later ones say OBJSTORE_FINISHED), and nothing was stored.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_writer_write(
    writer: *mut objstore_writer,
    data: *const u8,
    length: usize,
    error: Option<&mut *mut objstore_error>,
) -> objstore_status {
    call(error, || {
        let writer = handles::get::<Writer>(writer)?;
        let mut state = writer.alone()?;
        // SAFETY: the header asks for `length` bytes.
        for piece in unsafe { bytes(data, length) }?.chunks(PIECE) {
            let piece = Piece::Bytes(Bytes::copy_from_slice(piece));
            let open = Writer::open(&mut state)?;
            state.open = Some(writer.engine.run(open.send(piece))?);
        }
        Ok(())
    })
}

/// Ends the body and waits for the put, which is acknowledged as objstore_put() is. The writer can
/// only be freed after that. `meta` may be null; it is freed with objstore_meta_free().
#[unsafe(no_mangle)]
pub extern "C" fn objstore_writer_finish(
    writer: *mut objstore_writer,
    meta: Option<&mut *mut objstore_meta>,
    error: Option<&mut *mut objstore_error>,
) -> objstore_status {
    call(error, || {
        let meta = cleared(meta);
        let writer = handles::get::<Writer>(writer)?;
        let mut state = writer.alone()?;
        let open = Writer::open(&mut state)?;
        give_meta(meta, writer.engine.run(open.finish())?);
        Ok(())
    })
}

/// As objstore_writer_write(), without waiting: done when the bytes, all of which are copied at once,
/// were taken. Until then the writer can neither be written nor finished (OBJSTORE_FINISHED); it may be
/// cancelled and freed.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_writer_write_async(
    writer: *mut objstore_writer,
    data: *const u8,
    length: usize,
    queue: *mut objstore_queue,
    done: objstore_done,
    user_data: *mut c_void,
    error: Option<&mut *mut objstore_error>,
) -> objstore_status {
    call(error, || {
        let to = To::of(queue, done, user_data)?;
        let writer = handles::get::<Writer>(writer)?;
        // SAFETY: the header asks for `length` bytes.
        let body = unsafe { copied(data, length) }?;
        let mut open = Writer::open(&mut *writer.alone()?)?;
        let write = async move {
            // An empty piece is none.
            if !body.is_empty() {
                open = open.send(Piece::Bytes(body)).await?;
            }
            Ok(open)
        };
        let engine = Arc::clone(&writer.engine);
        engine.spawn(Cancel::or(vec![to.cancel()], write), move |written| {
            to.report(written.map(|open| {
                let mut state = writer.state.lock().unwrap_or_else(PoisonError::into_inner);
                state.open = Some(open);
                Found::Nothing
            }));
        });
        Ok(())
    })
}

/// As objstore_writer_finish(), without waiting; the result has the record. From now on the writer can
/// only be cancelled and freed; freed before this is done, it may have stored the object or not.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_writer_finish_async(
    writer: *mut objstore_writer,
    queue: *mut objstore_queue,
    done: objstore_done,
    user_data: *mut c_void,
    error: Option<&mut *mut objstore_error>,
) -> objstore_status {
    call(error, || {
        let to = To::of(queue, done, user_data)?;
        let writer = handles::get::<Writer>(writer)?;
        let finish = Writer::open(&mut *writer.alone()?)?.finish();
        writer.engine.spawn(Cancel::or(vec![to.cancel()], finish), move |finished| {
            to.report(finished.map(Found::Meta));
        });
        Ok(())
    })
}

/// Ends a write that another thread waits in, and the next one, with OBJSTORE_CANCELLED. Nothing is
/// stored then; of one that is being finished it is not known. From any thread; does not block.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_writer_cancel(writer: *mut objstore_writer) -> objstore_status {
    set(|| {
        handles::get::<Writer>(writer)?.own.trigger();
        Ok(())
    })
}

/// Frees a writer; null is fine. One that was not finished stores nothing; a thread that waits in it is
/// told OBJSTORE_CANCELLED. What was begun with …_async() still reports to its queue.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_writer_free(writer: *mut objstore_writer) -> objstore_status {
    free_with::<Writer>(writer, |writer| {
        if writer.alone().is_err() {
            writer.own.trigger();
        }
    })
}

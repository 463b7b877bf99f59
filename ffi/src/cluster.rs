#![allow(unsafe_code)] // exports, and bytes and texts of the caller's

use std::ffi::{CString, c_char};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use objstore_core::{Error, ErrorKind, Message, Received, Subscription};
use tokio::net::TcpListener;

use crate::backend::Backend;
use crate::boundary::{
    call, cleared, copied, free, free_with, place, quietly, set, text_or_none, wanted,
};
use crate::cancel::Cancel;
use crate::engine::Engine;
use crate::error::{Failure, c_string};
use crate::handles::{self, Handle};
use crate::pages::{Text, give_json};
use crate::reader::alone;
use crate::status::{OBJSTORE_STOPPING, OBJSTORE_TIMED_OUT, OBJSTORE_TOO_LARGE, objstore_status};
use crate::store::{Store, time_limit};
use crate::types::{
    objstore_error, objstore_message, objstore_store, objstore_subscription, objstore_text,
};

/// Where listeners are opened unless somebody says where.
const PUBLIC_ADDR: &str = "127.0.0.1:10999";

struct Messages {
    engine: Arc<Engine>,
    /// Of this subscription alone.
    own: Cancel,
    // The outer one tells a second thread; the inner one goes with the wait.
    subscription: Mutex<Arc<tokio::sync::Mutex<Subscription>>>,
}

struct FromOther {
    from: CString,
    payload: Bytes,
}

impl Handle for Messages {
    type Opaque = objstore_subscription;
}

impl Handle for FromOther {
    type Opaque = objstore_message;
}

/// Serves the public HTTP API of a node in this process, at `address` ("host:port", port 0 takes a
/// free one), at the setting public-addr when it is null, at 127.0.0.1:10999 when that is not set
/// either; until the store is closed. `*bound`, which may be null, is where it listens, to be freed
/// with objstore_text_free().
#[unsafe(no_mangle)]
pub extern "C" fn objstore_serve(
    store: *mut objstore_store,
    address: *const c_char,
    bound: Option<&mut *mut objstore_text>,
    error: Option<&mut *mut objstore_error>,
) -> objstore_status {
    call(error, || {
        let bound = cleared(bound);
        let store = handles::get::<Store>(store)?;
        let node = store.backend.node()?.clone();
        // SAFETY: the header asks for a text or null.
        let address = unsafe { text_or_none(address, "address") }?.map(ToOwned::to_owned);
        let address = address.or_else(|| store.settings.public_addr.clone());
        let address = address.unwrap_or_else(|| PUBLIC_ADDR.to_owned());
        let server = store.engine.run(async move {
            let listener = TcpListener::bind(&address).await.map_err(|e| {
                let why = format!("cannot listen on {address}; give another address");
                Error::new(ErrorKind::Configuration, why).with_source(e)
            })?;
            Ok(node.serve_public(listener)?)
        })?;
        if let Some(bound) = bound {
            *bound = handles::give(Text(c_string(&server.local_addr().to_string())));
        }
        store.servers.lock().unwrap_or_else(PoisonError::into_inner).push(server);
        Ok(())
    })
}

/// The id of the node, a ULID of 26 characters; freed with objstore_text_free(). Over a connection the
/// id of one of the nodes, which is asked: then it blocks.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_node_id(
    store: *mut objstore_store,
    id: Option<&mut *mut objstore_text>,
    error: Option<&mut *mut objstore_error>,
) -> objstore_status {
    call(error, || {
        let id = place(id, "id")?;
        let ask = |backend: Backend| async move { backend.node_id().await };
        let node_id = handles::get::<Store>(store)?.run(Vec::new(), ask)?;
        *id = handles::give(Text(c_string(&node_id)));
        Ok(())
    })
}

/// Where other nodes reach this one, "host:port", as the setting nodes of another wants it; "" when it
/// has no part in a cluster. Freed with objstore_text_free().
#[unsafe(no_mangle)]
pub extern "C" fn objstore_private_addr(
    store: *mut objstore_store,
    address: Option<&mut *mut objstore_text>,
    error: Option<&mut *mut objstore_error>,
) -> objstore_status {
    call(error, || {
        let address = place(address, "address")?;
        let its = handles::get::<Store>(store)?.backend.node()?.private_addr().unwrap_or_default();
        *address = handles::give(Text(c_string(&its)));
        Ok(())
    })
}

/// What the node knows of the other members of its cluster: a JSON array on one line, the same as
/// GET /api/v1/stats has under peers. Freed with objstore_text_free().
#[unsafe(no_mangle)]
pub extern "C" fn objstore_peers(
    store: *mut objstore_store,
    json: Option<&mut *mut objstore_text>,
    error: Option<&mut *mut objstore_error>,
) -> objstore_status {
    call(error, || {
        let json = place(json, "json")?;
        *json = give_json(&handles::get::<Store>(store)?.backend.node()?.peers())?;
        Ok(())
    })
}

/// Whether the node wants requests: it is neither stopping nor unable to write, and has synced with
/// its cluster where it has one. False when `store` is none. Over a connection a node there is asked,
/// once: then it blocks, and is false when none answers. A node that finds nobody through its setting
/// nodes is alone, and ready as such; objstore_peers() says whom it knows.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_is_ready(store: *const objstore_store) -> bool {
    quietly(false, || {
        let ask = |backend: Backend| async move { backend.is_ready().await };
        handles::get::<Store>(store)?.run(Vec::new(), ask)
    })
}

/// Says that the node is about to be closed: objstore_is_ready() and /readyz turn at once, requests
/// go on being served.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_drain(
    store: *mut objstore_store,
    error: Option<&mut *mut objstore_error>,
) -> objstore_status {
    call(error, || {
        handles::get::<Store>(store)?.backend.node()?.drain();
        Ok(())
    })
}

/// Hands what the bucket does not have to other nodes, before the close of a node that will not come
/// back, after objstore_drain() and once nothing is put any more. Blocks for as long as it takes.
/// Both counts may be null: bodies that another node has now, and bodies that no other could take.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_drain_to_peers(
    store: *mut objstore_store,
    handed_over: Option<&mut u64>,
    remaining: Option<&mut u64>,
    error: Option<&mut *mut objstore_error>,
) -> objstore_status {
    call(error, || {
        let store = handles::get::<Store>(store)?;
        let node = store.backend.node()?.clone();
        let drained = store.run(Vec::new(), |_| async move { node.drain_to_peers().await })?;
        if let Some(handed_over) = handed_over {
            *handed_over = drained.handed_over;
        }
        if let Some(remaining) = remaining {
            *remaining = drained.remaining;
        }
        Ok(())
    })
}

/// Sends a message of up to 8 KiB to the programs on all other live nodes: at most once to each, in
/// no order. `taken`, which may be null, is how many took it. Blocks for 2 s at most. OBJSTORE_TOO_LARGE
/// for a longer one.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_send(
    store: *mut objstore_store,
    data: *const u8,
    length: usize,
    taken: Option<&mut usize>,
    error: Option<&mut *mut objstore_error>,
) -> objstore_status {
    call(error, || {
        let store = handles::get::<Store>(store)?;
        let node = store.backend.node()?.clone();
        if length > Message::MAX {
            let why = format!("a message has at most {} bytes, not {length}", Message::MAX);
            return Err(Failure::new(OBJSTORE_TOO_LARGE, why));
        }
        // SAFETY: the header asks for `length` bytes.
        let payload = unsafe { copied(data, length) }?;
        let count = store.run(Vec::new(), |_| async move { node.send(payload).await })?;
        if let Some(taken) = taken {
            *taken = count;
        }
        Ok(())
    })
}

/// Follows what programs on other nodes send, from now on; up to 256 messages are kept for a reader
/// that is behind. Freed with objstore_subscription_free().
#[unsafe(no_mangle)]
pub extern "C" fn objstore_subscribe(
    store: *mut objstore_store,
    subscription: Option<&mut *mut objstore_subscription>,
    error: Option<&mut *mut objstore_error>,
) -> objstore_status {
    call(error, || {
        let subscription = place(subscription, "subscription")?;
        let store = handles::get::<Store>(store)?;
        let messages = store.backend.node()?.subscribe();
        let messages = Mutex::new(Arc::new(tokio::sync::Mutex::new(messages)));
        let engine = Arc::clone(&store.engine);
        *subscription =
            handles::give(Messages { engine, own: Cancel::new(), subscription: messages });
        Ok(())
    })
}

/// Waits for the next message, `timeout_ms` at most or OBJSTORE_FOREVER; freed with
/// objstore_message_free(). `missed`, which may be null, is how many before it are lost, because this
/// subscription was too far behind. OBJSTORE_TIMED_OUT when none came; OBJSTORE_STOPPING when the node
/// has stopped and all were given out.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_subscription_next(
    subscription: *mut objstore_subscription,
    timeout_ms: i64,
    message: Option<&mut *mut objstore_message>,
    missed: Option<&mut u64>,
    error: Option<&mut *mut objstore_error>,
) -> objstore_status {
    call(error, || {
        let message = place(message, "message")?;
        let limit = time_limit(timeout_ms)?;
        let messages = handles::get::<Messages>(subscription)?;
        let held = alone(&messages.subscription, "subscription")?;
        let subscription = Arc::clone(&held);
        let next = async move {
            let mut subscription = subscription.lock().await;
            let mut missed = 0;
            let next = async {
                loop {
                    match subscription.next().await {
                        Some(Received::Message(message)) => return Ok(message),
                        Some(Received::Missed(count)) => missed += count,
                        Some(_) => {}
                        None => {
                            let why = "the node has stopped; no message will come";
                            return Err(Failure::new(OBJSTORE_STOPPING, why));
                        }
                    }
                }
            };
            let message = match limit {
                None => next.await,
                Some(limit) => tokio::time::timeout(limit, next).await.unwrap_or_else(|_| {
                    Err(Failure::new(OBJSTORE_TIMED_OUT, "no message came in this time"))
                }),
            };
            Ok((message, missed))
        };
        let (next, count) = messages.engine.run(Cancel::or(vec![messages.own.clone()], next))?;
        if let Some(missed) = missed {
            *missed = count;
        }
        let Message { from, payload, .. } = next?;
        let from = c_string(&from.to_string());
        *message = handles::give(FromOther { from, payload });
        Ok(())
    })
}

/// Ends a wait of another thread, and every later one, with OBJSTORE_CANCELLED. From any thread; does
/// not block.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_subscription_cancel(
    subscription: *mut objstore_subscription,
) -> objstore_status {
    set(|| {
        handles::get::<Messages>(subscription)?.own.trigger();
        Ok(())
    })
}

/// Frees a subscription; null is fine. A thread that waits in it is told OBJSTORE_CANCELLED.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_subscription_free(
    subscription: *mut objstore_subscription,
) -> objstore_status {
    free_with::<Messages>(subscription, |messages| messages.own.trigger())
}

/// The id of the node that sent it, which belongs to the message. Null when `message` is none.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_message_from(message: *const objstore_message) -> *const c_char {
    quietly(std::ptr::null(), || Ok(handles::get::<FromOther>(message)?.from.as_ptr()))
}

/// What was sent, which belongs to the message: `*length` bytes at the address returned.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_message_data(
    message: *const objstore_message,
    length: Option<&mut usize>,
) -> *const u8 {
    quietly(std::ptr::null(), || {
        let length = wanted(length, "length")?;
        *length = 0;
        let message = handles::get::<FromOther>(message)?;
        *length = message.payload.len();
        Ok(message.payload.as_ptr())
    })
}

/// Frees a message; null is fine.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_message_free(message: *mut objstore_message) -> objstore_status {
    free::<FromOther>(message)
}

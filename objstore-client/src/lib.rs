//! Client of [objstore](https://docs.rs/objstore-core), a multi-master near cache for cloud object
//! storage: the [`Client`], and the types, wire format and errors that it shares with the nodes.
//!
//! ```
//! use objstore_client::options::{GetOptions, PutOptions};
//! use objstore_client::{Client, Error};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Error> {
//! # let node = objstore_core::Node::builder().in_memory().start().await?;
//! # let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
//! # let server = node.serve_public(listener)?;
//! # let address = server.local_addr().to_string();
//! # let address = address.as_str();
//! let client = Client::connect(address)?; // such as "localhost:10999"
//! let id = client.new_id().await?;
//! client.put(id, "It works!", PutOptions::named("test.txt")?).await?;
//! let object = client.get(id, GetOptions::default()).await?;
//! assert_eq!(object.body.collect(1024).await?, "It works!");
//! # Ok(())
//! # }
//! ```
//!
//! It holds no storage, and none of what that takes is in its tree. Programs that embed a node use
//! `objstore-core`, which re-exports what is here but for the client.
//!
//! # What is different from a node in process
//! What HTTP cannot carry. A [`Client`] refuses it before anything is sent: spaces around a name, a
//! content type or encoding ([`ErrorKind::InvalidName`], [`ErrorKind::InvalidRequest`]), and metadata that
//! makes the head of a request longer than 32 KiB is [`ErrorKind::HeadTooLarge`]. A content type of
//! `application/x-www-form-urlencoded` counts as none, as it is what curl says of every body. The errors of
//! [`Client::head_key`] say less: an answer to HEAD has no body.
//!
//! # Errors
//! Each is an [`Error`] of a kind that says what to do, the same over HTTP as in process;
//! [`ErrorKind::Transport`] is the one that no node gave. [`ErrorKind::is_retryable`] says whether the same
//! may succeed later, and the table at [`Client`] what has been tried by then.
//!
//! # Cancellation
//! Any future may be dropped. What that leaves behind is said at each method; a read leaves nothing. Time
//! limits: [`Client::within`].
//!
//! # Features
//! * `tls` (default): nodes at `https://` addresses
//! * `object_store_0_13`, `object_store_0_14`: see below
//!
//! # What is where
//! * [`Client`], [`ClientBuilder`]: put, get, head, delete, set_level, list and the rest of what a
//!   node does, over HTTP; several nodes, tries, time limits
//! * [`Subscription`]: what applications at the nodes send each other
//! * [`blocking`]: the same for programs without an async runtime
//! * [`Body`], [`Object`]: bytes on their way in or out, and what was got
//! * [`types`]: the nouns: [`types::ObjectId`], [`types::ObjectMeta`], [`types::Level`] …
//! * [`options`]: what a caller may ask: ranges, conditions, metadata
//! * [`Error`], [`ErrorKind`]: what went wrong and what to do, with the status it becomes
//! * `object_store_0_13`, `object_store_0_14`, with the features of these names: a [`Client`] as
//!   `ObjectStore` of the crate [`object_store`](https://docs.rs/object_store)
//! * [`wire`]: routes, headers and error bodies of the public API

pub mod blocking;
mod body;
mod client;
mod error;
mod object;
#[cfg(any(feature = "object_store_0_13", feature = "object_store_0_14"))]
mod object_store;
pub mod options;
mod random;
mod transport;
pub mod types;
pub mod wire;

pub use body::Body;
pub use client::{Client, ClientBuilder, Subscription};
pub use error::{Error, ErrorKind};
pub use object::Object;
#[cfg(any(feature = "object_store_0_13", feature = "object_store_0_14"))]
pub use object_store::Keys;
#[cfg(feature = "object_store_0_13")]
pub use object_store::v0_13 as object_store_0_13;
#[cfg(feature = "object_store_0_14")]
pub use object_store::v0_14 as object_store_0_14;

//! objstore: a multi-master near cache for cloud object storage, as a library. This crate is the
//! node: a program links it, starts a [`Node`], and has a store of objects on its own disk.
//!
//! ```
//! use objstore_core::options::{GetOptions, PutOptions};
//! use objstore_core::{Error, Node};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Error> {
//! let node = Node::builder().in_memory().start().await?;
//! let id = node.new_id();
//! node.put(id, "It works!", PutOptions::named("test.txt")?).await?;
//! let object = node.get(id, GetOptions::default()).await?;
//! assert_eq!(object.body.collect(1024).await?, "It works!");
//! node.shutdown().await?;
//! # Ok(())
//! # }
//! ```
//!
//! Give [`Builder::state_dir`] and [`Builder::files_dir`] instead of
//! [`in_memory`](Builder::in_memory), and what was put is there again after a restart, a kill or a
//! power cut.
//!
//! # What it is
//! * [`Node`]: put, get, head, delete, set_level, list, stats, with streams in both directions,
//!   ranges and conditions; the same by key of the bucket.
//! * [`config`]: the settings by name, as in a config file.
//! * [`remote`]: the bucket behind it, S3, a directory, or what a host brings along.
//! * `object_store_0_13`, `object_store_0_14`, with the features of these names: a [`Node`] as
//!   `ObjectStore` of the crate [`object_store`](https://docs.rs/object_store).
//! * [`PublicService`]: the same over HTTP, to be mounted in a hyper or tower server of the host's,
//!   or served by [`Server`].
//! * [`RequestContext`]: what a request is called in the logs of all nodes, and at the bucket.
//! * [`Settings`]: everything that can be tuned, as plain data. [`env::Env`]: everything that can
//!   be replaced: clock, entropy, disk, journal.
//!
//! # What it is not
//! Never: a POSIX file system, a database, a queue.
//!
//! # A good guest
//! The crate installs no logger, no metrics recorder, no panic hook and no signal handler; it
//! prints nothing; it emits [`tracing`] events and, from the HTTP service, `metrics`. It starts two
//! threads of its own and those of its database, works on any tokio runtime, and is gone when the
//! last handle is.
//!
//! # Where to read on
//! `docs/architecture.md` (what is where and why), `docs/cluster.md` (how nodes agree), `docs/durability.md` (what an acknowledgement
//! means, each promise with its test), `docs/consistency.md` (what a read sees), `docs/bucket.md` (what
//! is in the bucket), `docs/object_store.md` (as a store for DataFusion and others), `docs/trust.md` (who
//! may be a node), `docs/metrics.md` (metrics, events, and the names of requests), `docs/formats.md`
//! (what is on the disk).

mod background;
mod bodies;
mod builder;
mod cache;
mod cluster;
pub mod config;
mod crew;
mod digest;
pub mod env;
mod fills;
mod http;
mod janitor;
pub mod journal;
mod lost_files;
mod memory;
mod node;
#[cfg(any(feature = "object_store_0_13", feature = "object_store_0_14"))]
mod object_store;
mod ops;
pub mod remote;
mod request_context;
mod reserve;
mod settings;
mod state_dir;
pub mod testing;
mod usage;

pub use builder::Builder;
pub use cluster::{ClusterKey, Drained, Subscription};
pub use http::{PrivateService, PublicService, Sender, Server};
pub use node::Node;
#[cfg(any(feature = "object_store_0_13", feature = "object_store_0_14"))]
pub use objstore_client::Keys;
#[cfg(feature = "object_store_0_13")]
pub use objstore_client::object_store_0_13;
#[cfg(feature = "object_store_0_14")]
pub use objstore_client::object_store_0_14;
pub use objstore_client::types::{Message, NodeId, Received};
pub use objstore_client::{Body, Error, ErrorKind, Object, options, types, wire};
pub use request_context::RequestContext;
pub use settings::{
    ClusterSettings, FetchPolicy, FillSettings, HttpSettings, Settings, UploadSettings,
};

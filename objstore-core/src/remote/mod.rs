//! The bucket behind a node. In this release: a directory of the node's own.

mod dir;

pub(crate) use dir::DirRemote;

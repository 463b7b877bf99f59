//! The bucket's keys as an `ObjectStore` of the crate [`object_store`](https://docs.rs/object_store),
//! for each of its versions that is in use: `adapter.rs` is compiled against each of them, and a
//! module of each version has what differs.

// One source for all versions is the point.
#![allow(clippy::duplicate_mod)]

mod keys;
mod parts;
mod upload;
#[cfg(feature = "object_store_0_13")]
pub mod v0_13;
#[cfg(feature = "object_store_0_14")]
pub mod v0_14;

pub use keys::Keys;

use std::time::{Duration, SystemTime};

use crate::error::Error;
use crate::options::{ConditionTag, ETagSet};
use crate::types::ETag;

/// A tag as callers have it from us, with its quotes, or without.
fn tag(text: &str) -> Result<ETag, Error> {
    let quoted = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    ETag::new(quoted.unwrap_or(text))
}

/// The tags of a condition: `*`, or some with commas in between.
fn tags(text: &str) -> Result<ETagSet, Error> {
    if text.trim() == "*" {
        return Ok(ETagSet::Any);
    }
    let one = |text: &str| {
        let strong = text.strip_prefix("W/");
        Ok(ConditionTag { tag: tag(strong.unwrap_or(text))?, weak: strong.is_some() })
    };
    text.split(',').map(str::trim).map(one).collect::<Result<_, _>>().map(ETagSet::Of)
}

fn time(nanos: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_nanos(nanos)
}

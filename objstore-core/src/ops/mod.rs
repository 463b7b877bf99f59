//! What a node does, one verb for each file.

mod delete;
mod evict;
mod fetch;
mod get;
mod head;
mod ids;
mod keys;
mod level;
mod list;
mod lookup;
mod put;
mod stats;
mod upload;
mod uploads;

pub(crate) use fetch::{
    Arrived, ArrivedFrom, Found, Look, Seen, Target, Turn, Wanted, body_lost, first_range,
};
pub(crate) use get::{Opened, unsatisfiable};
pub(crate) use ids::IdSource;
pub(crate) use lookup::{deleted, journal_error, not_found};
pub(crate) use stats::Counts;
pub(crate) use upload::{NotStored, remote_error};

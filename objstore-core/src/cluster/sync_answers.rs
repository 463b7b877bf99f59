//! Answers to the steps of a comparison that another node makes; [`sync`](super::sync) makes this
//! node's.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use http::Response;
use objstore_client::types::ObjectId;
use objstore_client::{Body, Error, ErrorKind};

use super::compare::{self, ANSWER_FULL, Brief, Kind, Listed, Nodes, State, Told};
use super::frames::{self, FRAME_RECORDS, Frame};
use super::sync::not_ready;
use crate::env;
use crate::http::Caller;
use crate::journal::{DEPTH, NodeId, Space, StoreError, entry_key, record_of};
use crate::node::Inner;
use crate::ops::journal_error;

impl Inner {
    /// `POST /private/v1/sync`.
    pub(crate) async fn answer_sync(
        &self,
        caller: Caller,
        frame: Bytes,
    ) -> Result<Response<Body>, Error> {
        let (kind, rest) = compare::read_step(frame)?;
        let answer = match kind {
            Kind::Open => self.answer_open(caller, &compare::decode(&rest)?).await?,
            Kind::Children => self.answer_children(&compare::decode(&rest)?)?,
            Kind::Leaves => self.answer_leaves(&compare::decode::<Vec<u32>>(&rest)?)?,
            Kind::Records => self.answer_records(compare::decode(&rest)?).await?,
            Kind::Take => {
                let records = frames::read(rest)?.into_iter();
                self.merge(records.collect::<Result<_, _>>()?).await?;
                Bytes::new()
            }
            Kind::Same => self.answer_same(caller, &compare::decode(&rest)?).await?,
            Kind::Heard => compare::encode(&Told {
                heard: self.cluster.agreements.get(caller.node).heard,
                horizon: self.shared.horizon().collected,
            }),
            Kind::Done => {
                let moment = compare::decode(&rest)?;
                self.agree(caller.node, None, Some(moment)).await?;
                Bytes::new()
            }
        };
        Ok(Response::new(answer.into()))
    }

    /// Of two that ask each other one goes first.
    fn gives_way(&self, to: NodeId) -> Result<(), Error> {
        let is_asking = self.cluster.comparing.with().contains(&to);
        if is_asking && self.node_id < to {
            return Err(Error::new(ErrorKind::Busy, "these journals are being compared already"));
        }
        Ok(())
    }

    async fn answer_same(&self, caller: Caller, theirs: &Brief) -> Result<Bytes, Error> {
        self.gives_way(caller.node)?;
        let ours = self.state().await?;
        let Some(theirs) = ours.of_other(theirs) else { return Ok(Bytes::new()) };
        self.heard_state(caller.node, &theirs);
        self.collect_like(&theirs).await?;
        self.agree(caller.node, None, Some(theirs.moment)).await?;
        Ok(compare::encode(&ours.brief()))
    }

    async fn answer_open(&self, caller: Caller, theirs: &State) -> Result<Bytes, Error> {
        self.gives_way(caller.node)?;
        self.heard_state(caller.node, theirs);
        let is_behind = self.is_behind(theirs.horizon, &theirs.members());
        if !is_behind {
            self.collect_like(theirs).await?;
        }
        let mut ours = self.state().await?;
        ours.is_behind = is_behind;
        if ours.root == theirs.root {
            self.agree(caller.node, None, Some(theirs.moment)).await?;
        } else if is_behind {
            self.cluster.news.missed(caller.node);
        }
        Ok(compare::encode(&ours))
    }

    fn answer_children(&self, asked: &Nodes) -> Result<Bytes, Error> {
        if asked.nodes.len() > compare::NODES || asked.level >= DEPTH {
            return Err(too_much());
        }
        let mut answer = BytesMut::new();
        for node in &asked.nodes {
            let node = usize::try_from(*node).unwrap_or(usize::MAX);
            let Some(sums) = self.digest.children(asked.level, node) else {
                return Err(if self.digest.root().is_none() { not_ready() } else { too_much() });
            };
            sums.into_iter().for_each(|sum| answer.put_u128_le(sum));
        }
        Ok(answer.freeze())
    }

    fn answer_leaves(&self, asked: &[u32]) -> Result<Bytes, Error> {
        if asked.len() > compare::LEAVES {
            return Err(too_much());
        }
        let mut lists: Vec<Listed> = Vec::new();
        let mut bytes = 0;
        for leaf in asked {
            let leaf = usize::try_from(*leaf).unwrap_or(usize::MAX);
            let Some(list) = self.digest.leaf(leaf) else {
                return Err(if self.digest.root().is_none() { not_ready() } else { too_much() });
            };
            bytes += list.len() * 35;
            if bytes > ANSWER_FULL && !lists.is_empty() {
                break;
            }
            lists.push(list);
        }
        Ok(compare::encode(&lists))
    }

    async fn answer_records(&self, ids: Vec<ObjectId>) -> Result<Bytes, Error> {
        if ids.len() > FRAME_RECORDS {
            return Err(too_much());
        }
        let store = Arc::clone(&self.store);
        let loaded = env::run(self.env.blocking.as_ref(), move || {
            let mut frame = Frame::new();
            let mut looked_at = 0u32;
            for id in ids {
                if frame.is_full() {
                    break;
                }
                looked_at += 1;
                if let Some(entry) = store.get(Space::Records, &entry_key(id))? {
                    frame.push(&record_of(&entry)?);
                }
            }
            let mut answer = BytesMut::new();
            answer.put_u32_le(looked_at);
            answer.put_slice(&frame.finish());
            Ok::<_, StoreError>(answer.freeze())
        });
        loaded.await?.map_err(journal_error)
    }
}

fn too_much() -> Error {
    Error::new(ErrorKind::InvalidRequest, "a step of a comparison asks for what there is not")
}

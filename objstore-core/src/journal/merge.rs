use super::format::encode_record;
use super::record::Record;

impl Record {
    /// What two nodes that know these records of one object agree on, whichever comes first and
    /// however often: the highest stamp wins; within one version the level is the maximum and the
    /// remote's ETag, once set, stays. What may be in the remote may be there whoever wins.
    ///
    /// Commutative, associative and idempotent, for records that know of their own level that the
    /// remote may have them.
    pub(crate) fn merge(self, other: Self) -> Self {
        debug_assert_eq!(self.id, other.id);
        let in_remote = self.may_be_in_remote() || other.may_be_in_remote();
        let mut winner = match self.stamp.cmp(&other.stamp) {
            std::cmp::Ordering::Greater => self,
            std::cmp::Ordering::Less => other,
            std::cmp::Ordering::Equal => Self::merge_version(self, other),
        };
        winner.in_remote = in_remote;
        winner
    }

    fn merge_version(mut a: Self, mut b: Self) -> Self {
        a.in_remote = a.may_be_in_remote() || b.may_be_in_remote();
        b.in_remote = a.in_remote;
        let (Some(la), Some(lb)) = (&a.live, &b.live) else {
            // One stamp names one version; should a tombstone ever share it, it wins.
            return if a.live.is_none() { pick(a, b) } else { b };
        };
        let level = la.level.max(lb.level);
        let etag = la.remote_etag.clone().max(lb.remote_etag.clone());
        let normal = |mut record: Self| {
            if let Some(live) = &mut record.live {
                live.level = level;
                live.remote_etag.clone_from(&etag);
            }
            record
        };
        pick(normal(a), normal(b))
    }
}

/// The one whose bytes are greater: a rule every node can follow alone.
fn pick(a: Record, b: Record) -> Record {
    if b.live.is_some() && a.live.is_none() {
        return a;
    }
    if encode_record(&a) >= encode_record(&b) { a } else { b }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::record::Live;
    use crate::journal::stamp::Stamp;
    use objstore_client::types::{Level, ObjectId, ObjectName, UserMeta};
    use proptest::prelude::*;

    fn records() -> impl Strategy<Value = Record> {
        let live = (0u8..3, 0u64..3, proptest::option::of("[ab]"), "[ab]?").prop_map(
            |(level, size, remote_etag, name)| {
                Box::new(Live {
                    level: Level::try_from(level).unwrap(),
                    size,
                    digest: Some([size as u8; 32]),
                    name: ObjectName::new(&name).unwrap(),
                    content_type: None,
                    content_encoding: None,
                    user_meta: UserMeta::default(),
                    remote_etag,
                })
            },
        );
        let rest = (proptest::bool::weighted(0.3), proptest::collection::vec(0u8..2, 0..2));
        (0u64..3, 0u128..2, 0u32..2, proptest::option::of(live), rest).prop_map(
            |(time, node, boot, live, (in_remote, extra))| {
                let id = ObjectId::from_parts(1_500_000_000_000, 1).unwrap();
                let mut record = Record::new(id, Stamp { time, node, boot }, time, live);
                record.in_remote |= in_remote;
                record.extra = extra;
                record
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        #[test]
        fn merge_does_not_depend_on_order_or_repetition(a in records(), b in records(), c in records()) {
            let ab = a.clone().merge(b.clone());
            prop_assert_eq!(&ab, &b.clone().merge(a.clone()));
            prop_assert_eq!(ab.clone().merge(c.clone()), a.clone().merge(b.clone().merge(c)));
            prop_assert_eq!(&ab.clone().merge(a.clone()), &ab);
            prop_assert_eq!(a.clone().merge(a.clone()), a);
        }
    }
}

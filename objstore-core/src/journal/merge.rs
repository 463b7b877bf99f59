use super::format::encode_record;
use super::record::Record;

impl Record {
    /// What two nodes that know these records of one object agree on, whichever comes first and
    /// however often: the highest stamp wins; within one version the level is the maximum and the
    /// remote's ETag, once set, stays.
    ///
    /// Commutative, associative and idempotent.
    pub(crate) fn merge(self, other: Self) -> Self {
        debug_assert_eq!(self.id, other.id);
        match self.stamp.cmp(&other.stamp) {
            std::cmp::Ordering::Greater => self,
            std::cmp::Ordering::Less => other,
            std::cmp::Ordering::Equal => Self::merge_version(self, other),
        }
    }

    fn merge_version(a: Self, b: Self) -> Self {
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
        (0u64..3, 0u128..2, 0u32..2, proptest::option::of(live)).prop_map(
            |(time, node, boot, live)| Record {
                id: ObjectId::from_parts(1_500_000_000_000, 1).unwrap(),
                stamp: Stamp { time, node, boot },
                modified: time,
                live,
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

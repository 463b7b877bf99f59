//! One suite for every journal store; the fake that other tests run on has to pass it too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::print_stdout)]

use objstore_core::journal::{Batch, JournalStore, MemoryJournal, Space};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};

type Change = (usize, u8, Option<Vec<u8>>);

fn batches() -> impl Strategy<Value = Vec<Vec<Change>>> {
    let value = proptest::option::weighted(0.7, proptest::collection::vec(any::<u8>(), 0..2000));
    let change = (0usize..3, any::<u8>(), value);
    proptest::collection::vec(proptest::collection::vec(change, 1..8), 1..20)
}

fn conforms(
    store: &dyn JournalStore,
    batches: &[Vec<Change>],
    mut between: impl FnMut(&dyn JournalStore),
) {
    let mut model: BTreeMap<(Space, Vec<u8>), Vec<u8>> = BTreeMap::new();
    for changes in batches {
        let mut batch = Batch::default();
        for (space, key, value) in changes {
            let (space, key) = (Space::ALL[*space], vec![*key; 3]);
            match value {
                Some(value) => {
                    batch.put(space, key.clone(), value.clone());
                    model.insert((space, key), value.clone());
                }
                None => {
                    batch.remove(space, key.clone());
                    model.remove(&(space, key));
                }
            }
        }
        store.commit(&batch).unwrap();
        between(store);
    }
    for space in Space::ALL {
        let expected: Vec<_> = model.iter().filter(|((s, _), _)| *s == space).collect();
        let all = store.scan(space, None, usize::MAX).unwrap();
        let all: Vec<_> = all.iter().map(|(k, v)| (k.to_vec(), v.to_vec())).collect();
        let wanted: Vec<_> = expected.iter().map(|((_, k), v)| (k.clone(), (*v).clone())).collect();
        assert_eq!(all, wanted);
        for key in 0..=255u8 {
            let key = vec![key; 3];
            let found = store.get(space, &key).unwrap().map(|v| v.to_vec());
            assert_eq!(found.as_ref(), model.get(&(space, key.clone())));
        }
        let after = vec![100u8; 3];
        let page = store.scan(space, Some(&after), 5).unwrap();
        let wanted: Vec<_> = model
            .range((Excluded((space, after)), Unbounded))
            .take_while(|((s, _), _)| *s == space)
            .take(5)
            .map(|((_, k), _)| k.clone())
            .collect();
        assert_eq!(page.iter().map(|(k, _)| k.to_vec()).collect::<Vec<_>>(), wanted);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20))]

    #[test]
    fn memory_journal_conforms(batches in batches()) {
        let plain = |_: &dyn JournalStore| {};
        conforms(&MemoryJournal::default(), &batches, plain);
        let counted = MemoryJournal::with_steps(objstore_core::testing::Steps::count());
        conforms(&counted, &batches, |store| store.reopen().unwrap());
    }

    #[test]
    fn fjall_journal_conforms(batches in batches()) {
        let dir = tempfile::tempdir().unwrap();
        let mut batch = 0;
        conforms(objstore_core::journal::open_fjall(dir.path()).unwrap().as_ref(), &batches, |store| {
            batch += 1;
            match batch % 5 {
                0 => store.reclaim().unwrap(),
                3 => store.reopen().unwrap(),
                _ => {}
            }
        });
    }
}

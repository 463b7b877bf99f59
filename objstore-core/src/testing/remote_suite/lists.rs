use super::{Check, Suite};
use crate::remote::{RemoteCondition, RemoteList};

pub(super) async fn checks(suite: &Suite) {
    entries(&suite.check("entries of a list")).await;
    nothing(&suite.check("a list of nothing")).await;
    pages(&suite.check("pages")).await;
}

async fn entries(check: &Check) {
    let key = check.key("a");
    let etag = check.put(&key, "nine byte").await;
    let list = RemoteList { prefix: check.prefix.clone(), ..RemoteList::default() };
    let page = check.ok("list", check.store.list(list.clone()).await);
    let head = check.ok("head", check.store.head(&key).await);
    check.same("entries", &page.entries.len(), &1);
    for entry in page.entries {
        check.same("key", &entry.key, &key);
        check.same("size and tag", &(entry.size, &entry.etag), &(9, &etag));
        // A list may say the time more exactly than a head, but not another.
        let apart = entry.modified.abs_diff(head.modified);
        check.that("another time than head says", apart <= 1_000_000_000);
    }
    check.same("where a next page begins", &page.next, &None);
    check.ok("delete", check.store.delete(&key, RemoteCondition::None).await);
    check.same("after the delete", &check.list(&list).await.0, &Vec::new());
}

async fn nothing(check: &Check) {
    for delimiter in [None, Some("/".to_owned())] {
        let list = RemoteList { prefix: check.prefix.clone(), delimiter, ..RemoteList::default() };
        check.same("a list of nothing", &check.list(&list).await, &(Vec::new(), Vec::new()));
    }
}

async fn pages(check: &Check) {
    let names = [
        "a",
        "a/1",
        "a/2",
        "a/b/3",
        "a0",
        "aa",
        "b",
        "c/",
        "c//x",
        "c/d",
        "d/only",
        "e f",
        "g",
        "zo",
        "\u{e9}",
        "\u{ffff}",
        "\u{1f980}",
    ];
    for name in names {
        check.put(&check.key(name), name).await;
    }
    for limit in [0, 1, 2, 3, 1000] {
        for (prefix, delimiter) in [
            ("", None),
            ("", Some("/")),
            ("a", None),
            ("a", Some("/")),
            ("a/", None),
            ("a/", Some("/")),
            ("c/", Some("/")),
            ("none", Some("/")),
            ("", Some("o")),
        ] {
            let list = RemoteList {
                prefix: check.key(prefix),
                delimiter: delimiter.map(str::to_owned),
                after: None,
                limit,
            };
            let what = format!("{limit} at a time of {prefix:?}, delimiter {delimiter:?}");
            let expected = expected(check, &names, &list.prefix, delimiter);
            check.same(&what, &check.list(&list).await, &expected);
        }
    }
    for after in names.iter().chain(&["", "a/zzz", "zzz"]) {
        let list = RemoteList {
            prefix: check.prefix.clone(),
            after: Some(check.key(after)),
            ..RemoteList::default()
        };
        let mut expected = expected(check, &names, &list.prefix, None);
        expected.0.retain(|key| *key > check.key(after));
        check.same(&format!("after {after:?}"), &check.list(&list).await, &expected);
    }
}

/// All keys and prefixes, by the plainest code there is.
fn expected(
    check: &Check,
    names: &[&str],
    prefix: &str,
    delimiter: Option<&str>,
) -> (Vec<String>, Vec<String>) {
    let mut all: Vec<String> = names.iter().map(|name| check.key(name)).collect();
    all.retain(|key| key.starts_with(prefix));
    all.sort();
    let (mut keys, mut prefixes) = (Vec::new(), Vec::new());
    for key in all {
        let rest = key.strip_prefix(prefix).unwrap_or_default();
        match delimiter.and_then(|delimiter| rest.split_once(delimiter).zip(Some(delimiter))) {
            Some(((head, _), delimiter)) => prefixes.push(format!("{prefix}{head}{delimiter}")),
            None => keys.push(key),
        }
    }
    prefixes.dedup();
    (keys, prefixes)
}

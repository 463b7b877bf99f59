//! Which file has the object of a key. Described in `docs/formats.md`.

use super::rules::KEY_MAX;

/// Bytes of a key that one name stands for: three characters each at most, and names of files have
/// 255 at most.
const PIECE: usize = 80;
/// Ends the name of a directory, so that no file wants the name of one. Nothing else has it in.
const GOES_ON: char = '+';

/// The path below the objects for a key: letters, digits and `-_.` stand for themselves, other
/// bytes are percent-encoded, and so is a dot at the start of a name; each 80 bytes make a name.
/// So no name is special to a file system, and most are those of the keys.
pub(super) fn path_of(key: &str) -> String {
    let mut path = String::with_capacity(key.len() + 8);
    for (index, piece) in key.as_bytes().chunks(PIECE).enumerate() {
        if index > 0 {
            path.push(GOES_ON);
            path.push('/');
        }
        for (at, byte) in piece.iter().enumerate() {
            let plain = byte.is_ascii_alphanumeric()
                || matches!(byte, b'-' | b'_')
                || (*byte == b'.' && at > 0);
            if plain {
                path.push(char::from(*byte));
            } else {
                path.push_str(&format!("%{byte:02X}"));
            }
        }
    }
    path
}

/// The key that a path stands for; none when no key has it.
pub(super) fn key_of(path: &str) -> Option<String> {
    let plain = path.replace("+/", "");
    let bytes: Vec<u8> = percent_encoding::percent_decode_str(&plain).collect();
    let key = String::from_utf8(bytes).ok()?;
    // What was planted with another spelling is no object: it could not be opened by its key.
    (!key.is_empty() && key.len() <= KEY_MAX && path_of(&key) == path).then_some(key)
}

/// Whether there are objects below a path rather than in it.
pub(super) fn is_directory(path: &str) -> bool {
    path.ends_with(GOES_ON)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_safe_and_ids_are_readable() {
        assert_eq!(path_of("01BRNMMS1DK3CBD4ZZM2TQ8C5B"), "01BRNMMS1DK3CBD4ZZM2TQ8C5B");
        assert_eq!(path_of("../a//b.txt"), "%2E.%2Fa%2F%2Fb.txt");
        assert_eq!(path_of("."), "%2E");
        assert_eq!(path_of(&"a".repeat(80)), "a".repeat(80));
        assert_eq!(path_of(&"a".repeat(81)), format!("{}+/a", "a".repeat(80)));
        for stranger in ["", "a/b", "%61", "a+", ".a", "%2e", "%FF", "a b"] {
            assert_eq!(key_of(stranger), None, "{stranger}");
        }
    }

    proptest! {
        #[test]
        fn any_key_has_a_path_of_its_own(key in "\\PC{1,60}|[./%+ a-c\u{e9}\u{1f980}]{1,200}") {
            let path = path_of(&key);
            prop_assert_eq!(key_of(&path), Some(key));
            for name in path.split('/') {
                prop_assert!(!name.is_empty() && !name.starts_with('.') && name.len() <= 255);
            }
        }
    }
}

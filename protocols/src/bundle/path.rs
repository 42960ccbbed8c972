//! Which paths files may have in a bundle.

use std::collections::BTreeMap;

use super::{BundleError, MANIFEST, SIGNATURE};

/// The most bytes of a path: what the name in a member's header holds.
const MOST_BYTES: usize = 100;

/// What stands in a bundle, by its path in small letters: file systems differ in whether `A` and `a` are two files.
#[derive(Debug, Default)]
pub(super) struct Paths {
    taken: BTreeMap<String, Taken>,
}

/// A path as it was written, and whether it is a folder's.
#[derive(Debug)]
struct Taken {
    path: String,
    folder: bool,
}

impl Paths {
    /// Takes the path of one more file: a plain relative path that is no other file's, nor a folder's, on any file system.
    pub(super) fn add(&mut self, path: &str) -> Result<(), BundleError> {
        let refused = |expected: &str, found: String| Err(BundleError::unexpected(place(path), expected, found));
        if path.is_empty() || path.len() > MOST_BYTES {
            return refused("a path of 1 to 100 bytes", format!("{} bytes", path.len()));
        }
        if !path.split('/').all(is_plain) {
            let expected = "a relative path of plain names: ASCII without control characters and without \\ : * ? \" < > |, \
                            no dot at either end of a name, no space there";
            return refused(expected, "another".into());
        }
        if [MANIFEST, SIGNATURE].iter().any(|own| path.eq_ignore_ascii_case(own)) {
            return refused("another name than the bundle's own", format!("`{path}`"));
        }
        let folders = path.match_indices('/').filter_map(|(at, _)| path.get(..at));
        for (part, folder) in folders.map(|part| (part, true)).chain([(path, false)]) {
            let key = part.to_ascii_lowercase();
            match self.taken.get(&key) {
                Some(taken) if !(folder && taken.folder && taken.path == part) => {
                    let what = if taken.folder { "folder" } else { "file" };
                    return refused("a path of its own", format!("the {what} `{}` before it", taken.path));
                }
                Some(_) => {}
                None => {
                    self.taken.insert(key, Taken { path: part.to_string(), folder });
                }
            }
        }
        Ok(())
    }
}

/// How messages call a file, whose path may be anything.
pub(super) fn place(path: &str) -> String {
    let shown: String = path.escape_debug().take(120).collect();
    format!("file `{shown}`")
}

fn is_plain(name: &str) -> bool {
    let allowed = |byte: u8| {
        matches!(byte, b' '..=b'~') && !matches!(byte, b'\\' | b':' | b'*' | b'?' | b'"' | b'<' | b'>' | b'|')
    };
    let ends = |c: char| matches!(c, '.' | ' ');
    !name.is_empty() && name.bytes().all(allowed) && !name.starts_with(ends) && !name.ends_with(ends)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add_all(paths: &[&str]) -> Result<(), String> {
        let mut all = Paths::default();
        paths.iter().try_for_each(|path| all.add(path).map_err(|error| error.to_string()))
    }

    #[test]
    fn plain_paths_are_taken() {
        let longest = "x".repeat(100);
        assert_eq!(
            add_all(&["7/model.onnx", "7/model.onnx_data", "golden/a b (1)+~.json", "model.toml", &longest]),
            Ok(())
        );
    }

    #[test]
    fn what_leads_elsewhere_or_is_not_plain_is_refused() {
        let too_long = "x".repeat(101);
        for path in [
            "",
            "/",
            "/a",
            "a/",
            "a//b",
            ".",
            "..",
            "./a",
            "../a",
            "a/../b",
            "a/..",
            "a/.hidden",
            "a\\b",
            "C:/a",
            "C:a",
            "a\0",
            "a\nb",
            "é",
            "a.",
            "a ",
            " a",
            "a/b./c",
            "a|b",
            "a?",
            "manifest.json",
            "MANIFEST.SIG",
            &too_long,
        ] {
            assert!(add_all(&[path]).is_err(), "{path:?}");
        }
    }

    #[test]
    fn no_two_files_are_the_same_on_any_file_system() {
        for (paths, found) in [
            (["a", "a"], "the file `a`"),
            (["a/B", "a/b"], "the file `a/B`"),
            (["a", "a/b"], "the file `a`"),
            (["a/b", "a"], "the folder `a`"),
            (["a/b", "A/c"], "the folder `a`"),
        ] {
            let refused = add_all(&paths).unwrap_err();
            assert!(refused.contains(found), "{paths:?}: {refused}");
        }
        assert_eq!(add_all(&["a/b", "a/c", "ab/c"]), Ok(()));
    }
}

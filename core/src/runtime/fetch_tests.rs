//! Fetches through a script that stands in for Python.

use std::io::{Cursor, Write as _};
use std::sync::Barrier;

use super::*;
use crate::runtime::Package;

/// A folder with a small wheel and the pin that belongs to it.
struct Shop {
    root: TempDir,
    wheel: PinnedWheel,
}

impl Shop {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
        for (name, text) in [("pkg/capi/lib.so.1", "the library"), ("pkg/LICENSE", "MIT"), ("pkg/unwanted.py", "x")] {
            archive.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
            archive.write_all(text.as_bytes()).unwrap();
        }
        let bytes = archive.finish().unwrap().into_inner();
        let mut sha256 = String::new();
        for byte in Sha256::digest(&bytes) {
            write!(sha256, "{byte:02x}").unwrap();
        }
        fs::write(root.path().join("served.zip"), &bytes).unwrap();
        let wheel = PinnedWheel {
            package: Package::OnnxRuntime,
            target: "x86_64-unknown-linux-gnu",
            platform: "manylinux_2_28_x86_64",
            sha256: sha256.leak(),
            bytes: bytes.len().try_into().unwrap(),
            library: "pkg/capi/lib.so.1",
            others: &["pkg/LICENSE"],
        };
        Self { root, wheel }
    }

    /// A Python whose pip runs `body`; `$folder` is where the download goes.
    fn python(&self, name: &str, body: &str) -> Python {
        let path = self.root.path().join(name);
        let find_folder = r#"while [ "$1" != -d ]; do shift; done; folder=$2"#;
        fs::write(&path, format!("{find_folder}\n{body}\n")).unwrap();
        // Run by the shell: a file that was just written cannot be executed while another thread is forking.
        Python::commands(vec![vec!["sh".into(), path.into()]])
    }

    fn serving(&self) -> Python {
        self.python(
            "serving",
            &format!("echo x >> {0}/runs; cp {0}/served.zip $folder/onnxruntime.whl", self.root.path().display()),
        )
    }

    fn runs(&self) -> usize {
        fs::read_to_string(self.root.path().join("runs")).unwrap_or_default().lines().count()
    }

    fn folder(&self) -> PathBuf {
        self.root.path().join("cache/1.0-abc")
    }

    fn fetch(&self, python: &Python) -> Result<PathBuf, RuntimeError> {
        fetch(&self.wheel, &self.folder(), python, |_| {})
    }
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_fetch_leaves_the_wanted_files_and_nothing_temporary() {
    let shop = Shop::new();
    let mut steps = Vec::new();
    let library = fetch(&shop.wheel, &shop.folder(), &shop.serving(), |step| steps.push(step)).unwrap();
    assert_eq!(fs::read_to_string(library).unwrap(), "the library");
    assert_eq!(names(&shop.folder()), ["lib.so.1", "onnxruntime-LICENSE"]);
    assert_eq!(names(&shop.root.path().join("cache")), [".lock", "1.0-abc"]);
    assert!(matches!(steps.first(), Some(Progress::Started { .. })) && steps.last() == Some(&Progress::Done));
}

#[test]
fn two_fetches_at_once_both_find_one_library() {
    let shop = Shop::new();
    let (python, start) = (shop.serving(), Barrier::new(2));
    std::thread::scope(|scope| {
        let fetches: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    start.wait();
                    shop.fetch(&python)
                })
            })
            .collect();
        for fetch in fetches {
            assert_eq!(fs::read_to_string(fetch.join().unwrap().unwrap()).unwrap(), "the library");
        }
    });
    assert_eq!(shop.runs(), 1);
}

#[test]
fn a_fetch_that_another_one_overtook_without_a_lock_uses_its_library() {
    let shop = Shop::new();
    shop.fetch(&shop.serving()).unwrap();
    let late = download(&shop.wheel, shop.root.path(), &shop.serving(), &mut |_| {}).unwrap();
    publish(&late.path().join("files"), &shop.folder(), &shop.folder().join("lib.so.1")).unwrap();
    assert_eq!(names(&shop.folder()), ["lib.so.1", "onnxruntime-LICENSE"]);
}

#[test]
fn what_a_killed_fetch_left_is_cleared_and_not_taken_for_a_library() {
    let shop = Shop::new();
    let left = shop.root.path().join("cache/.fetching-old/files");
    fs::create_dir_all(&left).unwrap();
    fs::write(left.join("lib.so.1"), "half").unwrap();
    fs::create_dir_all(shop.folder()).unwrap();
    fs::write(shop.folder().join("LICENSE"), "MIT").unwrap();
    assert_eq!(fs::read_to_string(shop.fetch(&shop.serving()).unwrap()).unwrap(), "the library");
    assert_eq!(names(&shop.root.path().join("cache")), [".lock", "1.0-abc"]);
}

#[test]
fn other_bytes_than_the_pinned_ones_are_refused() {
    let mut shop = Shop::new();
    shop.wheel.sha256 = "00";
    let error = shop.fetch(&shop.serving()).unwrap_err().to_string();
    assert!(error.contains("wrong hash (expected sha256 00, got "), "{error}");
    assert!(!shop.folder().exists());
}

#[test]
fn a_wrong_hash_that_pip_finds_is_told_as_such() {
    let shop = Shop::new();
    let body = "echo 'ERROR: THESE PACKAGES DO NOT MATCH THE HASHES\n        Expected sha256 aa\n             Got        bb' >&2; exit 1";
    let error = shop.fetch(&shop.python("python3", body)).unwrap_err();
    assert!(matches!(&error, RuntimeError::WrongHash { found, .. } if found == "bb"), "{error}");
}

#[test]
fn without_python_the_error_names_the_commands_and_the_ways_out() {
    let shop = Shop::new();
    let python = Python::commands(vec![vec!["/nowhere/python3".into()], vec!["/nowhere/python".into(), "-3".into()]]);
    let error = shop.fetch(&python).unwrap_err().to_string();
    for part in [
        "`/nowhere/python3`, `/nowhere/python -3`",
        "install python3 and pip",
        "lib.so.1 beside the program",
        "--onnxruntime PATH",
    ] {
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn without_pip_the_error_names_the_python() {
    let shop = Shop::new();
    let error = shop.fetch(&shop.python("bare", "echo \"$0: No module named pip\" >&2; exit 1")).unwrap_err();
    assert!(matches!(&error, RuntimeError::NoPip { python, .. } if python.ends_with("/bare")), "{error}");
}

#[test]
fn the_last_lines_of_a_failing_pip_are_passed_on() {
    let shop = Shop::new();
    let body = "for i in 1 2 3 4 5 6; do echo \"WARNING: retry $i\"; done >&2; echo 'ERROR: No matching distribution found' >&2; exit 1";
    let error = shop.fetch(&shop.python("python3", body)).unwrap_err().to_string();
    assert!(error.contains("WARNING: retry 6; ERROR: No matching distribution found"), "{error}");
    assert!(!error.contains("retry 2") && error.contains("pip config list"), "{error}");
    assert_eq!(names(&shop.root.path().join("cache")), [".lock"]);
}

#[test]
fn a_wheel_without_the_library_is_refused() {
    let mut shop = Shop::new();
    shop.wheel.library = "pkg/other.so";
    let error = shop.fetch(&shop.serving()).unwrap_err().to_string();
    assert!(error.contains("`pkg/other.so`"), "{error}");
    assert!(!shop.folder().exists());
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let shop = Shop::new();
    let file = shop.root.path().join("served.zip");
    let error = fetch(&shop.wheel, &file.join("x/y"), &shop.serving(), |_| {}).unwrap_err().to_string();
    assert!(error.contains("served.zip/x"), "{error}");
}

#[test]
fn a_fetch_into_a_folder_in_use_keeps_what_is_there() {
    let shop = Shop::new();
    let folder = shop.root.path().join("app");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("hedef"), "program").unwrap();
    let library = fetch_beside(&shop.wheel, &folder, &shop.serving(), |_| {}).unwrap();
    assert_eq!(library, folder.join("lib.so.1"));
    assert_eq!(names(&folder), ["hedef", "lib.so.1", "onnxruntime-LICENSE"]);
}

//! Weights in other files.

use std::fs;

use prost::Message;

use super::super::fixture::with_weight;
use super::super::inspect;
use super::*;

/// A folder with `model.onnx`, whose weight of 16 bytes is where `entries` say, and beside it `w.bin` (16 bytes),
/// `short.bin` (8), `sub/w.bin` (16); and outside the folder `out.bin` (16).
fn folder(entries: &[(&str, &str)]) -> (tempfile::TempDir, PathBuf) {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("model");
    fs::create_dir_all(folder.join("sub")).unwrap();
    for (name, size) in [("model/w.bin", 16), ("model/short.bin", 8), ("model/sub/w.bin", 16), ("out.bin", 16)] {
        fs::write(root.path().join(name), vec![0; size]).unwrap();
    }
    fs::write(folder.join("model.onnx"), with_weight("w", &[4], entries).encode_to_vec()).unwrap();
    (root, folder)
}

fn refusal(entries: &[(&str, &str)]) -> String {
    let (root, folder) = folder(entries);
    let refusal = inspect(&folder.join("model.onnx")).unwrap_err().to_string();
    assert!(!refusal.contains(root.path().to_str().unwrap()), "{refusal}");
    refusal
}

#[test]
fn data_inside_the_folder_is_listed_with_its_size() {
    for location in ["w.bin", "./w.bin", "sub/w.bin", "sub/../w.bin"] {
        let (_root, folder) = folder(&[("location", location), ("offset", "0"), ("length", "16")]);
        let inspection = inspect(&folder.join("model.onnx")).unwrap();
        assert_eq!(inspection.external_files, [ExternalFile { path: location.into(), bytes: 16 }]);
        assert_eq!(inspection.weight_bytes, 16);
    }
}

#[test]
fn missing_data_is_named() {
    let text = refusal(&[("location", "no.bin")]);
    assert!(text.contains("the weight `w` in `no.bin`, and there is no such file"), "{text}");
    assert!(refusal(&[("location", "sub")]).contains("there is no such file"));
}

#[test]
fn data_outside_the_folder_is_refused_however_it_is_named() {
    assert!(refusal(&[("location", "../out.bin")]).contains("by a path with `..`"));
    assert!(refusal(&[("location", "sub/../../out.bin")]).contains("by a path with `..`"));
    assert!(refusal(&[("location", "/etc/passwd")]).contains("by an absolute path"));
}

#[cfg(unix)]
#[test]
fn links_may_lead_about_inside_the_folder_and_not_out_of_it() {
    let (root, folder) = folder(&[("location", "link.bin")]);
    let link = folder.join("link.bin");
    std::os::unix::fs::symlink(root.path().join("out.bin"), &link).unwrap();
    let text = inspect(&folder.join("model.onnx")).unwrap_err().to_string();
    assert!(text.contains("through a symbolic link"), "{text}");
    fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink("w.bin", &link).unwrap();
    inspect(&folder.join("model.onnx")).unwrap();
}

/// The Hugging Face cache links both the model and its data into one folder of blobs.
#[cfg(unix)]
#[test]
fn a_linked_model_may_have_its_data_beside_the_links_target() {
    let (root, folder) = folder(&[("location", "data.bin")]);
    let snapshot = root.path().join("snapshot");
    fs::create_dir(&snapshot).unwrap();
    std::os::unix::fs::symlink(folder.join("model.onnx"), snapshot.join("model.onnx")).unwrap();
    std::os::unix::fs::symlink(folder.join("w.bin"), snapshot.join("data.bin")).unwrap();
    inspect(&snapshot.join("model.onnx")).unwrap();
}

#[test]
fn data_that_is_too_short_is_told_with_the_bytes_it_should_hold() {
    let text = refusal(&[("location", "short.bin")]);
    assert!(text.contains("in the bytes 0..16 of `short.bin`, which holds 8"), "{text}");
    let text = refusal(&[("location", "w.bin"), ("offset", "4")]);
    assert!(text.contains("in the bytes 4..20 of `w.bin`, which holds 16"), "{text}");
}

#[test]
fn malformed_references_are_refused() {
    assert!(refusal(&[("location", "")]).contains("it has no location"));
    assert!(refusal(&[("offset", "0")]).contains("it has no location"));
    assert!(refusal(&[("location", "w.bin"), ("offset", "-1")]).contains("its offset is no number"));
    assert!(refusal(&[("location", "w.bin"), ("offset", "18446744073709551615")]).contains("beyond any file"));
    assert!(refusal(&[("location", "w.bin"), ("length", "x")]).contains("its length is no number"));
}

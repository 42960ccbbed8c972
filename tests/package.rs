//! Bundles of models for devices: keys made, models packed, bundles verified, and what must not be taken refused.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::binary::{Said, run};
use crate::models::Models;

/// A folder with keys and models, in which bundles are made.
struct Workshop {
    models: Models,
    folder: tempfile::TempDir,
}

impl Workshop {
    fn new(samples: &[&str]) -> Self {
        let shop = Self { models: Models::samples(samples), folder: tempfile::tempdir().unwrap() };
        shop.keygen("own");
        shop
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().into()
    }

    fn model(&self, name: &str) -> String {
        self.models.path().join(name).to_str().unwrap().into()
    }

    fn keygen(&self, name: &str) {
        let said = run(&["keygen", "--out", &self.path(name)], b"");
        assert_eq!(said.code, Some(0), "{}", said.stderr);
    }

    /// Packs a model with its own key into `out`.
    fn package(&self, model: &str, out: &str, flags: &[&str]) -> Said {
        let (model, key, out) = (self.model(model), self.path("own.key"), self.path(out));
        run(&[&["package", &model, "--sign", &key, "--out", &out], flags].concat(), b"")
    }

    fn verify(&self, bundle: &str, keys: &str) -> Said {
        run(&["verify", &self.path(bundle), "--keys", &self.path(keys)], b"")
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.path(name), bytes).unwrap();
    }
}

#[track_caller]
fn fails(said: &Said, code: i32, expected: &str) {
    assert!(said.code == Some(code) && said.stderr.contains(expected), "expected {code}, `{expected}`: {said:?}");
}

#[track_caller]
fn succeeds(said: &Said, expected: &[&str]) {
    let missing = expected.iter().find(|expected| !said.stdout.contains(**expected));
    assert!(said.code == Some(0) && missing.is_none(), "expected 0, `{missing:?}`: {said:?}");
}

#[test]
fn a_packed_model_is_verified_and_unpacked_it_is_the_model() {
    let shop = Workshop::new(&["digits"]);
    let flags = ["--version", "7", "--expires", "2999-01-31", "--min-runtime", "1.17", "--allow-downgrade"];
    let said = shop.package("digits", "digits.bundle", &flags);
    let facts = [
        "digits/7\n",
        "expires     2999-01-31T00:00:00Z",
        "runs on     ONNX Runtime 1.17.0 and newer",
        "replaces    higher versions too",
        "file        7/model.onnx  ",
        "file        labels.txt  ",
        "file        golden/blank-image.json  ",
        " bytes  golden request\n",
    ];
    succeeds(&said, &facts);
    succeeds(&shop.verify("digits.bundle", "own.pub"), &facts);

    let twin: Value = serde_json::from_str(said.stdout.lines().last().unwrap()).unwrap();
    let wanted = &twin["models"]["digits"];
    assert_eq!((&wanted["version"], &wanted["url"]), (&7.into(), &"https://HOST/digits.bundle".into()));
    assert_eq!(wanted["size"], shop.read("digits.bundle").len());
    let sum = Command::new("sha256sum").arg(shop.path("digits.bundle")).output().unwrap();
    assert!(String::from_utf8(sum.stdout).unwrap().starts_with(wanted["sha256"].as_str().unwrap()));

    // Any tar unpacks it, and what comes out is a package like another.
    let out = shop.folder.path().join("digits");
    fs::create_dir(&out).unwrap();
    let status = Command::new("tar").arg("xf").arg(shop.path("digits.bundle")).current_dir(&out).status();
    assert!(status.unwrap().success());
    for file in ["model.toml", "labels.txt", "golden/blank-image.json"] {
        assert_eq!(fs::read(out.join(file)).unwrap(), fs::read(shop.model("digits") + "/" + file).unwrap());
    }
    assert_eq!(fs::read(out.join("7/model.onnx")).unwrap(), fs::read(shop.models.file("digits", 1)).unwrap());
    succeeds(&run(&["check", out.to_str().unwrap()], b""), &["digits/7: can be served"]);
}

#[test]
fn the_same_model_makes_the_same_bytes() {
    let shop = Workshop::new(&["iris"]);
    for name in ["a", "b"] {
        succeeds(&shop.package("iris", name, &[]), &["iris/1"]);
    }
    // Times and modes of the files are not in it, nor is what nothing names.
    let model = shop.models.file("iris", 1);
    fs::write(&model, fs::read(&model).unwrap()).unwrap();
    fs::write(shop.model("iris") + "/notes.txt", "notes").unwrap();
    let said = shop.package("iris", "c", &[]);
    succeeds(&said, &["iris/1"]);
    assert!(said.stderr.contains("left out, since nothing of the model names it: notes.txt"), "{}", said.stderr);
    assert!(shop.read("a") == shop.read("b") && shop.read("a") == shop.read("c"));
    // Nothing else is left there, of the bundles that were made and of one that was not.
    fails(&shop.package("iris", "d", &["--version", "0"]), 65, "`version`: expected a whole number from 1");
    let mut names: Vec<_> = fs::read_dir(shop.folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["a", "b", "c", "own.key", "own.pub"]);
}

#[test]
fn a_bundle_that_was_changed_is_not_taken() {
    let shop = Workshop::new(&["iris"]);
    succeeds(&shop.package("iris", "whole", &[]), &["iris/1"]);
    let whole = shop.read("whole");
    let at = |needle: &[u8]| whole.windows(needle.len()).position(|window| window == needle).unwrap();
    let changed = |at: usize, to: u8| {
        let mut bytes = whole.clone();
        bytes[at] = to;
        bytes
    };
    let name = at(b"1/model.onnx\0");
    for (bytes, refusal) in [
        (changed(at(b"\"version\": 1"), b'_'), "the signature is by none of the 1 public keys"),
        (changed(name + 600, !whole[name + 600]), "file `1/model.onnx`: expected SHA-256"),
        (changed(name + 156, b'2'), "found the symbolic link `1/model.onnx`"),
        (whole[..whole.len() - 1].to_vec(), "the bundle ends within the archive's end"),
        (whole[..name + 700].to_vec(), "the bundle ends within file `1/model.onnx`"),
        ([&whole[..], b"\n"].concat(), "expected nothing after it, found more bytes"),
        (Vec::new(), "the bundle ends within manifest.json"),
        (fs::read(shop.models.file("iris", 1)).unwrap(), "expected the plain file `manifest.json`"),
    ] {
        shop.write("changed", &bytes);
        fails(&shop.verify("changed", "own.pub"), 65, refusal);
    }
    succeeds(&shop.verify("whole", "own.pub"), &["iris/1"]);
    fails(&shop.verify("nowhere", "own.pub"), 1, "nowhere");
}

/// What our own packer would not make, made by tar and signed with the right key by hand.
#[test]
fn a_bundle_that_leads_out_of_its_folder_is_not_taken_even_if_it_is_signed() {
    use base64::Engine as _;
    let shop = Workshop::new(&[]);
    let secret = String::from_utf8(shop.read("own.key")).unwrap();
    let base64 = base64::engine::general_purpose::STANDARD;
    let seed = base64.decode(secret.trim().strip_prefix("hedef-secret-key:").unwrap()).unwrap();
    let pair = ring::signature::Ed25519KeyPair::from_seed_unchecked(&seed).unwrap();
    let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    for (path, refusal) in [
        ("1/fine.txt", "file `1/model.onnx`: expected a plain file of 0 bytes, found the end of the archive"),
        ("../out", "file `../out`: expected a relative path of plain names"),
        ("/etc/passwd", "file `/etc/passwd`: expected a relative path"),
        ("1/../../out", "expected a relative path"),
        ("..\\\\out", "expected a relative path"),
        ("1/MODEL.onnx", "expected a path of its own"),
    ] {
        let file = |path: &str| format!(r#"{{"path": "{path}", "size": 0, "sha256": "{empty}"}}"#);
        let files = [file("1/model.onnx"), file(path)].join(",");
        let manifest = format!(r#"{{"format": 1, "name": "x", "version": 1, "files": [{files}]}}"#);
        shop.write("manifest.json", manifest.as_bytes());
        let signature = base64.encode(pair.sign(manifest.as_bytes()));
        shop.write("manifest.sig", format!("hedef-signature:{signature}\n").as_bytes());
        let mut tar = Command::new("tar");
        tar.args([
            "--format=ustar",
            "--owner=0",
            "--group=0",
            "--numeric-owner",
            "--mode=0644",
            "--mtime=@0",
            "-cf",
            "made",
        ]);
        let status = tar.args(["manifest.json", "manifest.sig"]).current_dir(shop.folder.path()).status();
        assert!(status.unwrap().success());
        fails(&shop.verify("made", "own.pub"), 65, refusal);
    }
}

#[test]
fn only_who_has_a_key_is_believed() {
    let shop = Workshop::new(&["iris"]);
    shop.keygen("other");
    succeeds(&shop.package("iris", "b", &[]), &["iris/1"]);
    fails(&shop.verify("b", "other.pub"), 65, "the signature is by none of the 1 public keys that are trusted");
    // While keys change, a file holds both.
    let both = [b"# the next one\n", &shop.read("other.pub")[..], b"\n# the first\n", &shop.read("own.pub")].concat();
    shop.write("both.pub", &both);
    let own = String::from_utf8(shop.read("own.pub")).unwrap();
    succeeds(&shop.verify("b", "both.pub"), &["iris/1", own.trim()]);
    shop.write("none.pub", b"# none\n");
    fails(&shop.verify("b", "none.pub"), 65, "there is no public key to verify a bundle with");
    fails(&shop.verify("b", "own.key"), 65, "line 1: a public key: expected");
    let said = run(&["package", &shop.model("iris"), "--sign", &shop.path("own.pub"), "--out", &shop.path("c")], b"");
    fails(&said, 65, "a secret key: expected `hedef-secret-key:` and the base64 of 32 bytes, found a public key");
    let secret = String::from_utf8(shop.read("own.key")).unwrap();
    let said = shop.verify("b", "own.key");
    assert!(!said.stderr.contains(secret.trim()) && !said.stdout.contains(secret.trim()));
}

#[test]
fn keys_are_never_written_over_and_the_secret_one_is_its_owner_s_alone() {
    let shop = Workshop::new(&[]);
    let files = || ["own.key", "own.pub"].map(|name| shop.read(name));
    let before = files();
    fails(&run(&["keygen", "--out", &shop.path("own")], b""), 1, "own.pub: File exists");
    fs::remove_file(shop.path("own.pub")).unwrap();
    fails(&run(&["keygen", "--out", &shop.path("own")], b""), 1, "own.key: File exists");
    assert!(!Path::new(&shop.path("own.pub")).exists(), "a public key without its secret one was left");
    shop.write("own.pub", &before[1]);
    assert_eq!(files(), before);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = |name: &str| fs::metadata(shop.path(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode("own.key"), 0o600);
        assert_eq!(mode("own.pub") & 0o600, 0o600);
    }
    shop.keygen("name.with.dots");
    assert!(Path::new(&shop.path("name.with.dots.key")).exists());
    fails(&run(&["keygen", "--out", &shop.path("nowhere/own")], b""), 1, "nowhere/own.pub");
}

#[test]
fn a_model_that_does_not_work_is_not_packed() {
    let shop = Workshop::new(&["iris"]);
    let golden = PathBuf::from(shop.model("iris")).join("golden");
    let one = golden.join("one-flower.json");
    let right = fs::read_to_string(&one).unwrap();
    fs::write(&one, right.replace("versicolor", "setosa")).unwrap();
    fails(
        &shop.package("iris", "b", &[]),
        65,
        "golden request `golden/one-flower.json`: expected the answer in it, found another",
    );
    fs::write(&one, right.replace("FP32", "INT8")).unwrap();
    fails(&shop.package("iris", "b", &[]), 65, "golden/one-flower.json: input `features`: expected FP32");
    fs::write(&one, "{}").unwrap();
    fails(&shop.package("iris", "b", &[]), 65, "golden request `golden/one-flower.json`: `request` is missing");
    fs::remove_dir_all(&golden).unwrap();
    fails(
        &shop.package("iris", "b", &[]),
        65,
        "model `iris`: expected golden requests in its folder `golden`, or --no-golden, found none",
    );
    succeeds(&shop.package("iris", "b", &["--no-golden"]), &["iris/1"]);
    shop.models.settings("iris", "labels = { label = \"nowhere.txt\" }");
    fails(&shop.package("iris", "b", &["--no-golden"]), 1, "nowhere.txt");
    shop.models.settings("iris", "versions = [1]");
    succeeds(&shop.package("iris", "b", &["--no-golden"]), &["iris/1"]);
    fails(&shop.package("iris", "b", &["--no-golden", "--version", "2"]), 65, "iris");
    shop.models.make("truncated");
    fails(&shop.package("truncated", "b", &["--no-golden"]), 65, "truncated");
}

/// A package of somebody else's does not make its packer sign and send what is not in it.
#[cfg(unix)]
#[test]
fn what_lies_outside_the_package_is_not_packed() {
    use std::os::unix::fs::symlink;
    let shop = Workshop::new(&["digits"]);
    let model = PathBuf::from(shop.model("digits"));
    let refusal = "expected a plain file inside the package, found another, or a link that leads out";
    let labels = fs::read(model.join("labels.txt")).unwrap();
    fs::write(shop.path("secret"), &labels).unwrap();
    fs::remove_file(model.join("labels.txt")).unwrap();
    symlink(shop.path("secret"), model.join("labels.txt")).unwrap();
    fails(&shop.package("digits", "b", &[]), 65, &format!("file `labels.txt`: {refusal}"));
    // A link inside it is another way to write a file.
    fs::rename(model.join("labels.txt"), shop.path("link")).unwrap();
    fs::write(model.join("classes.txt"), &labels).unwrap();
    symlink("classes.txt", model.join("labels.txt")).unwrap();
    succeeds(&shop.package("digits", "b", &[]), &["file        labels.txt  "]);
    symlink("/dev/zero", model.join("golden/zero.json")).unwrap();
    fails(&shop.package("digits", "b", &[]), 65, &format!("file `golden/zero.json`: {refusal}"));
}

#[test]
fn flags_that_cannot_be_are_told() {
    let shop = Workshop::new(&["iris"]);
    for (flags, code, refusal) in [
        (
            &["--expires", "soon"][..],
            65,
            "a moment: expected UTC in whole seconds such as 2027-01-31T00:00:00Z, found `soon`",
        ),
        (
            &["--expires", "2020-02-02"],
            65,
            "expected one that is not yet expired, found that it expired on 2020-02-02T00:00:00Z",
        ),
        (&["--min-runtime", "new"], 65, "a version of ONNX Runtime: expected numbers such as 1.22.0, found `new`"),
        (&["--version", "4503599627370496"], 65, "expected a whole number from 1 to 4503599627370495"),
        (&["--version", "x"], 2, "invalid value 'x'"),
    ] {
        fails(&shop.package("iris", "b", flags), code, refusal);
    }
    fails(&shop.package("iris:2", "b", &[]), 66, "model `iris` has no version `2`: there is 1");
    fails(&shop.package("iris/1/model.onnx", "b", &[]), 1, "expected the model's folder, not its file");
    fails(&shop.package("nothing", "b", &[]), 1, "nothing");
    fs::rename(shop.model("iris"), shop.model("iris.2")).unwrap();
    fails(
        &shop.package("iris.2", "b", &[]),
        65,
        "a model's name in a bundle: expected 1 to 64 of A-Z a-z 0-9 _ -, found `iris.2`",
    );
    assert!(!Path::new(&shop.path("b")).exists());
}

#[test]
fn the_version_that_is_asked_for_is_packed_with_its_weights() {
    let shop = Workshop::new(&[]);
    let first = shop.models.make_as("doubler", "external", &[]);
    let third = shop.models.file("doubler", 3);
    fs::create_dir_all(third.parent().unwrap()).unwrap();
    for file in ["model.onnx", "weights.bin"] {
        fs::copy(first.with_file_name(file), third.with_file_name(file)).unwrap();
    }
    succeeds(&shop.package("doubler", "b", &["--no-golden"]), &["doubler/3\n", "file        3/weights.bin  "]);
    let said = shop.package("doubler:1", "b", &["--no-golden", "--version", "4"]);
    succeeds(&said, &["doubler/4\n", "file        4/model.onnx  ", "file        4/weights.bin  "]);
    assert!(!said.stdout.contains("file        3/") && said.stderr.is_empty(), "{said:?}");
    fs::remove_file(first.with_file_name("weights.bin")).unwrap();
    fails(&shop.package("doubler:1", "b", &["--no-golden"]), 65, "there is no such file beside it");
}

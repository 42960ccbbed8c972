use std::io::Read;

use proptest::prelude::*;

use super::*;

/// The secret key whose seed is 32 times 7.
fn key() -> SecretKey {
    SecretKey::parse("hedef-secret-key:BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=").unwrap()
}

fn manifest(files: &[(&str, &[u8])]) -> Manifest {
    let file = |(path, content): &(&str, &[u8])| File {
        path: (*path).to_string(),
        size: content.len() as u64,
        sha256: Sha256::of(content),
    };
    Manifest {
        name: model_name("iris").unwrap(),
        version: 7,
        min_runtime: None,
        expires: None,
        allow_downgrade: false,
        golden: files.iter().map(|(path, _)| (*path).to_string()).filter(|path| path.starts_with("golden/")).collect(),
        files: files.iter().map(file).collect(),
    }
}

fn pack(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = BundleWriter::begin(Vec::new(), &manifest(files), &key()).unwrap();
    files.iter().for_each(|(_, content)| writer.file(*content).unwrap());
    writer.finish().unwrap()
}

const FILES: [(&str, &[u8]); 4] =
    [("7/model.onnx", &[1; 1024]), ("golden/a.json", b"{}"), ("labels.txt", b""), ("model.toml", &[b'#'; 100_000])];

/// Reads everything as a device would, and returns what it got.
fn unpack(bytes: &[u8]) -> Result<Vec<(String, Vec<u8>)>, BundleError> {
    let mut bundle = Bundle::open(bytes, &[key().public()])?;
    let mut files = Vec::new();
    while let Some(mut member) = bundle.next()? {
        let (path, mut content) = (member.file().path.clone(), Vec::new());
        while let Some(chunk) = member.chunk()? {
            content.extend(chunk);
        }
        files.push((path, content));
    }
    Ok(files)
}

fn refusal(bytes: &[u8]) -> String {
    unpack(bytes).unwrap_err().to_string()
}

fn parse(json: &str) -> Result<Manifest, BundleError> {
    Manifest::parse(json.as_bytes())
}

/// A small manifest with `more` in it.
fn with(more: &str) -> String {
    let hash = Sha256::of(b"x");
    let file = |path: &str| format!(r#"{{"path": "{path}", "size": 1, "sha256": "{hash}"}}"#);
    let files = format!("[{}, {}]", file("7/model.onnx"), file("golden/a.json"));
    format!(r#"{{"format": 1, "name": "iris", "version": 7, "files": {files}{more}}}"#)
}

#[test]
fn a_bundle_is_these_bytes() {
    let bytes = pack(&FILES);
    // By Python's tarfile, with the numbers of a device that is none written out, and the Ed25519 of RFC 8032's own code.
    assert_eq!(key().public().to_string(), "hedef-public-key:6kpsY+KcUgq+9VB7Ey7F+ZVHdq6+vnuSQh7qaRRG0iw=");
    assert_eq!(bytes.len(), 107_520);
    assert_eq!(Sha256::of(&bytes).to_string(), "eb7fae84d9267fc69491186d704a880485972c37527380b18ddb682fd82b07dd");
    let text = String::from_utf8_lossy(&bytes[512..1536]);
    let begin = r#"{
  "format": 1,
  "name": "iris",
  "version": 7,
  "golden": [
    "golden/a.json"
  ],
  "files": [
    {"path": "7/model.onnx", "size": 1024, "sha256": "5a648d8015900d89664e00e125df179636301a2d8fa191c1aa2bd9358ea53a69"},
    {"path": "golden/a.json", "size": 2, "sha256": "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"},
    {"path": "labels.txt", "size": 0, "sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
"#;
    assert!(text.starts_with(begin), "{text}");
}

#[test]
fn what_was_packed_is_unpacked() {
    let bytes = pack(&FILES);
    let files = unpack(&bytes).unwrap();
    assert!(files.iter().map(|(path, content)| (path.as_str(), content.as_slice())).eq(FILES));
    let bundle = Bundle::open(&bytes[..], &[SecretKey::generate().unwrap().public(), key().public()]).unwrap();
    assert_eq!(bundle.key(), &key().public());
    assert_eq!(bundle.manifest_bytes(), manifest(&FILES).to_bytes());
    assert_eq!(bundle.manifest().unpacked_bytes(), 1024 + 2 + 100_000);
    assert_eq!(bundle.verify_all().unwrap(), manifest(&FILES));
}

#[test]
fn files_that_are_not_read_are_verified_all_the_same() {
    let mut bytes = pack(&FILES);
    let at = bytes.len() - 1024 - 352 - 1;
    bytes[at] = b'!';
    let mut bundle = Bundle::open(&bytes[..], &[key().public()]).unwrap();
    for _ in FILES {
        assert!(bundle.next().unwrap().is_some());
    }
    let refused = bundle.next().unwrap_err().to_string();
    assert!(refused.starts_with("file `model.toml`: expected SHA-256"), "{refused}");
    assert!(matches!(bundle.next(), Err(BundleError::GivenUp)));
}

#[test]
fn a_chunk_with_the_last_bytes_comes_only_if_the_hash_is_right() {
    let mut bytes = pack(&FILES);
    let at = bytes.len() - 1024 - 352 - 1;
    bytes[at] = b'!';
    let mut bundle = Bundle::open(&bytes[..], &[key().public()]).unwrap();
    let mut lent = 0;
    while let Some(mut member) = bundle.next().unwrap() {
        if member.file().path != "model.toml" {
            continue;
        }
        assert_eq!(member.chunk().unwrap().map(<[u8]>::len), Some(64 << 10));
        lent += 1;
        assert!(member.chunk().is_err());
        assert!(matches!(member.chunk(), Err(BundleError::GivenUp)));
        break;
    }
    assert_eq!(lent, 1);
}

/// There is no byte in a bundle that could be another, and none that could be missing or more.
#[test]
fn every_byte_counts() {
    let bytes = pack(&FILES[..3]);
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1 << (at % 8);
        assert!(unpack(&changed).is_err(), "byte {at} could be changed");
        assert!(unpack(&bytes[..at]).is_err(), "the first {at} bytes were taken for all");
    }
    assert_eq!(refusal(&[&bytes[..], &[0]].concat()), "the archive's end: expected nothing after it, found more bytes");
    assert_eq!(refusal(&bytes[..bytes.len() - 1]), "the bundle ends within the archive's end");
    assert_eq!(refusal(&bytes[..512 + 1024 + 512 + 512 + 600]), "the bundle ends within file `7/model.onnx`");
}

#[test]
fn nothing_is_told_of_a_bundle_that_others_signed() {
    let bytes = pack(&FILES);
    let other = [SecretKey::generate().unwrap().public()];
    let refused = Bundle::open(&bytes[..], &other).unwrap_err();
    assert!(matches!(refused, BundleError::WrongSignature { keys: 1 }), "{refused}");
    assert!(matches!(Bundle::open(&bytes[..], &[]), Err(BundleError::NoKeys)));
}

/// Members that the manifest does not name are told for what they are.
#[test]
fn members_of_other_kinds_are_refused() {
    let bytes = pack(&FILES);
    let at = 512 + 1024 + 512 + 512;
    for (kind, found) in [
        (b'1', "the hard link `7/model.onnx`"),
        (b'2', "the symbolic link `7/model.onnx`"),
        (b'3', "the device `7/model.onnx`"),
        (b'5', "the folder `7/model.onnx`"),
        (b'6', "the pipe `7/model.onnx`"),
        (b'S', "the sparse file `7/model.onnx`"),
        (b'L', "a long name or another extension of tar"),
        (b'x', "a long name or another extension of tar"),
        (b'\0', "file `7/model.onnx` of 1024 bytes, or in another form"),
    ] {
        let mut changed = bytes.clone();
        changed[at + 156] = kind;
        assert_eq!(
            refusal(&changed),
            format!("file `7/model.onnx`: expected a plain file of 1024 bytes, found {found}")
        );
    }
    let skipped = [&bytes[..at], &bytes[at + 512 + 1024..]].concat();
    assert!(refusal(&skipped).ends_with("found file `golden/a.json` of 2 bytes, or in another form"));
    let early = [&bytes[..at], &[0; 1024]].concat();
    assert!(refusal(&early).ends_with("found the end of the archive"));
    let twice = [&bytes[..bytes.len() - 1024], &bytes[at..]].concat();
    assert!(refusal(&twice).contains("expected two blocks of zeros, found file `7/model.onnx`"));
    assert!(refusal(b"PK\x03\x04").contains("ends within manifest.json"));
    assert!(refusal(&[b'x'; 2048]).contains("expected the plain file `manifest.json`"));
}

#[test]
fn a_manifest_that_claims_to_be_huge_is_not_read() {
    struct Counted(Vec<u8>, usize);
    impl Read for Counted {
        fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
            let read = self.0.get(self.1..).unwrap_or_default().read(to)?;
            self.1 += read;
            Ok(read)
        }
    }
    let mut reader = Counted(tar::header(MANIFEST, tar::MOST_FILE_BYTES).to_vec(), 0);
    let refused = Bundle::open(&mut reader, &[key().public()]).unwrap_err().to_string();
    assert_eq!(refused, "manifest.json: expected at most 262144 bytes, found 8589934591");
    assert_eq!(reader.1, 512);
}

#[test]
fn reading_that_fails_is_not_the_bundle_s_fault() {
    struct Failing;
    impl Read for Failing {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("the disk is gone"))
        }
    }
    let error = Bundle::open(Failing, &[key().public()]).unwrap_err();
    assert_eq!(error.kind(), hedef_core::Kind::Internal);
    assert_eq!(error.to_string(), "reading manifest.json failed: the disk is gone");
}

#[test]
fn a_writer_writes_only_what_the_manifest_says() {
    let files = &FILES[..2];
    let begin = || BundleWriter::begin(Vec::new(), &manifest(files), &key()).unwrap();
    for wrong in [&[1; 1023][..], &[1; 1025], &[2; 1024]] {
        assert!(begin().file(wrong).is_err());
    }
    let mut writer = begin();
    writer.file(files[0].1).unwrap();
    assert!(begin().finish().is_err());
    writer.file(files[1].1).unwrap();
    assert!(writer.file(&b""[..]).is_err());
    let mut wrong = manifest(files);
    wrong.version = 8;
    assert!(BundleWriter::begin(Vec::new(), &wrong, &key()).is_err());
}

#[test]
fn a_manifest_has_its_fields_and_no_others() {
    let bare = parse(&with("")).unwrap();
    assert_eq!((bare.name.as_str(), bare.version, bare.allow_downgrade), ("iris", 7, false));
    assert_eq!((bare.min_runtime, &bare.expires, bare.golden.len()), (None, &None, 0));
    let more = r#", "min_runtime": "1.22", "expires": "2027-01-31T00:00:00Z", "allow_downgrade": true,
        "golden": ["golden/a.json"]"#;
    let whole = parse(&with(more)).unwrap();
    assert_eq!(whole.min_runtime.unwrap().to_string(), "1.22.0");
    assert_eq!(whole.expires.unwrap().seconds(), 1_801_353_600);
    assert!(whole.allow_downgrade);
    assert_eq!(whole.golden, ["golden/a.json"]);
}

#[test]
fn manifests_that_are_wrong_are_refused() {
    let other = |from: &str, to: &str| {
        assert!(with("").contains(from));
        with("").replace(from, to)
    };
    let file = r#"{"path": "a", "size": 1, "sha256": "00"}"#;
    for (json, refusal) in [
        ("7".into(), "manifest.json: expected an object"),
        ("{".into(), "manifest.json: JSON"),
        ("{}".into(), "manifest.json: `format` is missing"),
        (with(r#", "more": 1"#), "expected no other keys than those of format 1, found `more`"),
        (with(r#", "name": "iris""#), "stands twice"),
        (other(r#""format": 1"#, r#""format": 2, "x": 1"#), "expected format 1, found `2`"),
        (other(r#""format": 1"#, r#""format": "1""#), "expected format 1"),
        (other("iris", "../iris"), "a model's name in a bundle: expected 1 to 64"),
        (other("iris", "iris.2"), "a model's name in a bundle"),
        (other("iris", &"x".repeat(65)), "a model's name in a bundle"),
        (other(r#""version": 7"#, r#""version": 0"#), "`version`: expected a whole number from 1"),
        (other(r#""version": 7"#, r#""version": 7.0"#), "`version`: expected a whole number"),
        (other(r#""version": 7"#, r#""version": 4503599627370496"#), "`version`: expected a whole number from 1 to"),
        (
            other(r#""version": 7"#, r#""version": 8"#),
            "file `7/model.onnx`: expected the model in the folder `8` alone",
        ),
        (other("7/model.onnx", "7/model2.onnx"), "expected `7/model.onnx` among them"),
        (other("golden/a.json", "model.onnx"), "expected the model in the folder `7` alone"),
        (other("golden/a.json", "07/model.onnx"), "expected the model in the folder `7` alone"),
        (other("golden/a.json", "../a"), "file `../a`: expected a relative path of plain names"),
        (other("golden/a.json", "7/MODEL.onnx"), "expected a path of its own"),
        (other(r#""size": 1"#, r#""size": -1"#), "file `7/model.onnx`: `size`: expected a whole number"),
        (other(r#""size": 1"#, r#""size": 8589934592"#), "expected at most 8589934591 bytes"),
        (other(r#""size": 1"#, r#""size": 1, "mode": 511"#), "found `mode`"),
        (other(r#""size": 1, "#, ""), "file `7/model.onnx`: `size` is missing"),
        (other(&Sha256::of(b"x").to_string(), "00"), "a SHA-256: expected 64 hexadecimal digits"),
        (
            with(r#", "golden": ["golden/b.json"]"#),
            "`golden`: expected paths of `files`, each once, found file `golden/b.json`",
        ),
        (with(r#", "golden": ["golden/a.json", "golden/a.json"]"#), "each once"),
        (with(r#", "golden": [1]"#), "`golden`: expected a string"),
        (with(r#", "golden": "golden/a.json""#), "`golden`: expected a list"),
        (with(r#", "expires": "soon""#), "a moment: expected UTC"),
        (with(r#", "expires": null"#), "`expires`: expected a string"),
        (with(r#", "min_runtime": "1.022""#), "a version of ONNX Runtime"),
        (with(r#", "min_runtime": 1.22"#), "`min_runtime`: expected a string"),
        (with(r#", "allow_downgrade": "yes""#), "`allow_downgrade`: expected true or false"),
        (format!(r#"{{"format": 1, "name": "a", "version": 1, "files": [{}]}}"#, [file; 1001].join(",")), "SHA-256"),
        (format!("[{}]", ["1"; 6000].join(",")), "too many elements"),
        (" ".repeat(MOST_MANIFEST_BYTES + 1), "expected at most 262144 bytes"),
    ] {
        let refused = parse(&json).unwrap_err().to_string();
        assert!(refused.contains(refusal), "`{refusal}` is not in: {refused}");
    }
    let later = parse(r#"{"format": 2}"#).unwrap_err();
    assert_eq!(later.kind(), hedef_core::Kind::Unsupported);
}

#[test]
fn there_may_be_so_many_files_and_no_more() {
    let of = |count: usize| {
        let mut files = manifest(&[("7/model.onnx", b"x")]);
        let file = files.files[0].clone();
        files.files.extend((1..count).map(|at| File { path: format!("{}{at:04}", "x".repeat(90)), ..file.clone() }));
        files.golden = files.files.iter().map(|file| file.path.clone()).take(100).collect();
        Manifest::parse(&files.to_bytes())
    };
    assert_eq!(of(MOST_FILES).unwrap().files.len(), MOST_FILES);
    assert!(of(MOST_FILES + 1).is_err());
}

prop_compose! {
    fn any_manifest()(
        name in "[A-Za-z0-9_-]{1,64}",
        version in 1..=MOST_VERSION,
        runtime in proptest::option::of((any::<u32>(), any::<u32>(), any::<u32>())),
        expires in proptest::option::of("20[0-9]{2}-0[1-9]-[12][0-8]T[01][0-9]:[0-5][0-9]:[0-5][0-9]Z"),
        allow_downgrade in any::<bool>(),
        others in proptest::collection::btree_map("x[a-z0-9_]{0,8}(/[a-z +@]{0,3}[a-z]){0,2}", (0..=MOST_FILE_BYTES, any::<[u8; 32]>()), 0..20),
    ) -> Manifest {
        let mut paths = path::Paths::default();
        let model = (format!("{version}/model.onnx"), (1, [7; 32]));
        let files: Vec<_> = others
            .into_iter()
            .chain([model])
            .filter(|(path, _)| paths.add(path).is_ok())
            .map(|(path, (size, hash))| File { path, size, sha256: Sha256(hash) })
            .collect();
        Manifest {
            name: model_name(&name).unwrap(),
            version,
            min_runtime: runtime.map(|(major, minor, patch)| RuntimeVersion { major, minor, patch }),
            expires: expires.map(|text| Timestamp::parse(&text).unwrap()),
            allow_downgrade,
            golden: files.iter().step_by(2).map(|file| file.path.clone()).collect(),
            files,
        }
    }
}

proptest! {
    #[test]
    fn manifests_come_back(manifest in any_manifest()) {
        prop_assert_eq!(Manifest::parse(&manifest.to_bytes()).unwrap(), manifest);
    }

    #[test]
    fn contents_come_back_however_they_are_read(
        contents in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..3000), 1..6),
        piece in 1..2000_usize,
    ) {
        let names = ["7/model.onnx", "a", "b/c", "b/d", "e"];
        let files: Vec<_> = names.into_iter().zip(contents.iter().map(Vec::as_slice)).collect();
        let bytes = pack(&files);
        let reader = Pieces { bytes: &bytes, piece };
        prop_assert_eq!(Bundle::open(reader, &[key().public()]).unwrap().verify_all().unwrap(), manifest(&files));
        let read = unpack(&bytes).unwrap();
        prop_assert!(read.iter().map(|(path, content)| (path.as_str(), content.as_slice())).eq(files));
    }

    #[test]
    fn other_bytes_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        prop_assert!(unpack(&bytes).is_err());
        let _ = Manifest::parse(&bytes);
    }
}

/// Gives a few bytes at a time.
struct Pieces<'a> {
    bytes: &'a [u8],
    piece: usize,
}

impl Read for Pieces<'_> {
    fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
        let length = self.piece.min(to.len());
        self.bytes.read(&mut to[..length])
    }
}

//! Any bundle is refused, or is byte for byte the one that its manifest and its files make; any manifest is refused, or leads
//! to files inside the package alone; any line is refused, or is a key's own text.

#![no_main]

use std::path::{Component, Path};
use std::sync::LazyLock;

use hedef_protocols::bundle::{Bundle, BundleError, BundleWriter, Manifest, PublicKey, SecretKey, Signature};
use libfuzzer_sys::fuzz_target;

/// Its seed is 32 times 7.
static KEY: LazyLock<SecretKey> =
    LazyLock::new(|| SecretKey::parse("hedef-secret-key:BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=").unwrap());

fuzz_target!(|bytes: &[u8]| {
    // One byte chooses what the others are.
    let [choice, bytes @ ..] = bytes else { return };
    match choice % 3 {
        0 => drop(unpack(bytes)),
        1 => members(bytes),
        _ => lines(bytes),
    }
});

/// A manifest, whose length the first two bytes tell, is signed; what follows it is the rest of the bundle.
fn members(bytes: &[u8]) {
    let Some(([high, low], bytes)) = bytes.split_first_chunk::<2>() else { return };
    let Some((json, rest)) = bytes.split_at_checked(usize::from(u16::from_be_bytes([*high, *low]))) else { return };
    let Ok(manifest) = Manifest::parse(json) else { return };
    for path in manifest.files.iter().map(|file| &file.path).chain(&manifest.golden) {
        assert!(Path::new(path).components().all(|part| matches!(part, Component::Normal(_))), "{path:?}");
    }
    assert_eq!(Manifest::parse(&manifest.to_bytes()).unwrap(), manifest);
    let mut bundle = Vec::new();
    drop(BundleWriter::begin(&mut bundle, &manifest, &KEY).unwrap());
    bundle.extend(rest);
    let _ = unpack(&bundle);
}

/// What was taken makes the same bytes again.
fn unpack(bytes: &[u8]) -> Result<(), BundleError> {
    let mut bundle = Bundle::open(bytes, &[KEY.public()])?;
    let mut again = BundleWriter::begin(Vec::new(), &bundle.manifest().clone(), &KEY)?;
    while let Some(mut member) = bundle.next()? {
        let mut content = Vec::new();
        while let Some(chunk) = member.chunk()? {
            content.extend(chunk);
        }
        assert_eq!(content.len() as u64, member.file().size);
        again.file(&*content)?;
    }
    assert_eq!(again.finish()?, bytes);
    Ok(())
}

fn lines(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let _ = PublicKey::parse_all(text);
    if let Ok(key) = PublicKey::parse(text) {
        assert_eq!(key.to_string(), text);
    }
    if let Ok(key) = SecretKey::parse(text) {
        assert_eq!(key.to_text(), text.trim());
    }
    if let Ok(signature) = Signature::parse(text) {
        assert_eq!(signature.to_string(), text);
    }
}

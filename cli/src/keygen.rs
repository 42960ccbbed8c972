//! `hedef keygen`: makes a pair of keys for bundles.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use hedef_protocols::bundle::SecretKey;

use crate::arguments::Keygen;
use crate::logging::print;

/// Makes the keys and writes them, never over a file.
pub(crate) fn run(keygen: &Keygen) -> anyhow::Result<()> {
    let key = SecretKey::generate()?;
    let (secret, public) = (with_ending(&keygen.out, "key"), with_ending(&keygen.out, "pub"));
    write(&public, 0o644, &key.public().to_string())?;
    if let Err(error) = write(&secret, 0o600, &key.to_text()) {
        // It verifies nothing that anybody could sign.
        let _ = fs::remove_file(&public);
        return Err(error);
    }
    print(&format!("{}\n  secret key: {}\n  public key: {}\n", key.public(), secret.display(), public.display()));
    Ok(())
}

/// `NAME.ending`, whatever dots are in the name.
fn with_ending(name: &Path, ending: &str) -> PathBuf {
    let mut file = name.as_os_str().to_owned();
    file.push(OsStr::new("."));
    file.push(ending);
    file.into()
}

fn write(path: &Path, mode: u32, line: &str) -> anyhow::Result<()> {
    let write = |mut file: File| {
        file.write_all(format!("{line}\n").as_bytes())?;
        file.sync_all()
    };
    new_file(path, mode).and_then(write).with_context(|| path.display().to_string())
}

/// A file that was not there, with that mode from the beginning where there are modes.
fn new_file(path: &Path, mode: u32) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
    #[cfg(not(unix))]
    let _ = mode;
    options.open(path)
}

//! A folder that only this user writes, and its files.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Makes `path` and what is missing above it, for this user alone, and checks that it is so. An error is a plain
/// sentence.
pub(super) fn make(path: &Path) -> Result<(), String> {
    let told = |error: io::Error| format!("{}: {error}", path.display());
    if path.symlink_metadata().is_err() {
        builder().create(path).map_err(told)?;
    }
    check(path)
}

/// Checks that `path` is a folder that only this user, or the system's administrator, can write.
pub(super) fn check(path: &Path) -> Result<(), String> {
    let facts = path.symlink_metadata().map_err(|error| format!("{}: {error}", path.display()))?;
    if !facts.is_dir() {
        return Err(format!("{} is no folder itself (a link is not followed)", path.display()));
    }
    private(&facts).map_err(|reason| format!("{} {reason}", path.display()))
}

/// Opens a file for reading and checks what was opened: a file, not a link, that only this user can write.
pub(super) fn open(path: &Path) -> io::Result<(File, Metadata)> {
    let file = not_following(OpenOptions::new().read(true)).open(path)?;
    let facts = file.metadata()?;
    let refused = |reason: &str| io::Error::new(io::ErrorKind::PermissionDenied, format!("the file {reason}"));
    if !facts.is_file() {
        return Err(refused("is no ordinary file"));
    }
    private(&facts).map_err(|reason| refused(&reason))?;
    Ok((file, facts))
}

/// Writes a file in one step: whoever reads it sees the old bytes or the new ones, whole.
pub(super) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    // Made with mode 0600; removed again if anything below fails.
    let mut draft = tempfile::Builder::new().prefix(DRAFT).tempfile_in(folder)?;
    draft.write_all(bytes)?;
    draft.persist(path)?;
    Ok(())
}

/// Makes a folder for what is not complete yet, for this user alone. Dropped, it is removed.
pub(super) fn draft(folder: &Path) -> io::Result<tempfile::TempDir> {
    let draft = tempfile::Builder::new().prefix(DRAFT).tempdir_in(folder)?;
    only_own(draft.path(), 0o700)?;
    Ok(draft)
}

/// Lets nobody else read or write a file that somebody else's code made, with the mode that the process's mask leaves.
pub(super) fn close_to_others(file: &Path) -> io::Result<()> {
    only_own(file, 0o600)
}

/// The names of what is not complete start like this.
pub(super) const DRAFT: &str = ".draft-";

/// The folders and files in `folder`, drafts left out.
pub(super) fn entries(folder: &Path) -> Vec<PathBuf> {
    let all = fs::read_dir(folder).into_iter().flatten().flatten();
    all.filter(|entry| !entry.file_name().to_string_lossy().starts_with(DRAFT)).map(|entry| entry.path()).collect()
}

#[cfg(unix)]
fn builder() -> DirBuilder {
    use std::os::unix::fs::DirBuilderExt;
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder
}

#[cfg(unix)]
fn only_own(path: &Path, mode: u32) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

#[cfg(not(unix))]
fn only_own(_: &Path, _: u32) -> io::Result<()> {
    Ok(())
}

#[cfg(unix)]
fn not_following(options: &mut OpenOptions) -> &mut OpenOptions {
    use std::os::unix::fs::OpenOptionsExt;
    options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
}

/// Who owns it, and who may write it. The administrator's files are as good as one's own: an image may bring them.
#[cfg(unix)]
fn private(facts: &Metadata) -> Result<(), String> {
    use std::os::unix::fs::MetadataExt;
    let own = crate::host::effective_user();
    if facts.uid() != own && facts.uid() != 0 {
        return Err(format!("belongs to user {}, expected {own}, who runs this", facts.uid()));
    }
    if facts.mode() & 0o022 != 0 {
        return Err(format!("can be written by others: its mode is {:03o}", facts.mode() & 0o777));
    }
    Ok(())
}

#[cfg(not(unix))]
fn builder() -> DirBuilder {
    DirBuilder::new()
}

#[cfg(not(unix))]
fn not_following(options: &mut OpenOptions) -> &mut OpenOptions {
    options
}

/// Elsewhere than on Unix nothing here knows who may write a file.
#[cfg(not(unix))]
fn private(_: &Metadata) -> Result<(), String> {
    Err("cannot be checked for who may write it on this system".into())
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    use super::*;

    fn mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_folder_is_made_for_this_user_alone() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("a/b");
        make(&folder).unwrap();
        assert_eq!(folder.metadata().unwrap().permissions().mode() & 0o777, 0o700);
        make(&folder).unwrap();
    }

    #[test]
    fn a_folder_that_others_can_write_is_refused_with_its_mode() {
        let root = tempfile::tempdir().unwrap();
        for bits in [0o770, 0o777, 0o1777] {
            mode(root.path(), bits);
            assert!(make(root.path()).unwrap_err().contains("can be written by others"), "{bits:o}");
        }
        mode(root.path(), 0o755);
        make(root.path()).unwrap();
    }

    #[test]
    fn a_link_to_a_folder_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let link = root.path().join("link");
        make(&root.path().join("real")).unwrap();
        symlink("real", &link).unwrap();
        assert!(make(&link).unwrap_err().contains("a link is not followed"));
        fs::write(root.path().join("file"), "").unwrap();
        assert!(make(&root.path().join("file")).unwrap_err().contains("is no folder"));
    }

    #[test]
    fn what_belongs_to_somebody_else_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("file");
        write(&file, b"x").unwrap();
        // Only the administrator can give files away; to everybody else those of the administrator are good.
        if chown(root.path(), Some(4321), None).is_ok() && chown(&file, Some(4321), None).is_ok() {
            assert!(check(root.path()).unwrap_err().contains("belongs to user 4321"));
            assert!(open(&file).unwrap_err().to_string().contains("belongs to user 4321"));
        } else {
            check(Path::new("/usr")).unwrap();
        }
    }

    #[test]
    fn files_are_for_this_user_alone_and_links_are_not_followed() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("file");
        write(&file, b"one").unwrap();
        write(&file, b"two").unwrap();
        let (_, facts) = open(&file).unwrap();
        assert_eq!((facts.len(), facts.permissions().mode() & 0o777), (3, 0o600));
        symlink(&file, root.path().join("link")).unwrap();
        open(&root.path().join("link")).unwrap_err();
        open(root.path()).unwrap_err();
        mode(&file, 0o620);
        assert!(open(&file).unwrap_err().to_string().contains("can be written by others"));
        assert_eq!(entries(root.path()).len(), 2, "no draft is left");
    }

    #[test]
    fn what_cannot_be_written_leaves_nothing_behind() {
        let root = tempfile::tempdir().unwrap();
        let taken = root.path().join("taken");
        fs::create_dir(&taken).unwrap();
        fs::write(taken.join("x"), "").unwrap();
        write(&taken, b"bytes").unwrap_err();
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);
    }
}

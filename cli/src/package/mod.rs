//! `hedef package`: a model as one signed file for devices.
//!
//! Its files are copied first, in the layout that devices unpack them in. What is loaded and asked is the copy, and so is what
//! is packed.

mod golden;
mod stage;

use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use anyhow::Context;
use hedef_protocols::bundle::{BundleError, BundleWriter, Manifest, RuntimeVersion, SecretKey, Timestamp, model_name};

use self::stage::Stage;
use crate::arguments::{Engine, Package};
use crate::logging::{print, tell};
use crate::verify::{look, refuse_expired};

/// Packs the model and says what was made.
pub(crate) fn run(package: &Package, engine: &Engine) -> anyhow::Result<()> {
    let key = fs::read_to_string(&package.sign).with_context(|| package.sign.display().to_string())?;
    let key = SecretKey::parse(&key).with_context(|| package.sign.display().to_string())?;
    let expires = package.expires.as_deref().map(expiry).transpose()?;
    refuse_expired(expires.as_ref())?;
    let min_runtime = package.min_runtime.as_deref().map(RuntimeVersion::parse).transpose()?;
    let (folder, wanted) = split(&package.model);
    let source = stage::Source::find(folder, wanted)?;
    let name = model_name(source.name())?;
    let version = package.as_version.unwrap_or(source.version);
    let out = package.out.clone().unwrap_or_else(|| format!("{}-{version}.bundle", source.name()).into());
    let beside = out.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));

    // Beside the bundle, where there has to be room for it anyway.
    let room = tempfile::Builder::new().prefix(".hedef-package").tempdir_in(beside);
    let room = room.with_context(|| beside.display().to_string())?;
    let Stage { folder, files, golden, left_out } = source.copy(room.path(), version)?;
    if golden.is_empty() && !package.no_golden {
        return Err(BundleError::Unexpected {
            place: format!("model `{}`", source.name()),
            expected: "golden requests in its folder `golden`, or --no-golden".into(),
            found: "none".into(),
        }
        .into());
    }
    let allow_downgrade = package.allow_downgrade;
    let manifest = Manifest { name, version, min_runtime, expires, allow_downgrade, golden, files };
    // Before the model is tried: what cannot be packed need not be.
    Manifest::parse(&manifest.to_bytes())?;
    golden::ask(engine, &folder, &manifest)?;
    write(&out, beside, &folder, &manifest, &key)?;

    let seen = look(&out, &[key.public()]).with_context(|| out.display().to_string())?;
    for file in left_out {
        tell(&format!("left out, since nothing of the model names it: {file}"));
    }
    let file_name = out.file_name().unwrap_or_default().to_string_lossy();
    print(&format!("{}: {}", out.display(), seen.told()));
    print(&format!("for the device twin, with the place where it can be fetched:\n{}\n", seen.twin(&file_name)));
    Ok(())
}

/// `iris:3`, unless that is a folder's name.
fn split(model: &str) -> (PathBuf, Option<u64>) {
    let version = model.rsplit_once(':').and_then(|(folder, version)| Some((folder, version.parse().ok()?)));
    match version.filter(|_| !Path::new(model).exists()) {
        Some((folder, version)) => (folder.into(), Some(version)),
        None => (model.into(), None),
    }
}

/// The end of a bundle's time: a moment, or the beginning of a day.
fn expiry(text: &str) -> Result<Timestamp, BundleError> {
    Timestamp::parse(text).or_else(|error| Timestamp::parse(&format!("{text}T00:00:00Z")).map_err(|_| error))
}

/// Writes the bundle beside where it is to be, and puts it there when it is whole.
fn write(out: &Path, beside: &Path, folder: &Path, manifest: &Manifest, key: &SecretKey) -> anyhow::Result<()> {
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let file = builder.prefix(".hedef-package").tempfile_in(beside).with_context(|| beside.display().to_string())?;
    let mut writer = BundleWriter::begin(BufWriter::new(file), manifest, key)?;
    for part in &manifest.files {
        writer.file(File::open(folder.join(&part.path)).with_context(|| part.path.clone())?)?;
    }
    let file = writer.finish()?.into_inner().map_err(std::io::IntoInnerError::into_error)?;
    file.as_file()
        .sync_all()
        .and_then(|()| file.persist(out).map_err(Into::into))
        .with_context(|| out.display().to_string())?;
    Ok(())
}

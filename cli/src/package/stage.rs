//! Which files make up a model, and a copy of them as a device unpacks them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, bail};
use hedef_core::preflight;
use hedef_core::repository::{Package, scan};
use hedef_core::settings::Settings;
use hedef_protocols::bundle::{BundleError, File, Hasher};

/// One version of a model's package.
pub(super) struct Source {
    package: Package,
    /// Which version.
    pub(super) version: u64,
    /// Its model file.
    file: PathBuf,
}

/// A copy of a version's files.
pub(super) struct Stage {
    /// Where it lies: a folder of the model's name.
    pub(super) folder: PathBuf,
    /// What lies there, in the order of the paths.
    pub(super) files: Vec<File>,
    /// The paths of the golden requests.
    pub(super) golden: Vec<String>,
    /// What lies in the package besides, and was not copied.
    pub(super) left_out: Vec<String>,
}

impl Source {
    /// Finds the version in the package in `folder`: the highest, unless one is wanted.
    pub(super) fn find(folder: PathBuf, wanted: Option<u64>) -> anyhow::Result<Self> {
        let found = scan(std::slice::from_ref(&folder));
        if let Some(problem) = found.problems.first() {
            bail!("{problem}");
        }
        let mut packages = found.packages.into_values();
        let (Some(package), None) = (packages.next(), packages.next()) else {
            bail!("{}: expected one model's folder, with model.onnx or 1/model.onnx in it", folder.display());
        };
        if folder.is_file() {
            bail!("{}: expected the model's folder, not its file", folder.display());
        }
        let version = wanted.or_else(|| package.versions.keys().next_back().copied()).unwrap_or_default();
        let Some(file) = package.versions.get(&version).cloned() else {
            let available: Vec<_> = package.versions.keys().map(ToString::to_string).collect();
            let (name, version) = (package.name, version.to_string());
            return Err(hedef_core::Error::UnknownVersion { name, version, available: available.join(", ") }.into());
        };
        Ok(Self { package, version, file })
    }

    /// The model's name.
    pub(super) fn name(&self) -> &str {
        self.package.name.as_str()
    }

    /// Copies the version's files into a folder in `room`, as that of version `number`.
    pub(super) fn copy(&self, room: &Path, number: u64) -> anyhow::Result<Stage> {
        let mut all = BTreeMap::from([(format!("{number}/model.onnx"), self.file.clone())]);
        let beside = self.file.parent().unwrap_or(Path::new(""));
        // Weights outside the model's folder are refused here.
        let inspection = preflight::inspect(&self.file).map_err(|error| self.refused(error.to_string()))?;
        for weights in inspection.external_files {
            all.insert(format!("{number}/{}", written(&weights.path)), beside.join(&weights.path));
        }
        let settings = self.package.settings.as_deref().map(Settings::read).transpose();
        let settings = settings.map_err(|error| self.refused(error))?.unwrap_or_default();
        let own = &self.package.folder;
        let golden = golden(&own.join("golden"))?;
        let mut described = golden.clone();
        described.extend(self.package.settings.iter().map(|file| ("model.toml".into(), file.clone())));
        described.extend(settings.labels_files().map(|labels| (written(labels), own.join(labels))));
        for (path, from) in &described {
            inside(own, path, from)?;
        }
        all.extend(described);

        let folder = room.join(self.name());
        let mut files = Vec::new();
        for (path, from) in &all {
            files.push(copy(path, from, &folder.join(path)).with_context(|| from.display().to_string())?);
        }
        let left_out = self.left_out(&all.values().map(PathBuf::as_path).collect());
        Ok(Stage { folder, files, golden: golden.into_keys().collect(), left_out })
    }

    fn refused(&self, reason: String) -> hedef_core::Error {
        hedef_core::Error::Load { model: format!("{}/{}", self.name(), self.version), reason }
    }

    /// What lies in the package's folder, in that of the version and in that of the golden requests, without what was taken
    /// and other versions.
    fn left_out(&self, taken: &BTreeSet<&Path>) -> Vec<String> {
        let own = &self.package.folder;
        let folders = [Some(own.as_path()), self.file.parent().filter(|parent| *parent != own)];
        let golden = own.join("golden");
        let folders = folders.into_iter().flatten().chain([golden.as_path()]);
        let entries =
            folders.filter_map(|folder| fs::read_dir(folder).ok()).flatten().flatten().map(|entry| entry.path());
        let unknown = |path: &PathBuf| {
            let version = path.join("model.onnx").is_file();
            // A folder is taken where something in it is.
            !version && *path != golden && !taken.iter().any(|taken| taken.starts_with(path))
        };
        let mut left: Vec<_> = entries.filter(unknown).collect();
        left.sort();
        left.dedup();
        let name = |path: &PathBuf| path.strip_prefix(own).unwrap_or(path).display().to_string();
        left.iter().map(name).collect()
    }
}

/// The golden requests of a package: their paths in it, and where they lie.
fn golden(folder: &Path) -> anyhow::Result<BTreeMap<String, PathBuf>> {
    if !folder.is_dir() {
        return Ok(BTreeMap::new());
    }
    let mut golden = BTreeMap::new();
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry.with_context(|| folder.display().to_string())?.path();
        if path.extension().is_some_and(|ending| ending == "json") {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            golden.insert(format!("golden/{name}"), path);
        }
    }
    Ok(golden)
}

/// A relative path with `/` between its parts, without `.`; what else is not plain stays, to be refused.
fn written(path: &Path) -> String {
    let parts = path.components().filter(|part| !matches!(part, Component::CurDir));
    parts.map(|part| part.as_os_str().to_string_lossy()).collect::<Vec<_>>().join("/")
}

/// Fails where a file is none, or leads out of the package: nobody means to sign and send that.
fn inside(package: &Path, path: &str, from: &Path) -> anyhow::Result<()> {
    let real = |path: &Path| path.canonicalize().with_context(|| path.display().to_string());
    let found = real(from)?;
    if found.is_file() && found.starts_with(real(package)?) {
        return Ok(());
    }
    Err(BundleError::Unexpected {
        place: format!("file `{path}`"),
        expected: "a plain file inside the package".into(),
        found: "another, or a link that leads out".into(),
    }
    .into())
}

/// Copies a file, and says what it holds. `path` is plain: where it were not, the file would go elsewhere.
fn copy(path: &str, from: &Path, to: &Path) -> anyhow::Result<File> {
    if !Path::new(path).components().all(|part| matches!(part, Component::Normal(_))) {
        return Err(BundleError::Unexpected {
            place: format!("file `{path}`"),
            expected: "a path without `..`".into(),
            found: "another".into(),
        }
        .into());
    }
    fs::create_dir_all(to.parent().unwrap_or(to))?;
    fs::copy(from, to)?;
    let (size, sha256) = Hasher::drain(fs::File::open(to)?)?;
    Ok(File { path: path.to_string(), size, sha256 })
}

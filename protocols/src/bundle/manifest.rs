//! What a bundle holds.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::fmt;

use hedef_core::ModelName;

use super::path::{Paths, place};
use super::{BundleError, MANIFEST, MOST_FILE_BYTES, MOST_MANIFEST_BYTES, Sha256, Timestamp};
use crate::DecodeLimits;
use crate::json::{Value, write_str};

/// The most files of a bundle.
pub const MOST_FILES: usize = 1000;

/// The highest version: a device twin of Azure IoT Hub holds no higher number.
pub const MOST_VERSION: u64 = (1 << 52) - 1;

/// The most values in the JSON of a manifest: of each file its path, size and hash, and the golden requests.
const MOST_VALUES: usize = 5 * MOST_FILES + 16;

/// What a bundle holds. One that was parsed is right in itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The model's name, which is also right as a key of a device twin.
    pub name: ModelName,
    /// The version, from 1 to [`MOST_VERSION`].
    pub version: u64,
    /// The oldest ONNX Runtime that is to run it.
    pub min_runtime: Option<RuntimeVersion>,
    /// When it is no longer to be taken.
    pub expires: Option<Timestamp>,
    /// Whether it may replace a higher version.
    pub allow_downgrade: bool,
    /// The paths of the files whose requests tell whether the model works.
    pub golden: Vec<String>,
    /// The files, in the order in which they come. `{version}/model.onnx` is among them.
    pub files: Vec<File>,
}

/// A file of a bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its path in the package: relative, plain, at most 100 bytes of ASCII, with `/` between folders.
    pub path: String,
    /// Its bytes, at most [`MOST_FILE_BYTES`].
    pub size: u64,
    /// Their hash.
    pub sha256: Sha256,
}

impl Manifest {
    /// Parses the bytes of `manifest.json`.
    ///
    /// Fails on another format, on keys that are unknown or missing, on a name that is no [`model_name`], on paths that are
    /// not plain or collide, on sizes and counts beyond the limits, on golden requests that are no file, and without
    /// `{version}/model.onnx`.
    pub fn parse(bytes: &[u8]) -> Result<Self, BundleError> {
        if bytes.len() > MOST_MANIFEST_BYTES {
            let found = format!("{} bytes", bytes.len());
            return Err(BundleError::unexpected(MANIFEST, format!("at most {MOST_MANIFEST_BYTES} bytes"), found));
        }
        let limits = DecodeLimits { elements: MOST_VALUES, ..DecodeLimits::NONE };
        let mut fields = Fields::of(MANIFEST, Value::parse_within(bytes, limits).map_err(BundleError::Json)?)?;
        // First of all: another format may have other keys.
        match fields.take("format")? {
            Value::Number("1") => {}
            other => return Err(BundleError::Format { found: other.describe() }),
        }
        let manifest = Self {
            name: model_name(&fields.text("name")?)?,
            version: fields.whole("version")?,
            min_runtime: fields.optional("min_runtime", |fields, key| RuntimeVersion::parse(&fields.text(key)?))?,
            expires: fields.optional("expires", |fields, key| Timestamp::parse(&fields.text(key)?))?,
            allow_downgrade: fields.optional("allow_downgrade", Fields::boolean)?.unwrap_or(false),
            golden: fields
                .optional("golden", |fields, key| {
                    let each = fields.list(key)?.into_iter();
                    each.map(|value| text(&fields.place(key), value).map(Cow::into_owned)).collect()
                })?
                .unwrap_or_default(),
            files: fields.list("files")?.into_iter().map(File::of).collect::<Result<_, _>>()?,
        };
        fields.end()?;
        manifest.check()?;
        Ok(manifest)
    }

    /// The bytes that [`Manifest::parse`] makes the same of: JSON, one line for each file.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend(b"{\n  \"format\": 1,\n  \"name\": ");
        write_str(&mut out, self.name.as_str());
        out.extend(format!(",\n  \"version\": {}", self.version).bytes());
        if let Some(runtime) = &self.min_runtime {
            out.extend(format!(",\n  \"min_runtime\": \"{runtime}\"").bytes());
        }
        if let Some(expires) = &self.expires {
            out.extend(format!(",\n  \"expires\": \"{expires}\"").bytes());
        }
        if self.allow_downgrade {
            out.extend(b",\n  \"allow_downgrade\": true");
        }
        write_lines(&mut out, "golden", &self.golden, |out, path| write_str(out, path));
        write_lines(&mut out, "files", &self.files, |out, file| {
            out.extend(b"{\"path\": ");
            write_str(out, &file.path);
            out.extend(format!(", \"size\": {}, \"sha256\": \"{}\"}}", file.size, file.sha256).bytes());
        });
        out.extend(b"\n}\n");
        out
    }

    /// The bytes of all files together.
    #[must_use]
    pub fn unpacked_bytes(&self) -> u64 {
        self.files.iter().fold(0, |sum, file| sum.saturating_add(file.size))
    }

    /// What the parts have to be for one another.
    fn check(&self) -> Result<(), BundleError> {
        if !(1..=MOST_VERSION).contains(&self.version) {
            let expected = format!("a whole number from 1 to {MOST_VERSION}");
            return Err(BundleError::unexpected("manifest.json: `version`", expected, self.version.to_string()));
        }
        if self.files.len() > MOST_FILES {
            let found = self.files.len().to_string();
            return Err(BundleError::unexpected("manifest.json: `files`", format!("at most {MOST_FILES}"), found));
        }
        let mut paths = Paths::default();
        for file in &self.files {
            paths.add(&file.path)?;
            if file.size > MOST_FILE_BYTES {
                let expected = format!("at most {MOST_FILE_BYTES} bytes");
                return Err(BundleError::unexpected(place(&file.path), expected, file.size.to_string()));
            }
            self.check_version(&file.path)?;
        }
        let files: HashSet<_> = self.files.iter().map(|file| file.path.as_str()).collect();
        let model = format!("{}/model.onnx", self.version);
        if !files.contains(model.as_str()) {
            let found = format!("{} others", files.len());
            return Err(BundleError::unexpected("manifest.json: `files`", format!("`{model}` among them"), found));
        }
        let mut golden = HashSet::new();
        match self.golden.iter().find(|path| !files.contains(path.as_str()) || !golden.insert(path.as_str())) {
            None => Ok(()),
            Some(wrong) => {
                Err(BundleError::unexpected("manifest.json: `golden`", "paths of `files`, each once", place(wrong)))
            }
        }
    }

    /// A package holds one version, this one: another in it would be served instead.
    fn check_version(&self, path: &str) -> Result<(), BundleError> {
        let folder = path.split_once('/').map(|(folder, _)| folder);
        let other = folder
            .is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_digit()) && *name != *self.version.to_string());
        if other || path.eq_ignore_ascii_case("model.onnx") {
            let expected = format!("the model in the folder `{}` alone", self.version);
            return Err(BundleError::unexpected(place(path), expected, "another place of one"));
        }
        Ok(())
    }
}

fn write_lines<T>(out: &mut Vec<u8>, key: &str, all: &[T], write: impl Fn(&mut Vec<u8>, &T)) {
    out.extend(format!(",\n  \"{key}\": [").bytes());
    for (at, one) in all.iter().enumerate() {
        out.extend(if at == 0 { "\n    " } else { ",\n    " }.bytes());
        write(out, one);
    }
    out.extend(if all.is_empty() { "]" } else { "\n  ]" }.bytes());
}

impl File {
    fn of(value: Value<'_>) -> Result<Self, BundleError> {
        let mut fields = Fields::of("manifest.json: `files`", value)?;
        let path = fields.text("path")?.into_owned();
        fields.name = place(&path);
        let size = fields.whole("size")?;
        let sha256 = Sha256::parse(&fields.text("sha256")?)?;
        fields.end()?;
        Ok(Self { path, size, sha256 })
    }
}

/// Checks a model's name: 1 to 64 of `A-Z a-z 0-9 _ -`, which a device twin takes for a key too.
pub fn model_name(text: &str) -> Result<ModelName, BundleError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    let right = (1..=64).contains(&text.len()) && text.bytes().all(allowed);
    ModelName::new(text).ok().filter(|_| right).ok_or_else(|| {
        let found: String = text.escape_debug().take(80).collect();
        BundleError::unexpected("a model's name in a bundle", "1 to 64 of A-Z a-z 0-9 _ -", format!("`{found}`"))
    })
}

/// A version of ONNX Runtime; as text `1.22.0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuntimeVersion {
    /// The first number.
    pub major: u32,
    /// The second.
    pub minor: u32,
    /// The third.
    pub patch: u32,
}

impl RuntimeVersion {
    /// Reads `1.22.0` or `1.22`.
    pub fn parse(text: &str) -> Result<Self, BundleError> {
        let number = |part: &str| part.parse::<u32>().ok().filter(|number| number.to_string() == part);
        let parts: Option<Vec<_>> = text.split('.').map(number).collect();
        match parts.as_deref() {
            Some([major, minor]) => Ok(Self { major: *major, minor: *minor, patch: 0 }),
            Some([major, minor, patch]) => Ok(Self { major: *major, minor: *minor, patch: *patch }),
            _ => {
                let found: String = text.escape_debug().take(40).collect();
                Err(BundleError::unexpected(
                    "a version of ONNX Runtime",
                    "numbers such as 1.22.0",
                    format!("`{found}`"),
                ))
            }
        }
    }
}

impl fmt::Display for RuntimeVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// The members of an object, which are taken one by one until none is left.
struct Fields<'a> {
    /// How messages call the object.
    name: String,
    left: BTreeMap<Cow<'a, str>, Value<'a>>,
}

impl<'a> Fields<'a> {
    fn of(name: &str, value: Value<'a>) -> Result<Self, BundleError> {
        match value {
            Value::Object(members) => {
                let mut left = BTreeMap::new();
                left.extend(members);
                Ok(Self { name: name.to_string(), left })
            }
            other => Err(wrong(name, "an object", &other)),
        }
    }

    fn place(&self, key: &str) -> String {
        format!("{}: `{key}`", self.name)
    }

    fn take(&mut self, key: &'static str) -> Result<Value<'a>, BundleError> {
        self.left.remove(key).ok_or_else(|| BundleError::Missing { place: self.name.clone(), what: key })
    }

    fn optional<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&mut Self, &'static str) -> Result<T, BundleError>,
    ) -> Result<Option<T>, BundleError> {
        if self.left.contains_key(key) { read(self, key).map(Some) } else { Ok(None) }
    }

    fn text(&mut self, key: &'static str) -> Result<Cow<'a, str>, BundleError> {
        let value = self.take(key)?;
        text(&self.place(key), value)
    }

    fn whole(&mut self, key: &'static str) -> Result<u64, BundleError> {
        let value = self.take(key)?;
        let number = if let Value::Number(text) = value { text.parse().ok() } else { None };
        number.ok_or_else(|| wrong(&self.place(key), "a whole number from 0 on", &value))
    }

    fn boolean(&mut self, key: &'static str) -> Result<bool, BundleError> {
        match self.take(key)? {
            Value::Bool(value) => Ok(value),
            other => Err(wrong(&self.place(key), "true or false", &other)),
        }
    }

    fn list(&mut self, key: &'static str) -> Result<Vec<Value<'a>>, BundleError> {
        match self.take(key)? {
            Value::Array(elements) => Ok(elements),
            other => Err(wrong(&self.place(key), "a list", &other)),
        }
    }

    /// Fails where something is left.
    fn end(self) -> Result<(), BundleError> {
        match self.left.keys().next() {
            None => Ok(()),
            Some(key) => {
                let found: String = key.escape_debug().take(80).collect();
                Err(BundleError::unexpected(self.name, "no other keys than those of format 1", format!("`{found}`")))
            }
        }
    }
}

fn text<'a>(place: &str, value: Value<'a>) -> Result<Cow<'a, str>, BundleError> {
    match value {
        Value::String(text) => Ok(text),
        other => Err(wrong(place, "a string", &other)),
    }
}

fn wrong(place: &str, expected: &str, found: &Value<'_>) -> BundleError {
    BundleError::unexpected(place, expected, found.describe())
}

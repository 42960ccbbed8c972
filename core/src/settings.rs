//! `model.toml`: what a model's owner may say about it.

mod document;
mod image;

use std::collections::BTreeMap;
use std::num::{NonZeroU8, NonZeroU32};
use std::path::{Path, PathBuf};

use serde::Deserialize;

pub use self::document::{InvalidDocument, parse};
pub use self::image::{AnswerKind, BoxForm, BoxUnit, Color, ImageSettings, PerChannel, Resize};
use crate::host::Denormals;
use crate::{Device, ModelVersion};

/// The settings of one model. Every key is optional; unknown keys are refused.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// What the model does.
    pub description: Option<String>,
    /// Where to run it: `"auto"`, where a run takes less time, `"cpu"`, `"cuda:0"` or `"openvino"`, which is the CPU again, but through OpenVINO:
    /// faster on CPUs with AMX, where it computes in bf16, and about as fast as `"cpu"` on others.
    pub device: Device,
    /// What the threads are for: many requests a second, or each one's answer soon.
    pub profile: Profile,
    /// How many requests run at once, each on a thread of its own. Default: as the profile and the CPUs allow.
    pub instances: Option<u16>,
    /// How many threads one run uses. Default: as the profile and the CPUs allow.
    pub threads: Option<u16>,
    /// Whether runs are done on the network thread that reads the request instead of an instance's.
    /// Default: where they prove to take less than 150 µs. Requests of more than 262,144 elements never are. Those that are
    /// ready at the same moment share a run there, too, as `batching` allows.
    pub inline: Option<bool>,
    /// Which versions to serve: `"latest"`, `"all"`, a list of versions, or `{ latest = 2 }`.
    pub versions: VersionPolicy,
    /// How many requests may wait. Default 1024.
    pub queue_capacity: Option<u32>,
    /// For an output, the file beside `model.toml` that holds its class labels, one a line.
    pub labels: BTreeMap<String, PathBuf>,
    /// Whether and how requests share runs.
    pub batching: Batching,
    /// What ONNX Runtime keeps between runs.
    pub memory: Memory,
    /// What becomes of numbers too close to zero to be worked on at full speed: `"flush"` or `"keep"`.
    pub denormals: Denormals,
    /// What holds for `device = "cuda:0"` only.
    pub cuda: Cuda,
    /// What holds for `device = "openvino"` only.
    pub openvino: OpenVino,
    /// How images become its input, and its outputs answers about them. Default: it takes none.
    pub image: Option<ImageSettings>,
    /// For an input, what the run before the model is ready gets. Default: generated.
    pub warm_up: BTreeMap<String, WarmUp>,
}

/// What a model's threads are for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// Instances of one thread each, as many as there are CPUs: the most requests a second.
    #[default]
    Throughput,
    /// One instance that all CPUs work for: the soonest answer to one request.
    Latency,
}

impl Profile {
    /// The name in `model.toml`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Throughput => "throughput",
            Self::Latency => "latency",
        }
    }
}

/// Whether and how requests share runs.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Batching {
    /// `true`: axis 0 is the batch axis, take my word for it. `false`: never.
    /// Absent: where axis 0 is free everywhere and a trial shows that rows do not influence one another.
    pub enabled: Option<bool>,
    /// The most rows in one run. Default: tuned to what runs cost, at most 64.
    pub max_rows: Option<u32>,
    /// The time within which nearly all requests are to be answered, in milliseconds: runs are kept so small that they
    /// are, and requests that cannot be are refused at once. Default: requests wait as long as they allow.
    pub objective_p99_ms: Option<NonZeroU32>,
    /// How inputs of different lengths are made as long as one another, so that their requests share runs.
    pub padding: Option<PaddingSettings>,
}

/// How inputs of different lengths are made as long as one another. Checked at load: a model whose answers padding
/// changes is refused.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PaddingSettings {
    /// The axis that differs in length.
    pub axis: NonZeroU8,
    /// For each input of that axis, what it is filled up with; of a mask, what stands for "not there".
    pub inputs: BTreeMap<String, toml::Value>,
    /// The outputs that have the axis too: they are cut back to the length of each request.
    #[serde(default)]
    pub outputs: Vec<String>,
}

/// What ONNX Runtime keeps between runs. By default models of at least 1 MiB of weights keep memory, and give back what
/// they no longer need every 10 seconds; small ones keep none. Those on CUDA plan nothing by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Memory {
    /// Keep freed memory for later runs.
    pub arena: Option<bool>,
    /// Plan one block of memory for a whole run.
    pub pattern: Option<bool>,
}

/// A model on a CUDA device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cuda {
    /// The most memory of the device for weights and what runs compute, in MiB; workspaces of cuDNN come on top.
    /// Default: what there is.
    pub memory_limit_mib: Option<NonZeroU32>,
    /// Whether tensor cores may round what they multiply to TF32, which has three digits: faster, and rows that share a
    /// run can differ from rows that run alone in the third digit.
    pub tf32: bool,
}

/// A model in OpenVINO.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OpenVino {
    /// What numbers are computed in: `"auto"`, which is bf16 where the CPU has instructions for it, or `"f32"`.
    pub precision: Precision,
}

/// What OpenVINO computes FP32 models in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// As OpenVINO decides: bf16, with about three digits, where the CPU has instructions for it.
    #[default]
    Auto,
    /// Always f32.
    F32,
}

/// The warm-up of one input: a shape, and one number, one text or all elements.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WarmUp {
    /// The dimensions.
    pub shape: Vec<usize>,
    /// The value of every element, or all elements in row-major order.
    pub values: WarmUpValues,
}

/// Values as TOML writes them.
#[derive(Clone, Debug, PartialEq)]
pub enum WarmUpValues {
    /// The same value everywhere.
    One(toml::Value),
    /// Every element.
    All(Vec<toml::Value>),
}

impl<'de> Deserialize<'de> for WarmUpValues {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match toml::Value::deserialize(deserializer)? {
            toml::Value::Array(all) => Self::All(all),
            one => Self::One(one),
        })
    }
}

/// Which versions of a model are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VersionPolicy {
    /// The highest so many.
    Latest(usize),
    /// All.
    All,
    /// These.
    Specific(Vec<ModelVersion>),
}

impl Default for VersionPolicy {
    fn default() -> Self {
        Self::Latest(1)
    }
}

impl VersionPolicy {
    /// Picks from `versions`, which are in ascending order.
    #[must_use]
    pub fn pick(&self, versions: &[ModelVersion]) -> Vec<ModelVersion> {
        match self {
            Self::Latest(count) => versions.iter().rev().take(*count).rev().copied().collect(),
            Self::All => versions.to_vec(),
            Self::Specific(wanted) => versions.iter().filter(|version| wanted.contains(version)).copied().collect(),
        }
    }
}

impl<'de> Deserialize<'de> for VersionPolicy {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expected = || {
            serde::de::Error::custom(
                "expected \"latest\", \"all\", a list of versions such as [1, 3], or { latest = 2 }",
            )
        };
        let number = |value: &toml::Value| value.as_integer().and_then(|number| u64::try_from(number).ok());
        match toml::Value::deserialize(deserializer)? {
            toml::Value::String(word) if word == "latest" => Ok(Self::Latest(1)),
            toml::Value::String(word) if word == "all" => Ok(Self::All),
            toml::Value::Array(list) => {
                list.iter().map(number).collect::<Option<Vec<_>>>().map(Self::Specific).ok_or_else(expected)
            }
            toml::Value::Table(table) if table.len() == 1 => {
                let count = table.get("latest").and_then(number).filter(|count| *count > 0);
                count.and_then(|count| usize::try_from(count).ok()).map(Self::Latest).ok_or_else(expected)
            }
            _ => Err(expected()),
        }
    }
}

impl Settings {
    /// The files beside `model.toml` that hold labels.
    pub fn labels_files(&self) -> impl Iterator<Item = &PathBuf> {
        self.labels.values().chain(self.image.as_ref().and_then(|image| image.labels.as_ref()))
    }

    /// Reads `model.toml`. An error names the file's name, the line and what is wrong.
    pub fn read(file: &Path) -> Result<Self, String> {
        let name = file.file_name().unwrap_or_default().display();
        let text = std::fs::read_to_string(file).map_err(|error| format!("{name}: {error}"))?;
        parse(&text).map_err(|error| format!("{name}: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Settings, String> {
        super::parse(text).map_err(|error| error.to_string())
    }

    #[test]
    fn every_key_can_be_given() {
        let settings = parse(
            "description = \"d\"\ndevice = \"cuda:1\"\ninstances = 2\nthreads = 1\nversions = { latest = 2 }\n\
             queue_capacity = 8\nlabels = { y = \"labels.txt\" }\n\
             memory = { arena = true, pattern = true }\ncuda = { memory_limit_mib = 512, tf32 = true }\n\
             openvino = { precision = \"f32\" }\nimage = { kind = \"yolo\", mean = [0, 0.5, 1] }\n[batching]\nenabled = true\nmax_rows = 4\nobjective_p99_ms = 50\n\
             [batching.padding]\naxis = 1\ninputs = { x = 0 }\n[warm_up.x]\nshape = [1, 2]\nvalues = [0.5, 1]\n",
        )
        .unwrap();
        assert_eq!((settings.cuda.memory_limit_mib, settings.cuda.tf32), (NonZeroU32::new(512), true));
        assert_eq!(settings.openvino.precision, Precision::F32);
        assert_eq!(settings.device, Device::Cuda(1));
        assert_eq!(settings.versions, VersionPolicy::Latest(2));
        assert_eq!(settings.warm_up["x"].shape, [1, 2]);
        let image = settings.image.unwrap();
        assert_eq!((image.kind, image.mean), (Some(AnswerKind::Yolo), Some(PerChannel(vec![0.0, 0.5, 1.0]))));
    }

    #[test]
    fn what_is_not_known_is_refused_with_its_line() {
        let error = parse("descripton = \"d\"").unwrap_err();
        assert!(error.contains("descripton") && error.contains("line 1"), "{error}");
        assert!(parse("versions = \"newest\"").unwrap_err().contains("{ latest = 2 }"));
        assert!(parse("device = \"gpu\"").unwrap_err().contains("cuda:0"));
        assert!(parse("[openvino]\nprecision = \"int4\"").unwrap_err().contains("f32"));
        assert!(parse("[cuda]\nmemory_limit_mib = 0").is_err());
    }

    #[test]
    fn version_policies_pick() {
        let pick = |text: &str| parse(text).unwrap().versions.pick(&[1, 2, 10]);
        assert_eq!(pick(""), [10]);
        assert_eq!(pick("versions = \"all\""), [1, 2, 10]);
        assert_eq!(pick("versions = [2, 7]"), [2]);
        assert_eq!(pick("versions = { latest = 2 }"), [2, 10]);
    }
}

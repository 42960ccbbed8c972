use std::fmt;
use std::str::FromStr;

/// Where a model should run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Device {
    /// CUDA where the library and a device are there, else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// The CUDA device of that number, and nothing else.
    Cuda(i32),
    /// The CPU, through OpenVINO's plug-in.
    OpenVino,
}

impl FromStr for Device {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(0)),
            "openvino" => Ok(Self::OpenVino),
            _ => text
                .strip_prefix("cuda:")
                .and_then(|number| number.parse().ok())
                .filter(|number| *number >= 0)
                .map(Self::Cuda)
                .ok_or_else(|| format!("device: expected `auto`, `cpu`, `openvino` or `cuda:0`, got `{text}`")),
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(number) => write!(f, "cuda:{number}"),
            Self::OpenVino => f.write_str("openvino"),
        }
    }
}

impl<'de> serde::Deserialize<'de> for Device {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

//! The families of protocols: a path's family decides the words of its errors.

use http::HeaderValue;
use serde_json::json;

use crate::config::Azure;
use crate::grpc::GRPC;

/// Protocols that share the form of their errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    /// Open Inference Protocol, KServe v1 and TensorFlow Serving; also every path that nobody owns.
    Inference,
    /// Azure Machine Learning, and Custom Vision's containers.
    Azure,
    /// Every service over gRPC, whose errors stand in the trailers.
    Grpc,
}

impl Family {
    /// The family that a path belongs to.
    pub(crate) fn of(path: &str, azure: &Azure) -> Self {
        match path.strip_prefix(azure.path_prefix.as_str()) {
            Some("/score" | "/image" | "/swagger.json") => Self::Azure,
            _ => Self::Inference,
        }
    }

    /// The media type of an error.
    pub(crate) fn media_type(self) -> HeaderValue {
        match self {
            Self::Inference | Self::Azure => HeaderValue::from_static("application/json"),
            Self::Grpc => GRPC,
        }
    }

    /// The body of an error.
    pub(crate) fn error_body(self, message: &str) -> String {
        match self {
            Self::Inference => json!({ "error": message }),
            Self::Azure => json!({ "message": message }),
            Self::Grpc => return String::new(),
        }
        .to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{AzureSettings, Config, Settings};

    #[test]
    fn the_azure_family_stands_under_its_prefix() {
        let azure = AzureSettings { path_prefix: Some("api".into()), ..AzureSettings::default() };
        let azure = Config::new(Settings { azure, ..Settings::default() }).unwrap().azure;
        assert_eq!(Family::of("/api/score", &azure), Family::Azure);
        assert_eq!(Family::of("/score", &azure), Family::Inference);
        assert_eq!(Family::of("/v2/models/score", &azure), Family::Inference);
    }
}

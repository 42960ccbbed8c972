//! What a request needs permission for, by its path alone.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a key or a token may allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Permission {
    /// Scoring, and reading what the models are and how they run.
    Score,
    /// Changing which models are loaded, and what is logged.
    Admin,
    /// Reading the metrics.
    Metrics,
}

impl Permission {
    /// Every permission.
    pub const ALL: [Self; 3] = [Self::Score, Self::Admin, Self::Metrics];

    /// Its name, in files and in scopes.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Score => "score",
            Self::Admin => "admin",
            Self::Metrics => "metrics",
        }
    }

    /// What a request to `path` needs; `None` where everybody may ask. Paths that nobody owns count as scoring.
    ///
    /// `root` is the path below which Azure Machine Learning's routes stand, such as `/api`.
    pub(crate) fn of(path: &str, root: &str) -> Option<Self> {
        // Most requests are for a model.
        if path.starts_with("/v2/models/") {
            return Some(Self::Score);
        }
        match path {
            "/" | "/v2/health/live" | "/v2/health/ready" => None,
            "/grpc.health.v1.Health/Check" | "/grpc.health.v1.Health/Watch" => None,
            "/inference.GRPCInferenceService/ServerLive" | "/inference.GRPCInferenceService/ServerReady" => None,
            "/inference.GRPCInferenceService/RepositoryModelLoad"
            | "/inference.GRPCInferenceService/RepositoryModelUnload"
            | "/inference.GRPCInferenceService/LogSettings" => Some(Self::Admin),
            "/metrics" => Some(Self::Metrics),
            "/v2/logging" => Some(Self::Admin),
            _ if path.starts_with("/v2/repository/") && !path.ends_with("/index") => Some(Self::Admin),
            _ if path.strip_prefix(root) == Some("/") => None,
            _ => Some(Self::Score),
        }
    }

    const fn bit(self) -> u8 {
        match self {
            Self::Score => 1,
            Self::Admin => 2,
            Self::Metrics => 4,
        }
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Some of the permissions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Permissions(u8);

impl Permissions {
    pub(crate) const fn allow(self, permission: Permission) -> bool {
        self.0 & permission.bit() != 0
    }
}

impl FromIterator<Permission> for Permissions {
    fn from_iter<I: IntoIterator<Item = Permission>>(all: I) -> Self {
        Self(all.into_iter().fold(0, |bits, permission| bits | permission.bit()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_has_its_permission() {
        let cases: [(Option<Permission>, &[&str]); 4] = [
            (None, &["/", "/api/", "/v2/health/live", "/v2/health/ready", "/grpc.health.v1.Health/Check"]),
            (Some(Permission::Metrics), &["/metrics"]),
            (
                Some(Permission::Admin),
                &[
                    "/v2/repository/models/index/load",
                    "/v2/repository/models/iris/unload",
                    "/v2/repository/main/models/iris/load",
                    "/v2/repository/x",
                    "/v2/logging",
                    "/inference.GRPCInferenceService/RepositoryModelLoad",
                    "/inference.GRPCInferenceService/LogSettings",
                ],
            ),
            (
                Some(Permission::Score),
                &[
                    "/v2",
                    "/v2/models",
                    "/v2/models/iris/infer",
                    "/v2/models/health/ready",
                    "/v2/models/iris/status",
                    "/v2/repository/index",
                    "/v2/repository/main/index",
                    "/v1/models/iris:predict",
                    "/api/score",
                    "/api/swagger.json",
                    "/nothing",
                    "/inference.GRPCInferenceService/ModelInfer",
                    "/inference.GRPCInferenceService/RepositoryIndex",
                    "/v2/health/live/",
                ],
            ),
        ];
        for (needed, paths) in cases {
            for path in paths {
                assert_eq!(Permission::of(path, "/api"), needed, "{path}");
            }
        }
    }
}

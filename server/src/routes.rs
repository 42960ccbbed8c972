//! The routes, one file for each family of paths.

pub(crate) mod azure;
pub(crate) mod health;
pub(crate) mod image;
pub(crate) mod logging;
pub(crate) mod metrics;
pub(crate) mod model_info;
pub(crate) mod repository;
pub(crate) mod v1;
pub(crate) mod v2;

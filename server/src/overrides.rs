//! What a load request of the model repository extension changes, in core's words.

use hedef_core::repository::Overrides;
use hedef_core::settings::VersionPolicy;
use hedef_protocols::v2::{self, InstanceKind, LoadRequest};

use crate::error::ApiError;

/// The one name of a model's file that the repository knows.
const MODEL_FILE: &str = "model.onnx";

/// Turns `request` into overrides. `device` is where the model runs now, if it is loaded.
///
/// Fails on what a load cannot change here, rather than leaving it aside in silence.
pub(crate) fn overrides(request: LoadRequest, device: Option<&str>) -> Result<Overrides, ApiError> {
    let config = request.config.unwrap_or_default();
    let gpus =
        config.gpus.as_ref().is_some_and(|wanted| !wanted.is_empty() && *wanted != gpus(device.unwrap_or_default()));
    let kind = config.kind.is_some_and(|wanted| wanted != InstanceKind::Auto && Some(wanted) != device.map(kind_of));
    refuse(kind || gpus, "`instance_group` cannot move a model: its model.toml says where it runs, as `device`")?;
    let delay = config.max_queue_delay_us.is_some_and(|delay| delay > 0);
    refuse(delay, "`max_queue_delay_microseconds`: expected 0, as a batch never waits for more requests here")?;
    let file = config.default_model_filename.is_some_and(|name| name != MODEL_FILE);
    refuse(file, "`default_model_filename`: expected `model.onnx`")?;
    Ok(Overrides {
        max_batch_rows: config.max_batch_size.map(|rows| rows.try_into().unwrap_or(u32::MAX)),
        instances: config.instances.map(|count| count.try_into().unwrap_or(u16::MAX)),
        versions: config.version_policy.map(versions),
        files: request.files,
    })
}

/// What instances on this device are, in the words of the model configuration extension.
pub(crate) fn kind_of(device: &str) -> InstanceKind {
    if device.starts_with("cuda") { InstanceKind::Gpu } else { InstanceKind::Cpu }
}

/// The number of the GPU in `cuda:0`; none for a CPU.
pub(crate) fn gpus(device: &str) -> Vec<u32> {
    device.strip_prefix("cuda:").and_then(|number| number.parse().ok()).into_iter().collect()
}

fn versions(policy: v2::VersionPolicy) -> VersionPolicy {
    match policy {
        v2::VersionPolicy::Latest(count) => VersionPolicy::Latest(count),
        v2::VersionPolicy::All => VersionPolicy::All,
        v2::VersionPolicy::Specific(versions) => VersionPolicy::Specific(versions),
    }
}

fn refuse(wrong: bool, reason: &str) -> Result<(), ApiError> {
    if wrong { Err(hedef_core::Error::Unsupported(format!("load: {reason}")).into()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use hedef_protocols::v2::ConfigOverride;

    use super::*;

    fn of(config: ConfigOverride) -> Result<Overrides, ApiError> {
        overrides(LoadRequest { config: Some(config), files: Vec::new() }, Some("cpu"))
    }

    #[test]
    fn what_the_server_prints_as_configuration_can_be_sent_back() {
        let printed = ConfigOverride {
            max_batch_size: Some(8),
            instances: Some(2),
            kind: Some(InstanceKind::Cpu),
            gpus: Some(Vec::new()),
            version_policy: Some(v2::VersionPolicy::Specific(vec![1, 3])),
            dynamic_batching: Some(true),
            max_queue_delay_us: Some(0),
            default_model_filename: Some(MODEL_FILE.into()),
        };
        let expected = Overrides {
            max_batch_rows: Some(8),
            instances: Some(2),
            versions: Some(VersionPolicy::Specific(vec![1, 3])),
            files: Vec::new(),
        };
        assert_eq!(of(printed).unwrap(), expected);
    }

    #[test]
    fn what_a_load_cannot_change_is_refused() {
        for wrong in [
            ConfigOverride { kind: Some(InstanceKind::Gpu), ..ConfigOverride::default() },
            ConfigOverride { gpus: Some(vec![1]), ..ConfigOverride::default() },
            ConfigOverride { max_queue_delay_us: Some(100), ..ConfigOverride::default() },
            ConfigOverride { default_model_filename: Some("other.onnx".into()), ..ConfigOverride::default() },
        ] {
            assert!(of(wrong.clone()).is_err(), "{wrong:?}");
        }
    }
}

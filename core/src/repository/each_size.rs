//! The sessions of a model on CUDA, which keeps the plans of convolutions for one shape a session: one for each size of
//! run.

use super::loader::OnnxLoader;
use super::opening::{Opened, Opening, identities};
use super::trials::most_rows;
use crate::backend::Backend;
use crate::settings::Settings;
use crate::{Device, Dim, Signature};

/// Runs of 1, 2, 4, … 64 rows.
const SESSIONS: u64 = 7;
/// The most bytes of weights that they have together.
const WEIGHTS: u64 = 1 << 30;

impl OnnxLoader {
    /// Opens a model where it runs, with as many sessions as it needs there.
    pub(super) fn open_each_size(&self, opening: &Opening<'_>) -> Result<Opened, String> {
        let files = opening.files();
        let before = identities(&files).ok();
        let mut opened = self.open_where_quicker(opening)?;
        let Opening { version, inspection, options, .. } = *opening;
        if !matches!(opened.placement.device, Device::Cuda(_)) {
            return Ok(opened);
        }
        let is_convolution = |(_, name): &(String, String)| matches!(name.as_str(), "Conv" | "ConvTranspose");
        let plans = inspection.operators.iter().any(is_convolution);
        let sessions = sessions(version.settings, (plans, inspection.weight_bytes), opened.backend.signature());
        opened.backend.open_more(&self.runtime, version.file, options, opened.placement.device, sessions);
        if sessions > 1 && identities(&files).ok() != before {
            return Err("its files changed while it was loaded".into());
        }
        Ok(opened)
    }
}

/// How many a model has on a CUDA device, which `plans` or does not, and has so many bytes of weights. A limit of memory
/// holds for each, so where there is one, there is one session.
fn sessions(settings: &Settings, (plans, weight_bytes): (bool, u64), signature: &Signature) -> usize {
    if settings.cuda.memory_limit_mib.is_some() || !plans {
        return 1;
    }
    let free = |skip: usize| {
        let is_free = move |dims: &Vec<Dim>| dims.iter().skip(skip).any(Dim::is_free);
        signature.inputs.iter().any(|input| input.dims.as_ref().is_none_or(is_free))
    };
    let sizes = match (free(0), free(1)) {
        (false, _) => 1,
        (true, false) => u64::from(most_rows(settings).max(1).ilog2()) + 1,
        (true, true) => SESSIONS,
    };
    let room = WEIGHTS / weight_bytes.max(1);
    usize::try_from(sizes.min(SESSIONS).min(room).max(1)).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DataType, TensorSpec};

    #[test]
    fn a_model_with_convolutions_has_as_many_sessions_as_its_runs_have_sizes() {
        let of = |dims: &[Dim]| Signature {
            inputs: vec![TensorSpec::new("x", DataType::Fp32, Some(dims.to_vec()))],
            outputs: Vec::new(),
            batch_axis: false,
        };
        let (rows, fixed) = (of(&[Dim::Free, Dim::Fixed(3)]), of(&[Dim::Fixed(1), Dim::Fixed(3)]));
        let images = of(&[Dim::Free, Dim::Free]);
        let mut settings = Settings::default();
        let (conv, plain) = (|bytes| (true, bytes), (false, 0));
        assert_eq!(sessions(&settings, conv(0), &rows), 7);
        assert_eq!(sessions(&settings, conv(0), &fixed), 1);
        assert_eq!(sessions(&settings, plain, &rows), 1);
        assert_eq!((sessions(&settings, conv(300 << 20), &rows), sessions(&settings, conv(2 << 30), &rows)), (3, 1));
        settings.batching.max_rows = Some(8);
        assert_eq!((sessions(&settings, conv(0), &rows), sessions(&settings, conv(0), &images)), (4, 7));
        settings.cuda.memory_limit_mib = std::num::NonZeroU32::new(1);
        assert_eq!(sessions(&settings, conv(0), &images), 1);
    }
}

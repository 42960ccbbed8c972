//! What this runtime and this machine allow a model to need.

use super::error::PreflightError;
use super::inspection::Inspection;

/// The domains whose operators ONNX Runtime looks for without being told, found by trying.
pub(super) const KNOWN_DOMAINS: &[&str] = &[
    "ai.onnx",
    "ai.onnx.ml",
    "ai.onnx.preview",
    "ai.onnx.preview.training",
    "ai.onnx.training",
    "com.microsoft",
    "com.microsoft.experimental",
    "com.microsoft.nchwc",
    "com.ms.internal.nhwc",
    "org.pytorch.aten",
];

/// What this runtime and this machine allow a model to need. `None` allows anything.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The newest version of ONNX's file format.
    pub ir_version: Option<i64>,
    /// The newest version of the operator set `ai.onnx`.
    pub opset: Option<i64>,
    /// The newest version of the operator set `ai.onnx.ml`.
    pub ml_opset: Option<i64>,
    /// The bytes of memory for this process.
    pub memory: Option<u64>,
    /// Says whether the system has a locale.
    pub has_locale: fn(&str) -> bool,
}

impl Limits {
    /// The limits of ONNX Runtime 1.`minor` on this system, found by loading models of each version; a runtime
    /// newer than those tried judges for itself. `memory` is the bytes this process may use.
    #[must_use]
    pub fn of_runtime(minor: u32, memory: Option<u64>) -> Self {
        let (ir_version, opset, ml_opset) = match minor {
            ..=24 => (Some(13), Some(25), Some(5)),
            25..=31 => (Some(13), Some(26), Some(5)),
            32 => (Some(14), Some(28), Some(5)),
            33.. => (None, None, None),
        };
        Self { ir_version, opset, ml_opset, memory, has_locale: crate::host::locale_available }
    }

    /// Says why the inspected model cannot be served, if so.
    ///
    /// # Errors
    /// [`PreflightError`], the first reason found.
    pub fn admit(&self, inspection: &Inspection) -> Result<(), PreflightError> {
        self.admit_ir_version(inspection)?;
        let option = |known| format!("`opset_version={known}` (PyTorch) or `target_opset={known}` (skl2onnx)");
        Self::admit_opset(inspection, "ai.onnx", self.opset, option)?;
        let option = |known| format!("`target_opset={{\"ai.onnx.ml\": {known}}}` (skl2onnx, onnxmltools)");
        Self::admit_opset(inspection, "ai.onnx.ml", self.ml_opset, option)?;
        admit_operators(inspection)?;
        self.admit_locales(inspection)?;
        self.admit_memory(inspection)
    }

    fn admit_ir_version(&self, inspection: &Inspection) -> Result<(), PreflightError> {
        let (file, found) = (inspection.file.clone(), inspection.ir_version);
        match self.ir_version {
            Some(known) if found > known => Err(PreflightError::IrTooNew { file, found, known }),
            _ => Ok(()),
        }
    }

    fn admit_opset(
        inspection: &Inspection,
        domain: &str,
        known: Option<i64>,
        option: impl FnOnce(i64) -> String,
    ) -> Result<(), PreflightError> {
        let (Some(&found), Some(known)) = (inspection.opsets.get(domain), known) else { return Ok(()) };
        if found <= known {
            return Ok(());
        }
        let (file, option) = (inspection.file.clone(), option(known));
        Err(PreflightError::OpsetTooNew { file, domain: domain.to_owned(), found, known, option })
    }

    fn admit_locales(&self, inspection: &Inspection) -> Result<(), PreflightError> {
        let Some(locale) = inspection.locales.iter().find(|locale| !(self.has_locale)(locale)) else { return Ok(()) };
        let language = locale.split_once('.').map_or(locale.as_str(), |(language, _)| language).to_owned();
        Err(PreflightError::LocaleMissing { file: inspection.file.clone(), locale: locale.clone(), language })
    }

    /// While it loads a model ONNX Runtime holds the file's contents and, beside them, every weight: 260 MB were
    /// measured for 102 MB in one file, so the sum is a lower bound.
    fn admit_memory(&self, inspection: &Inspection) -> Result<(), PreflightError> {
        let needed = inspection.weight_bytes.saturating_add(inspection.file_bytes);
        match self.memory {
            Some(limit) if needed > limit => {
                Err(PreflightError::TooLarge { file: inspection.file.clone(), needed, limit })
            }
            _ => Ok(()),
        }
    }
}

/// How many operators an error names.
const NAMED: usize = 5;

fn admit_operators(inspection: &Inspection) -> Result<(), PreflightError> {
    let Some((domain, operators)) = inspection.custom_operators.iter().next() else { return Ok(()) };
    let mut named: Vec<&str> = operators.iter().take(NAMED).map(String::as_str).collect();
    if operators.len() > NAMED {
        named.push("…");
    }
    let (file, operators) = (inspection.file.clone(), named.join(", "));
    Err(PreflightError::CustomOperators { file, domain: domain.clone(), operators })
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{identity, opset, refusal, string_normalizer, with_weight};
    use super::super::inspection;
    use super::super::proto::{FunctionProto, ModelProto, OperatorSetIdProto};
    use super::*;

    fn limits() -> Limits {
        Limits { has_locale: |name| name == "C", ..Limits::of_runtime(31, None) }
    }

    fn changed(change: impl FnOnce(&mut ModelProto)) -> ModelProto {
        let mut model = identity();
        change(&mut model);
        model
    }

    #[test]
    fn the_newest_versions_are_admitted_and_the_next_are_not() {
        let ir = |version| changed(|model| model.ir_version = Some(version));
        assert_eq!(refusal(&ir(13), &limits()), None);
        let text = refusal(&ir(14), &limits()).unwrap();
        assert!(
            text.contains("IR version 14") && text.contains("up to 13") && text.contains("ir_version = 13"),
            "{text}"
        );

        let ai = |version| changed(|model| model.opset_import = vec![opset("", version)]);
        assert_eq!(refusal(&ai(26), &limits()), None);
        let text = refusal(&ai(27), &limits()).unwrap();
        assert!(text.contains("opset 27 of ai.onnx") && text.contains("`opset_version=26`"), "{text}");
        assert_eq!(refusal(&ai(27), &Limits::of_runtime(33, None)), None);

        let ml = |version| changed(|model| model.opset_import.push(opset("ai.onnx.ml", version)));
        assert_eq!(refusal(&ml(5), &limits()), None);
        let text = refusal(&ml(6), &limits()).unwrap();
        assert!(text.contains("opset 6 of ai.onnx.ml") && text.contains("{\"ai.onnx.ml\": 5}"), "{text}");
    }

    #[test]
    fn operators_of_an_unknown_domain_are_named_unless_the_model_defines_them() {
        let mut model = changed(|model| {
            model.graph.as_mut().unwrap().node[0].domain = "com.example".into();
            model.opset_import.push(OperatorSetIdProto { domain: "com.example".into(), version: 1 });
        });
        let text = refusal(&model, &limits()).unwrap();
        assert!(text.contains("custom operators of the domain `com.example` (Identity)"), "{text}");
        model.functions.push(FunctionProto {
            name: "Identity".into(),
            domain: "com.example".into(),
            ..FunctionProto::default()
        });
        assert_eq!(refusal(&model, &limits()), None);
    }

    #[test]
    fn a_missing_locale_is_named_with_the_command_that_makes_it() {
        let text = refusal(&string_normalizer(&[("case_change_action", "LOWER")]), &limits()).unwrap();
        assert!(
            text.contains("locale `en_US.UTF-8`") && text.contains("localedef -i en_US -f UTF-8 en_US.UTF-8"),
            "{text}"
        );
        let c = string_normalizer(&[("case_change_action", "LOWER"), ("locale", "C")]);
        assert_eq!(refusal(&c, &limits()), None);
    }

    #[test]
    fn a_model_that_cannot_fit_is_refused_with_both_sizes() {
        let model = with_weight("w", &[1000, 1000], &[]);
        let inspection = inspection::of_model(&model, 4_000_100, "model.onnx".into()).unwrap();
        let admit = |memory| Limits { memory: Some(memory), ..limits() }.admit(&inspection);
        admit(8_000_100).unwrap();
        let text = admit(8_000_099).unwrap_err().to_string();
        assert!(text.contains("needs at least 9 MB of memory to load, and this process may use 9 MB"), "{text}");
    }
}

//! What an optimised graph depends on.

use super::content;

/// The name of one optimised graph: what it was made of, by whom, and for which kind of processor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Key(String);

/// What goes into a key.
#[derive(Clone, Debug)]
pub(crate) struct Origin<'a> {
    /// The SHA-256 of the model's file and of each file of its weights, with their names.
    pub(crate) files: &'a [(String, String)],
    /// Which ONNX Runtime optimises.
    pub(crate) runtime: &'a str,
    /// What the processor can do: how weights are laid out depends on it.
    pub(crate) processor: &'a str,
    /// Which kernels run it.
    pub(crate) provider: &'a str,
    /// How much is optimised.
    pub(crate) optimisation: &'a str,
}

impl Key {
    /// Equal origins have equal keys, others do not.
    pub(crate) fn new(origin: &Origin<'_>) -> Self {
        let mut text = String::new();
        // Each part goes in with its length, so that parts cannot run into one another.
        let mut add = |part: &str| text.push_str(&format!("{}:{part};", part.len()));
        add("1");
        for part in [origin.runtime, origin.processor, origin.provider, origin.optimisation] {
            add(part);
        }
        for (name, hash) in origin.files {
            add(name);
            add(hash);
        }
        Self(content::hash_of(text.as_bytes()))
    }

    /// The key in hexadecimal digits.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_of_the_origin_makes_another_key() {
        let files = |parts: &[(&str, &str)]| -> Vec<(String, String)> {
            parts.iter().map(|(name, hash)| ((*name).into(), (*hash).into())).collect()
        };
        let sources = [
            files(&[("model.onnx", "aa"), ("w.bin", "bb")]),
            files(&[("model.onnx", "aa"), ("w.bin", "bc")]),
            files(&[("model.onnx", "ab"), ("w.bin", "bb")]),
            files(&[("model.onnx", "aa"), ("v.bin", "bb")]),
            files(&[("model.onnx", "aa")]),
        ];
        fn of(files: &[(String, String)]) -> Origin<'_> {
            Origin { files, runtime: "1.31", processor: "avx2", provider: "cpu", optimisation: "all" }
        }
        let base = of(&sources[0]);
        let others = [
            Origin { runtime: "1.32", ..base.clone() },
            Origin { processor: "avx512f", ..base.clone() },
            Origin { provider: "openvino", ..base.clone() },
            Origin { optimisation: "basic", ..base.clone() },
            Origin { runtime: "1.31a", processor: "vx2", ..base.clone() },
        ];
        let all = sources.iter().map(|files| of(files)).chain(others).map(|origin| Key::new(&origin));
        let mut all: Vec<_> = all.map(|key| key.as_str().to_owned()).collect();
        assert_eq!(Key::new(&base).as_str(), all[0]);
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 10);
    }
}

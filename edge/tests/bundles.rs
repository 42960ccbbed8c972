//! Bundles of tiny models, made through the library.

use hedef_protocols::bundle::{BundleWriter, File, Manifest, SecretKey, Sha256};

/// What a model does to its only input `x`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Does {
    /// Gives it back.
    Identity,
    /// Changes the sign.
    Neg,
    /// Gives NaN for what is negative.
    Log,
}

impl Does {
    pub(crate) fn to(self, x: f32) -> f32 {
        match self {
            Self::Identity => x,
            Self::Neg => -x,
            Self::Log => x.ln(),
        }
    }

    fn operator(self) -> &'static str {
        match self {
            Self::Identity => "Identity",
            Self::Neg => "Neg",
            Self::Log => "Log",
        }
    }
}

/// A bundle that is to be made.
pub(crate) struct Recipe {
    pub(crate) version: u64,
    pub(crate) does: Does,
    /// What its golden request expects.
    pub(crate) knows: Does,
    pub(crate) downgrade: bool,
    pub(crate) expires: Option<&'static str>,
    /// Numbers in the model that nothing uses.
    pub(crate) weights: usize,
    /// Bytes of ballast, so that a download takes more than one read.
    pub(crate) ballast: usize,
}

impl Recipe {
    pub(crate) fn new(version: u64, does: Does) -> Self {
        Self { version, does, knows: does, downgrade: false, expires: None, weights: 0, ballast: 200_000 }
    }

    /// Makes it, for the model `m`.
    pub(crate) fn make(&self, key: &SecretKey) -> Vec<u8> {
        let (x, y) = (2.5, self.knows.to(2.5));
        let golden = format!(
            r#"{{"request": {{"inputs": [{{"name": "x", "shape": [1], "datatype": "FP32", "data": [{x}]}}]}},
            "response": {{"outputs": [{{"name": "y", "shape": [1], "datatype": "FP32", "data": [{y}]}}]}}}}"#
        );
        let ballast = (0..self.ballast).map(|at| (at.wrapping_mul(2_654_435_761) >> 7).to_le_bytes()[0]).collect();
        let contents = [
            (format!("{}/model.onnx", self.version), onnx(self.does, self.weights)),
            ("model.toml".into(), b"description = \"A test.\"\n".to_vec()),
            ("golden/one.json".into(), golden.into_bytes()),
            ("ballast.bin".into(), ballast),
        ];
        let files = contents.iter().map(|(path, content)| File {
            path: path.clone(),
            size: content.len() as u64,
            sha256: Sha256::of(content),
        });
        let manifest = Manifest {
            name: hedef_core::ModelName::new("m").unwrap(),
            version: self.version,
            min_runtime: None,
            expires: self.expires.map(|moment| hedef_protocols::bundle::Timestamp::parse(moment).unwrap()),
            allow_downgrade: self.downgrade,
            golden: vec!["golden/one.json".into()],
            files: files.collect(),
        };
        let mut out = Vec::new();
        let mut writer = BundleWriter::begin(&mut out, &manifest, key).unwrap();
        for (_, content) in &contents {
            writer.file(content.as_slice()).unwrap();
        }
        writer.finish().unwrap();
        out
    }
}

/// A model of one node. Source: onnx.proto3 of the ONNX project.
fn onnx(does: Does, weights: usize) -> Vec<u8> {
    let value = |name: &str| {
        let dimension = text(2, "n");
        let shape = message(1, &dimension);
        let tensor = [number(1, 1), message(2, &shape)].concat();
        [text(1, name), message(2, &message(1, &tensor))].concat()
    };
    let node = [text(1, "x"), text(2, "y"), text(4, does.operator())].concat();
    let mut graph = [message(1, &node), text(2, "g"), message(11, &value("x")), message(12, &value("y"))].concat();
    if weights > 0 {
        let raw = vec![0; 4 * weights];
        let tensor = [[vec![1 << 3], length(weights)].concat(), number(2, 1), text(8, "w"), message(9, &raw)].concat();
        graph.extend(message(5, &tensor));
    }
    [number(1, 8), message(7, &graph), message(8, &number(2, 13))].concat()
}

fn number(field: u8, value: u8) -> Vec<u8> {
    vec![field << 3, value]
}

fn text(field: u8, value: &str) -> Vec<u8> {
    message(field, value.as_bytes())
}

fn message(field: u8, value: &[u8]) -> Vec<u8> {
    [&[field << 3 | 2], length(value.len()).as_slice(), value].concat()
}

fn length(mut value: usize) -> Vec<u8> {
    let mut out = Vec::new();
    while value > 127 {
        out.push(u8::try_from(value & 127).unwrap() | 128);
        value >>= 7;
    }
    out.push(u8::try_from(value).unwrap());
    out
}

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
    /// Gives it back, and fails for what is negative.
    Fails,
}

impl Does {
    pub(crate) fn to(self, x: f32) -> f32 {
        match self {
            Self::Identity | Self::Fails => x,
            Self::Neg => -x,
            Self::Log => x.ln(),
        }
    }

    fn nodes(self) -> Vec<Vec<u8>> {
        let one = |operator| vec![node(operator, &["x"], "y")];
        match self {
            Self::Identity => one("Identity"),
            Self::Neg => one("Neg"),
            Self::Log => one("Log"),
            // As many numbers as there are, and one more where some are negative, which nothing can be reshaped to.
            Self::Fails => vec![
                node("Neg", &["x"], "negated"),
                node("Relu", &["negated"], "below"),
                node("Sign", &["below"], "signs"),
                node("ReduceMax", &["signs"], "any"),
                to_int64("any", "more"),
                node("Shape", &["x"], "shape"),
                node("Add", &["shape", "more"], "wrong"),
                node("Reshape", &["x", "wrong"], "y"),
            ],
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

/// A model of some nodes. Source: onnx.proto3 of the ONNX project.
fn onnx(does: Does, weights: usize) -> Vec<u8> {
    let value = |name: &str| {
        let dimension = text(2, "n");
        let shape = message(1, &dimension);
        let tensor = [number(1, 1), message(2, &shape)].concat();
        [text(1, name), message(2, &message(1, &tensor))].concat()
    };
    let nodes: Vec<u8> = does.nodes().iter().flat_map(|node| message(1, node)).collect();
    let mut graph = [nodes, text(2, "g"), message(11, &value("x")), message(12, &value("y"))].concat();
    if weights > 0 {
        let raw = vec![0; 4 * weights];
        let tensor = [[vec![1 << 3], length(weights)].concat(), number(2, 1), text(8, "w"), message(9, &raw)].concat();
        graph.extend(message(5, &tensor));
    }
    [number(1, 8), message(7, &graph), message(8, &number(2, 13))].concat()
}

fn node(operator: &str, inputs: &[&str], output: &str) -> Vec<u8> {
    let inputs: Vec<u8> = inputs.iter().flat_map(|input| text(1, input)).collect();
    [inputs, text(2, output), text(4, operator)].concat()
}

/// A Cast: its attribute `to`, of the type INT, is 7.
fn to_int64(input: &str, output: &str) -> Vec<u8> {
    let attribute = [text(1, "to"), number(3, 7), vec![0xA0, 1, 2]].concat();
    [node("Cast", &[input], output), message(5, &attribute)].concat()
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

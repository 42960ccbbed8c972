//! What a model file declares and needs.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::PathBuf;

use super::error::PreflightError;
use super::limits::KNOWN_DOMAINS;
use super::proto::{AttributeProto, DimensionValue, GraphProto, ModelProto, NodeProto, TensorProto};
use super::proto::{TensorType, TypeProto, Value, ValueInfoProto};
use super::walk::{Part, visit_parts};
use super::weights;

/// What a model file declares and needs, read without ONNX Runtime. Texts that are not UTF-8 have their bad bytes
/// replaced. The operator set of ONNX itself goes by its official name `ai.onnx`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// The file's name, without its folder.
    pub file: String,
    /// The file's size, external data not counted.
    pub file_bytes: u64,
    /// The version of ONNX's file format.
    pub ir_version: i64,
    /// The operator sets the model imports: domain and version.
    pub opsets: BTreeMap<String, i64>,
    /// The program that wrote the file and its version, as far as it says.
    pub producer: String,
    /// The model's own key-value notes.
    pub metadata: BTreeMap<String, String>,
    /// The inputs a request must give: those without a default among the weights.
    pub inputs: Vec<Declared>,
    /// The outputs.
    pub outputs: Vec<Declared>,
    /// The outputs that a `ZipMap` makes, with its class labels.
    pub zipmaps: Vec<ZipMapLabels>,
    /// The files beside the model that hold weights.
    pub external_files: Vec<ExternalFile>,
    /// The bytes of all weights as ONNX Runtime holds them, strings not counted.
    pub weight_bytes: u64,
    /// The operators the model calls, as domain and name; its own functions are not among them.
    pub operators: BTreeSet<(String, String)>,
    /// The operators of domains that ONNX Runtime does not have, by domain.
    pub custom_operators: BTreeMap<String, BTreeSet<String>>,
    /// The locales that the system must have for the model to load.
    pub locales: BTreeSet<String>,
}

/// A declared input or output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declared {
    /// Its name.
    pub name: String,
    /// Its type.
    pub r#type: DeclaredType,
}

/// The type of an input or output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeclaredType {
    /// A tensor; a shape of `None` is an unknown rank, an empty one a scalar.
    Tensor {
        /// The data type of its elements.
        element: ElementType,
        /// Its dimensions.
        shape: Option<Vec<DeclaredDim>>,
    },
    /// A sparse tensor.
    SparseTensor {
        /// The data type of its elements.
        element: ElementType,
        /// Its dimensions.
        shape: Option<Vec<DeclaredDim>>,
    },
    /// A sequence of values of one type.
    Sequence(Box<DeclaredType>),
    /// A map from keys of one type to values of another.
    Map {
        /// The data type of the keys.
        key: ElementType,
        /// The type of the values.
        value: Box<DeclaredType>,
    },
    /// A value or nothing.
    Optional(Box<DeclaredType>),
    /// A type that only its operators know.
    Opaque {
        /// Its domain.
        domain: String,
        /// Its name.
        name: String,
    },
    /// The file does not say; ONNX Runtime infers it.
    Undeclared,
}

/// One dimension of a declared shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeclaredDim {
    /// A size.
    Fixed(i64),
    /// A name: dimensions of one name are equal.
    Symbol(String),
    /// Neither.
    Unknown,
}

/// ONNX's number of a data type (`TensorProto.DataType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ElementType(pub i32);

/// The class labels of a `ZipMap` whose output is one of the model's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZipMapLabels {
    /// The tensor of [rows, classes] that it takes.
    pub input: String,
    /// The model's output that it makes.
    pub output: String,
    /// The labels, one for each column of the tensor.
    pub labels: Labels,
}

/// Class labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Labels {
    /// Numbers.
    Int64(Vec<i64>),
    /// Texts.
    Strings(Vec<String>),
}

/// A file that holds weights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalFile {
    /// Its path, relative to the model's folder.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
}

/// Reads `model`, whose file is called `file` and holds `file_bytes`; its external files are looked at elsewhere.
pub(super) fn of_model(model: &ModelProto, file_bytes: u64, file: String) -> Result<Inspection, PreflightError> {
    let empty = GraphProto::default();
    let graph = model.graph.as_ref().unwrap_or(&empty);
    let defaults: HashSet<&str> = graph.initializer.iter().map(|tensor| tensor.name.as_str()).collect();
    let inputs = graph.input.iter().filter(|input| !defaults.contains(input.name.as_str())).map(declared);
    let producer = format!("{} {}", text(&model.producer_name), text(&model.producer_version));
    let mut inspection = Inspection {
        file_bytes,
        ir_version: model.ir_version.unwrap_or_default(),
        opsets: BTreeMap::new(),
        producer: producer.trim().to_owned(),
        metadata: BTreeMap::new(),
        inputs: inputs.collect(),
        outputs: graph.output.iter().map(declared).collect(),
        zipmaps: zipmaps(graph),
        external_files: Vec::new(),
        weight_bytes: 0,
        operators: BTreeSet::new(),
        custom_operators: BTreeMap::new(),
        locales: BTreeSet::new(),
        file,
    };
    inspection.opsets.extend(model.opset_import.iter().map(|opset| (domain(&opset.domain), opset.version)));
    inspection.metadata.extend(model.metadata_props.iter().map(|entry| (text(&entry.key), text(&entry.value))));
    let functions = model.functions.iter().map(|function| (domain(&function.domain), function.name.as_str()));
    let functions: HashSet<(String, &str)> = functions.collect();
    visit_parts(model, &mut |part| match part {
        Part::Weight(tensor) => inspection.add_weight(tensor),
        Part::Node(node) => {
            if !functions.contains(&(domain(&node.domain), node.op_type.as_str())) {
                inspection.add_operator(node);
            }
            Ok(())
        }
    })?;
    Ok(inspection)
}

impl Inspection {
    fn add_weight(&mut self, tensor: &TensorProto) -> Result<(), PreflightError> {
        let bad =
            |detail: String| PreflightError::BadWeight { file: self.file.clone(), tensor: tensor.name.clone(), detail };
        let elements = weights::elements(tensor).map_err(|detail| bad(detail.to_owned()))?;
        // The densest data has four elements a byte. Without this a small file could announce petabytes.
        if !weights::is_external(tensor) && elements / 4 > self.file_bytes {
            return Err(bad(format!(
                "declares {elements} elements, and the whole file holds {} bytes",
                self.file_bytes
            )));
        }
        let bytes = weights::bytes(tensor).map_err(|detail| bad(detail.to_owned()))?;
        self.weight_bytes = self.weight_bytes.saturating_add(bytes.unwrap_or(0));
        Ok(())
    }

    fn add_operator(&mut self, node: &NodeProto) {
        let domain = domain(&node.domain);
        if !KNOWN_DOMAINS.contains(&domain.as_str()) {
            self.custom_operators.entry(domain.clone()).or_default().insert(node.op_type.clone());
        }
        if node.op_type == "StringNormalizer" && domain == "ai.onnx" {
            self.locales.extend(locale(node));
        }
        self.operators.insert((domain, node.op_type.clone()));
    }
}

/// The locale without which ONNX Runtime refuses to make this `StringNormalizer`, found by trying each
/// combination of its attributes: it constructs one where it changes case, or compares stop words without regard
/// to it. The empty name and `C` are there on every system.
fn locale(node: &NodeProto) -> Option<String> {
    let attribute = |name: &str| node.attribute.iter().find(|attribute| attribute.name == name);
    let changes_case =
        attribute("case_change_action").is_some_and(|action| action.s == b"LOWER" || action.s == b"UPPER");
    let ignores_case = attribute("is_case_sensitive").is_none_or(|sensitive| sensitive.i == 0);
    let has_stop_words = attribute("stopwords").is_some_and(|words| !words.strings.is_empty());
    let name = attribute("locale").map_or_else(|| "en_US.UTF-8".to_owned(), |locale| text(&locale.s));
    (changes_case || ignores_case && has_stop_words).then_some(name)
}

fn zipmaps(graph: &GraphProto) -> Vec<ZipMapLabels> {
    let outputs: HashSet<&str> = graph.output.iter().map(|output| output.name.as_str()).collect();
    let zipmaps = graph.node.iter().filter(|node| node.op_type == "ZipMap" && node.domain == "ai.onnx.ml");
    let labelled = zipmaps.filter_map(|node| {
        let (input, output) = (node.input.first()?, node.output.first()?);
        let labels = labels(&node.attribute)?;
        outputs.contains(output.as_str()).then(|| ZipMapLabels { input: input.clone(), output: output.clone(), labels })
    });
    labelled.collect()
}

fn labels(attributes: &[AttributeProto]) -> Option<Labels> {
    attributes.iter().find_map(|attribute| match attribute.name.as_str() {
        "classlabels_int64s" if !attribute.ints.is_empty() => Some(Labels::Int64(attribute.ints.clone())),
        "classlabels_strings" if !attribute.strings.is_empty() => {
            Some(Labels::Strings(attribute.strings.iter().map(|label| text(label)).collect()))
        }
        _ => None,
    })
}

fn declared(value: &ValueInfoProto) -> Declared {
    Declared { name: value.name.clone(), r#type: declared_type(value.r#type.as_ref()) }
}

fn declared_type(declared: Option<&TypeProto>) -> DeclaredType {
    let inner = |inner: Option<&TypeProto>| Box::new(declared_type(inner));
    match declared.and_then(|declared| declared.value.as_ref()) {
        Some(Value::Tensor(tensor)) => {
            DeclaredType::Tensor { element: ElementType(tensor.elem_type), shape: shape(tensor) }
        }
        Some(Value::SparseTensor(tensor)) => {
            DeclaredType::SparseTensor { element: ElementType(tensor.elem_type), shape: shape(tensor) }
        }
        Some(Value::Sequence(sequence)) => DeclaredType::Sequence(inner(sequence.elem_type.as_ref())),
        Some(Value::Map(map)) => {
            DeclaredType::Map { key: ElementType(map.key_type), value: inner(map.value_type.as_ref()) }
        }
        Some(Value::Optional(optional)) => DeclaredType::Optional(inner(optional.elem_type.as_ref())),
        Some(Value::Opaque(opaque)) => {
            DeclaredType::Opaque { domain: opaque.domain.clone(), name: opaque.name.clone() }
        }
        None => DeclaredType::Undeclared,
    }
}

fn shape(tensor: &TensorType) -> Option<Vec<DeclaredDim>> {
    let dims = tensor.shape.as_ref()?.dim.iter().map(|dim| match &dim.value {
        Some(DimensionValue::Fixed(size)) => DeclaredDim::Fixed(*size),
        Some(DimensionValue::Symbol(name)) if !name.is_empty() => DeclaredDim::Symbol(name.clone()),
        Some(DimensionValue::Symbol(_)) | None => DeclaredDim::Unknown,
    });
    Some(dims.collect())
}

/// Gives a domain its official name: ONNX's own is usually left empty.
fn domain(domain: &str) -> String {
    if domain.is_empty() { "ai.onnx".to_owned() } else { domain.to_owned() }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
#[path = "inspection_tests.rs"]
mod tests;

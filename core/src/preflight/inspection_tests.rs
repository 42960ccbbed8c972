//! What is read out of small models.

use super::super::fixture::{identity, node, opset, string_normalizer, with_weight};
use super::super::proto::{Dimension, ElementOf, MapType, StringStringEntryProto, TensorShapeProto};
use super::*;

fn inspected(model: &ModelProto) -> Inspection {
    of_model(model, 100, "model.onnx".into()).unwrap()
}

fn tensor_type(elem_type: i32, dims: Option<Vec<Option<DimensionValue>>>) -> TypeProto {
    let shape = dims.map(|dims| TensorShapeProto { dim: dims.into_iter().map(|value| Dimension { value }).collect() });
    TypeProto { value: Some(Value::Tensor(TensorType { elem_type, shape })) }
}

fn input_of_type(declared: TypeProto) -> DeclaredType {
    let mut model = identity();
    model.graph.as_mut().unwrap().input[0].r#type = Some(declared);
    inspected(&model).inputs.remove(0).r#type
}

#[test]
fn facts_of_the_file_are_read() {
    let mut model = identity();
    model.producer_version = b"1.0".to_vec();
    model.metadata_props = vec![StringStringEntryProto { key: b"k".to_vec(), value: b"v\xff".to_vec() }];
    model.opset_import.push(opset("ai.onnx.ml", 3));
    let inspection = inspected(&model);
    assert_eq!((inspection.ir_version, inspection.producer.as_str()), (8, "hedef 1.0"));
    assert_eq!(inspection.opsets, BTreeMap::from([("ai.onnx".into(), 13), ("ai.onnx.ml".into(), 3)]));
    assert_eq!(inspection.metadata["k"], "v\u{fffd}");
    assert_eq!(inspection.operators, BTreeSet::from([("ai.onnx".into(), "Identity".into())]));
}

#[test]
fn unknown_rank_scalar_and_symbols_are_told_apart() {
    let float = ElementType(1);
    assert_eq!(input_of_type(tensor_type(1, None)), DeclaredType::Tensor { element: float, shape: None });
    assert_eq!(
        input_of_type(tensor_type(1, Some(vec![]))),
        DeclaredType::Tensor { element: float, shape: Some(vec![]) }
    );
    let symbol = |name: &str| Some(DimensionValue::Symbol(name.into()));
    let dims = vec![symbol("batch"), Some(DimensionValue::Fixed(4)), None, symbol(""), Some(DimensionValue::Fixed(0))];
    let shape = vec![
        DeclaredDim::Symbol("batch".into()),
        DeclaredDim::Fixed(4),
        DeclaredDim::Unknown,
        DeclaredDim::Unknown,
        DeclaredDim::Fixed(0),
    ];
    assert_eq!(input_of_type(tensor_type(1, Some(dims))), DeclaredType::Tensor { element: float, shape: Some(shape) });
    assert_eq!(inspected(&identity()).inputs[0].r#type, DeclaredType::Undeclared);
}

#[test]
fn sequences_of_maps_are_read() {
    let map = MapType { key_type: 7, value_type: Some(tensor_type(1, None)) };
    let map = TypeProto { value: Some(Value::Map(Box::new(map))) };
    let sequence = TypeProto { value: Some(Value::Sequence(Box::new(ElementOf { elem_type: Some(map) }))) };
    let value = Box::new(DeclaredType::Tensor { element: ElementType(1), shape: None });
    let expected = DeclaredType::Sequence(Box::new(DeclaredType::Map { key: ElementType(7), value }));
    assert_eq!(input_of_type(sequence), expected);
}

#[test]
fn an_input_with_a_default_is_not_asked_of_requests() {
    let mut model = with_weight("w", &[2, 3], &[]);
    let graph = model.graph.as_mut().unwrap();
    graph.input.push(ValueInfoProto { name: "w".into(), r#type: None });
    let inspection = inspected(&model);
    assert_eq!(inspection.inputs.iter().map(|input| input.name.as_str()).collect::<Vec<_>>(), ["x"]);
    assert_eq!(inspection.weight_bytes, 24);
}

#[test]
fn the_labels_of_a_zipmap_at_an_output_are_read() {
    let zipmap = |name: &str, output: &str, attribute: AttributeProto| {
        let attribute = vec![AttributeProto { name: name.into(), ..attribute }];
        NodeProto { domain: "ai.onnx.ml".into(), attribute, ..node("ZipMap", "probabilities", output) }
    };
    let strings = AttributeProto { strings: vec![b"cat".to_vec(), "çok".into()], ..AttributeProto::default() };
    let numbers = AttributeProto { ints: vec![3, -1], ..AttributeProto::default() };
    for (name, attribute, labels) in [
        ("classlabels_strings", strings, Labels::Strings(vec!["cat".into(), "çok".into()])),
        ("classlabels_int64s", numbers, Labels::Int64(vec![3, -1])),
    ] {
        let mut model = identity();
        let nodes = &mut model.graph.as_mut().unwrap().node;
        nodes.push(zipmap(name, "y", attribute.clone()));
        nodes.push(zipmap(name, "inner", attribute));
        let expected = ZipMapLabels { input: "probabilities".into(), output: "y".into(), labels };
        assert_eq!(inspected(&model).zipmaps, [expected]);
    }
}

#[test]
fn parts_of_subgraphs_and_attributes_count() {
    let mut model = identity();
    let inner = with_weight("w", &[10], &[]).graph;
    let constant = TensorProto { data_type: 7, dims: vec![2], ..TensorProto::default() };
    let attribute = AttributeProto { g: inner, t: Some(constant), ..AttributeProto::default() };
    let outer = NodeProto { attribute: vec![attribute], domain: "com.example".into(), ..node("If", "x", "y") };
    model.graph.as_mut().unwrap().node = vec![outer];
    let inspection = inspected(&model);
    assert_eq!(inspection.weight_bytes, 40 + 16);
    assert_eq!(inspection.operators.len(), 2);
    assert_eq!(inspection.custom_operators["com.example"], BTreeSet::from(["If".into()]));
}

#[test]
fn a_small_file_that_announces_huge_weights_is_refused() {
    for (dims, words) in [
        (vec![1 << 40], "declares 1099511627776 elements, and the whole file holds 100 bytes"),
        (vec![1 << 40, 1 << 40], "more elements than can be counted"),
        (vec![-4], "negative dimension"),
    ] {
        let refusal = of_model(&with_weight("w", &dims, &[]), 100, "model.onnx".into()).unwrap_err().to_string();
        assert!(refusal.starts_with("`model.onnx`: the weight `w` ") && refusal.contains(words), "{refusal}");
    }
}

#[test]
fn a_locale_is_needed_exactly_where_the_runtime_constructs_one() {
    let locales = |attributes: &[(&str, &str)]| Vec::from_iter(inspected(&string_normalizer(attributes)).locales);
    let nothing: [&str; 0] = [];
    assert_eq!(locales(&[]), nothing);
    assert_eq!(locales(&[("case_change_action", "NONE")]), nothing);
    assert_eq!(locales(&[("is_case_sensitive", "1"), ("stopwords", "a")]), nothing);
    assert_eq!(locales(&[("is_case_sensitive", "0")]), nothing);
    assert_eq!(locales(&[("case_change_action", "LOWER")]), ["en_US.UTF-8"]);
    assert_eq!(locales(&[("case_change_action", "UPPER"), ("locale", "tr_TR.UTF-8")]), ["tr_TR.UTF-8"]);
    assert_eq!(locales(&[("is_case_sensitive", "0"), ("stopwords", "a")]), ["en_US.UTF-8"]);
    assert_eq!(locales(&[("stopwords", "a")]), ["en_US.UTF-8"]);
}

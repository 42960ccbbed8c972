use hedef_core::{DataType, Dim, TensorSpec};

use super::*;

fn spec(name: &str, data_type: DataType, row: &[Dim]) -> TensorSpec {
    TensorSpec::new(name, data_type, Some(std::iter::once(Dim::Free).chain(row.iter().cloned()).collect()))
}

fn signature(inputs: Vec<TensorSpec>, outputs: Vec<TensorSpec>) -> Signature {
    Signature { inputs, outputs, batch_axis: true }
}

fn iris() -> Signature {
    let mut probabilities = spec("probabilities", DataType::Fp32, &[Dim::Fixed(2)]);
    probabilities.labels = Some(["a".to_string(), "b".to_string()].into());
    let label = spec("label", DataType::Bytes, &[]);
    signature(vec![spec("features", DataType::Fp32, &[Dim::Fixed(2)])], vec![label, probabilities])
}

fn described(version: Version, signature: &Signature) -> Value {
    document(
        version,
        Service { name: "flowers", version: "1.2", path_prefix: "", model: "iris", images: false },
        signature,
    )
}

#[test]
fn the_versions_are_those_of_azure() {
    for two in [None, Some("2"), Some("2.0")] {
        assert_eq!(Version::from_query(two), Some(Version::Two));
    }
    for three in ["3", "3.0", "3.1"] {
        assert_eq!(Version::from_query(Some(three)), Some(Version::Three));
    }
    for other in ["", "1", "4", "2.1"] {
        assert_eq!(Version::from_query(Some(other)), None);
    }
}

#[test]
fn both_documents_describe_the_same_service() {
    let two = described(Version::Two, &iris());
    let three = described(Version::Three, &iris());
    assert_eq!((&two["swagger"], &three["openapi"]), (&json!("2.0"), &json!("3.0.3")));
    assert_eq!(two["info"], json!({ "title": "flowers", "description": "Scores the model `iris`.", "version": "1.2" }));
    assert_eq!(two["info"], three["info"]);
    assert_eq!(two["definitions"], three["components"]["schemas"]);
    let paths = |document: &Value| document["paths"].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(paths(&two), ["/", "/score", "/swagger.json"]);
    assert_eq!(paths(&two), paths(&three));
    let body = &three["paths"]["/score"]["post"]["requestBody"]["content"]["application/json"]["schema"];
    assert_eq!(body["$ref"], "#/components/schemas/ServiceInput");
    assert_eq!(two["paths"]["/score"]["post"]["parameters"][0]["schema"]["$ref"], "#/definitions/ServiceInput");
    assert_eq!(two["paths"]["/score"]["post"]["responses"]["default"]["schema"]["$ref"], "#/definitions/ErrorResponse");
}

#[test]
fn the_schemas_are_those_of_the_signature() {
    let schemas = &described(Version::Two, &iris())["definitions"];
    let float = json!({ "type": "number", "format": "float" });
    let row = json!({ "type": "array", "items": float, "minItems": 2, "maxItems": 2 });
    let rows = json!({ "type": "array", "items": row });
    assert_eq!(schemas["ServiceInput"]["properties"]["input_data"], rows);
    let labelled =
        json!({ "type": "object", "description": "The value of each label.", "additionalProperties": float });
    let answer = &schemas["ServiceOutput"]["items"];
    assert_eq!(answer["properties"], json!({ "label": { "type": "string" }, "probabilities": labelled }));
    assert_eq!(answer["required"], json!(["label", "probabilities"]));
    assert_eq!(schemas["ErrorResponse"]["properties"]["message"]["type"], "string");
}

#[test]
fn the_example_is_a_request_that_the_model_takes() {
    let columns = DataType::ALL.map(|data_type| spec(data_type.name(), data_type, &[Dim::Fixed(1)]));
    let cube = spec("x", DataType::Fp32, &[Dim::Fixed(3), Dim::Free]);
    let scalar = TensorSpec::new("x", DataType::Bool, Some(vec![]));
    for inputs in [iris().inputs, columns.into(), vec![cube], vec![scalar]] {
        let signature = signature(inputs, vec![]);
        let document = described(Version::Three, &signature);
        let example = &document["components"]["schemas"]["ServiceInput"]["example"];
        assert!(crate::azure::decode(example.to_string().as_bytes(), &signature).is_ok(), "{example}");
    }
}

#[test]
fn an_image_needs_no_example() {
    let pixels = [Dim::Fixed(3), Dim::Fixed(224), Dim::Fixed(224)];
    let document = described(Version::Two, &signature(vec![spec("x", DataType::Fp32, &pixels)], vec![]));
    assert!(document.to_string().len() < 10_000);
    assert_eq!(document["definitions"]["ServiceInput"].get("example"), None);
}

#[test]
fn the_prefix_stands_before_every_path() {
    let service = Service { name: "flowers", version: "1", path_prefix: "/api", model: "iris", images: false };
    let document = document(Version::Three, service, &iris());
    assert!(document["paths"].as_object().unwrap().keys().all(|path| path.starts_with("/api/")));
}

#[test]
fn a_model_that_takes_images_has_their_routes_and_content_types() {
    let described = |version| {
        let service = Service { name: "flowers", version: "1", path_prefix: "/api", model: "iris", images: true };
        document(version, service, &iris())
    };
    let (two, three) = (described(Version::Two), described(Version::Three));
    let score = |document: &Value| document["paths"]["/api/score"]["post"].clone();
    assert_eq!(score(&two)["consumes"], json!(["application/json", "image/jpeg", "image/png"]));
    assert_eq!(score(&two)["responses"]["200"]["schema"]["$ref"], "#/definitions/ServiceOutput");
    let takes = |operation: &Value| {
        operation["requestBody"]["content"].as_object().unwrap().keys().cloned().collect::<Vec<_>>()
    };
    assert_eq!(takes(&score(&three)), ["application/json", "image/jpeg", "image/png"]);
    let gives = &score(&three)["responses"]["200"]["content"]["application/json"]["schema"];
    assert_eq!(gives.as_object().unwrap().keys().collect::<Vec<_>>(), ["anyOf"]);
    assert!(score(&three)["responses"]["204"].is_object() && score(&two)["responses"]["204"].is_object());
    let image = &three["paths"]["/api/image"]["post"];
    assert_eq!(takes(image), ["application/octet-stream", "image/jpeg", "image/png", "multipart/form-data"]);
    assert_eq!(two["paths"]["/api/image"]["post"]["consumes"], json!(takes(image)));
    for (name, schemas) in [("Inferences", &two["definitions"]), ("Predictions", &three["components"]["schemas"])] {
        assert!(schemas[name]["properties"].is_object() && schemas["ErrorResponse"].is_object());
    }
}

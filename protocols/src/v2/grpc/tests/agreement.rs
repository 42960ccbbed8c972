//! The code, the `.proto` files and what is compiled of them say the same.

use prost::Message;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, Value};

use super::super::{config, health, logging, reflection, repository, server, statistics};
use super::{message, pool};

#[test]
fn what_is_compiled_is_of_the_files_as_they_are() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("proto");
    let mut compiler = protox::Compiler::new([&folder]).unwrap();
    for file in pool().files() {
        compiler.open_file(file.name()).unwrap();
    }
    let anew = compiler.encode_file_descriptor_set();
    assert!(anew == reflection::DESCRIPTORS, "run `cargo run -p hedef-protocols --example descriptors`");
    assert_eq!(pool().services().len(), 4);
}

#[test]
fn every_field_of_the_files_is_one_of_the_code() {
    check::<server::Verdict>(&["ServerLiveResponse", "ServerReadyResponse", "ModelReadyResponse"]);
    let named = ["ModelReadyRequest", "ModelMetadataRequest", "ModelConfigRequest", "ModelStatisticsRequest"];
    check::<server::Named>(&named);
    check::<server::ServerMetadataResponse>(&["ServerMetadataResponse"]);
    check::<server::ModelMetadataResponse>(&["ModelMetadataResponse"]);
    check::<config::ModelConfigResponse>(&["ModelConfigResponse"]);
    check::<statistics::ModelStatisticsResponse>(&["ModelStatisticsResponse"]);
    check::<repository::RepositoryIndexRequest>(&["RepositoryIndexRequest"]);
    check::<repository::RepositoryIndexResponse>(&["RepositoryIndexResponse"]);
    check::<repository::RepositoryModelChange>(&["RepositoryModelLoadRequest", "RepositoryModelUnloadRequest"]);
    check::<logging::LoggingSettings>(&["LogSettingsRequest", "LogSettingsResponse"]);
    check_in::<health::HealthCheckRequest>("grpc.health.v1.HealthCheckRequest");
    check_in::<health::HealthCheckResponse>("grpc.health.v1.HealthCheckResponse");
    for version in ["v1", "v1alpha"] {
        check_in::<reflection::ServerReflectionRequest>(&format!("grpc.reflection.{version}.ServerReflectionRequest"));
        check_in::<reflection::ServerReflectionResponse>(&format!(
            "grpc.reflection.{version}.ServerReflectionResponse"
        ));
    }
}

fn check<M: Message + Default>(names: &[&str]) {
    for name in names {
        check_in::<M>(&format!("inference.{name}"));
    }
}

/// Fills every field, for each choice of every `oneof` anew, and lets the code read it and write it again: nothing may
/// be lost, and nothing may be of another type.
fn check_in<M: Message + Default>(name: &str) {
    let descriptor = message(name);
    for choice in 0..8 {
        let mut sent = full(&descriptor, choice, 0);
        if name.ends_with("ServerReflectionResponse") {
            // No message has extensions, so that this answer is never given.
            sent.clear_field_by_name("all_extension_numbers_response");
        }
        let again = M::decode(&*sent.encode_to_vec()).unwrap().encode_to_vec();
        let again = DynamicMessage::decode(descriptor.clone(), &*again).unwrap();
        assert_eq!(again, sent, "{name}");
    }
}

fn full(descriptor: &MessageDescriptor, choice: usize, depth: usize) -> DynamicMessage {
    let mut message = DynamicMessage::new(descriptor.clone());
    let chosen = |field: &FieldDescriptor| {
        field
            .containing_oneof()
            .is_none_or(|oneof| oneof.fields().nth(choice % oneof.fields().len()).as_ref() == Some(field))
    };
    for field in descriptor.fields().filter(chosen) {
        // Reflection's answer holds its question.
        if depth > 6 {
            continue;
        }
        let one = || value(&field.kind(), choice, depth);
        let value = if field.is_map() {
            let entry = field.kind().as_message().unwrap().clone();
            let inner = value(&entry.map_entry_value_field().kind(), choice, depth);
            Value::Map([(MapKey::String("key".into()), inner)].into_iter().collect())
        } else if field.is_list() {
            Value::List(vec![one(), one()])
        } else {
            one()
        };
        message.set_field(&field, value);
    }
    message
}

fn value(kind: &Kind, choice: usize, depth: usize) -> Value {
    match kind {
        Kind::Double => Value::F64(-2.5),
        Kind::Float => Value::F32(-2.5),
        Kind::Int32 => Value::I32(-7),
        Kind::Int64 => Value::I64(-8),
        Kind::Uint32 => Value::U32(u32::MAX),
        Kind::Uint64 => Value::U64(u64::MAX),
        Kind::Bool => Value::Bool(true),
        Kind::String => Value::String("text".into()),
        Kind::Bytes => Value::Bytes(vec![0, 255].into()),
        Kind::Message(inner) => Value::Message(full(inner, choice, depth + 1)),
        Kind::Enum(inner) => Value::EnumNumber(inner.values().last().unwrap().number()),
        other => panic!("no file has {other:?}"),
    }
}

#[test]
fn the_numbers_of_enumerations_are_those_of_the_files() {
    let types = pool().get_enum_by_name("inference.DataType").unwrap();
    for data_type in hedef_core::DataType::ALL {
        let name = types.get_value(config::type_number(data_type)).unwrap().name().to_string();
        let expected = if data_type == hedef_core::DataType::Bytes { "STRING" } else { data_type.name() };
        assert_eq!(name, format!("TYPE_{expected}"));
    }
    let read = super::read("grpc.health.v1.HealthCheckResponse", &health::health(health::Health::NotServing));
    assert_eq!(read.to_string(), "status:NOT_SERVING");
}

/// The symbols that clients look for are found in their files, and nothing else is.
#[test]
fn reflection_finds_what_is_there() {
    let ask = |field: &str, text: &str| {
        let mut request = DynamicMessage::new(message("grpc.reflection.v1.ServerReflectionRequest"));
        request.set_field_by_name(field, Value::String(text.into()));
        let answer = reflection::reflect(&request.encode_to_vec()).unwrap();
        super::read("grpc.reflection.v1.ServerReflectionResponse", &answer)
    };
    let services = ask("list_services", "*").to_string();
    for service in pool().services() {
        assert!(services.contains(&format!("{:?}", service.full_name())), "{services}");
    }
    for symbol in [
        "inference.GRPCInferenceService",
        "inference.GRPCInferenceService.ModelInfer",
        "inference.ModelInferRequest.InferInputTensor",
        "inference.DataType",
        "inference.ModelInstanceGroup.Kind",
        "grpc.reflection.v1alpha.ServerReflection",
    ] {
        let answer = ask("file_containing_symbol", symbol);
        assert!(answer.has_field_by_name("file_descriptor_response"), "{symbol}: {answer}");
    }
    assert!(ask("file_by_filename", "inference.proto").has_field_by_name("file_descriptor_response"));
    for (field, text) in [
        ("file_containing_symbol", "inference.Nobody"),
        ("file_containing_symbol", "inference.DataTypes"),
        ("file_containing_symbol", "inference"),
        ("file_containing_symbol", ""),
        ("file_by_filename", "nobody.proto"),
        ("all_extension_numbers_of_type", "inference.DataType"),
    ] {
        assert!(ask(field, text).has_field_by_name("error_response"), "{field} {text}");
    }
}

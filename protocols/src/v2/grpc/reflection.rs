//! The standard service that tells of services, `grpc.reflection.v1`.
//!
//! Source: <https://github.com/grpc/grpc/blob/master/doc/server-reflection.md>.

use std::sync::LazyLock;

use bytes::Bytes;
use prost::{Message, Oneof};

use super::frame::frame;
use super::server::read;
use crate::Error;

/// The files of `protocols/proto`, compiled: a `FileDescriptorSet`.
pub(super) const DESCRIPTORS: &[u8] = include_bytes!("../../../proto/descriptors.bin");

/// The code of gRPC for what is not there.
const NOT_FOUND: i32 = 5;

/// The code of gRPC for what cannot be asked.
const INVALID_ARGUMENT: i32 = 3;

/// Answers a `ServerReflectionRequest` with a `ServerReflectionResponse` in its frame.
pub fn reflect(message: &[u8]) -> Result<Bytes, Error> {
    let request: ServerReflectionRequest = read(message)?;
    let answer = match &request.message_request {
        Some(Question::FileByFilename(name)) => file(|file| file.name == *name, name),
        Some(Question::FileContainingSymbol(symbol)) => file(|file| file.defines(symbol), symbol),
        Some(Question::ListServices(_)) => {
            let services = FILES.iter().flat_map(|(_, file)| file.services());
            Answer::Services(ListServiceResponse { service: services.map(|name| ServiceResponse { name }).collect() })
        }
        // No message here has extensions.
        Some(Question::FileContainingExtension(extension)) => not_found(&extension.containing_type),
        Some(Question::AllExtensionNumbersOfType(name)) => not_found(name),
        None => failure(INVALID_ARGUMENT, "it is not said what is asked for".into()),
    };
    let host = request.host.clone();
    let answer = Some(answer);
    Ok(frame(&ServerReflectionResponse { valid_host: host, original_request: Some(request), message_response: answer }))
}

fn file(wanted: impl Fn(&File) -> bool, name: &str) -> Answer {
    let found = FILES.iter().find(|(_, file)| wanted(file));
    found.map_or_else(
        || not_found(name),
        |(bytes, _)| Answer::Files(FileDescriptorResponse { file_descriptor_proto: vec![bytes.clone()] }),
    )
}

fn not_found(name: &str) -> Answer {
    failure(NOT_FOUND, format!("`{name}` is not known here"))
}

const fn failure(error_code: i32, error_message: String) -> Answer {
    Answer::Failure(ErrorResponse { error_code, error_message })
}

/// Every file as its bytes and as what it defines. Reading them takes many times as long as answering.
static FILES: LazyLock<Vec<(Bytes, File)>> = LazyLock::new(|| {
    let set = FileDescriptorSet::decode(Bytes::from_static(DESCRIPTORS)).unwrap_or_default();
    set.file.into_iter().filter_map(|bytes| Some((bytes.clone(), File::decode(bytes).ok()?))).collect()
});

#[derive(Clone, PartialEq, Eq, Message)]
struct FileDescriptorSet {
    #[prost(bytes = "bytes", repeated, tag = "1")]
    file: Vec<Bytes>,
}

/// `FileDescriptorProto`, as far as names go.
#[derive(Clone, PartialEq, Eq, Message)]
struct File {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    package: String,
    #[prost(message, repeated, tag = "4")]
    messages: Vec<Definition>,
    #[prost(message, repeated, tag = "5")]
    enums: Vec<Definition>,
    #[prost(message, repeated, tag = "6")]
    services: Vec<Service>,
}

impl File {
    fn services(&self) -> Vec<String> {
        self.services.iter().map(|service| format!("{}.{}", self.package, service.name)).collect()
    }

    /// Whether a name stands for something in this file: a message, an enumeration, a service or a method.
    fn defines(&self, symbol: &str) -> bool {
        let symbol = symbol.strip_prefix(self.package.as_str()).and_then(|rest| rest.strip_prefix('.'));
        symbol.is_some_and(|symbol| {
            self.messages.iter().chain(&self.enums).any(|definition| definition.defines(symbol))
                || self.services.iter().any(|service| service.defines(symbol))
        })
    }
}

/// `DescriptorProto` and `EnumDescriptorProto`, as far as names go.
#[derive(Clone, PartialEq, Eq, Message)]
struct Definition {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, repeated, tag = "3")]
    messages: Vec<Definition>,
    #[prost(message, repeated, tag = "4")]
    enums: Vec<EnumDefinition>,
}

impl Definition {
    fn defines(&self, symbol: &str) -> bool {
        let Some(rest) = symbol.strip_prefix(self.name.as_str()) else { return false };
        let inner = |inner: &str| {
            self.messages.iter().any(|definition| definition.defines(inner))
                || self.enums.iter().any(|definition| definition.name == inner)
        };
        rest.is_empty() || rest.strip_prefix('.').is_some_and(inner)
    }
}

#[derive(Clone, PartialEq, Eq, Message)]
struct EnumDefinition {
    #[prost(string, tag = "1")]
    name: String,
}

/// `ServiceDescriptorProto`, as far as names go.
#[derive(Clone, PartialEq, Eq, Message)]
struct Service {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, repeated, tag = "2")]
    methods: Vec<EnumDefinition>,
}

impl Service {
    fn defines(&self, symbol: &str) -> bool {
        let Some(rest) = symbol.strip_prefix(self.name.as_str()) else { return false };
        rest.is_empty() || rest.strip_prefix('.').is_some_and(|name| self.methods.iter().any(|it| it.name == name))
    }
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct ServerReflectionRequest {
    #[prost(string, tag = "1")]
    host: String,
    #[prost(oneof = "Question", tags = "3, 4, 5, 6, 7")]
    message_request: Option<Question>,
}

#[derive(Clone, PartialEq, Eq, Oneof)]
enum Question {
    #[prost(string, tag = "3")]
    FileByFilename(String),
    #[prost(string, tag = "4")]
    FileContainingSymbol(String),
    #[prost(message, tag = "5")]
    FileContainingExtension(ExtensionRequest),
    #[prost(string, tag = "6")]
    AllExtensionNumbersOfType(String),
    #[prost(string, tag = "7")]
    ListServices(String),
}

#[derive(Clone, PartialEq, Eq, Message)]
struct ExtensionRequest {
    #[prost(string, tag = "1")]
    containing_type: String,
    #[prost(int32, tag = "2")]
    extension_number: i32,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct ServerReflectionResponse {
    #[prost(string, tag = "1")]
    valid_host: String,
    #[prost(message, optional, tag = "2")]
    original_request: Option<ServerReflectionRequest>,
    #[prost(oneof = "Answer", tags = "4, 6, 7")]
    message_response: Option<Answer>,
}

#[derive(Clone, PartialEq, Eq, Oneof)]
enum Answer {
    #[prost(message, tag = "4")]
    Files(FileDescriptorResponse),
    #[prost(message, tag = "6")]
    Services(ListServiceResponse),
    #[prost(message, tag = "7")]
    Failure(ErrorResponse),
}

#[derive(Clone, PartialEq, Eq, Message)]
struct FileDescriptorResponse {
    #[prost(bytes = "bytes", repeated, tag = "1")]
    file_descriptor_proto: Vec<Bytes>,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct ListServiceResponse {
    #[prost(message, repeated, tag = "1")]
    service: Vec<ServiceResponse>,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct ServiceResponse {
    #[prost(string, tag = "1")]
    name: String,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct ErrorResponse {
    #[prost(int32, tag = "1")]
    error_code: i32,
    #[prost(string, tag = "2")]
    error_message: String,
}

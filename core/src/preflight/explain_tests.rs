//! The messages are those of ONNX Runtime 1.31.1.

use super::*;

const SOURCE: &str = "[ONNXRuntimeError] : 1 : FAIL : /onnxruntime_src/onnxruntime/core/graph/model.cc:256 onnxruntime::Model::Model(onnx::ModelProto&&, const onnxruntime::PathString&, const onnxruntime::IOnnxRuntimeOpSchemaRegistryList*, const onnxruntime::logging::Logger&, const onnxruntime::ModelOptions&) ";

#[test]
fn known_refusals_keep_the_fact_and_say_what_helps() {
    let ir = format!("{SOURCE}Unsupported model IR version: 14, max supported IR version: 13\n");
    let cases: [(&str, &[&str]); 17] = [
        ("Invalid device ID: 77, must be between 0 (inclusive) and 1 (exclusive).", &["no device cuda:77", "of 1"]),
        (
            "Exception during initialization: /onnxruntime_src/onnxruntime/core/framework/bfc_arena.cc:360 void* onnxruntime::BFCArena::AllocateRawInternal(size_t, bool, onnxruntime::Stream*) Available memory of 264960 is smaller than requested bytes of 11129088\n",
            &["`cuda.memory_limit_mib`", "264960"],
        ),
        (&ir, &["IR version 14", "up to 13", "`model.ir_version = 13`"]),
        (
            r#"[ONNXRuntimeError] : 10 : INVALID_GRAPH : This is an invalid model. In Node, ("", Nope, "", -1) : ("x": tensor(float),) -> ("y": tensor(float),) , Error No Op registered for Nope with domain_version of 13"#,
            &["operator `Nope`", "opset 13,"],
        ),
        (
            "[ONNXRuntimeError] : 1 : FAIL : Fatal error: com.microsoft:Foo(-1) is not a registered function/op",
            &["no operator `com.microsoft:Foo`:"],
        ),
        ("… , Error No opset import for domain 'com.example'", &["`com.example`", "without importing it"]),
        (
            "ONNX Runtime only *guarantees* support for models stamped with official released onnx opset versions. Opset 27 is under development and support for this is limited. The operator schemas and or other functionality may change before next ONNX release and in this case ONNX Runtime will not guarantee backward compatibility. Current official support for domain ai.onnx is till opset 26.",
            &["opset 27 of ai.onnx", "up to 26:", "`opset_version=26`"],
        ),
        (
            "[ONNXRuntimeError] : 9 : NOT_IMPLEMENTED : Could not find an implementation for Cos(22) node with name ''",
            &["`Cos(22)`", "data types"],
        ),
        (
            "[ONNXRuntimeError] : 9 : NOT_IMPLEMENTED : Failed to find kernel for Cast(25) (node:'' ep:'CPUExecutionProvider'). Op with name () domain () and type (Cast) kernel is not supported",
            &["`Cast(25)`", "data types"],
        ),
        (
            "[ONNXRuntimeError] : 1 : FAIL : Exception during initialization: /onnxruntime_src/onnxruntime/core/providers/cpu/text/string_normalizer.cc:235 onnxruntime::StringNormalizer::Locale::Locale(const std::string&)::<lambda()> Failed to construct locale with name:en_US.UTF-8:locale::facet::_S_create_c_locale name not valid:Please, install necessary language-pack-XX and configure locales\n\n",
            &["locale `en_US.UTF-8`", "localedef"],
        ),
        (
            "[ONNXRuntimeError] : 1 : FAIL : Exception during loading: MLDataType for: tensor(complex64) is not currently registered or supported",
            &["data type tensor(complex64),"],
        ),
        (
            "[ONNXRuntimeError] : 7 : INVALID_PROTOBUF : Load model from /srv/a b/m.onnx failed:Protobuf parsing failed.",
            &["no ONNX model", "export it again"],
        ),
        (
            "[ONNXRuntimeError] : 10 : INVALID_GRAPH : This is an invalid model. Type Error: Type 'tensor(int32)' of input parameter (x) of operator (Cos) in node (/a/Cos) is invalid.",
            &[
                "Type 'tensor(int32)' of input parameter (x) of operator (Cos) in node (/a/Cos) is invalid:",
                "check_model",
            ],
        ),
        (
            "Failed to parse provider option \"device_id\": CUDA failure 100: no CUDA-capable device is detected ; GPU=-1 ; hostname=vm ; file=/onnxruntime_src/onnxruntime/core/providers/cuda/cuda_execution_provider_info.cc ; line=70 ; expr=cudaGetDeviceCount(&num_devices);",
            &["CUDA finds no GPU", "CUDA_VISIBLE_DEVICES", "(no CUDA-capable device is detected)"],
        ),
        (
            "CUDA failure 719: unspecified launch failure ; GPU=0 ; hostname=vm ; file=x.cc ; line=70 ; expr=y();",
            &["CUDA failed (719: unspecified launch failure)"],
        ),
        ("CUDA execution provider is not enabled in this build. ", &["without CUDA", "runtime fetch --with cuda"]),
        (
            "Failed to load library /opt/x/libonnxruntime_providers_cuda.so with error: libcublasLt.so.13: cannot open shared object file: No such file or directory",
            &["`libcublasLt.so.13`", "device = \"cpu\""],
        ),
    ];
    for (message, parts) in cases {
        let text = explain(message);
        for part in parts {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(!text.contains("onnxruntime_src") && !text.contains("[ONNXRuntimeError]"), "{text}");
    }
}

#[test]
fn unknown_messages_lose_the_source_and_keep_their_words() {
    let message = "[ONNXRuntimeError] : 1 : FAIL : Exception during initialization: /onnxruntime_src/onnxruntime/core/optimizer/initializer.cc:51 onnxruntime::Initializer::Initializer(const onnx::TensorProto&, const std::filesystem::__cxx11::path&) [ONNXRuntimeError] : 1 : FAIL : tensorprotoutils.cc:1876 GetExtDataFromTensorProto External initializer: w offset: 0 size to read: 16 given file_length: 8 are out of bounds or can not be read in full.\n";
    assert_eq!(
        explain(message),
        "External initializer: w offset: 0 size to read: 16 given file_length: 8 are out of bounds or can not be read in full."
    );
    let message = "Exception during initialization: /src/rnn.h:48 onnxruntime::RNN<T>::RNN(const onnxruntime::OpKernelInfo&) [with T = float] layout_ == 0 was false.";
    assert_eq!(explain(message), "layout_ == 0 was false.");
    assert_eq!(explain("something else"), "something else");
    assert_eq!(explain(""), "");
}

#[test]
fn absolute_paths_are_cut_and_names_of_nodes_are_not() {
    for (message, expected) in [
        (
            r#"External data path escapes model directory. External data path: "../out.bin" resolved path: "/srv/secret/out.bin" allowed directory: "/srv/secret/m""#,
            r#"External data path escapes model directory. External data path: "../out.bin" resolved path: "out.bin" allowed directory: "m""#,
        ),
        (
            r#"Load model from /srv/my models/m failed:File doesn't exist"#,
            "Load model from m failed:File doesn't exist",
        ),
        (r"Load model from C:\models\m.onnx failed:x", "Load model from m.onnx failed:x"),
        ("cannot read /srv/secret/m.onnx: denied", "cannot read m.onnx: denied"),
        (r#"node "/layers.0/attn/MatMul" of /a/b.onnx"#, r#"node "/layers.0/attn/MatMul" of b.onnx"#),
        ("Status Message: /layer.1/Reshape input 1/2", "Status Message: /layer.1/Reshape input 1/2"),
    ] {
        assert_eq!(redact(message), expected);
    }
}

#[test]
fn broken_source_prefixes_do_no_harm() {
    for message in ["x.cc:", "x.cc:12", "x.cc:12 ", "x.cc:12 a::b(", "x.h:ab c", "[ONNXRuntimeError] : ", "é.cc:1 é é"]
    {
        let _ = explain(message);
    }
}

//! Why a model cannot be served, one sentence each.

/// A verdict on a model file. Each text names the file relative to the model's folder, what is wrong, and what
/// helps.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the fields are the facts of the sentence above them")]
pub enum PreflightError {
    /// The file cannot be read.
    #[error("`{file}` cannot be read: {source}")]
    Unreadable { file: String, source: std::io::Error },
    /// The file has no bytes.
    #[error("`{file}` is empty: copy or export the model again")]
    Empty { file: String },
    /// The file is something else, and is known.
    #[error("`{file}` is no ONNX model but {what}: {helps}")]
    Foreign { file: String, what: &'static str, helps: &'static str },
    /// The file is something else.
    #[error("`{file}` is no ONNX model: its bytes are not those of one ({detail})")]
    NotOnnx { file: String, detail: String },
    /// The file ends early.
    #[error(
        "`{file}` is truncated: it holds {found} bytes and its contents call for at least {expected}: copy it again, whole"
    )]
    Truncated { file: String, found: u64, expected: u64 },
    /// The file begins as a model, and then is none.
    #[error(
        "`{file}` is damaged: it begins as an ONNX model, and then does not follow the format ({detail}): copy or export it again"
    )]
    Damaged { file: String, detail: String },
    /// A part without which there is no model.
    #[error("`{file}` is incomplete: it has no {part}: export the model again")]
    Incomplete { file: String, part: &'static str },
    /// The IR version is too new.
    #[error(
        "`{file}` has ONNX IR version {found}, and this ONNX Runtime knows up to {known}: export it with an older onnx package, or set `model.ir_version = {known}` before onnx.save"
    )]
    IrTooNew { file: String, found: i64, known: i64 },
    /// An operator set is too new.
    #[error(
        "`{file}` uses opset {found} of {domain}, and this ONNX Runtime knows up to {known}: export it with {option}, or convert it with onnx.version_converter"
    )]
    OpsetTooNew { file: String, domain: String, found: i64, known: i64, option: String },
    /// Operators that no library here has.
    #[error(
        "`{file}` needs custom operators of the domain `{domain}` ({operators}), which ONNX Runtime does not have: export it without them"
    )]
    CustomOperators { file: String, domain: String, operators: String },
    /// Weights whose size makes no sense.
    #[error(
        "`{file}`: the weight `{tensor}` {detail}: the file is damaged or was made to harm; export the model again"
    )]
    BadWeight { file: String, tensor: String, detail: String },
    /// A file of weights that is not there.
    #[error(
        "`{file}` keeps the weight `{tensor}` in `{location}`, and there is no such file beside it: copy it together with the model, or export with save_as_external_data=False"
    )]
    ExternalMissing { file: String, tensor: String, location: String },
    /// A file of weights outside the model's folder.
    #[error(
        "`{file}` keeps the weight `{tensor}` outside its own folder ({detail}), which is refused: put the data beside the model and name it by a relative path"
    )]
    ExternalOutside { file: String, tensor: String, detail: &'static str },
    /// A file of weights that is too short.
    #[error(
        "`{file}` keeps the weight `{tensor}` in the bytes {start}..{end} of `{location}`, which holds {found}: the data is truncated or belongs to another model; copy it again"
    )]
    ExternalShort { file: String, tensor: String, location: String, start: u64, end: u64, found: u64 },
    /// A malformed reference to weights.
    #[error(
        "`{file}`: the reference of the weight `{tensor}` to external data is malformed ({detail}): export the model again"
    )]
    ExternalMalformed { file: String, tensor: String, detail: &'static str },
    /// A locale that the system lacks.
    #[error(
        "`{file}` compares text by the rules of the locale `{locale}`, which this system lacks: install it (Debian: apt install locales, then `localedef -i {language} -f UTF-8 {locale}`), or export StringNormalizer with locale=\"C\""
    )]
    LocaleMissing { file: String, locale: String, language: String },
    /// More memory than there is.
    #[error("`{file}` needs at least {} of memory to load, and this process may use {}: raise the limit, or quantize the model", megabytes(*needed), megabytes(*limit))]
    TooLarge { file: String, needed: u64, limit: u64 },
}

/// Gives `bytes` as a person reads them.
fn megabytes(bytes: u64) -> String {
    format!("{} MB", bytes.div_ceil(1_000_000))
}

//! Turns what ONNX Runtime says when it refuses a model into plain words.

/// Says in plain words what `message`, an error of ONNX Runtime at session creation, means and what helps.
///
/// The key fact stays as ONNX Runtime gave it; absolute paths are cut to their last part, since the text goes to
/// clients. A message that is not known comes back without its technical prefix.
#[must_use]
pub fn explain(message: &str) -> String {
    let fact = redact(fact(message));
    let known = RULES.iter().find_map(|rule| rule(&fact));
    known.unwrap_or(fact)
}

type Rule = fn(&str) -> Option<String>;

/// The first that knows the message speaks.
const RULES: &[Rule] = &[
    unknown_operator,
    unknown_function,
    domain_not_imported,
    ir_too_new,
    opset_too_new,
    no_kernel,
    locale_missing,
    data_type_unknown,
    library_missing,
    no_cuda,
    no_device,
    no_device_memory,
    cuda_failure,
    no_memory,
    not_a_model,
    inconsistent,
];

fn unknown_operator(fact: &str) -> Option<String> {
    let (operator, rest) = after(fact, "No Op registered for ")?.split_once(" with domain_version of ")?;
    let opset = first_word(rest);
    Some(format!(
        "the operator `{operator}` does not exist in opset {opset}, the one the model was exported for: export it with an opset that has the operator, or without the operator"
    ))
}

fn unknown_function(fact: &str) -> Option<String> {
    let (before, _) = fact.split_once(" is not a registered function/op")?;
    let operator = before.rsplit(' ').next().unwrap_or(before);
    let operator = operator.split_once('(').map_or(operator, |(name, _)| name);
    Some(format!("ONNX Runtime has no operator `{operator}`: export the model without it"))
}

fn domain_not_imported(fact: &str) -> Option<String> {
    let domain = between(fact, "No opset import for domain '", "'")?;
    Some(format!(
        "the model calls operators of the domain `{domain}` without importing it: export it without custom operators"
    ))
}

fn ir_too_new(fact: &str) -> Option<String> {
    let (found, rest) = after(fact, "Unsupported model IR version: ")?.split_once(", max supported IR version: ")?;
    let known = first_word(rest);
    Some(format!(
        "the model has ONNX IR version {found}, and this ONNX Runtime knows up to {known}: export it with an older onnx package, or set `model.ir_version = {known}` before onnx.save"
    ))
}

fn opset_too_new(fact: &str) -> Option<String> {
    let found = between(fact, "Opset ", " is under development")?;
    let Some((domain, rest)) =
        after(fact, "official support for domain ").and_then(|rest| rest.split_once(" is till opset "))
    else {
        return Some(format!(
            "the model uses opset {found}, which this ONNX Runtime does not know: export it with an older one"
        ));
    };
    let known = first_word(rest);
    Some(format!(
        "the model uses opset {found} of {domain}, and this ONNX Runtime knows up to {known}: export it with `opset_version={known}` (PyTorch) or `target_opset` (skl2onnx)"
    ))
}

fn no_kernel(fact: &str) -> Option<String> {
    let starts = ["Could not find an implementation for ", "Failed to find kernel for "];
    let operator = first_word(starts.iter().find_map(|start| after(fact, start))?);
    Some(format!(
        "ONNX Runtime has no implementation of the operator `{operator}` for the data types the model gives it on this device: export the model in FP32, or with another opset"
    ))
}

fn locale_missing(fact: &str) -> Option<String> {
    let locale = between(fact, "Failed to construct locale with name:", ":")?;
    Some(format!(
        "the model compares text by the rules of the locale `{locale}`, which this system lacks: install it (Debian: apt install locales, then localedef), or export StringNormalizer with locale=\"C\""
    ))
}

fn data_type_unknown(fact: &str) -> Option<String> {
    let (data_type, _) = after(fact, "MLDataType for: ")?.split_once(" is not currently registered")?;
    Some(format!("the model uses the data type {data_type}, which ONNX Runtime does not have: export it in another"))
}

fn library_missing(fact: &str) -> Option<String> {
    let (before, _) = fact.split_once(": cannot open shared object file")?;
    let library = before.rsplit([' ', ':', '/']).next().unwrap_or(before);
    Some(format!(
        "ONNX Runtime needs the library `{library}`, which this system lacks: install the CUDA and cuDNN that it was built for, or put their wheels' folder `nvidia` beside ONNX Runtime's library, or set device = \"cpu\""
    ))
}

fn no_cuda(fact: &str) -> Option<String> {
    fact.contains("CUDA execution provider is not enabled in this build").then(|| {
        "this ONNX Runtime library is built without CUDA: `hedef runtime fetch --with cuda` fetches one that has it, or set device = \"cpu\"".to_owned()
    })
}

fn no_device(fact: &str) -> Option<String> {
    let (asked, rest) = after(fact, "Invalid device ID: ")?.split_once(", must be between 0 (inclusive) and ")?;
    let count = first_word(rest);
    Some(format!("there is no device cuda:{asked}: of {count} the first is cuda:0"))
}

/// What ONNX Runtime's CUDA provider says when the device's memory, or the part that a model may take, is used up.
const NO_DEVICE_MEMORY: [&str; 3] = ["Available memory of ", "CUDA failure 2:", "CUDNN_STATUS_ALLOC_FAILED"];

fn no_device_memory(fact: &str) -> Option<String> {
    NO_DEVICE_MEMORY.iter().any(|words| fact.contains(words)).then(|| {
        // CUDA's own words are followed by the host's name, and by places in the source.
        let fact = fact.split(" ; ").next().unwrap_or(fact);
        format!("the device has not enough memory for the model: raise `cuda.memory_limit_mib` if model.toml sets it, make room on the device, or set device = \"cpu\" ({fact})")
    })
}

fn cuda_failure(fact: &str) -> Option<String> {
    let (code, rest) = after(fact, "CUDA failure ")?.split_once(": ")?;
    // The host's name follows, and places in the source.
    let told = rest.split(" ; ").next().unwrap_or(rest);
    Some(match code {
        "100" => format!(
            "CUDA finds no GPU: let this process see one (CUDA_VISIBLE_DEVICES, the devices of the container), or set device = \"cpu\" ({told})"
        ),
        _ => format!("CUDA failed ({code}: {told})"),
    })
}

/// Whether `message`, an error of ONNX Runtime, says that there is not enough memory.
#[must_use]
pub fn is_out_of_memory(message: &str) -> bool {
    let host = ["bad_alloc", "Failed to allocate memory", "bad allocation"];
    host.iter().chain(&NO_DEVICE_MEMORY).any(|words| message.contains(words))
}

fn no_memory(fact: &str) -> Option<String> {
    is_out_of_memory(fact).then(|| {
        let fact = fact.replace("std::bad_alloc", "an allocation failed");
        format!("there is not enough memory for the model: raise the process's limit, run fewer instances, or make room on its GPU ({fact})")
    })
}

fn not_a_model(fact: &str) -> Option<String> {
    let told = ["Protobuf parsing failed", "No graph was found in the protobuf"];
    told.iter()
        .any(|words| fact.contains(words))
        .then(|| "the file is no ONNX model, or it is truncated or damaged: copy or export it again".to_owned())
}

fn inconsistent(fact: &str) -> Option<String> {
    let start = fact.find("This is an invalid model")?;
    let said = fact.get(start..)?.trim_end_matches('.');
    Some(format!(
        "{said}: the model contradicts itself; find out where with onnx.checker.check_model(full_check=True), and export it again"
    ))
}

/// Cuts away what says where in ONNX Runtime's source the error came up:
/// `[ONNXRuntimeError] : 1 : FAIL : /src/model.cc:256 onnxruntime::Model::Model(…) `.
fn fact(message: &str) -> &str {
    let message = message.trim();
    let mut fact = message;
    if let Some(rest) = message.rsplit("[ONNXRuntimeError] : ").next().filter(|rest| rest.len() < message.len()) {
        fact = rest.splitn(3, " : ").nth(2).unwrap_or(rest);
    }
    while let Some(rest) = without_source(fact) {
        fact = rest;
    }
    fact.trim()
}

/// What follows the first `file.cc:123 function ` or `file.h:123 type space::function(…) ` in `text`.
fn without_source(text: &str) -> Option<&str> {
    let position = [".cc:", ".h:", ".cpp:"].iter().filter_map(|mark| Some(text.find(mark)? + mark.len())).min()?;
    let (line, rest) = text.get(position..)?.split_once(' ')?;
    if line.is_empty() || !line.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let Some((_, arguments)) = rest.split_once('(').filter(|(function, _)| function.contains("::")) else {
        return rest.split_once(' ').map(|(_, rest)| rest);
    };
    let mut depth = 1usize;
    let end = arguments.find(|letter| {
        match letter {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        depth == 0
    })?;
    let rest = arguments.get(end..)?.trim_start_matches(')').trim_start_matches("::<lambda()>");
    let rest = rest.trim_start_matches(" const").trim_start();
    // A template's arguments follow its signature.
    Some(rest.strip_prefix("[with ").and_then(|rest| rest.split_once("] ")).map_or(rest, |(_, rest)| rest))
}

/// Cuts absolute paths of files to their last part. Names of nodes look like paths too (`/encoder/MatMul`): what
/// is cut ends like a file, or stands where ONNX Runtime puts a path.
fn redact(text: &str) -> String {
    let mut redacted = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((start, end)) = next_path(rest) {
        let (before, path) = (rest.get(..start).unwrap_or_default(), rest.get(start..end).unwrap_or_default());
        redacted.push_str(before);
        let last = path.rsplit(['/', '\\']).next().unwrap_or_default();
        let announced =
            before.ends_with(": \"") || before.ends_with("Load model from ") || before.ends_with("Load model ");
        redacted.push_str(if announced || looks_like_file(last) { last } else { path });
        rest = rest.get(end..).unwrap_or_default();
    }
    redacted.push_str(rest);
    redacted
}

/// Finds the next absolute path: it starts a word, and ends with it or with the quotation it stands in.
fn next_path(text: &str) -> Option<(usize, usize)> {
    let mut previous = ' ';
    for (start, letter) in text.char_indices() {
        let boundary = !previous.is_alphanumeric() && !matches!(previous, '/' | '\\' | '.' | '_' | '-' | '*');
        let rest = text.get(start..)?;
        if boundary && (letter == '/' || is_drive(rest)) {
            let quoted = matches!(previous, '"' | '\'' | '`').then_some(previous);
            let length = match quoted {
                Some(quote) => rest.find(quote),
                None if text.get(..start)?.ends_with("Load model from ") => rest.find(" failed"),
                None => rest.find(|end: char| end.is_whitespace() || matches!(end, '"' | '\'' | '`' | ',' | ')' | ']')),
            };
            return Some((start, start + length.unwrap_or(rest.len())));
        }
        previous = letter;
    }
    None
}

/// Whether `text` starts like `C:\`.
fn is_drive(text: &str) -> bool {
    matches!(text.as_bytes(), [drive, b':', b'\\' | b'/', ..] if drive.is_ascii_alphabetic())
}

/// Whether a name has an extension such as `.onnx`; `layer.0` has none.
fn looks_like_file(name: &str) -> bool {
    let name = name.trim_end_matches([':', '.', ';']);
    name.contains(".so.")
        || name.rsplit_once('.').is_some_and(|(_, extension)| {
            extension.bytes().any(|byte| byte.is_ascii_alphabetic()) && extension.len() <= 12
        })
}

fn after<'a>(text: &'a str, start: &str) -> Option<&'a str> {
    text.split_once(start).map(|(_, rest)| rest)
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> Option<&'a str> {
    after(text, start)?.split_once(end).map(|(found, _)| found)
}

/// The first word of `text`, without the stop that may end it.
fn first_word(text: &str) -> &str {
    text.split_whitespace().next().unwrap_or_default().trim_end_matches(['.', ','])
}

#[cfg(test)]
#[path = "explain_tests.rs"]
mod tests;

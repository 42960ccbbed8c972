//! Names what a file is that is no ONNX model, by its first bytes, and says what to do with it.

/// Says what a file that begins with `head` is, and what helps; `None` where nothing is known of it.
pub(super) fn recognise(head: &[u8]) -> Option<(&'static str, &'static str)> {
    by_signature(head).or_else(|| by_text(head))
}

fn by_signature(head: &[u8]) -> Option<(&'static str, &'static str)> {
    let at = |offset: usize, magic: &[u8]| head.get(offset..).is_some_and(|rest| rest.starts_with(magic));
    let holds = |part: &[u8]| head.windows(part.len()).any(|window| window == part);
    if at(0, b"PK\x03\x04") {
        return Some(if holds(b"data.pkl") || holds(b"constants.pkl") {
            ("a PyTorch file", "export the model with torch.onnx.export")
        } else if holds(b"config.json") && holds(b"metadata.json") {
            ("a Keras file", "convert it with tf2onnx")
        } else {
            ("a zip archive", "unpack it and serve the .onnx file inside")
        });
    }
    let known: [(usize, &[u8], &str, &str); 12] = [
        (0, b"version https://git-lfs", "a Git LFS pointer, not the model itself", "run `git lfs pull`"),
        (4, b"TFL3", "a TensorFlow Lite model", "convert it with `python -m tf2onnx.convert --tflite`"),
        (4, b"ORTM", "a model in ONNX Runtime's own format (.ort)", "serve the .onnx file it was made from"),
        (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file, as Keras writes", "convert it with tf2onnx"),
        (0, b"GGUF", "a GGUF file, as llama.cpp reads", "export the original model to ONNX"),
        (0, b"\x93NUMPY", "a NumPy array", "give the model, not data"),
        (0, b"\x1f\x8b", "a gzip archive", "unpack it"),
        (257, b"ustar", "a tar archive", "unpack it and serve the .onnx file inside"),
        (0, b"\x7fELF", "a program or shared library", "give the model"),
        (0, b"bst_", "an XGBoost model", "convert it with onnxmltools"),
        (0, b"CBM1", "a CatBoost model", "save it with save_model(..., format=\"onnx\")"),
        (0, b"tree\nversion", "a LightGBM model", "convert it with onnxmltools"),
    ];
    if let Some((.., what, helps)) = known.iter().find(|(offset, magic, ..)| at(*offset, magic)) {
        return Some((what, helps));
    }
    if matches!(head, [0x80, 2..=5, ..]) {
        return Some(("a Python pickle, as scikit-learn and joblib write", "convert the model with skl2onnx"));
    }
    // An eight-byte length, then that much JSON.
    if at(8, b"{\"") && head.get(4..8) == Some(&[0; 4]) {
        return Some((
            "a safetensors file, which holds weights without a graph",
            "export the model with `optimum-cli export onnx`",
        ));
    }
    None
}

fn by_text(head: &[u8]) -> Option<(&'static str, &'static str)> {
    let text = head.trim_ascii_start();
    let begins = |start: &[u8]| text.get(..start.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(start));
    let text_only = !head.is_empty() && is_text(head);
    if begins(b"<!doctype html") || begins(b"<html") {
        Some(("a web page", "download the model again: the server answered with a page, often a login or an error"))
    } else if begins(b"<?xml") {
        Some(("an XML file, as OpenVINO and PMML use", "export the original model to ONNX"))
    } else if !text_only {
        None
    } else if begins(b"{") || begins(b"[") {
        Some(("a JSON file", "convert an XGBoost or LightGBM model with onnxmltools"))
    } else if begins(b"<") && head.windows(10).any(|window| window == b"ir_version") {
        Some(("a model in ONNX's text syntax", "save it in the binary form with onnx.save"))
    } else {
        Some(("a text file", "give the model"))
    }
}

/// Whether `head` is UTF-8 without control characters, but for a letter that its end cuts in two.
fn is_text(head: &[u8]) -> bool {
    let utf8 = std::str::from_utf8(head).map_or_else(|error| error.error_len().is_none(), |_| true);
    utf8 && head.iter().all(|&byte| byte >= 0x20 || matches!(byte, b'\t' | b'\r' | b'\n'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_files_are_named() {
        let cases: [(&[u8], &str); 16] = [
            (b"PK\x03\x04\0\0archive/data.pkl\x80\x02", "a PyTorch file"),
            (b"PK\x03\x04\0\0metadata.json..config.json", "a Keras file"),
            (b"PK\x03\x04\0\0other", "a zip archive"),
            (b"version https://git-lfs.github.com/spec/v1\noid", "a Git LFS pointer, not the model itself"),
            (b"\x1c\0\0\0TFL3\0", "a TensorFlow Lite model"),
            (b"\x1c\0\0\0ORTM\0", "a model in ONNX Runtime's own format (.ort)"),
            (b"\x89HDF\r\n\x1a\n\0", "an HDF5 file, as Keras writes"),
            (b"\x80\x04\x95", "a Python pickle, as scikit-learn and joblib write"),
            (b"\x40\0\0\0\0\0\0\0{\"a\":", "a safetensors file, which holds weights without a graph"),
            (b"GGUF\x03", "a GGUF file, as llama.cpp reads"),
            (b"\n <!DOCTYPE HTML><html>", "a web page"),
            (b"<?xml version=\"1.0\"?>", "an XML file, as OpenVINO and PMML use"),
            (b"{\"learner\": 1}", "a JSON file"),
            (b"<\n  ir_version: 8,\n>", "a model in ONNX's text syntax"),
            (b"tree\nversion=v3\n", "a LightGBM model"),
            (b"hello\n", "a text file"),
        ];
        for (head, expected) in cases {
            assert_eq!(recognise(head).map(|(what, _)| what), Some(expected), "{head:?}");
        }
    }

    #[test]
    fn an_onnx_model_and_noise_are_not_named() {
        assert_eq!(recognise(b"\x08\x08\x12\x07pytorch"), None);
        assert_eq!(recognise(b"\xff\xfe\x01\x02"), None);
    }
}

//! Any body of the model repository is refused, or asks for files that stay inside the model's folder.

#![no_main]

use std::path::{Component, Path};

use hedef_protocols::v2::{decode_index, decode_load, decode_unload};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    let _ = decode_index(body);
    let _ = decode_unload(body);
    let Ok(request) = decode_load(body) else { return };
    let name = request.config.as_ref().and_then(|config| config.default_model_filename.as_deref());
    for path in request.files.iter().map(|(path, _)| &**path).chain(name) {
        assert!(Path::new(path).components().all(|part| matches!(part, Component::Normal(_))), "{path:?}");
    }
});

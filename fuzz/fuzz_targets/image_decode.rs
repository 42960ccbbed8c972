//! Any bytes are refused, or are an image whose tensor has the model's shape and finite values, within the memory asked for.

#![no_main]

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::LazyLock;

use hedef_core::image::Plan;
use hedef_core::{DataType, Dim, Signature, TensorSpec};
use hedef_protocols::{DecodeLimits, image};
use libfuzzer_sys::fuzz_target;

/// The most that an image may take: more would make a small file slow, which is no news.
const ROOM: usize = 32 << 20;

static MODELS: LazyLock<Vec<(Signature, Plan)>> = LazyLock::new(models);

fuzz_target!(|bytes: &[u8]| {
    for (signature, plan) in &*MODELS {
        let taken = Cell::new(0);
        let room = |bytes: usize| {
            taken.set(taken.get() + bytes);
            taken.get() <= ROOM
        };
        let limits = DecodeLimits { room: &room, ..DecodeLimits::NONE };
        let Ok((request, frame)) = image::decode_within(bytes, plan, signature, limits) else { continue };
        let tensor = &request.inputs()[0];
        assert_eq!(tensor.shape(), &plan.input.shape);
        assert!(frame.left + frame.width <= plan.input.width && frame.top + frame.height <= plan.input.height);
        assert!(tensor.elements::<f32>().is_none_or(|values| values.iter().all(|value| value.is_finite())));
    }
    let _ = image::field(bytes, "multipart/form-data; boundary=b", "imageData");
});

/// One in colours that keeps proportions, and one in whole grey values that does not.
fn models() -> Vec<(Signature, Plan)> {
    let model = |data_type, dims: &[usize], settings: &str| {
        let spec = |name, data_type, dims: &[usize]| {
            TensorSpec::new(name, data_type, Some(dims.iter().map(|dim| Dim::Fixed(*dim)).collect()))
        };
        let (inputs, outputs) = (vec![spec("x", data_type, dims)], vec![spec("y", DataType::Fp32, &[1, 2])]);
        let signature = Signature { inputs, outputs, batch_axis: false };
        let plan = Plan::new(&toml::from_str(settings).unwrap(), &signature, &BTreeMap::new(), None).unwrap();
        (signature, plan)
    };
    vec![
        model(DataType::Fp32, &[1, 3, 13, 11], "resize = \"letterbox\""),
        model(DataType::Uint8, &[1, 7, 9, 1], ""),
    ]
}

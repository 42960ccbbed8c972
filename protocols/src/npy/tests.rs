use half::{bf16, f16};
use hedef_core::{Data, DataType, Dim, Signature, Tensor, TensorSpec};
use proptest::prelude::*;

use super::*;

/// A file with this header and these elements.
fn file(header: &str, elements: &[u8]) -> Vec<u8> {
    let length = u16::try_from(header.len()).unwrap().to_le_bytes();
    [MAGIC, &[1, 0][..], &length, header.as_bytes(), elements].concat()
}

fn array(descr: &str, fortran: &str, shape: &str, elements: &[u8]) -> Result<Tensor, String> {
    let header = format!("{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}\n");
    read(&file(&header, elements)).map_err(|error| error.to_string())
}

fn tensor<T: hedef_core::Element>(dims: &[usize], elements: Vec<T>) -> Tensor {
    Tensor::from_elements(dims.to_vec(), elements).unwrap()
}

#[test]
fn the_worked_bytes_of_a_small_array() {
    let file = write(&tensor(&[1, 2], vec![1.0_f32, -2.5])).unwrap();
    assert_eq!(file.len(), 136);
    assert_eq!(file[..10], [0x93, 0x4E, 0x55, 0x4D, 0x50, 0x59, 1, 0, 0x76, 0]);
    assert!(file[10..].starts_with(b"{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2), }  "));
    assert_eq!(file[127], b'\n');
    assert_eq!(file[128..], [0, 0, 0x80, 0x3F, 0, 0, 0x20, 0xC0]);
    assert_eq!(read(&file).unwrap(), tensor(&[1, 2], vec![1.0_f32, -2.5]));
}

#[test]
fn both_byte_orders_and_both_element_orders_are_read() {
    let rows = tensor(&[2, 3], vec![1_i16, 2, 3, 4, 5, 6]);
    let little = |elements: [i16; 6]| elements.map(i16::to_le_bytes).concat();
    let big = |elements: [i16; 6]| elements.map(i16::to_be_bytes).concat();
    assert_eq!(array("<i2", "False", "(2, 3)", &little([1, 2, 3, 4, 5, 6])).as_ref(), Ok(&rows));
    assert_eq!(array(">i2", "False", "(2, 3)", &big([1, 2, 3, 4, 5, 6])).as_ref(), Ok(&rows));
    assert_eq!(array("<i2", "True", "(2, 3)", &little([1, 4, 2, 5, 3, 6])).as_ref(), Ok(&rows));
    let cube = tensor(&[2, 1, 2], vec![1_u8, 2, 3, 4]);
    assert_eq!(array("|u1", "True", "(2, 1, 2)", &[1, 3, 2, 4]), Ok(cube));
}

#[test]
fn strings_lose_what_fills_them_up() {
    let points: Vec<u8> = ['ğ', '\0', 'a', '🦀'].iter().flat_map(|c| u32::from(*c).to_be_bytes()).collect();
    assert_eq!(array(">U2", "False", "(2,)", &points), Ok(tensor(&[2], vec!["ğ".into(), "a🦀".as_bytes().to_vec()])));
    assert_eq!(array("|S3", "False", "(2,)", b"ab\0\0\0\0"), Ok(tensor(&[2], vec![b"ab".to_vec(), vec![]])));
    let surrogate = 0xD800_u32.to_le_bytes();
    assert!(array("<U1", "False", "(1,)", &surrogate).unwrap_err().ends_with("found other numbers in element 0"));
}

#[test]
fn headers_may_be_spelled_otherwise() {
    let expected = tensor(&[2], vec![true, false]);
    let spelled = "{\"shape\": (2L,), 'fortran_order':False,'descr':'|b1'}";
    assert_eq!(read(&file(spelled, &[7, 0])).unwrap(), expected);
    let text = b"{'descr': '|b1', 'fortran_order': False, 'shape': (2,), }";
    let length = u32::try_from(text.len()).unwrap().to_le_bytes();
    for version in [2, 3] {
        let file = [MAGIC, &[version, 0][..], &length, text, &[1, 0]].concat();
        assert_eq!(read(&file).unwrap(), expected);
    }
}

#[test]
fn what_is_no_such_array_is_refused_with_the_reason() {
    let cases = [
        (array("|O", "False", "(1,)", &[0; 8]), "pickled objects"),
        (array("<c8", "False", "(1,)", &[0; 8]), "arrays of type `<c8` are not read"),
        (array("<f4", "False", "(2,)", &[0; 7]), "expected 8 bytes for shape [2], found 7 bytes"),
        (array("<f4", "False", "(2,)", &[0; 9]), "expected 8 bytes for shape [2], found 9 bytes"),
        (array("<f4", "False", "(9223372036854775807, 9)", &[]), "a shape that memory can hold"),
        (array("<f4", "False", "(-1,)", &[]), "expected a dimension"),
        (array("<f4", "Maybe", "(1,)", &[]), "expected `True` or `False`"),
        (array("<U0", "False", "(9999999999,)", &[]), "found a width of 0"),
        (array("<U9223372036854775807", "False", "(1,)", &[]), "a shape that memory can hold"),
        (read(b"PK\x03\x04").map_err(|error| error.to_string()), "the bytes 93 4E 55 4D 50 59 first"),
        (read(&file("{'descr': [('a', '<f4')],", b"")).map_err(|error| error.to_string()), "structured arrays"),
        (read(&file("{'shape': (1,)}", b"")).map_err(|error| error.to_string()), "`descr` is missing"),
        (read(b"\x93NUMPY\x01\x00\xFF\xFF{}").map_err(|error| error.to_string()), "a whole header"),
        (read(b"\x93NUMPY\x09\x00\x00\x00").map_err(|error| error.to_string()), "version 1, 2 or 3"),
    ];
    for (result, expected) in cases {
        let refusal = result.unwrap_err();
        assert!(refusal.contains(expected), "{refusal}");
    }
}

#[test]
fn what_numpy_has_no_form_for_is_not_written() {
    let refusal = |tensor: &Tensor| write(tensor).unwrap_err().to_string();
    assert!(refusal(&tensor(&[1], vec![bf16::ONE])).contains("BF16"));
    assert!(refusal(&tensor(&[1], vec![b"a\0".to_vec()])).contains("element 0 ends in a zero byte"));
    let mut uneven = vec![vec![b'a']; 1 << 12];
    uneven[0] = vec![b'a'; 1 << 17];
    assert!(refusal(&tensor(&[1 << 12], uneven)).contains("would take 2147483648 bytes"));
}

fn decoded(spec: TensorSpec, tensor: &Tensor) -> Result<Tensor, String> {
    let signature = Signature { inputs: vec![spec], outputs: vec![], batch_axis: true };
    let request = decode(&write(tensor).unwrap(), &signature).map_err(|error| error.to_string())?;
    Ok(request.inputs()[0].clone())
}

#[test]
fn numbers_become_those_that_the_model_takes() {
    let spec = |data_type, columns| TensorSpec::new("x", data_type, Some(vec![Dim::Free, columns]));
    let two = |data_type| spec(data_type, Dim::Fixed(2));
    let doubles = tensor(&[1, 2], vec![0.1_f64, 3.0]);
    assert_eq!(decoded(two(DataType::Fp32), &doubles), Ok(tensor(&[1, 2], vec![0.1_f32, 3.0])));
    assert_eq!(decoded(two(DataType::Fp64), &doubles), Ok(doubles.clone()));
    let refusal = decoded(two(DataType::Int64), &doubles).unwrap_err();
    assert_eq!(refusal, "input `x`, element 0: expected a number that INT64 can hold, found 0.1");
    let ints = tensor(&[3], vec![1_i64, 0, 1]);
    assert_eq!(decoded(spec(DataType::Bool, Dim::Fixed(1)), &ints), Ok(tensor(&[3, 1], vec![true, false, true])));
    assert_eq!(decoded(spec(DataType::Uint8, Dim::Free), &ints), Ok(tensor(&[3, 1], vec![1_u8, 0, 1])));
    assert!(decoded(two(DataType::Uint8), &tensor(&[1, 2], vec![1_i64, 256])).is_err());
    assert!(decoded(two(DataType::Fp16), &tensor(&[1, 2], vec![1.0_f32, 7e4])).is_err());
    assert!(decoded(two(DataType::Fp32), &tensor(&[1, 2], vec![1.0_f64, 1e39])).is_err());
    let wide = tensor(&[1, 2], vec![f64::INFINITY, 65504.0]);
    assert_eq!(decoded(two(DataType::Fp16), &wide), Ok(tensor(&[1, 2], vec![f16::INFINITY, f16::MAX])));
    let wrong = decoded(two(DataType::Bytes), &doubles).unwrap_err();
    assert_eq!(wrong, "input `x`: expected BYTES [-1,2], got FP64 [1,2]");
}

#[test]
fn halves_are_rounded_once() {
    // Just above the middle between 1 and the next half; the first rounding must not put it on the middle.
    let double = 1.000_488_281_25 + f64::EPSILON * 4.0;
    let spec = |data_type| TensorSpec::new("x", data_type, Some(vec![Dim::Free]));
    let half = decoded(spec(DataType::Fp16), &tensor(&[1], vec![double])).unwrap();
    assert_eq!(half.elements::<f16>().unwrap()[0].to_bits(), f16::ONE.to_bits() + 1);
    let double = 1.003_906_25 + f64::EPSILON * 4.0;
    let bfloat = decoded(spec(DataType::Bf16), &tensor(&[1], vec![double])).unwrap();
    assert_eq!(bfloat.elements::<bf16>().unwrap()[0].to_bits(), bf16::ONE.to_bits() + 1);
}

fn dims() -> impl Strategy<Value = Vec<usize>> {
    proptest::collection::vec(0_usize..4, 0..4)
}

/// The bits of the elements, which tell NaNs apart.
fn bits(data: &Data) -> Vec<u64> {
    match data {
        Data::Fp16(elements) => elements.iter().map(|element| element.to_bits().into()).collect(),
        Data::Fp32(elements) => elements.iter().map(|element| element.to_bits().into()).collect(),
        Data::Fp64(elements) => elements.iter().map(|element| element.to_bits()).collect(),
        _ => vec![],
    }
}

fn data(data_type: DataType, words: Vec<u64>) -> Data {
    macro_rules! narrow {
        ($($variant:ident($element:ty))*) => {
            match data_type {
                $(DataType::$variant => Data::$variant(words.iter().map(|word| *word as $element).collect()),)*
                DataType::Bool => Data::Bool(words.iter().map(|word| word & 1 == 1).collect()),
                DataType::Fp16 => Data::Fp16(words.iter().map(|word| f16::from_bits(*word as u16)).collect()),
                DataType::Bf16 => Data::Bf16(words.iter().map(|word| bf16::from_bits(*word as u16)).collect()),
                DataType::Fp32 => Data::Fp32(words.iter().map(|word| f32::from_bits(*word as u32)).collect()),
                DataType::Fp64 => Data::Fp64(words.iter().map(|word| f64::from_bits(*word)).collect()),
                DataType::Bytes => {
                    let text = |word: &u64| char::from_u32(*word as u32 % 0x800 + 1).map_or(vec![], |c| c.to_string().into());
                    Data::Bytes(words.iter().map(text).collect())
                }
            }
        };
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_possible_wrap, reason = "any bits will do")]
    let data = narrow!(Uint8(u8) Uint16(u16) Uint32(u32) Uint64(u64) Int8(i8) Int16(i16) Int32(i32) Int64(i64));
    data
}

proptest! {
    #[test]
    fn every_type_is_read_as_it_was_written(dims in dims(), words in proptest::collection::vec(any::<u64>(), 27)) {
        let count = dims.iter().product();
        for data_type in DataType::ALL.into_iter().filter(|data_type| *data_type != DataType::Bf16) {
            let tensor = Tensor::new(dims.clone(), data(data_type, words[..count].to_vec())).unwrap();
            let file = write(&tensor).unwrap();
            prop_assert_eq!(file.iter().position(|byte| *byte == b'\n').map(|end| (end + 1) % 64), Some(0));
            let back = read(&file).unwrap();
            prop_assert_eq!(back.shape(), tensor.shape());
            prop_assert_eq!(bits(back.data()), bits(tensor.data()));
            if bits(tensor.data()).is_empty() {
                prop_assert_eq!(back, tensor);
            }
        }
    }

    #[test]
    fn bytes_that_are_no_text_survive_too(elements in proptest::collection::vec(proptest::collection::vec(1_u8.., 0..6), 0..6)) {
        let tensor = tensor(&[elements.len()], elements);
        prop_assert_eq!(read(&write(&tensor).unwrap()).unwrap(), tensor);
    }
}

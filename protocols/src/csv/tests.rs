use super::*;

fn spec(name: &str, data_type: DataType, row: &[Dim]) -> TensorSpec {
    let dims = std::iter::once(Dim::Free).chain(row.iter().cloned()).collect();
    TensorSpec::new(name, data_type, Some(dims))
}

fn signature(inputs: Vec<TensorSpec>) -> Signature {
    Signature { inputs, outputs: vec![], batch_axis: true }
}

fn iris() -> Signature {
    signature(vec![spec("features", DataType::Fp32, &[Dim::Fixed(2)])])
}

fn people() -> Signature {
    signature(vec![
        spec("age", DataType::Int64, &[Dim::Fixed(1)]),
        spec("job", DataType::Bytes, &[]),
        spec("paid", DataType::Bool, &[Dim::Fixed(1)]),
    ])
}

fn read_as(text: &str, header: Header, signature: &Signature) -> Result<Vec<Tensor>, String> {
    let request = decode(text.as_bytes(), header, signature);
    request.map(|request| request.inputs().to_vec()).map_err(|error| error.to_string())
}

fn floats(rows: usize, elements: Vec<f32>) -> Result<Vec<Tensor>, String> {
    Ok(vec![Tensor::from_elements([rows, 2], elements).unwrap()])
}

#[test]
fn features_are_stacked_with_and_without_a_header() {
    let expected = floats(2, vec![1.5, 2.0, -3.0, 4e2]);
    assert_eq!(read_as("1.5,2\n-3,4e2\n", Header::Auto, &iris()), expected);
    assert_eq!(read_as("1.5,2\n-3,4e2", Header::Absent, &iris()), expected);
    assert_eq!(read_as("sepal,petal\r\n1.5, +2 \r\n-3,4e2\r\n", Header::Auto, &iris()), expected);
    assert_eq!(read_as("\u{feff}1,2\n1.5,2\n-3,4e2\n", Header::Present, &iris()), expected);
}

#[test]
fn columns_go_to_the_inputs_of_their_names() {
    let text = "job,paid,age\n\"smith, \"\"old\"\"\nand grey\",True,61\nbaker,0,30.0\n";
    let expected = vec![
        Tensor::from_elements([2, 1], vec![61_i64, 30]).unwrap(),
        Tensor::from_elements([2], vec![b"smith, \"old\"\nand grey".to_vec(), b"baker".to_vec()]).unwrap(),
        Tensor::from_elements([2, 1], vec![true, false]).unwrap(),
    ];
    assert_eq!(read_as(text, Header::Auto, &people()), Ok(expected));
}

#[test]
fn texts_need_no_header() {
    let language = signature(vec![spec("text", DataType::Bytes, &[Dim::Fixed(1)])]);
    let hello = Ok(vec![Tensor::from_elements([1, 1], vec![b"hello".to_vec()]).unwrap()]);
    assert_eq!(read_as("hello\n", Header::Auto, &language), hello);
    assert_eq!(read_as("text\nhello\n", Header::Auto, &language), hello);
}

#[test]
fn an_empty_cell_is_nan_for_floats_only() {
    let read = read_as("1,\n,2\nnan,-inf\n", Header::Auto, &iris()).unwrap();
    let elements = read[0].elements::<f32>().unwrap();
    assert!(elements[1].is_nan() && elements[2].is_nan() && elements[4].is_nan());
    assert_eq!(elements[5], f32::NEG_INFINITY);
    let refusal = read_as("age,job,paid\n,x,1\n", Header::Auto, &people()).unwrap_err();
    assert!(refusal.starts_with("CSV, line 2, column 1, input `age`: expected INT64"), "{refusal}");
}

#[test]
fn refusals_say_line_column_expectation_and_finding() {
    let cases = [
        ("1,2\n1,2,3\n", "CSV, line 2: expected 2 values, found 3"),
        ("1,2,3\n", "CSV, input `features`: expected 2 columns, found 3"),
        (
            "1,x\n",
            "CSV, line 1, column 2, input `features`: expected FP32 (a number from -3.4028235e38 to 3.4028235e38), found `\"x\"`",
        ),
        ("a,b,c\n1,2,3\n", "the columns: expected 2, found 3"),
        (
            "1,1e39\n",
            "CSV, line 1, column 2, input `features`: expected FP32 (a number from -3.4028235e38 to 3.4028235e38), found `\"1e39\"`",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(read_as(text, Header::Auto, &iris()), Err(expected.into()), "{text}");
    }
    let image = signature(vec![spec("x", DataType::Fp32, &[Dim::Fixed(2), Dim::Fixed(2)])]);
    assert!(read_as("1,2,3,4\n", Header::Absent, &image).unwrap_err().contains("one column"));
    assert!(read_as("1,x,1\n", Header::Absent, &people()).unwrap_err().contains("a header that names `age`"));
    assert!(read_as("age,job\n1,x\n", Header::Present, &people()).unwrap_err().contains("`paid` is missing"));
}

#[test]
fn no_lines_are_no_rows() {
    assert_eq!(read_as("", Header::Auto, &iris()), floats(0, vec![]));
    assert_eq!(read_as("a,b\n", Header::Auto, &iris()), floats(0, vec![]));
}

proptest::proptest! {
    #[test]
    fn numbers_survive(rows in proptest::collection::vec(proptest::array::uniform2(proptest::num::f32::ANY), 1..20)) {
        let text: String = rows.iter().map(|[a, b]| format!("{a},{b}\n")).collect();
        let read = read_as(&text, Header::Absent, &iris()).unwrap();
        let bits = |element: &f32| if element.is_nan() { u32::MAX } else { element.to_bits() };
        let expected: Vec<u32> = rows.as_flattened().iter().map(bits).collect();
        let found: Vec<u32> = read[0].elements::<f32>().unwrap().iter().map(bits).collect();
        proptest::prop_assert_eq!(found, expected);
    }

    #[test]
    fn no_text_panics(text in "[ab0-9,.\"\n\r +-]{0,40}") {
        for header in [Header::Auto, Header::Present, Header::Absent] {
            let _ = read_as(&text, header, &iris());
            let _ = read_as(&text, header, &people());
        }
    }
}

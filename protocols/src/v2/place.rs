use std::fmt;

/// Where in a request something stands; written out for messages only.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place<'a> {
    /// The request itself.
    Request,
    /// An input by its position, before its name is known.
    InputAt(usize),
    /// An input by its name.
    Input(&'a str),
    /// An output by its position, before its name is known.
    OutputAt(usize),
    /// An output by its name.
    Output(&'a str),
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request => f.write_str("request"),
            Self::InputAt(index) => write!(f, "inputs[{index}]"),
            Self::Input(name) => write!(f, "input `{name}`"),
            Self::OutputAt(index) => write!(f, "outputs[{index}]"),
            Self::Output(name) => write!(f, "output `{name}`"),
        }
    }
}

//! Where a span stands in a distributed trace, and how that travels: W3C Trace Context.
//!
//! Source: <https://www.w3.org/TR/trace-context/>.

use hedef_core::story::Mark;
use http::{HeaderMap, HeaderName, HeaderValue};

/// The header that names the caller's span.
pub(crate) const PARENT: HeaderName = HeaderName::from_static("traceparent");

/// The header of what vendors of tracing add to it.
pub(crate) const STATE: HeaderName = HeaderName::from_static("tracestate");

/// The flag of those who record their spans.
const SAMPLED: u8 = 1;

/// What stands in a `traceparent` of this version: two digits, and the ids and flags behind dashes.
const LENGTH: usize = 55;

/// The longest `tracestate` that is passed on.
const LONGEST_STATE: usize = 512;

/// One span of one trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Context {
    pub(crate) trace: [u8; 16],
    pub(crate) span: [u8; 8],
}

/// The caller's span, as the head of a request tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Parent {
    pub(crate) context: Context,
    /// Whether the caller records it.
    pub(crate) sampled: bool,
}

impl Context {
    /// A new span of a trace; without one, of a new trace.
    pub(crate) fn new(trace: Option<[u8; 16]>) -> Self {
        Self::random(&mut fastrand::Rng::new(), trace)
    }

    /// The span of the run that a request marked so was the first of: all who shared the run know it without asking.
    pub(crate) fn of_run(first: &Mark) -> Self {
        let seed = Self::from_mark(first).span;
        Self::random(&mut fastrand::Rng::with_seed(u64::from_be_bytes(seed)), None)
    }

    /// Ids of zeros only mean none.
    fn random(random: &mut fastrand::Rng, trace: Option<[u8; 16]>) -> Self {
        let trace = trace.unwrap_or_else(|| random.u128(1..).to_be_bytes());
        Self { trace, span: random.u64(1..).to_be_bytes() }
    }

    /// What marks the request of this span in its run.
    pub(crate) fn mark(&self) -> Mark {
        let mut mark = Mark::default();
        let (trace, span) = mark.split_at_mut(self.trace.len());
        trace.copy_from_slice(&self.trace);
        span.copy_from_slice(&self.span);
        mark
    }

    /// The span of a request that is marked so.
    pub(crate) fn from_mark(mark: &Mark) -> Self {
        let (mut trace, mut span) = ([0; 16], [0; 8]);
        let (first, last) = mark.split_at(trace.len());
        trace.copy_from_slice(first);
        span.copy_from_slice(last);
        Self { trace, span }
    }

    /// The `traceparent` of this span, which is recorded.
    pub(crate) fn header(&self) -> Option<HeaderValue> {
        let (trace, span) = (u128::from_be_bytes(self.trace), u64::from_be_bytes(self.span));
        HeaderValue::from_str(&format!("00-{trace:032x}-{span:016x}-{SAMPLED:02x}")).ok()
    }
}

impl Parent {
    /// The caller's span; `None` where there is none, or what should be one is not.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut given = headers.get_all(PARENT).iter();
        match (given.next(), given.next()) {
            (Some(value), None) => Self::parse(value.as_bytes()),
            _ => None,
        }
    }

    fn parse(text: &[u8]) -> Option<Self> {
        let (known, more) = text.split_at_checked(LENGTH)?;
        let mut parts = known.split(|byte| *byte == b'-');
        let mut part = || parts.next();
        let (version, trace, span, flags) = (part()?, part()?, part()?, part()?);
        let [version] = hex(version)?;
        // Versions to come may add fields behind another dash; 255 is none.
        let ends = more.is_empty() || (version > 0 && more.starts_with(b"-"));
        let context = Context { trace: hex(trace)?, span: hex(span)? };
        let [flags] = hex(flags)?;
        let right = ends && version != u8::MAX && context.trace != [0; 16] && context.span != [0; 8];
        (right && part().is_none()).then_some(Self { context, sampled: flags & SAMPLED != 0 })
    }
}

/// The `tracestate` of a request, to be kept with its span.
pub(crate) fn state(headers: &HeaderMap) -> String {
    let given = headers.get_all(STATE).iter().filter_map(|value| value.to_str().ok());
    let joined = given.collect::<Vec<_>>().join(",");
    if joined.len() <= LONGEST_STATE { joined } else { String::new() }
}

/// Bytes from twice as many lower-case hexadecimal digits.
fn hex<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let (pairs, rest) = digits.as_chunks::<2>();
    let mut bytes = [0; N];
    if pairs.len() != N || !rest.is_empty() {
        return None;
    }
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn parse(text: &str) -> Option<Parent> {
        Parent::parse(text.as_bytes())
    }

    #[test]
    fn a_parent_is_read_as_the_standard_says() {
        let parent = parse(GOOD).unwrap();
        assert_eq!((parent.context.trace[0], parent.context.span[7], parent.sampled), (0x0a, 0x31, true));
        assert_eq!(parent.context.header().unwrap(), GOOD);
        assert!(!parse(&GOOD.replace("-01", "-00")).unwrap().sampled);
        assert!(parse(&GOOD.replace("-01", "-fb")).unwrap().sampled, "other flags are not ours");
        assert!(parse(&format!("cc{}-more", &GOOD[2..])).unwrap().sampled, "a version to come");
    }

    #[test]
    fn what_is_none_is_no_parent() {
        for wrong in [
            "",
            "00",
            &GOOD.to_uppercase(),
            &GOOD.replace("00-", "ff-"),
            &GOOD.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32)),
            &GOOD.replace("b7ad6b7169203331", &"0".repeat(16)),
            &GOOD.replace('-', "_"),
            &GOOD.replace("0af", "0ag"),
            &format!("{GOOD}-more"),
            &format!("01{}more", &GOOD[2..]),
            &GOOD[..54],
            &GOOD.replace("c-b", "-cb"),
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
        let twice = [GOOD, GOOD].map(|value| (PARENT, HeaderValue::from_str(value).unwrap()));
        let mut headers = HeaderMap::new();
        for (name, value) in twice {
            headers.append(name, value);
        }
        assert_eq!(Parent::of(&headers), None);
    }

    #[test]
    fn a_mark_is_the_span_and_a_run_has_one_of_its_own_that_all_know() {
        let context = Context::new(None);
        assert_eq!(Context::from_mark(&context.mark()), context);
        let run = Context::of_run(&context.mark());
        assert_eq!(run, Context::of_run(&context.mark()));
        assert!(run.trace != context.trace && run.span != context.span);
        assert_eq!(Context::new(Some(context.trace)).trace, context.trace);
    }
}

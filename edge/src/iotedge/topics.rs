//! The topics of Azure IoT Edge's hub, and the bags of properties in them.
//!
//! Sources: azure-iot-sdk-python, `mqtt_topic_iothub.py`; the protocol gateway, `UrlEncodedDictionarySerializer.cs`. A bag
//! that the hub cannot read is acknowledged and lost, so nothing is left as it is but what never has to be encoded.

use std::fmt::Write as _;

/// Where twin responses come.
pub const TWIN_RESPONSES: &str = "$iothub/twin/res/#";

/// Where changes of desired properties come.
pub const DESIRED_CHANGES: &str = "$iothub/twin/PATCH/properties/desired/#";

/// Where calls of methods come.
pub const METHODS: &str = "$iothub/methods/POST/#";

/// What came by a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// A message for an input.
    Input {
        /// The input's name.
        input: String,
        /// The message's properties.
        properties: Vec<(String, String)>,
    },
    /// The answer to a request about the twin.
    TwinResponse {
        /// As in HTTP.
        status: u16,
        /// The request.
        request: String,
    },
    /// Desired properties changed.
    Desired,
    /// A method is called.
    Method {
        /// Its name.
        name: String,
        /// The call.
        request: String,
    },
}

/// The filter for all inputs of a module. Others than this form are accepted and ignored by the hub.
#[must_use]
pub fn inputs(device: &str, module: &str) -> String {
    format!("devices/{device}/modules/{module}/inputs/#")
}

/// The topic that a message is sent to the outputs by.
#[must_use]
pub fn events(device: &str, module: &str, properties: &[(String, String)]) -> String {
    format!("devices/{device}/modules/{module}/messages/events/{}", bag(properties))
}

/// The topic that the twin is asked for by.
#[must_use]
pub fn twin_get(request: u64) -> String {
    format!("$iothub/twin/GET/?$rid={request}")
}

/// The topic that reported properties are changed by.
#[must_use]
pub fn twin_patch(request: u64) -> String {
    format!("$iothub/twin/PATCH/properties/reported/?$rid={request}")
}

/// The topic that a method is answered by.
#[must_use]
pub fn method_answer(status: u16, request: &str) -> String {
    format!("$iothub/methods/res/{status}/?$rid={request}")
}

/// Reads a topic. `None`: it is none of these.
#[must_use]
pub fn read(topic: &str, device: &str, module: &str) -> Option<Incoming> {
    if let Some(rest) = topic.strip_prefix("$iothub/twin/res/") {
        let (status, rest) = rest.split_once("/?")?;
        return Some(Incoming::TwinResponse { status: status.parse().ok()?, request: query(rest, "$rid")? });
    }
    if topic.starts_with("$iothub/twin/PATCH/properties/desired/") {
        return Some(Incoming::Desired);
    }
    if let Some(rest) = topic.strip_prefix("$iothub/methods/POST/") {
        let (name, rest) = rest.split_once("/?")?;
        return Some(Incoming::Method { name: percent_decoded(name)?, request: query(rest, "$rid")? });
    }
    let rest = topic.strip_prefix("devices/")?.strip_prefix(device)?.strip_prefix("/modules/")?;
    let rest = rest.strip_prefix(module)?.strip_prefix("/inputs/")?;
    let (input, bag) = rest.split_once('/').unwrap_or((rest, ""));
    Some(Incoming::Input { input: percent_decoded(input)?, properties: read_bag(bag) })
}

fn query(text: &str, name: &str) -> Option<String> {
    text.split('&').find_map(|part| part.strip_prefix(name)?.strip_prefix('=')).map(String::from)
}

/// Writes properties as `name=value&name=value`.
#[must_use]
pub fn bag(properties: &[(String, String)]) -> String {
    let pairs = properties.iter().map(|(name, value)| format!("{}={}", percent_encoded(name), percent_encoded(value)));
    pairs.collect::<Vec<_>>().join("&")
}

/// Reads a bag. A name without a value has an empty one; what cannot be decoded is left out.
#[must_use]
pub fn read_bag(text: &str) -> Vec<(String, String)> {
    let pairs = text.trim_end_matches('/').split('&').filter(|pair| !pair.is_empty());
    let read = |pair: &str| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        Some((percent_decoded(name)?, percent_decoded(value)?))
    };
    pairs.filter_map(read).collect()
}

/// Writes every byte that is not of `A-Z a-z 0-9 - _ . ~` as `%` and two digits.
#[must_use]
pub fn percent_encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, behind)) = rest.split_first() {
        rest = behind;
        if *byte == b'%' {
            let (digits, behind) = rest.split_at_checked(2)?;
            // Only digits: `from_str_radix` takes a sign too.
            let digits = digits.iter().all(u8::is_ascii_hexdigit).then_some(digits)?;
            out.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
            rest = behind;
        } else {
            out.push(*byte);
        }
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
    }

    /// What Azure's own client for Python was seen to send for these properties.
    #[test]
    fn properties_are_written_as_azure_s_own_client_does() {
        let properties = pairs(&[
            ("$.on", "output1"),
            ("$.mid", "msg-1"),
            ("$.cid", "corr/1"),
            ("$.uid", "user 1"),
            ("$.ct", "application/json"),
            ("$.ce", "utf-8"),
            ("alert", "true"),
            ("empty", ""),
            ("model version", "res net/1&=+?#%25"),
            ("ünïcode", "héllo 世"),
        ]);
        let sent = "devices/edge1/modules/mod1/messages/events/%24.on=output1&%24.mid=msg-1&%24.cid=corr%2F1&%24.uid=user%201\
            &%24.ct=application%2Fjson&%24.ce=utf-8&alert=true&empty=&model%20version=res%20net%2F1%26%3D%2B%3F%23%2525\
            &%C3%BCn%C3%AFcode=h%C3%A9llo%20%E4%B8%96";
        assert_eq!(events("edge1", "mod1", &properties), sent);
        assert_eq!(events("edge1", "mod1", &[]), "devices/edge1/modules/mod1/messages/events/");
        let sent = "devices/edge1/modules/mod1/messages/events/%24.on=out%20put%2F2";
        assert_eq!(events("edge1", "mod1", &pairs(&[("$.on", "out put/2")])), sent);
    }

    /// What the same client was sent.
    #[test]
    fn what_comes_is_read() {
        let read = |topic| read(topic, "edge1", "mod1");
        let topic =
            "devices/edge1/modules/mod1/inputs/input1/seq=1&content%20key=a%2Fb%20c&%24.cdid=edge1&%24.cmid=camera";
        let properties = pairs(&[("seq", "1"), ("content key", "a/b c"), ("$.cdid", "edge1"), ("$.cmid", "camera")]);
        assert_eq!(read(topic), Some(Incoming::Input { input: "input1".into(), properties }));
        let bare = Incoming::Input { input: "input1".into(), properties: vec![] };
        assert_eq!(read("devices/edge1/modules/mod1/inputs/input1"), Some(bare.clone()));
        assert_eq!(read("devices/edge1/modules/mod1/inputs/input1/"), Some(bare));
        assert_eq!(read("devices/edge1/modules/other/inputs/input1/"), None);
        let response = Incoming::TwinResponse { status: 204, request: "7".into() };
        assert_eq!(read("$iothub/twin/res/204/?$rid=7&$version=3"), Some(response));
        assert_eq!(read("$iothub/twin/PATCH/properties/desired/?$version=2"), Some(Incoming::Desired));
        let method = Incoming::Method { name: "reload".into(), request: "a-b".into() };
        assert_eq!(read("$iothub/methods/POST/reload/?$rid=a-b"), Some(method));
        assert_eq!(read("$iothub/methods/POST/reload"), None);
    }

    proptest! {
        #[test]
        fn a_bag_is_read_as_it_was_written_and_has_nothing_that_topics_do_not_allow(
            properties in prop::collection::vec((".+", ".*"), 0..6)
        ) {
            let bag = bag(&properties);
            prop_assert!(!bag.contains(['/', '+', '#', '\0', ' ']));
            prop_assert_eq!(read_bag(&bag), properties);
        }

        #[test]
        fn any_topic_is_one_or_none(topic in ".*", start in prop::sample::select(vec![
            "", "$iothub/twin/res/", "$iothub/methods/POST/", "devices/d/modules/m/inputs/", "$iothub/twin/PATCH/properties/desired/"
        ])) {
            let _ = read(&format!("{start}{topic}"), "d", "m");
        }
    }
}

//! What ONNX Runtime tells of its devices and of where a model's nodes went, and `ort` does not pass on.
#![expect(unsafe_code, reason = "`ort` has no safe call for these facts")]

use std::collections::BTreeMap;
use std::ffi::{CStr, c_char};
use std::ptr;

use ort::AsPointer;
use ort::device::Device;
use ort::session::Session;
use ort::session::builder::SessionBuilder;

/// Makes the session remember where its nodes went.
pub(super) fn recording(builder: SessionBuilder) -> ort::Result<SessionBuilder> {
    Ok(builder.with_config_entry("session.record_ep_graph_assignment_info", "1")?)
}

/// Words for the nodes that `provider` did not take, to be put behind others; empty where it took all, or where this
/// ONNX Runtime does not tell.
pub(super) fn elsewhere(session: &Session, provider: &str) -> String {
    in_words(&nodes(session).unwrap_or_default(), provider)
}

/// Whether `provider` took none of the nodes; false where this ONNX Runtime does not tell.
pub(super) fn takes_none(session: &Session, provider: &str) -> bool {
    nodes(session).is_ok_and(|nodes| !nodes.is_empty() && !nodes.contains_key(provider))
}

fn in_words(nodes: &BTreeMap<String, usize>, provider: &str) -> String {
    let total: usize = nodes.values().sum();
    let own = nodes.get(provider).copied().unwrap_or(0);
    if own == total { String::new() } else { format!("; {own} of {total} nodes run there, the others on the CPU") }
}

/// How many nodes each execution provider took.
fn nodes(session: &Session) -> ort::Result<BTreeMap<String, usize>> {
    let mut counts = BTreeMap::new();
    let (mut groups, mut count) = (ptr::null(), 0);
    // SAFETY: the session lives; the array that is given out belongs to it and holds `count` live pointers, as does
    // each one's array of nodes; the names are NUL-terminated and belong to it too.
    unsafe {
        let api = ort::api();
        let status = (api.Session_GetEpGraphAssignmentInfo)(session.ptr(), &raw mut groups, &raw mut count);
        ort::Error::result_from_status(status)?;
        for at in 0..count {
            let group = *groups.add(at);
            let (mut name, mut nodes, mut size) = (ptr::null(), ptr::null(), 0);
            ort::Error::result_from_status((api.EpAssignedSubgraph_GetEpName)(group, &raw mut name))?;
            ort::Error::result_from_status((api.EpAssignedSubgraph_GetNodes)(group, &raw mut nodes, &raw mut size))?;
            *counts.entry(owned(name).unwrap_or_default()).or_default() += size;
        }
    }
    Ok(counts)
}

/// What a device's provider says under `key`.
pub(super) fn metadata(device: &Device<'_>, key: &CStr) -> Option<String> {
    // SAFETY: the device lives as long as the environment, and what it says belongs to it; null means that it says
    // nothing.
    unsafe {
        let pairs = (ort::api().EpDevice_EpMetadata)(device.ptr());
        if pairs.is_null() { None } else { owned((ort::api().GetKeyValue)(pairs, key.as_ptr())) }
    }
}

/// Copies a text of ONNX Runtime's.
///
/// # Safety
/// `text` is null or a live NUL-terminated string.
unsafe fn owned(text: *const c_char) -> Option<String> {
    // SAFETY: the caller's promise.
    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_that_went_elsewhere_are_told_and_a_whole_model_is_not_worth_a_word() {
        let nodes = |own: usize, cpu: usize| BTreeMap::from([("Own".to_owned(), own), ("Cpu".to_owned(), cpu)]);
        assert_eq!(in_words(&nodes(3, 2), "Own"), "; 3 of 5 nodes run there, the others on the CPU");
        assert_eq!(in_words(&nodes(3, 0), "Own"), "");
        assert_eq!(in_words(&BTreeMap::new(), "Own"), "");
    }
}

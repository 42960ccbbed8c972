mod agreement;
mod infer;

use std::sync::LazyLock;

use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor};

use super::reflection::DESCRIPTORS;

/// Everything in the files of `protocols/proto`; messages of one pool can be compared.
fn pool() -> &'static DescriptorPool {
    static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| DescriptorPool::decode(DESCRIPTORS).unwrap());
    &POOL
}

fn message(name: &str) -> MessageDescriptor {
    pool().get_message_by_name(name).unwrap_or_else(|| panic!("there is no message {name}"))
}

/// Reads a message in its frame by what the files say; it may hold nothing that they do not.
fn read(name: &str, framed: &[u8]) -> DynamicMessage {
    let (prefix, bytes) = framed.split_first_chunk::<5>().unwrap();
    assert_eq!(*prefix, super::prefix(false, bytes.len()).unwrap());
    let read = DynamicMessage::decode(message(name), bytes).unwrap();
    assert_eq!(read.unknown_fields().count(), 0, "{name}: {read:?}");
    read
}

//! Nodes, which are what WhatsApp's stanzas are made of, and addresses in them.

use std::time::{SystemTime, UNIX_EPOCH};

use wacore_binary::NodeContent;
pub(super) use wacore_binary::{Node, builder::NodeBuilder};

/// Who stands for the service itself.
pub(super) const SERVICE: &str = "s.whatsapp.net";

pub(super) fn node(tag: &'static str) -> NodeBuilder {
    NodeBuilder::new(tag)
}

/// An attribute as text; empty where there is none.
pub(super) fn attr(node: &Node, key: &str) -> String {
    node.attrs.get(key).map(ToString::to_string).unwrap_or_default()
}

pub(super) fn children(node: &Node) -> &[Node] {
    node.children().unwrap_or_default()
}

pub(super) fn child<'a>(node: &'a Node, tag: &str) -> Option<&'a Node> {
    node.get_optional_child(tag)
}

/// What is in the first child of this tag.
pub(super) fn content_of(node: &Node, tag: &str) -> Vec<u8> {
    child(node, tag).map(content).unwrap_or_default()
}

pub(super) fn content(node: &Node) -> Vec<u8> {
    match &node.content {
        Some(NodeContent::Bytes(bytes)) => bytes.clone(),
        Some(NodeContent::String(text)) => text.as_bytes().to_vec(),
        _ => Vec::new(),
    }
}

/// A number that is written big-endian, in as many bytes as there are.
pub(super) fn number(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |number, byte| number << 8 | u32::from(*byte))
}

/// An address without its device: `1555:7@s.whatsapp.net` is of `1555@s.whatsapp.net`.
pub(super) fn bare(address: &str) -> String {
    let Some((user, server)) = address.split_once('@') else { return address.to_owned() };
    let user = user.split([':', '.']).next().unwrap_or_default();
    format!("{user}@{server}")
}

pub(super) fn is_group(address: &str) -> bool {
    address.ends_with("@g.us")
}

/// Seconds since 1970.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs())
}

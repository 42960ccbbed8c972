//! Visits every node and weight of a model, wherever it is: graph, subgraphs, functions, attributes.

use super::error::PreflightError;
use super::proto::{AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto};

/// A part of a model.
pub(super) enum Part<'a> {
    /// An operator call.
    Node(&'a NodeProto),
    /// A constant tensor.
    Weight(&'a TensorProto),
}

/// What is done with each part; the first error ends the walk.
type Visit<'v, 'a> = &'v mut dyn FnMut(Part<'a>) -> Result<(), PreflightError>;

/// Visits every part of `model`. Decoding has bounded how deep graphs nest, and with it this recursion.
pub(super) fn visit_parts<'a>(model: &'a ModelProto, visit: Visit<'_, 'a>) -> Result<(), PreflightError> {
    model.graph.iter().try_for_each(|graph| visit_graph(graph, visit))?;
    model.functions.iter().try_for_each(|function| visit_nodes(&function.node, visit))
}

fn visit_graph<'a>(graph: &'a GraphProto, visit: Visit<'_, 'a>) -> Result<(), PreflightError> {
    let sparse = graph.sparse_initializer.iter().flat_map(|tensor| tensor.values.iter().chain(&tensor.indices));
    graph.initializer.iter().chain(sparse).try_for_each(|tensor| visit(Part::Weight(tensor)))?;
    visit_nodes(&graph.node, visit)
}

fn visit_nodes<'a>(nodes: &'a [NodeProto], visit: Visit<'_, 'a>) -> Result<(), PreflightError> {
    for node in nodes {
        visit(Part::Node(node))?;
        node.attribute.iter().try_for_each(|attribute| visit_attribute(attribute, visit))?;
    }
    Ok(())
}

fn visit_attribute<'a>(attribute: &'a AttributeProto, visit: Visit<'_, 'a>) -> Result<(), PreflightError> {
    attribute.t.iter().chain(&attribute.tensors).try_for_each(|tensor| visit(Part::Weight(tensor)))?;
    attribute.g.iter().chain(&attribute.graphs).try_for_each(|graph| visit_graph(graph, visit))
}

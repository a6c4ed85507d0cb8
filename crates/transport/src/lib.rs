//! Move messages between nodes.

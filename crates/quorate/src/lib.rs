//! Everything, by feature.

//! Replay a cluster from a seed, and check what it promised.

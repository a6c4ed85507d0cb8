//! Carry a transport over TCP, TLS and QUIC.

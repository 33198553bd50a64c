//! The server that both sides talk to.

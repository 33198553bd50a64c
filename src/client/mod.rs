//! Speaking to a relay: signed REST, the WebSocket of hints, and how to wait between tries.

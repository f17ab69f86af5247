//! Frames to clients (protocol.md, "Server to client").

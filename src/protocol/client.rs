//! Frames from clients (protocol.md, "Client to server").

//! The program: arguments, configuration, telemetry, then the server until a signal.

fn main() {}

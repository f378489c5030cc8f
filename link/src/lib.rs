//! devhost's shared-memory link and the encoding of heads, compiled from devhost's own sources and nothing else.

#[path = "../../src/shm/mod.rs"]
pub mod shm;
#[path = "../../src/wire.rs"]
pub mod wire;

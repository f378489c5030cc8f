//! System calls that other crates lack or leave unsafe, and readers of `/proc` and files: thin, safe wrappers
//! without policy.
#![cfg(target_os = "linux")]

pub mod content;
pub mod epoll_thread;
pub mod inherited;
pub mod inotify;
pub mod keyboard;
pub mod limits;
pub mod listen;
pub mod listeners;
pub mod liveness;
mod memory;
pub mod network;
pub mod output;
pub mod packets;
pub mod parent;
pub mod priority;
pub mod process;
pub mod program;
pub mod runtime;
pub mod seqpacket;
mod sockets;
pub mod steering;
pub mod trail;

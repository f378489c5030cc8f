//! What one of several apps tells those who look after all of them.

use std::cell::RefCell;

use nix::unistd::Pid;

/// One of several apps.
#[derive(Debug, Default)]
pub(super) struct Member {
    /// The process groups of its workers.
    pub(super) groups: RefCell<Vec<Pid>>,
}

//! The list of what crosses a fork. A worker gets these descriptors and its standard streams; all others are
//! closed.
//!
//! They come with [`Command::Fork`](crate::Command::Fork) in this order: the link's four (plugin apps only),
//! the control socket, the memory for the tail of the output, that for what the app does in the file system, and
//! the standard input if it has one.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use devhost_link::LinkFds;

use crate::control::EntryPoint;

#[derive(Debug)]
pub(crate) struct Handover {
    pub(crate) app: HandedApp,
    pub(crate) control: OwnedFd,
    /// Memory for the tail of its output.
    pub(crate) output: OwnedFd,
    /// Memory for what the app does in the file system.
    pub(crate) trail: OwnedFd,
    pub(crate) stdin: Option<OwnedFd>,
}

/// The part of a [`Handover`] that depends on the kind of app.
#[derive(Debug)]
pub(crate) enum HandedApp {
    Plugin(LinkFds),
    Plain { wanted_port: u16 },
}

/// A command came with the wrong number of descriptors.
#[derive(Debug, thiserror::Error)]
#[error("{came} descriptors came, not {expected}")]
pub(crate) struct HandoverError {
    came: usize,
    expected: usize,
}

/// Lists the descriptors to send, in order.
pub(crate) fn list_fds(
    link: Option<&LinkFds>,
    control: BorrowedFd<'_>,
    output: BorrowedFd<'_>,
    trail: BorrowedFd<'_>,
    stdin: Option<BorrowedFd<'_>>,
) -> Vec<RawFd> {
    let mut fds = Vec::new();
    if let Some(LinkFds { down, up, front_event, worker_event }) = link {
        fds.extend([down, up, front_event, worker_event].map(AsFd::as_fd));
    }
    fds.extend([control, output, trail]);
    fds.extend(stdin);
    fds.iter().map(AsRawFd::as_raw_fd).collect()
}

impl Handover {
    /// Sorts the descriptors that came with a command.
    pub(crate) fn new(
        entry: EntryPoint,
        has_stdin: bool,
        mut fds: Vec<OwnedFd>,
    ) -> Result<Self, HandoverError> {
        fn exactly<const COUNT: usize>(fds: Vec<OwnedFd>) -> Result<[OwnedFd; COUNT], HandoverError> {
            fds.try_into().map_err(|fds: Vec<_>| HandoverError { came: fds.len(), expected: COUNT })
        }
        let stdin = if has_stdin { fds.pop() } else { None };
        match entry {
            EntryPoint::Plugin => {
                let [down, up, front_event, worker_event, control, output, trail] = exactly(fds)?;
                let app = HandedApp::Plugin(LinkFds { down, up, front_event, worker_event });
                Ok(Self { app, control, output, trail, stdin })
            }
            EntryPoint::Plain { wanted_port } => {
                let [control, output, trail] = exactly(fds)?;
                Ok(Self { app: HandedApp::Plain { wanted_port }, control, output, trail, stdin })
            }
        }
    }

    /// Lists what stays open in a forked worker. Its standard input has already been moved into place.
    pub(crate) fn fds_kept(&self) -> Vec<RawFd> {
        let link = match &self.app {
            HandedApp::Plugin(link) => Some(link),
            HandedApp::Plain { .. } => None,
        };
        list_fds(link, self.control.as_fd(), self.output.as_fd(), self.trail.as_fd(), None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fds(count: usize) -> Vec<OwnedFd> {
        (0..count).map(|_| std::fs::File::open("/dev/null").unwrap().into()).collect()
    }

    #[test]
    fn what_is_sent_is_what_is_received() {
        let plain = EntryPoint::Plain { wanted_port: 80 };
        for (entry, has_stdin, count) in [
            (EntryPoint::Plugin, true, 8),
            (EntryPoint::Plugin, false, 7),
            (plain, true, 4),
            (plain, false, 3),
        ] {
            let sent = fds(count);
            let numbers: Vec<_> = sent.iter().map(AsRawFd::as_raw_fd).collect();
            let handover = Handover::new(entry, has_stdin, sent).unwrap();
            assert_eq!(handover.fds_kept(), numbers[..count - usize::from(has_stdin)]);
            assert_eq!(handover.stdin.map(|fd| fd.as_raw_fd()), has_stdin.then(|| numbers[count - 1]));
        }
    }

    #[test]
    fn a_descriptor_too_many_or_too_few_is_an_error() {
        let error = |entry, count| Handover::new(entry, false, fds(count)).unwrap_err().to_string();
        assert_eq!(error(EntryPoint::Plugin, 2), "2 descriptors came, not 7");
        assert_eq!(error(EntryPoint::Plain { wanted_port: 0 }, 4), "4 descriptors came, not 3");
        assert!(Handover::new(EntryPoint::Plugin, true, Vec::new()).is_err());
    }
}

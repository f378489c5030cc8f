//! For tests only: leaves out a line of the rule, to check that the tests notice. Not compiled into programs.

/// A line of the rule that tests can leave out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Line {
    Configured,
    Built,
    OwnWork,
    Remembered,
    Read,
    Missed,
    LookedAt,
    Listed,
    Served,
    Earlier,
    Unused,
    Database,
}

/// The variable that names the line.
#[cfg(feature = "testing")]
const VARIABLE: &str = "DEVHOST_TEST_LEAVE_OUT";

/// Returns true if a test has left out this line.
#[cfg(feature = "testing")]
pub(crate) fn is_left_out(line: Line) -> bool {
    static LEFT_OUT: std::sync::LazyLock<Option<String>> =
        std::sync::LazyLock::new(|| std::env::var(VARIABLE).ok());
    LEFT_OUT.as_ref().is_some_and(|name| *name == format!("{line:?}"))
}

#[cfg(not(feature = "testing"))]
pub(crate) fn is_left_out(_: Line) -> bool {
    false
}

//! A means of tests: leaves out a part of the rule for replays, to see that the tests notice. A program has none of it.

/// A part of the rule that tests can leave out.
#[cfg(any(test, feature = "testing"))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weakness {
    /// Manifests, configuration, build scripts' inputs and the like do not count.
    Guards,
    /// New and removed files do not count.
    UnknownFiles,
    /// Crates that use a changed one are not compiled again.
    Dependents,
    /// Only what the watcher says has changed is looked at.
    Content,
    /// Files are not compared again once rustc has read them.
    SecondLook,
    /// A crate's record may be of other manifests.
    Manifests,
    /// Inputs of build scripts do not count.
    ScriptInputs,
    /// A package is not compiled again for a script that says and makes the same, although its inputs have changed.
    ScriptUsers,
    /// What a script says is not compared.
    ScriptOutput,
    /// What a script makes is not compared.
    ScriptMade,
    /// cargo is not told that a script was run.
    ScriptAge,
}

/// Whether a test has left out this part of the rule.
#[cfg(any(test, feature = "testing"))]
macro_rules! is_left_out {
    ($context:expr, $part:ident) => {
        $context.weakness == Some($crate::replay::weakness::Weakness::$part)
    };
}

/// Nothing is ever left out of the rule.
#[cfg(not(any(test, feature = "testing")))]
macro_rules! is_left_out {
    ($context:expr, $part:ident) => {{
        let _ = &$context;
        false
    }};
}

pub(super) use is_left_out;

//! For tests only: leaves out a part of the replay rule to check that the tests notice. Not compiled into
//! programs.

/// A part of the rule tests can leave out.
#[cfg(any(test, feature = "testing"))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weakness {
    /// Manifests, configuration, build scripts' inputs and the like are ignored.
    Guards,
    /// New and removed files are ignored.
    UnknownFiles,
    /// Dependents of a changed crate are not recompiled.
    Dependents,
    /// Only what the watcher reports as changed is looked at.
    Content,
    /// Files are not compared again after rustc has read them.
    SecondLook,
    /// A crate's record may be from other manifests.
    Manifests,
    /// Inputs of build scripts are ignored.
    ScriptInputs,
    /// A package is not recompiled if its script's inputs changed, but its output and files did not.
    ScriptUsers,
    /// A script's output is not compared.
    ScriptOutput,
    /// A script's files are not compared.
    ScriptMade,
    /// cargo is not made to rerun a script.
    ScriptAge,
}

/// Whether a test has left out this part of the rule.
#[cfg(any(test, feature = "testing"))]
macro_rules! is_left_out {
    ($context:expr, $part:ident) => {
        $context.weakness == Some($crate::replay::weakness::Weakness::$part)
    };
}

#[cfg(not(any(test, feature = "testing")))]
macro_rules! is_left_out {
    ($context:expr, $part:ident) => {{
        let _ = &$context;
        false
    }};
}

pub(super) use is_left_out;

//! Why a build is not replayed and cargo is asked instead.

/// Why a build is not replayed, but left to cargo.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("it is the first build")]
    FirstBuild,
    /// The recording then matches neither the old sources nor the new ones.
    #[error("a build from scratch was asked for")]
    Asked,
    #[error("the build before was given up")]
    GivenUp,
    #[error("the build before failed")]
    FailedBefore,
    #[error("the app was built as a program")]
    BuiltAsProgram,
    #[error("the target directory was removed while it was built")]
    TargetDirRemoved,
    #[error("a manifest changed")]
    ManifestChanged,
    #[error("the job sheet for rustc is gone")]
    JobSheetGone,
    #[error("the wrapper's report is gone")]
    ReportGone,

    // About a crate, by its name or its package's.
    #[error("the app's rustc call was not recorded")]
    NotRecorded,
    #[error("the recorded call of `{0}` is of other settings")]
    OtherSettings(String),
    #[error("{variable} has another value than when `{name}` was compiled")]
    OtherVariable { name: String, variable: String },
    #[error("`{0}` is no package of the app any more")]
    PackageGone(String),
    #[error("what `{0}` was compiled from is not known")]
    SourcesUnknown(String),
    #[error("`{0}` is a procedural macro, or changes one")]
    Macro(String),
    #[error("a manifest or the configuration changed since `{0}` was compiled")]
    OlderManifest(String),
    #[error("`{0}` is used by a build script")]
    UsedByScript(String),
    #[error("`{0}` is used by a package that only cargo compiles")]
    UsedOutside(String),

    // About a file, by its path as shown in messages.
    #[error("{0} changed")]
    Changed(String),
    #[error("{0} may have changed while cargo ran")]
    MayHaveChanged(String),
    #[error("{0} was changed by another program")]
    ChangedByOthers(String),
    #[error("{0}, which a build script reads, changed")]
    ReadByScript(String),
    #[error("{0}, which a build script makes, changed")]
    MadeByScript(String),
    #[error("{0} is new to the build")]
    NewToBuild(String),
    #[error("{0} is new")]
    New(String),
    #[error("{0} is gone")]
    Gone(String),

    // About build scripts, by package name.
    #[error(
        "the build script of `{0}` names no inputs that exist (`cargo::rerun-if-changed=…`), so cargo runs it after every \
         change"
    )]
    ScriptNamesNothing(String),
    #[error("the build script of `{0}` has too many inputs to look at")]
    ScriptHasTooManyInputs(String),
    #[error("the build script of `{0}` says too much")]
    ScriptSaysTooMuch(String),
    #[error("the build script of `{0}` failed")]
    ScriptFailed(String),
    #[error("the build script of `{name}` sets {variable}, which cargo did not pass on")]
    ScriptVariable { name: String, variable: String },
    #[error("the build script of `{name}` {difference}")]
    ScriptDiffers { name: String, difference: Difference },

    // About the replay itself.
    #[error("a cancelled rustc is still running")]
    StillRunning,
    #[error("another process builds in this target directory")]
    Locked,
    #[error("rustc failed, and not because of the code")]
    RustcFailed,
    #[error("the linker refused it")]
    LinkerRefused,
    #[error("nothing was made")]
    NothingMade,
    #[error("what was made could not be loaded")]
    NotLoadable,
    #[error("rustc's output was lost")]
    OutputLost,
    #[error("cannot {what}: {error}")]
    System { what: String, error: String },
}

/// How a build script's directives differ from the run before, other than in variables' values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Difference {
    #[error("reports an error")]
    Error,
    #[error("has told cargo something else than before")]
    Directives,
    #[error("sets other variables than before")]
    Variables,
}

impl Refusal {
    /// A failed system call.
    pub(crate) fn system(what: impl Into<String>, error: &std::io::Error) -> Self {
        Self::System { what: what.into(), error: error.to_string() }
    }
}

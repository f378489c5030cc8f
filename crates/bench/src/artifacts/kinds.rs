//! The kinds of things a reload can leave behind. Each is a small plugin in `plugins/`, embedded as source.
//! This file says what is tried, not what comes of it.

/// A kind of thing a reload can leave behind.
#[derive(Debug, Clone, Copy)]
pub struct ArtifactKind {
    /// Its short name.
    pub name: &'static str,
    /// What the plugin does.
    pub title: &'static str,
    /// What goes wrong if it is left behind, and why.
    pub explanation: &'static str,
    /// The source of the plugin's module `kind`.
    pub source: &'static str,
    /// Links the plugin with its own standard library instead of the shared dependency.
    pub has_own_std: bool,
    /// Loads both versions from the same path, one after the other.
    pub shares_place: bool,
}

pub(super) const PLUGIN_SOURCE: &str = include_str!("plugins/plugin.rs");

/// The library that stands for the dependencies.
pub(super) const SHARED_SOURCE: &str = include_str!("plugins/shared.rs");

macro_rules! kind {
    ($name:literal, $file:literal, $title:literal, $explanation:literal) => {
        ArtifactKind {
            name: $name,
            title: $title,
            explanation: $explanation,
            source: include_str!(concat!("plugins/", $file)),
            has_own_std: false,
            shares_place: false,
        }
    };
}

/// All kinds.
pub const KINDS: &[ArtifactKind] = &[
    kind!(
        "static-value",
        "static_value.rs",
        "a static of a dependency that counts starts",
        "Dependencies are not loaded anew with the app, so what their statics hold stays. The new code finds a value that \
         the old has left, and goes on from there."
    ),
    kind!(
        "thread",
        "thread.rs",
        "a thread that is not ended",
        "The thread belongs to the process, its code to the library. When it wakes after the library was unmapped, there \
         is nothing left to return to."
    ),
    kind!(
        "thread-local-destructor",
        "thread_local.rs",
        "a thread-local value with a destructor",
        "The destructor is registered with the thread and called when the thread ends. By then its code is unmapped."
    ),
    kind!(
        "signal-handler",
        "signal_handler.rs",
        "a signal handler that an edit has taken away",
        "The kernel keeps the address of the handler. The next signal jumps to where the old code was."
    ),
    kind!(
        "exit-handler",
        "exit_handler.rs",
        "a function that a dependency has registered with atexit",
        "The C library runs a library's own exit handlers at dlclose, but not those that a dependency has registered for \
         it: they are called when the process ends, in code that is unmapped."
    ),
    ArtifactKind {
        has_own_std: true,
        shares_place: true,
        ..kind!(
            "stays-mapped",
            "stays_mapped.rs",
            "a library that dlclose leaves mapped, built anew at the same path",
            "A cdylib that brings its own standard library and has a thread-local destructor is kept in memory while the \
             thread lives. dlopen of the same path then gives that library again: old code is served as new."
        )
    },
    kind!(
        "global-subscriber",
        "global_subscriber.rs",
        "a global subscriber (a logger) that is set once",
        "The second set is refused, and the dependency goes on calling the first subscriber, whose code is unmapped."
    ),
    kind!(
        "global-runtime",
        "global_runtime.rs",
        "a global runtime with a number of threads that an edit has changed",
        "The runtime is made by whoever comes first. The new code asks for other threads and gets the old ones, so the \
         edit has no effect."
    ),
    kind!(
        "struct-layout",
        "struct_layout.rs",
        "state handed over by pointer, whose fields an edit has reordered",
        "The new code reads the old memory in its own layout: each field has another one's value, and no one notices."
    ),
    kind!(
        "descriptor",
        "descriptor.rs",
        "an open file that is not closed",
        "Descriptors belong to the process. Each reload leaves one more, with its lock or port, until there are no more."
    ),
    kind!(
        "timer",
        "timer.rs",
        "an interval timer that an edit has taken away",
        "The kernel goes on sending the timer's signal, and its handler was in the old code."
    ),
    kind!(
        "interned-pointer",
        "interned_pointer.rs",
        "a constant string that a dependency has interned",
        "The table gives the new code the pointer that it got from the old. What it points to went with the old library."
    ),
    kind!(
        "type-id",
        "type_id.rs",
        "a value in a map of types, whose fields an edit has narrowed",
        "A `TypeId` is made of names: those of the crate, the type and its fields, not of what the fields are. The new code \
         finds the old value under its own type and reads it in the new layout."
    ),
];

//! An app finds what it needs in the shared library of its dependencies, although rustc or a linker hides it.

use devhost_build::{Artifact, Settings};

use crate::build::{Workspace, built, load, manifest};

/// A crate of functions that other crates wrap in shims, only name, or use in generic code.
const TRACKED: &str = r#"
pub trait Shared: Send + Sync { fn next(&self) -> i32; }
pub struct Direct(pub i32);
impl Shared for Direct { #[track_caller] fn next(&self) -> i32 { line(std::panic::Location::caller()) + self.0 } }
pub struct Other(pub i32);
impl Shared for Other { #[track_caller] fn next(&self) -> i32 { line(std::panic::Location::caller()) + self.0 } }
impl Shared for &'static str { #[track_caller] fn next(&self) -> i32 { line(std::panic::Location::caller()) + 3 } }
fn line(location: &std::panic::Location) -> i32 { if location.line() > 0 { 20 } else { 0 } }

#[track_caller] pub fn free() -> i32 { line(std::panic::Location::caller()) + 4 }
pub struct Method;
impl Method { #[track_caller] pub fn take(self) -> i32 { line(std::panic::Location::caller()) + 5 } }

pub trait Task { fn run(self) -> i32; fn name(&self) -> i32; }
pub struct Job(pub i32);
impl Task for Job {
    #[track_caller] fn run(self) -> i32 { line(std::panic::Location::caller()) + self.0 }
    fn name(&self) -> i32 { self.0 }
}

#[cfg(target_arch = "x86_64")]
std::arch::global_asm!(".globl tracked_in_assembly", ".type tracked_in_assembly,@function", "tracked_in_assembly:", "mov eax, 26", "ret");
#[cfg(target_arch = "aarch64")]
std::arch::global_asm!(".globl tracked_in_assembly", ".type tracked_in_assembly,%function", "tracked_in_assembly:", "mov w0, 26", "ret");
unsafe extern "C" { fn tracked_in_assembly() -> i32; }
pub fn assembly<T>() -> i32 { unsafe { tracked_in_assembly() } }

#[unsafe(no_mangle)] extern "C" fn tracked_by_name() -> i32 { 27 }
#[unsafe(no_mangle)] static tracked_value: i32 = 28;

thread_local! { pub static LOCAL: std::cell::RefCell<Vec<i32>> = std::cell::RefCell::new(vec![29]); }
#[inline] pub fn local() -> i32 { LOCAL.with(|local| local.borrow()[0]) }
#[inline] pub fn counted() -> i32 { static COUNT: std::sync::atomic::AtomicI32 = std::sync::atomic::AtomicI32::new(30); COUNT.fetch_add(0, std::sync::atomic::Ordering::Relaxed) }

static TABLE: [fn() -> i32; 2] = [free, hidden];
fn hidden() -> i32 { 31 }
#[inline] pub fn table(index: usize) -> fn() -> i32 { TABLE[index] }

pub struct Dropped<'a>(pub &'a std::cell::Cell<i32>);
impl Drop for Dropped<'_> { #[track_caller] fn drop(&mut self) { self.0.set(32) } }
"#;

/// A second dependency, with shims for the first one's functions.
const BETWEEN: &str = r#"
use tracked::{Job, Other, Shared, Task};
pub fn shared() -> Box<dyn Shared> { Box::new(Other(2)) }
pub fn task() -> Box<dyn Task> { Box::new(Job(3)) }
pub fn pointer() -> fn(tracked::Method) -> i32 { tracked::Method::take }
unsafe extern "C" { fn tracked_by_name() -> i32; static tracked_value: i32; }
pub fn by_name<T>() -> i32 { unsafe { tracked_by_name() } }
pub fn value<T>() -> i32 { unsafe { tracked_value } }
"#;

fn workspace() -> Workspace {
    let workspace = Workspace::new();
    for (name, dependencies, text) in [("tracked", "", TRACKED), ("between", "tracked = '1'", BETWEEN)] {
        workspace.write(&format!("vendor/{name}/.cargo-checksum.json"), "{\"files\":{}}");
        let text_of_manifest = manifest(name, dependencies).replace("0.1.0", "1.0.0");
        workspace.write(&format!("vendor/{name}/Cargo.toml"), &text_of_manifest);
        workspace.write(&format!("vendor/{name}/src/lib.rs"), text);
    }
    workspace.write(
        "app/Cargo.toml",
        &manifest("app", "devhost-plugin = { path = '../plugin' }\ntracked = '1'\nbetween = '1'\nutil = { path = '../util' }"),
    );
    workspace.write("util/Cargo.toml", &manifest("util", "tracked = '1'"));
    workspace
}

fn value(artifact: &Artifact) -> i32 {
    load(artifact).call::<i32>("value")
}

#[test]
fn functions_that_need_shims_are_found_in_the_shared_library() {
    let workspace = workspace();
    workspace.write("util/src/lib.rs", "pub fn pointer() -> fn() -> i32 { tracked::free }\n");
    let mut builder = workspace.builder_with(Settings::default());
    for (expression, expected) in [
        // rustc hides each of them, or may hide it.
        ("{ let it: Box<dyn tracked::Shared> = Box::new(tracked::Direct(1)); it.next() }", 21),
        ("tracked::Shared::next(&tracked::Other(2))", 22),
        ("between::shared().next()", 22),
        ("{ let it: &dyn tracked::Shared = &\"text\"; it.next() }", 23),
        ("util::pointer()()", 24),
        ("tracked::free()", 24),
        ("{ let it: fn(tracked::Method) -> i32 = tracked::Method::take; it(tracked::Method) }", 25),
        ("between::pointer()(tracked::Method) + tracked::Method.take()", 50),
        ("{ let it: Box<dyn tracked::Task> = Box::new(tracked::Job(33)); it.name() }", 33),
        ("tracked::Task::run(tracked::Job(3)) + between::task().name()", 26),
        ("[tracked::Job(4)].into_iter().map(tracked::Task::run).sum::<i32>()", 24),
        ("tracked::assembly::<u8>()", 26),
        ("between::by_name::<u8>()", 27),
        ("between::value::<u8>()", 28),
        ("tracked::local()", 29),
        ("tracked::counted()", 30),
        ("tracked::table(1)() + tracked::table(0)()", 55),
        (
            "{ let cell = std::cell::Cell::new(0); drop(Box::new(tracked::Dropped(&cell)) as Box<dyn Send2>); cell.get() }",
            32,
        ),
    ] {
        let edited = workspace.write(
            "app/src/lib.rs",
            &format!(
                "devhost_plugin::export!();
                #[allow(unused)] use tracked::{{Shared, Task}};
                #[allow(unused)] trait Send2 {{}}
                impl<T> Send2 for T {{}}
                #[unsafe(no_mangle)]
                pub extern \"C\" fn value() -> i32 {{ {expression} }}
                "
            ),
        );
        let artifact = built(&mut builder, &[edited]);
        assert_eq!(artifact.preload.len(), 2, "{expression}: {:?}", artifact.notes);
        assert_eq!(value(&artifact), expected, "{expression}");
    }
}

//! The plugins in `tests/fixtures/c_plugin`: they compile without a warning, and the host's loop serves the good one.

use std::path::{Path, PathBuf};
use std::process::Command;

use devhost_plugin::abi::{self, Descriptor, DescriptorFn};
use devhost_plugin::negotiation::{AbiError, check_descriptor};

use crate::fake_host::{Acceptance, CREDIT_BYTES, FakeHost, Request, Response};

fn compile(source: &str) -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let source = package.join("../tests/fixtures/c_plugin").join(source);
    let name = format!("{}-{}.so", source.file_stem().expect("a name").display(), line_id());
    let library = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let output = Command::new(std::env::var_os("CC").unwrap_or_else(|| "cc".into()))
        .args(["-std=c11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-I"])
        .arg(package.join("include"))
        .arg(&source)
        .arg("-o")
        .arg(&library)
        .output()
        .expect("a C compiler");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    library
}

/// Tells tests apart that compile the same file at the same time.
fn line_id() -> u32 {
    static LAST: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    LAST.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}

/// Compiles and loads a plugin; it stays loaded.
fn load(source: &str) -> *const Descriptor {
    let path = compile(source);
    // SAFETY: the fixtures run no code when they are loaded.
    let library = unsafe { libloading::Library::new(&path) }.expect("the plugin loads");
    std::fs::remove_file(path).expect("it was just made");
    let library = Box::leak(Box::new(library));
    // SAFETY: the symbol has this type in every plugin.
    unsafe {
        let descriptor = library.get::<DescriptorFn>(abi::DESCRIPTOR_SYMBOL).expect("a plugin");
        descriptor()
    }
}

fn start(acceptance: Acceptance) -> &'static FakeHost {
    FakeHost::start(load("plugin.c"), acceptance).expect("the plugin starts")
}

#[test]
fn a_c_plugin_serves() {
    let host = start(Acceptance::All);
    let exchange = host.get("/");
    assert_eq!((exchange.status, exchange.text().as_str()), (Some(200), "hello from C"));
    assert_eq!(exchange.header("content-type"), Some("text/plain; charset=utf-8"));
    let stream = host.request(Request::get("/env").header("a", "1").header("b", "2"));
    assert_eq!(host.wait_done(stream).text(), "2");
    assert_eq!(host.get("/nowhere").status, Some(404));
    host.stop();
}

#[test]
fn a_c_plugin_echoes_with_back_pressure() {
    let body: Vec<u8> = (0..3 * CREDIT_BYTES / 10).map(|index| (index % 251) as u8).collect();
    let host = start(Acceptance::Tiny);
    let stream = host.request(Request::post("/echo", -1));
    host.send(stream, &body, true);
    assert!(host.wait_done(stream).body == body, "the echo differs");
    host.stop();

    let host = start(Acceptance::Room(1000));
    let body = vec![7; 5 * CREDIT_BYTES];
    let stream = host.request(Request::post("/echo", -1));
    host.send(stream, &body, true);
    let exchange = host.wait(stream, |exchange| exchange.delivered == CREDIT_BYTES + 1000);
    assert_eq!((exchange.body.len(), exchange.consumed), (1000, 1000));
    host.give_room(stream, body.len());
    let exchange = host.wait_done(stream);
    assert!(exchange.body == body && exchange.response == Response::Ended);
    host.stop();
}

#[test]
fn a_c_plugin_forgets_a_cancelled_echo() {
    let host = start(Acceptance::Room(10));
    let stream = host.request(Request::post("/echo", -1));
    host.send(stream, &[7; 100], false);
    host.wait(stream, |exchange| exchange.body.len() == 10);
    host.cancel(stream);
    let exchange = host.get("/env");
    assert_eq!(exchange.text(), "0");
    host.stop();
}

#[test]
fn a_plugin_of_another_abi_is_refused_by_its_version() {
    // SAFETY: the descriptor is one of a loaded plugin.
    let error = unsafe { check_descriptor(load("bad_abi.c")) }.expect_err("version 99");
    assert_eq!(error, AbiError::Version { plugin: 99 << 16, host: abi::ABI_VERSION });
}

#[test]
fn a_c_plugin_that_does_not_start_tells_why() {
    let logs = FakeHost::start(load("failing_start.c"), Acceptance::All).err().expect("it fails");
    assert_eq!(logs, ["cannot open the database"]);
}

#[test]
fn a_c_plugin_whose_start_hangs_compiles() {
    load("hanging_start.c");
}

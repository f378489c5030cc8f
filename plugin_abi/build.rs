//! Compiles `src/layout.c`, which tells the unit test in `src/layout.rs` how a C compiler lays out the types of
//! the header. Only that test links it: a build without a C compiler works, and the library that users get
//! carries no C code.

use std::path::PathBuf;

const LAYOUT_LIBRARY: &str = "devhost_plugin_layout";

fn main() {
    println!("cargo::rerun-if-changed=src/layout.c");
    println!("cargo::rerun-if-changed=include/devhost_plugin.h");
    println!("cargo::rustc-check-cfg=cfg(devhost_layout)");

    // Without its metadata cc would have the library linked into every build; the test's own #[link] does so
    // for the test alone.
    let compiled = cc::Build::new()
        .file("src/layout.c")
        .include("include")
        .cargo_metadata(false)
        .cargo_warnings(false)
        .try_compile(LAYOUT_LIBRARY);
    match compiled {
        Ok(()) => {
            let out_dir = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
            println!("cargo::rustc-link-search=native={}", out_dir.display());
            println!("cargo::rustc-cfg=devhost_layout");
        }
        Err(error) => {
            println!(
                "cargo::warning=the layout of the C header was not compiled, its test will fail: {error}"
            );
        }
    }
}

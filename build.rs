//! Exports the interposer's functions from the executable, so that the apps that it loads bind to them.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=DEP_DEVHOST_INTERPOSE_EXPORTS");
    let symbols = std::env::var("DEP_DEVHOST_INTERPOSE_EXPORTS").unwrap_or_default();
    for symbol in symbols.split_terminator(',') {
        println!("cargo:rustc-link-arg-bins=-Wl,--export-dynamic-symbol={symbol}");
    }
}

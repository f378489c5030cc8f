//! The root of each plugin, and of the program of the same source: the C interface around the module `kind`.
//! `artifact_trait` says whether the plugin has the trait that is tried, `version_two` whether it is the edited one.

mod kind;

/// Which version of the plugin this is.
pub const VERSION: u32 = if cfg!(version_two) { 2 } else { 1 };

/// Where a process keeps what the versions hand to each other.
pub type State = *mut *mut std::ffi::c_void;

/// Which version this is.
#[unsafe(no_mangle)]
pub extern "C" fn artifact_version() -> u32 {
    VERSION
}

/// Begins to serve.
#[unsafe(no_mangle)]
pub extern "C" fn artifact_start(state: State) {
    kind::start(state);
}

/// Answers a request; gives the length of the answer.
///
/// # Safety
/// The buffer has that capacity.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn artifact_answer(buffer: *mut u8, capacity: usize) -> usize {
    let text = kind::answer();
    let length = text.len().min(capacity);
    // SAFETY: the caller's buffer has that much room, and is not the text's.
    unsafe { std::ptr::copy_nonoverlapping(text.as_ptr(), buffer, length) };
    length
}

/// Ends to serve.
#[unsafe(no_mangle)]
pub extern "C" fn artifact_stop() {
    kind::stop();
}

/// The program: serves as its own process what a host would have loaded, and says so and ends as a host does.
#[cfg(program)]
fn main() {
    unsafe extern "C" {
        fn _exit(code: i32) -> !;
    }
    let mut state = std::ptr::null_mut();
    artifact_start(&raw mut state);
    println!("{{\"step\":\"answered\",\"version\":{VERSION},\"text\":{:?}}}", kind::answer());
    if VERSION == 1 {
        artifact_stop();
        // SAFETY: it takes a number and ends the process.
        unsafe { _exit(0) };
    }
}

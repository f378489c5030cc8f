//! The root of each plugin, and of the program of the same source: the C interface around the module `kind`.
//! `artifact_trait` enables the trait under test, `version_two` the edited version.

mod kind;

pub const VERSION: u32 = if cfg!(version_two) { 2 } else { 1 };

/// Where a process keeps what the versions hand to each other.
pub type State = *mut *mut std::ffi::c_void;

#[unsafe(no_mangle)]
pub extern "C" fn artifact_version() -> u32 {
    VERSION
}

#[unsafe(no_mangle)]
pub extern "C" fn artifact_start(state: State) {
    kind::start(state);
}

/// Answers a request and returns the answer's length.
///
/// # Safety
/// The buffer must have that capacity.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn artifact_answer(buffer: *mut u8, capacity: usize) -> usize {
    let text = kind::answer();
    let length = text.len().min(capacity);
    // SAFETY: the caller's buffer has that much room, and does not overlap the text.
    unsafe { std::ptr::copy_nonoverlapping(text.as_ptr(), buffer, length) };
    length
}

#[unsafe(no_mangle)]
pub extern "C" fn artifact_stop() {
    kind::stop();
}

/// The program: serves what a host would have loaded, and reports and ends like a host.
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

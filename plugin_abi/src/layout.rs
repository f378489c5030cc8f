//! Compares the types of [`crate::abi`] with a C compiler's view of the header (`layout.c`, compiled by
//! `build.rs`). Tests only.

use std::collections::BTreeMap;
use std::ffi::{CStr, c_char};
use std::mem::{align_of, offset_of, size_of};

use crate::abi;

/// Offset (or a constant's value), size and alignment.
type Layout = (i64, usize, usize);

#[repr(C)]
struct LayoutRow {
    name: *const c_char,
    value: i64,
    size: usize,
    align: usize,
}

#[cfg(devhost_layout)]
#[link(name = "devhost_plugin_layout", kind = "static")]
unsafe extern "C" {
    fn devhost_layout(count: *mut usize) -> *const LayoutRow;
}

#[cfg(not(devhost_layout))]
unsafe fn devhost_layout(_: *mut usize) -> *const LayoutRow {
    panic!("src/layout.c was not compiled: is there a C compiler (`cc`)?")
}

fn c_layouts() -> BTreeMap<String, Layout> {
    let mut count = 0;
    // SAFETY: the function returns a constant table and stores its length in `count`.
    let entries = unsafe {
        let table = devhost_layout(&raw mut count);
        std::slice::from_raw_parts(table, count)
    };
    entries
        .iter()
        .map(|entry| {
            // SAFETY: the names are string literals.
            let name = unsafe { CStr::from_ptr(entry.name) };
            (name.to_str().expect("ASCII").to_owned(), (entry.value, entry.size, entry.align))
        })
        .collect()
}

/// Returns the size and alignment of the field behind an accessor.
fn layout_of_field<T, F>(_: fn(&T) -> &F) -> (usize, usize) {
    (size_of::<F>(), align_of::<F>())
}

macro_rules! type_layouts {
    ($add:ident, $($c:literal = $type:ident { $($field:ident),* $(,)? })*) => {$(
        // Without `..`, so that an unlisted field does not compile.
        let _: fn(abi::$type) = |abi::$type { $($field: _),* }| {};
        $add($c, (0, size_of::<abi::$type>(), align_of::<abi::$type>()));
        $({
            let (size, align) = layout_of_field(|value: &abi::$type| &value.$field);
            let offset = i64::try_from(offset_of!(abi::$type, $field)).expect("small");
            $add(concat!($c, ".", stringify!($field)), (offset, size, align));
        })*
    )*};
}

macro_rules! constants {
    ($add:ident, $($c:literal = $constant:ident)*) => {$( $add($c, (i64::from(abi::$constant), 0, 0)); )*};
}

fn rust_layouts() -> BTreeMap<String, Layout> {
    let mut layouts = BTreeMap::new();
    let mut add = |name: &str, layout: Layout| {
        assert!(layouts.insert(name.to_owned(), layout).is_none(), "{name} is listed twice");
    };
    add("devhost_stream", (0, size_of::<abi::StreamId>(), align_of::<abi::StreamId>()));
    type_layouts! { add,
        "devhost_slice" = Slice { data, len }
        "devhost_header" = Header { name, value }
        "devhost_request_head" = RequestHead {
            struct_size, flags, http_version, reserved, body_length, method, target, remote, headers,
            header_count,
        }
        "devhost_response_head" = ResponseHead { struct_size, status, headers, header_count }
        "devhost_panic" = Panic { struct_size, reserved, message, location, backtrace }
        "devhost_host_vtable" = HostVtable {
            abi_version, struct_size, respond_head, respond_body, respond_end, respond_panic, reset, consume,
            event_fd, poll, wait, log, respond,
        }
        "devhost_start" = Start { abi_version, struct_size, generation, host, vtable }
        "devhost_descriptor" = Descriptor {
            abi_version, struct_size, flags, reserved, name, version, start, request, request_body, writable,
            cancel, drain, stop,
        }
    }
    constants! { add,
        "DEVHOST_ABI_MAJOR" = ABI_MAJOR
        "DEVHOST_ABI_MINOR" = ABI_MINOR
        "DEVHOST_ABI_VERSION" = ABI_VERSION
        "DEVHOST_OK" = OK
        "DEVHOST_DEAD_STREAM" = DEAD_STREAM
        "DEVHOST_CLOSED" = CLOSED
        "DEVHOST_INVALID" = INVALID
        "DEVHOST_TOO_LARGE" = TOO_LARGE
        "DEVHOST_REQUEST_END" = REQUEST_END
        "DEVHOST_REQUEST_UPGRADE" = REQUEST_UPGRADE
        "DEVHOST_BODY_END" = BODY_END
        "DEVHOST_PLUGIN_OWN_LOOP" = PLUGIN_OWN_LOOP
        "DEVHOST_LOG_ERROR" = LOG_ERROR
        "DEVHOST_LOG_WARN" = LOG_WARN
        "DEVHOST_LOG_INFO" = LOG_INFO
        "DEVHOST_LOG_DEBUG" = LOG_DEBUG
    }
    layouts
}

#[test]
fn rust_and_c_lay_out_every_type_alike() {
    let (c, rust) = (c_layouts(), rust_layouts());
    for (name, layout) in &c {
        assert_eq!(rust.get(name), Some(layout), "{name}: offset or value, size, alignment");
    }
    for name in rust.keys() {
        assert!(c.contains_key(name), "{name} is not in layout.c");
    }
}

#[test]
fn the_c_table_lists_every_field_of_the_header() {
    let c = c_layouts();
    for (name, &(_, size, align)) in c.iter().filter(|(name, layout)| !name.contains('.') && layout.1 > 0) {
        let prefix = format!("{name}.");
        let mut fields: Vec<_> = c.iter().filter(|(field, _)| field.starts_with(&prefix)).collect();
        if fields.is_empty() {
            continue; // a plain number
        }
        fields.sort_by_key(|(_, (offset, _, _))| *offset);
        let mut end = 0_usize;
        for (field, &(offset, size, align)) in fields {
            let offset = usize::try_from(offset).expect("an offset");
            assert_eq!(offset, end.next_multiple_of(align), "something unlisted lies in front of {field}");
            end = offset + size;
        }
        assert_eq!(size, end.next_multiple_of(align), "something unlisted lies at the end of {name}");
    }
    let header = include_str!("../include/devhost_plugin.h");
    for word in header.split_whitespace().filter(|word| word.starts_with("DEVHOST_")) {
        let constant = word.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
        let is_name = constant.chars().all(|c| c.is_ascii_uppercase() || c == '_');
        let known = ["DEVHOST_PLUGIN_H"];
        if is_name && header.contains(&format!("#define {constant} ")) && !known.contains(&constant) {
            assert!(c.contains_key(constant), "{constant} is not in layout.c");
        }
    }
}

/* Reports how this C compiler lays out the types of devhost_plugin.h, and the values of its constants, for the
 * test in layout.rs. Every field of every type is listed: the test checks that no gap is left between them. */
#include "devhost_plugin.h"

struct devhost_layout_entry {
    const char *name; /* "type", "type.field" or "CONSTANT" */
    int64_t value;    /* of a constant; of a field its offset in bytes */
    size_t size;      /* bytes; 0 for a constant */
    size_t align;     /* bytes; 0 for a constant */
};

#define TYPE(type) {#type, 0, sizeof(type), _Alignof(type)}
#define FIELD(type, field)                                                                                     \
    {#type "." #field, (int64_t)offsetof(type, field), sizeof(((type *)0)->field),                             \
     _Alignof(__typeof__(((type *)0)->field))}
#define CONSTANT(name) {#name, (int64_t)(name), 0, 0}

static const struct devhost_layout_entry entries[] = {
    TYPE(devhost_stream),

    TYPE(devhost_slice),
    FIELD(devhost_slice, data),
    FIELD(devhost_slice, len),

    TYPE(devhost_header),
    FIELD(devhost_header, name),
    FIELD(devhost_header, value),

    TYPE(devhost_request_head),
    FIELD(devhost_request_head, struct_size),
    FIELD(devhost_request_head, flags),
    FIELD(devhost_request_head, http_version),
    FIELD(devhost_request_head, reserved),
    FIELD(devhost_request_head, body_length),
    FIELD(devhost_request_head, method),
    FIELD(devhost_request_head, target),
    FIELD(devhost_request_head, remote),
    FIELD(devhost_request_head, headers),
    FIELD(devhost_request_head, header_count),

    TYPE(devhost_response_head),
    FIELD(devhost_response_head, struct_size),
    FIELD(devhost_response_head, status),
    FIELD(devhost_response_head, headers),
    FIELD(devhost_response_head, header_count),

    TYPE(devhost_panic),
    FIELD(devhost_panic, struct_size),
    FIELD(devhost_panic, reserved),
    FIELD(devhost_panic, message),
    FIELD(devhost_panic, location),
    FIELD(devhost_panic, backtrace),

    TYPE(devhost_host_vtable),
    FIELD(devhost_host_vtable, abi_version),
    FIELD(devhost_host_vtable, struct_size),
    FIELD(devhost_host_vtable, respond_head),
    FIELD(devhost_host_vtable, respond_body),
    FIELD(devhost_host_vtable, respond_end),
    FIELD(devhost_host_vtable, respond_panic),
    FIELD(devhost_host_vtable, reset),
    FIELD(devhost_host_vtable, consume),
    FIELD(devhost_host_vtable, event_fd),
    FIELD(devhost_host_vtable, poll),
    FIELD(devhost_host_vtable, wait),
    FIELD(devhost_host_vtable, log),
    FIELD(devhost_host_vtable, respond),

    TYPE(devhost_start),
    FIELD(devhost_start, abi_version),
    FIELD(devhost_start, struct_size),
    FIELD(devhost_start, generation),
    FIELD(devhost_start, host),
    FIELD(devhost_start, vtable),

    TYPE(devhost_descriptor),
    FIELD(devhost_descriptor, abi_version),
    FIELD(devhost_descriptor, struct_size),
    FIELD(devhost_descriptor, flags),
    FIELD(devhost_descriptor, reserved),
    FIELD(devhost_descriptor, name),
    FIELD(devhost_descriptor, version),
    FIELD(devhost_descriptor, start),
    FIELD(devhost_descriptor, request),
    FIELD(devhost_descriptor, request_body),
    FIELD(devhost_descriptor, writable),
    FIELD(devhost_descriptor, cancel),
    FIELD(devhost_descriptor, drain),
    FIELD(devhost_descriptor, stop),

    CONSTANT(DEVHOST_ABI_MAJOR),
    CONSTANT(DEVHOST_ABI_MINOR),
    CONSTANT(DEVHOST_ABI_VERSION),
    CONSTANT(DEVHOST_OK),
    CONSTANT(DEVHOST_DEAD_STREAM),
    CONSTANT(DEVHOST_CLOSED),
    CONSTANT(DEVHOST_INVALID),
    CONSTANT(DEVHOST_TOO_LARGE),
    CONSTANT(DEVHOST_REQUEST_END),
    CONSTANT(DEVHOST_REQUEST_UPGRADE),
    CONSTANT(DEVHOST_BODY_END),
    CONSTANT(DEVHOST_PLUGIN_OWN_LOOP),
    CONSTANT(DEVHOST_LOG_ERROR),
    CONSTANT(DEVHOST_LOG_WARN),
    CONSTANT(DEVHOST_LOG_INFO),
    CONSTANT(DEVHOST_LOG_DEBUG),
};

const struct devhost_layout_entry *devhost_layout(size_t *count) {
    *count = sizeof(entries) / sizeof(entries[0]);
    return entries;
}

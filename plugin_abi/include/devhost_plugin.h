/* The plugin ABI of devhost, version 1.1.
 *
 * A plugin is a shared library that exports devhost_plugin_descriptor(). devhost loads it with dlopen in a
 * freshly forked process, calls start(), and hands it requests. The library is never unloaded: a reload is a
 * new process. Host and plugin may be built by different compilers, so only what is declared here crosses the
 * boundary: no C++ or Rust type, no allocator, no exception or panic.
 *
 * Rules that hold for every function:
 *  - A pointer with a length is borrowed for the duration of the call. Whoever wants to keep the bytes copies
 *    them. A length of 0 allows a NULL pointer.
 *  - The callbacks request, request_body, writable, cancel and drain are called only from inside the host's
 *    poll(), on the thread that called it, one at a time. They must not block and must not call poll() or wait().
 *  - The host functions respond_*, reset, consume and log may be called from any thread at any time between
 *    start() and the return of stop(). Calls for one stream must not overlap each other.
 *  - A stream ends when the response has ended (respond_end, respond_panic or reset) and the request body has
 *    ended, or at cancel(). Calls for a stream that is over return DEVHOST_DEAD_STREAM and do nothing.
 *  - No panic, exception or longjmp may leave a callback.
 */
#ifndef DEVHOST_PLUGIN_H
#define DEVHOST_PLUGIN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define DEVHOST_ABI_MAJOR 1
#define DEVHOST_ABI_MINOR 1
/* Major in the upper, minor in the lower 16 bits. The major part must match; a higher minor part only adds
 * fields at the end of structs, which struct_size tells of. */
#define DEVHOST_ABI_VERSION (((uint32_t)DEVHOST_ABI_MAJOR << 16) | (uint32_t)DEVHOST_ABI_MINOR)

/* What the host functions and callbacks return. */
#define DEVHOST_OK 0
#define DEVHOST_DEAD_STREAM (-1) /* the stream is over: the client is gone, or it was ended already */
#define DEVHOST_CLOSED (-2)      /* the link to the front is gone: the process is about to end */
#define DEVHOST_INVALID (-3)     /* a call out of order, or an argument out of range */
#define DEVHOST_TOO_LARGE (-4)   /* a response head of more than 64 KiB, or of more than 256 headers */

/* devhost_request_head.flags */
#define DEVHOST_REQUEST_END 1u     /* there is no body: request_body will not be called */
#define DEVHOST_REQUEST_UPGRADE 2u /* the client asks for an upgrade; see respond_head */

/* flags of request_body */
#define DEVHOST_BODY_END 1u

/* devhost_descriptor.flags */
/* The plugin calls poll() itself, from a thread of its own, whenever event_fd() is readable. Without this flag
 * the host's main thread does so, and the callbacks run there. */
#define DEVHOST_PLUGIN_OWN_LOOP 1u

/* levels of log */
#define DEVHOST_LOG_ERROR 1
#define DEVHOST_LOG_WARN 2
#define DEVHOST_LOG_INFO 3
#define DEVHOST_LOG_DEBUG 4

typedef struct devhost_host devhost_host; /* opaque: the host's side of one plugin instance */
typedef uint32_t devhost_stream;          /* one request and its response; never reused in a process */

typedef struct devhost_slice {
    const uint8_t *data;
    size_t len; /* bytes */
} devhost_slice;

typedef struct devhost_header {
    devhost_slice name; /* lower case in requests; any case in responses */
    devhost_slice value;
} devhost_header;

typedef struct devhost_request_head {
    uint32_t struct_size;
    uint32_t flags;          /* DEVHOST_REQUEST_* */
    uint32_t http_version;   /* of the client's request times ten: 10 or 11 */
    uint32_t reserved;
    int64_t body_length;     /* bytes, or -1 where the client did not tell */
    devhost_slice method;    /* "GET" */
    devhost_slice target;    /* path and query: "/list?page=2" */
    devhost_slice remote;    /* address and port of the client: "127.0.0.1:50123" */
    const devhost_header *headers;
    size_t header_count;
} devhost_request_head;

typedef struct devhost_response_head {
    uint32_t struct_size;
    uint32_t status; /* 100 to 999 */
    const devhost_header *headers;
    size_t header_count;
} devhost_response_head;

typedef struct devhost_panic {
    uint32_t struct_size;
    uint32_t reserved;
    devhost_slice message;
    devhost_slice location;  /* "src/pages.rs:12:5", or empty */
    devhost_slice backtrace; /* text, or empty */
} devhost_panic;

/* The functions that the host offers. The first argument is always devhost_start.host. */
typedef struct devhost_host_vtable {
    uint32_t abi_version;
    uint32_t struct_size;

    /* Sends status and headers. Once for each stream. With end != 0 there is no body and the response is over.
     * Status 101 answers an upgrade: from then on both bodies are a raw byte stream. Content-length and
     * transfer-encoding need not be set; a content-length that is set must be right. */
    int32_t (*respond_head)(devhost_host *host, devhost_stream stream, const devhost_response_head *head,
                            int32_t end);
    /* Sends body bytes. Returns how many of them were taken, which may be less than len, and 0 when the client
     * is slower than the plugin: writable() is then called once there is room again. Negative: an error. */
    int64_t (*respond_body)(devhost_host *host, devhost_stream stream, const uint8_t *data, size_t len);
    /* Ends the response. */
    int32_t (*respond_end)(devhost_host *host, devhost_stream stream);
    /* Ends the response with a report of a panic. Before respond_head the client gets an error page (status
     * 500), after it the response is cut off. */
    int32_t (*respond_panic)(devhost_host *host, devhost_stream stream, const devhost_panic *panic);
    /* Cuts the response off: the client sees a broken one. The request body is not delivered any further. After
     * respond_end it only does the latter, and the client gets the whole response. */
    int32_t (*reset)(devhost_host *host, devhost_stream stream);
    /* Says that bytes of the request body have been consumed. The front sends at most 64 KiB more than was
     * consumed, so a plugin that never calls it gets only that much. */
    int32_t (*consume)(devhost_host *host, devhost_stream stream, size_t bytes);
    /* A file descriptor that becomes readable when poll() has something to do. Owned by the host: do not read
     * or close it, only wait for it (poll, epoll, edge or level triggered). */
    int32_t (*event_fd)(devhost_host *host);
    /* Handles what has arrived by calling the callbacks, a bounded amount at a time. Returns how much was
     * handled; 0 means that nothing is left and the next arrival makes event_fd readable. Call it until it
     * returns 0. Only one thread may be in poll() or wait() at a time: DEVHOST_INVALID otherwise. Negative: no
     * more calls. */
    int32_t (*poll)(devhost_host *host);
    /* Sleeps until poll() has something to do: 1, or until the time is up: 0. -1 waits without limit. */
    int32_t (*wait)(devhost_host *host, int32_t timeout_ms);
    /* Prints a line on the standard error of the app. The last line of DEVHOST_LOG_ERROR is shown as the reason
     * when start() fails. */
    void (*log)(devhost_host *host, int32_t level, devhost_slice message);

    /* Since 1.1: check struct_size before use. Sends status, headers and as much as is taken of a body that is there
     * already, in one go: cheaper than respond_head, respond_body and respond_end. Returns how many bytes of the body
     * were taken. With all of them the response is over; with fewer it goes on with respond_body, as after
     * respond_head. Negative: an error, and nothing was sent. */
    int64_t (*respond)(devhost_host *host, devhost_stream stream, const devhost_response_head *head,
                       const uint8_t *data, size_t len);
} devhost_host_vtable;

typedef struct devhost_start {
    uint32_t abi_version;
    uint32_t struct_size;
    uint64_t generation; /* 1 for the first code that was loaded, one more for each reload */
    devhost_host *host;  /* valid until the process ends */
    const devhost_host_vtable *vtable; /* valid until the process ends */
} devhost_start;

/* What a plugin offers. Every function pointer but those marked optional must be set. `state` is what start()
 * stored in *state. */
typedef struct devhost_descriptor {
    uint32_t abi_version;
    uint32_t struct_size;
    uint32_t flags; /* DEVHOST_PLUGIN_* */
    uint32_t reserved;
    devhost_slice name;
    devhost_slice version;

    /* Starts the app. Called once, on the main thread of the process. Returns DEVHOST_OK when requests can be
     * handled; anything else fails the generation, and the one before it goes on serving. */
    int32_t (*start)(const devhost_start *start, void **state);
    /* A request has arrived. */
    void (*request)(void *state, devhost_stream stream, const devhost_request_head *head);
    /* Bytes of the request body, at most 16 KiB a call; with DEVHOST_BODY_END the last ones, possibly none. */
    void (*request_body)(void *state, devhost_stream stream, const uint8_t *data, size_t len, uint32_t flags);
    /* respond_body, which took less than it was given, would take bytes again. */
    void (*writable)(void *state, devhost_stream stream);
    /* The client is gone: the stream is over. */
    void (*cancel)(void *state, devhost_stream stream);
    /* Optional. A newer generation has taken over. No new request will come; those in flight may finish. */
    void (*drain)(void *state);
    /* Optional. The end: called once, on the main thread, when no request is left or the time for draining is
     * up. The process exits when it returns, or a second later. */
    void (*stop)(void *state);
} devhost_descriptor;

/* The one symbol that a plugin exports. The descriptor must stay valid until the process ends. */
const devhost_descriptor *devhost_plugin_descriptor(void);

#ifdef __cplusplus
}
#endif

#endif /* DEVHOST_PLUGIN_H */

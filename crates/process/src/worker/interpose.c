/*
 * Stands between an unmodified app and the C library's socket functions.
 *
 * The first TCP port bound by the app is the app's. Its listeners get private ports instead, at a loopback address per
 * process that nobody can guess, so that no page in a browser can go around the front. Whatever armed this is told, one line
 * of text per fact, once the first of them listens. The app still sees the addresses it asked for, and reaches itself there.
 * Everything else is passed on, as is everything while not armed.
 *
 * The file is built twice: into the devhost executable, which exports these functions (libraries loaded later bind to the
 * executable's first), and, with DEVHOST_INTERPOSE_PRELOAD defined, as a library for LD_PRELOAD.
 *
 * Once given a ring in shared memory, it also gets a copy of what the app writes to standard output and error, so that a
 * page can show the tail. The streams themselves are left alone. Writes by the C library's own stdio do not pass here.
 *
 * observe.c stands between the app and the functions that open, look for and change files. The few that both want are here.
 *
 * Lines: "listening ASKED PORT PRIVATE", "also ASKED" (another address of the same port), "unix PATH" (with a descriptor of
 * the socket's file), "socket IDENTITY" (a Unix socket file was created), "further ADDRESS" (with the listener if others may
 * share its address), "detached PID", "terminal" (asked for, but there is none).
 */
#define _GNU_SOURCE
#include "observe.h"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

/* Addresses on the app's port; an app binds one or two. Further ones are passed on. */
#define ADDRESSES_COUNT_MAX 16
/* The longest line: a Unix path is at most 108 bytes. */
#define LINE_LEN_MAX 256
/* console-subscriber listens here, on its own thread and often before the app. */
#define TOKIO_CONSOLE_PORT 6669

/* How many of its own Unix sockets a process remembers, and how many of earlier generations. */
#define SOCKETS_COUNT_MAX 16
#define EARLIER_COUNT_MAX 64

/* `fd` is -1, or comes with the line and is open during the call. */
typedef void (*devhost_sink)(const char *line, size_t len, int fd);

/* Tells a Unix socket file from its replacement. */
struct identity {
    unsigned long long device;
    unsigned long long inode;
    long long seconds;
    long long nanos;
};

/* A Unix socket bound by this process: its file, directory and name. */
struct local {
    struct identity file;
    struct identity directory;
    char name[sizeof((struct sockaddr_un *)0)->sun_path + 1];
};

union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    struct sockaddr_un local;
    struct sockaddr_storage storage;
};

struct pair {
    /* What the app is told. */
    union address asked;
    union address given;
    /* The app left the port to the kernel. */
    bool any_port;
    /* It was reported. */
    bool told;
};

static struct {
    pthread_mutex_t lock;
    devhost_sink sink;
    pid_t pid;
    /* The port of the app's main listener, 0 for any. */
    uint16_t wanted;
    /* The app's port, once chosen. */
    uint16_t port;
    bool chosen;
    bool reported;
    /* The lack of a terminal was reported. */
    bool no_terminal;
    /* A fork of the armed process has left its session. */
    bool detached;
    struct pair pairs[ADDRESSES_COUNT_MAX];
    size_t count;
    struct local locals[SOCKETS_COUNT_MAX];
    size_t locals_count;
    /* The Unix socket files of earlier generations. */
    struct identity earlier[EARLIER_COUNT_MAX];
    size_t earlier_count;
    bool has_earlier;
    /* This process's private IPv4 address, in network order; 0 before it is drawn. */
    uint32_t private_host;
} state = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* System calls, not RTLD_NEXT: nothing to look up, so they work at any time. */
static int real_bind(int fd, const struct sockaddr *address, socklen_t len) {
    return (int)syscall(SYS_bind, fd, address, len);
}

static int real_listen(int fd, int backlog) { return (int)syscall(SYS_listen, fd, backlog); }

static int real_getsockname(int fd, struct sockaddr *address, socklen_t *len) {
    return (int)syscall(SYS_getsockname, fd, address, len);
}

static int real_connect(int fd, const struct sockaddr *address, socklen_t len) {
    return (int)syscall(SYS_connect, fd, address, len);
}

static int real_unlinkat(int directory, const char *path, int flags) {
    return (int)syscall(SYS_unlinkat, directory, path, flags);
}

static int real_open(const char *path, int flags) { return (int)syscall(SYS_openat, AT_FDCWD, path, flags, 0); }

static int real_fstatat(int directory, const char *path, struct stat *status, int flags) {
    return (int)syscall(SYS_newfstatat, directory, path, status, flags);
}

static int real_accept4(int fd, struct sockaddr *address, socklen_t *len, int flags) {
    return (int)syscall(SYS_accept4, fd, address, len, flags);
}

static int real_getpeername(int fd, struct sockaddr *address, socklen_t *len) {
    return (int)syscall(SYS_getpeername, fd, address, len);
}

static bool armed(void) { return __atomic_load_n(&state.sink, __ATOMIC_ACQUIRE) != NULL; }

typedef int (*open_function)(const char *path, int flags, ...);
typedef int (*openat_function)(int directory, const char *path, int flags, ...);

/* Other interposers may come next. Looked up before the app runs. */
static open_function next_open;
static openat_function next_openat;

/* Must be called while single-threaded. */
static void look_up_next(void) {
    next_open = (open_function)dlsym(RTLD_NEXT, "open");
    next_openat = (openat_function)dlsym(RTLD_NEXT, "openat");
}

/* Notes in the front's table which files the app looks at; `fd` is its memory. Must be called while single-threaded. */
void devhost_interpose_observe(int fd) {
    look_up_next();
    devhost_observe_arm(fd);
}

/* `earlier` lists the identities of earlier generations' files, comma-separated; NULL if there were no generations. */
void devhost_interpose_arm(devhost_sink sink, uint16_t wanted, const char *earlier) {
    state.pid = getpid();
    state.wanted = wanted;
    state.has_earlier = earlier != NULL;
    look_up_next();
    while (earlier != NULL && state.earlier_count < EARLIER_COUNT_MAX) {
        struct identity *file = &state.earlier[state.earlier_count];
        if (sscanf(earlier, "%llu:%llu:%lld:%lld", &file->device, &file->inode, &file->seconds, &file->nanos) == 4) {
            state.earlier_count++;
        }
        earlier = strchr(earlier, ',');
        earlier = earlier == NULL ? NULL : earlier + 1;
    }
    __atomic_store_n(&state.sink, sink, __ATOMIC_RELEASE);
}

static void say_with(const char *line, int len, int fd) {
    if (len > 0) {
        state.sink(line, len < LINE_LEN_MAX ? (size_t)len : LINE_LEN_MAX - 1, fd);
    }
}

static void say(const char *line, int len) { say_with(line, len, -1); }

static bool is_inet(const union address *address) {
    return address->any.sa_family == AF_INET || address->any.sa_family == AF_INET6;
}

static uint16_t port_of(const union address *address) {
    return ntohs(address->any.sa_family == AF_INET ? address->v4.sin_port : address->v6.sin6_port);
}

static void set_port(union address *address, uint16_t port) {
    if (address->any.sa_family == AF_INET) {
        address->v4.sin_port = htons(port);
    } else {
        address->v6.sin6_port = htons(port);
    }
}

static socklen_t len_of(const union address *address) {
    return address->any.sa_family == AF_INET ? sizeof address->v4 : sizeof address->v6;
}

static bool same(const union address *a, const union address *b) {
    if (a->any.sa_family != b->any.sa_family || port_of(a) != port_of(b)) {
        return false;
    }
    if (a->any.sa_family == AF_INET) {
        return a->v4.sin_addr.s_addr == b->v4.sin_addr.s_addr;
    }
    return memcmp(&a->v6.sin6_addr, &b->v6.sin6_addr, sizeof a->v6.sin6_addr) == 0;
}

/* The loopback address in the same family, with the same port. */
static union address loopback_of(const union address *address) {
    union address loopback;
    memset(&loopback, 0, sizeof loopback);
    loopback.any.sa_family = address->any.sa_family;
    if (address->any.sa_family == AF_INET) {
        loopback.v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    } else if (IN6_IS_ADDR_V4MAPPED(&address->v6.sin6_addr)) {
        inet_pton(AF_INET6, "::ffff:127.0.0.1", &loopback.v6.sin6_addr);
    } else {
        loopback.v6.sin6_addr = in6addr_loopback;
    }
    set_port(&loopback, port_of(address));
    return loopback;
}

/* An IPv4 address in a socket's family: IPv4-mapped for an IPv6 socket. */
static union address in_family(sa_family_t family, uint32_t host, uint16_t port) {
    union address address;
    memset(&address, 0, sizeof address);
    address.any.sa_family = family;
    if (family == AF_INET) {
        address.v4.sin_addr.s_addr = host;
    } else {
        address.v6.sin6_addr.s6_addr[10] = address.v6.sin6_addr.s6_addr[11] = 0xff;
        memcpy(address.v6.sin6_addr.s6_addr + 12, &host, sizeof host);
    }
    set_port(&address, port);
    return address;
}

/* Extracts the IPv4 address from either family; false if there is none. */
static bool v4_of(const union address *address, uint32_t *host) {
    if (address->any.sa_family == AF_INET) {
        *host = address->v4.sin_addr.s_addr;
        return true;
    }
    if (!IN6_IS_ADDR_V4MAPPED(&address->v6.sin6_addr)) {
        return false;
    }
    memcpy(host, address->v6.sin6_addr.s6_addr + 12, sizeof *host);
    return true;
}

/* 127.A.B.C with A and C from 1 to 254. Finding it takes trying all of some 2^24 addresses, each with every port. IPv6 has
   only one loopback address, so its listeners get this one, too. Caller must hold the lock. */
static uint32_t private_host(void) {
    if (state.private_host == 0) {
        uint8_t drawn[3];
        if (getrandom(drawn, sizeof drawn, GRND_NONBLOCK) != sizeof drawn) {
            return htonl(INADDR_LOOPBACK);
        }
        state.private_host = htonl(127u << 24 | (1u + drawn[0] % 254u) << 16 | (uint32_t)drawn[1] << 8 | (1u + drawn[2] % 254u));
    }
    return state.private_host;
}

static bool is_wildcard(const union address *address) {
    if (address->any.sa_family == AF_INET) {
        return address->v4.sin_addr.s_addr == htonl(INADDR_ANY);
    }
    return IN6_IS_ADDR_UNSPECIFIED(&address->v6.sin6_addr);
}

static bool is_loopback(const union address *address) {
    uint32_t host;
    if (v4_of(address, &host)) {
        return ntohl(host) >> 24 == 127;
    }
    return IN6_IS_ADDR_LOOPBACK(&address->v6.sin6_addr);
}

/* "0.0.0.0:3000" or "[::]:3000". */
static void format(const union address *address, char *text, size_t len) {
    char host[INET6_ADDRSTRLEN] = "?";
    if (address->any.sa_family == AF_INET) {
        inet_ntop(AF_INET, &address->v4.sin_addr, host, sizeof host);
        snprintf(text, len, "%s:%u", host, (unsigned)port_of(address));
    } else if (IN6_IS_ADDR_V4MAPPED(&address->v6.sin6_addr)) {
        inet_ntop(AF_INET, address->v6.sin6_addr.s6_addr + 12, host, sizeof host);
        snprintf(text, len, "%s:%u", host, (unsigned)port_of(address));
    } else {
        inet_ntop(AF_INET6, &address->v6.sin6_addr, host, sizeof host);
        snprintf(text, len, "[%s]:%u", host, (unsigned)port_of(address));
    }
}

static bool is_stream(int fd) {
    int type = 0;
    socklen_t len = sizeof type;
    return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0 && type == SOCK_STREAM;
}

/* The same place, in either family's notation. */
static bool is_same_place(const union address *a, const union address *b) {
    uint32_t one, other;
    if (v4_of(a, &one) && v4_of(b, &other)) {
        return one == other && port_of(a) == port_of(b);
    }
    return same(a, b);
}

static bool read_name(int fd, union address *address, socklen_t *len) {
    memset(address, 0, sizeof *address);
    *len = sizeof *address;
    return real_getsockname(fd, &address->any, len) == 0;
}

static struct pair *find_given(const union address *given) {
    for (size_t at = 0; at < state.count; at++) {
        if (is_same_place(&state.pairs[at].given, given)) {
            return &state.pairs[at];
        }
    }
    return NULL;
}

static struct pair *find_asked(const union address *asked) {
    for (size_t at = 0; at < state.count; at++) {
        if (same(&state.pairs[at].asked, asked)) {
            return &state.pairs[at];
        }
    }
    return NULL;
}

/* Binds a socket to this process's private address, with port 0 to any free port. `given` returns where. */
static bool bind_privately(int fd, sa_family_t family, uint16_t port, union address *given) {
    if (family == AF_INET6) {
        /* Dual-stack, or it could not have the mapped address. */
        int off = 0;
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    }
    *given = in_family(family, private_host(), port);
    int result = real_bind(fd, &given->any, len_of(given));
    if (result != 0 && errno == EADDRINUSE && port != 0) {
        *given = in_family(family, private_host(), 0);
        result = real_bind(fd, &given->any, len_of(given));
    }
    if (result != 0 && errno == EADDRNOTAVAIL) {
        /* Rare: the loopback interface has only 127.0.0.1. */
        *given = in_family(family, htonl(INADDR_LOOPBACK), 0);
        result = real_bind(fd, &given->any, len_of(given));
    }
    socklen_t len;
    return result == 0 && read_name(fd, given, &len);
}

/* From now on, what listens there is the app's. */
static struct pair *add_pair(const union address *asked, const union address *given, bool any_port) {
    struct pair *pair = &state.pairs[state.count++];
    *pair = (struct pair){.asked = *asked, .given = *given, .any_port = any_port};
    state.port = port_of(asked);
    state.chosen = true;
    return pair;
}

/* Binds a listener of the app to a private port. Caller must hold the lock. */
static int bind_private(int fd, const union address *asked) {
    struct pair *known = find_asked(asked);
    if (known != NULL) {
        /* The same address again: free, shared or in use, which the kernel knows. */
        return real_bind(fd, &known->given.any, len_of(&known->given));
    }
    if (state.count == ADDRESSES_COUNT_MAX) {
        return real_bind(fd, &asked->any, len_of(asked));
    }
    union address given;
    if (!bind_privately(fd, asked->any.sa_family, 0, &given)) {
        return -1;
    }
    add_pair(asked, &given, false);
    return 0;
}

static bool belongs_to_app(uint16_t port) {
    if (state.chosen) {
        return port == state.port;
    }
    return state.wanted != 0 ? port == state.wanted : port != TOKIO_CONSOLE_PORT;
}

/* Ends a daemon, which devhost cannot follow: a fork that left the session before anything listened. */
static void leave_if_detached(void) {
    if (state.detached && !state.reported) {
        _exit(0);
    }
}

/* The output ring: a count of all bytes ever written, and from RING_OFFSET on the last `size` of them. The offset is also in
   crates/sys/src/output.rs. */
#define RING_OFFSET 64

static struct {
    uint64_t *total;
    char *bytes;
    size_t size;
} output;

/* Best effort: without memory, nothing is kept. */
void devhost_interpose_keep_output(int fd) {
    struct stat status;
    if (fstat(fd, &status) != 0 || status.st_size <= RING_OFFSET) {
        return;
    }
    void *memory = mmap(NULL, (size_t)status.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED) {
        return;
    }
    output.bytes = (char *)memory + RING_OFFSET;
    output.size = (size_t)status.st_size - RING_OFFSET;
    __atomic_store_n(&output.total, (uint64_t *)memory, __ATOMIC_RELEASE);
}

/* Thread- and signal-safe: reserves its place in the ring atomically, and never waits. */
static void keep(const char *bytes, size_t count) {
    uint64_t *total = __atomic_load_n(&output.total, __ATOMIC_ACQUIRE);
    if (total == NULL || count == 0) {
        return;
    }
    uint64_t at = __atomic_fetch_add(total, count, __ATOMIC_RELAXED);
    if (count > output.size) {
        bytes += count - output.size;
        at += count - output.size;
        count = output.size;
    }
    size_t place = (size_t)(at % output.size);
    size_t first = output.size - place < count ? output.size - place : count;
    memcpy(output.bytes + place, bytes, first);
    memcpy(output.bytes, bytes + first, count - first);
}

static bool is_output(int fd) { return fd == STDOUT_FILENO || fd == STDERR_FILENO; }

ssize_t write(int fd, const void *bytes, size_t count) {
    ssize_t written = syscall(SYS_write, fd, bytes, count);
    if (written > 0 && is_output(fd)) {
        keep(bytes, (size_t)written);
    }
    return written;
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    ssize_t written = syscall(SYS_writev, fd, parts, count);
    if (written > 0 && is_output(fd)) {
        size_t left = (size_t)written;
        for (int at = 0; at < count && left > 0; at++) {
            size_t part = parts[at].iov_len < left ? parts[at].iov_len : left;
            keep(parts[at].iov_base, part);
            left -= part;
        }
    }
    return written;
}

static struct identity identity_of(const struct stat *status) {
    return (struct identity){.device = status->st_dev,
                             .inode = status->st_ino,
                             .seconds = status->st_mtim.tv_sec,
                             .nanos = status->st_mtim.tv_nsec};
}

static bool same_file(const struct identity *a, const struct identity *b) {
    return a->device == b->device && a->inode == b->inode && a->seconds == b->seconds && a->nanos == b->nanos;
}

/* Identifies a socket's file; false if there is something else, or nothing. */
static bool read_socket_file(int directory, const char *path, struct identity *file) {
    struct stat status;
    if (real_fstatat(directory, path, &status, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISSOCK(status.st_mode)) {
        return false;
    }
    *file = identity_of(&status);
    return true;
}

/* Splits a path into its directory, however it is reached, and the name in it. */
static bool read_place(int from, const char *path, struct identity *directory, const char **name) {
    char parent[PATH_MAX];
    const char *slash = strrchr(path, '/');
    size_t len = slash == NULL ? 0 : slash == path ? 1 : (size_t)(slash - path);
    struct stat status;
    if (len >= sizeof parent) {
        return false;
    }
    memcpy(parent, len == 0 ? "." : path, len == 0 ? 1 : len);
    parent[len == 0 ? 1 : len] = 0;
    *name = slash == NULL ? path : slash + 1;
    if (real_fstatat(from, parent, &status, 0) != 0) {
        return false;
    }
    /* Without the time, which changes with each file in it. */
    *directory = (struct identity){.device = status.st_dev, .inode = status.st_ino};
    return true;
}

/* True if a socket file in the way is an earlier generation's, or a dead process's. Caller must hold the lock. */
static bool is_of_earlier_generation(int fd, const union address *asked, socklen_t len, const char *path) {
    struct identity file;
    if (!state.has_earlier || !read_socket_file(AT_FDCWD, path, &file)) {
        return false;
    }
    for (size_t at = 0; at < state.earlier_count; at++) {
        if (same_file(&state.earlier[at], &file)) {
            return true;
        }
    }
    int type = 0;
    socklen_t type_len = sizeof type;
    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &type_len) != 0) {
        return false;
    }
    int probe = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool is_dead = probe >= 0 && real_connect(probe, &asked->any, len) != 0 && errno == ECONNREFUSED;
    if (probe >= 0) {
        close(probe);
    }
    return is_dead;
}

/* Remembers a file created by this process. Caller must hold the lock. */
static void keep_local(const char *path) {
    char line[LINE_LEN_MAX];
    struct local local;
    const char *name;
    if (!read_socket_file(AT_FDCWD, path, &local.file) || !read_place(AT_FDCWD, path, &local.directory, &name) ||
        strlen(name) >= sizeof local.name) {
        return;
    }
    strcpy(local.name, name);
    if (state.locals_count < SOCKETS_COUNT_MAX) {
        state.locals[state.locals_count++] = local;
    }
    say(line, snprintf(line, sizeof line, "socket %llu:%llu:%lld:%lld", local.file.device, local.file.inode,
                       local.file.seconds, local.file.nanos));
}

/* Binds a Unix socket, replacing an earlier generation's file. Caller must hold the lock. */
static int bind_local(int fd, const union address *asked, socklen_t len) {
    char path[sizeof asked->local.sun_path + 1] = "";
    if (len > offsetof(struct sockaddr_un, sun_path)) {
        memcpy(path, asked->local.sun_path, len - offsetof(struct sockaddr_un, sun_path));
    }
    int result = real_bind(fd, &asked->any, len);
    if (path[0] == 0) {
        return result;
    }
    if (result != 0 && errno == EADDRINUSE) {
        if (is_of_earlier_generation(fd, asked, len, path) && real_unlinkat(AT_FDCWD, path, 0) == 0) {
            result = real_bind(fd, &asked->any, len);
        } else {
            errno = EADDRINUSE;
        }
    }
    if (result == 0) {
        keep_local(path);
    }
    return result;
}

/* A process that removes its own socket's file must not remove a later generation's in its place. */
static bool is_of_later_generation(int directory, const char *path) {
    struct identity file, place;
    const char *name;
    bool is_later = false;
    if (path == NULL || __atomic_load_n(&state.locals_count, __ATOMIC_ACQUIRE) == 0) {
        return false;
    }
    int error = errno;
    if (read_socket_file(directory, path, &file) && read_place(directory, path, &place, &name)) {
        pthread_mutex_lock(&state.lock);
        for (size_t at = 0; at < state.locals_count; at++) {
            struct local *local = &state.locals[at];
            if (strcmp(local->name, name) == 0 && same_file(&local->directory, &place)) {
                is_later = !same_file(&local->file, &file);
                if (!is_later) {
                    break;
                }
            }
        }
        pthread_mutex_unlock(&state.lock);
    }
    errno = error;
    return is_later;
}

static bool is_mode_there(int flags) { return (flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE; }

/* Reports that an app without a terminal asked for one, so that the user learns how to give it one. */
static void note_terminal(const char *path, int fd) {
    if (fd >= 0 || errno != ENXIO || path == NULL || strcmp(path, "/dev/tty") != 0) {
        return;
    }
    int error = errno;
    pthread_mutex_lock(&state.lock);
    if (!state.no_terminal) {
        state.no_terminal = true;
        say("terminal ", 9);
    }
    pthread_mutex_unlock(&state.lock);
    errno = error;
}

static int note_opened(int directory, const char *path, int flags, int fd, uint64_t begun) {
    if (armed()) {
        note_terminal(path, fd);
    }
    devhost_observe_open(directory, path, flags, fd, begun);
    return fd;
}

static int open_noting(const char *path, int flags, mode_t mode) {
    uint64_t begun = devhost_observe_open_begin(flags);
    int fd = next_open == NULL ? (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode) : next_open(path, flags, mode);
    return note_opened(AT_FDCWD, path, flags, fd, begun);
}

static int openat_noting(int directory, const char *path, int flags, mode_t mode) {
    uint64_t begun = devhost_observe_open_begin(flags);
    int fd = next_openat == NULL ? (int)syscall(SYS_openat, directory, path, flags, mode)
                                 : next_openat(directory, path, flags, mode);
    return note_opened(directory, path, flags, fd, begun);
}

#define MODE_AFTER(flags, mode)                                                                                        \
    mode_t mode = 0;                                                                                                   \
    if (is_mode_there(flags)) {                                                                                        \
        va_list rest;                                                                                                  \
        va_start(rest, flags);                                                                                         \
        mode = va_arg(rest, mode_t);                                                                                   \
        va_end(rest);                                                                                                  \
    }

int open(const char *path, int flags, ...) {
    MODE_AFTER(flags, mode)
    return open_noting(path, flags, mode);
}

int openat(int directory, const char *path, int flags, ...) {
    MODE_AFTER(flags, mode)
    return openat_noting(directory, path, flags, mode);
}

#ifdef __GLIBC__
/* The same on 64-bit machines. */
int open64(const char *path, int flags, ...) {
    MODE_AFTER(flags, mode)
    return open_noting(path, flags, mode);
}

int openat64(int directory, const char *path, int flags, ...) {
    MODE_AFTER(flags, mode)
    return openat_noting(directory, path, flags, mode);
}
#endif

static int unlink_noting(int directory, const char *path, int flags) {
    if (armed() && flags == 0 && is_of_later_generation(directory, path)) {
        return 0;
    }
    devhost_observe_change();
    int result = real_unlinkat(directory, path, flags);
    devhost_observe_removed(result, directory, path);
    return result;
}

int unlink(const char *path) { return unlink_noting(AT_FDCWD, path, 0); }

int unlinkat(int directory, const char *path, int flags) { return unlink_noting(directory, path, flags); }

int bind(int fd, const struct sockaddr *address, socklen_t len) {
    if (!armed() || address == NULL || len > sizeof(union address)) {
        return real_bind(fd, address, len);
    }
    union address asked;
    memset(&asked, 0, sizeof asked);
    memcpy(&asked, address, len);
    if (asked.any.sa_family == AF_UNIX && len <= sizeof asked.local) {
        pthread_mutex_lock(&state.lock);
        int result = bind_local(fd, &asked, len);
        int error = errno;
        pthread_mutex_unlock(&state.lock);
        errno = error;
        return result;
    }
    if (!is_stream(fd)) {
        return real_bind(fd, address, len);
    }
    if (!is_inet(&asked) || len < len_of(&asked) || port_of(&asked) == 0) {
        /* Port 0 is left alone: it may be a client's. A listener is moved when it listens. */
        return real_bind(fd, address, len);
    }
    leave_if_detached();
    pthread_mutex_lock(&state.lock);
    int result;
    if (belongs_to_app(port_of(&asked))) {
        result = bind_private(fd, &asked);
    } else {
        /* Overlapping generations both want this one. */
        int on = 1;
        setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
        result = real_bind(fd, address, len);
    }
    int error = errno;
    pthread_mutex_unlock(&state.lock);
    errno = error;
    return result;
}

/* The options that a replacement socket inherits. */
static const struct {
    int level;
    int name;
} kept_options[] = {
    {SOL_SOCKET, SO_REUSEADDR},   {SOL_SOCKET, SO_REUSEPORT},      {SOL_SOCKET, SO_KEEPALIVE},
    {SOL_SOCKET, SO_LINGER},      {SOL_SOCKET, SO_RCVTIMEO},       {SOL_SOCKET, SO_SNDTIMEO},
    {IPPROTO_TCP, TCP_NODELAY},   {IPPROTO_TCP, TCP_DEFER_ACCEPT}, {IPPROTO_TCP, TCP_FASTOPEN},
    {IPPROTO_TCP, TCP_KEEPIDLE},  {IPPROTO_TCP, TCP_KEEPINTVL},    {IPPROTO_TCP, TCP_KEEPCNT},
};

/* The app left its listener's port to the kernel, which has assigned it. A bound socket cannot be bound again, so another one
   replaces it, at the private address and with the same port if that is free. A no-op on failure. Caller must hold the
   lock. */
static void move_to_private(int fd, const union address *name) {
    int flags = fcntl(fd, F_GETFL), fd_flags = fcntl(fd, F_GETFD);
    int other = socket(name->any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (other < 0) {
        return;
    }
    for (size_t at = 0; at < sizeof kept_options / sizeof kept_options[0]; at++) {
        char value[sizeof(struct timeval)];
        socklen_t len = sizeof value;
        if (getsockopt(fd, kept_options[at].level, kept_options[at].name, value, &len) == 0) {
            setsockopt(other, kept_options[at].level, kept_options[at].name, value, len);
        }
    }
    union address given, asked = *name;
    if (flags >= 0 && fd_flags >= 0 && fcntl(other, F_SETFL, flags) == 0 &&
        bind_privately(other, name->any.sa_family, port_of(name), &given) &&
        dup3(other, fd, fd_flags & FD_CLOEXEC ? O_CLOEXEC : 0) == fd) {
        /* An app that asked for all addresses looks only at the port. One that asked for loopback is told the address that
           works, since nobody knows the port from elsewhere. */
        set_port(&asked, port_of(&given));
        add_pair(is_loopback(name) ? &given : &asked, &given, true);
    }
    close(other);
}

static bool is_listening(int fd) {
    int listens = 0;
    socklen_t len = sizeof listens;
    return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &len) == 0 && listens;
}

/* Opens the file of a socket bound by this process, which stays reachable through it even if renamed or replaced; -1 if it is
   gone. Caller must hold the lock. */
static int open_local(const char *sun_path, size_t len) {
    char path[sizeof((struct sockaddr_un *)0)->sun_path + 1] = "";
    struct stat status;
    memcpy(path, sun_path, len);
    int file = real_open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (file >= 0 && fstat(file, &status) == 0) {
        struct identity identity = identity_of(&status);
        for (size_t at = 0; at < state.locals_count; at++) {
            if (same_file(&state.locals[at].file, &identity)) {
                return file;
            }
        }
    }
    if (file >= 0) {
        close(file);
    }
    return -1;
}

/* True if other processes may listen at the same address, as the next generation does. */
static bool is_shared(int fd) {
    int shared = 0;
    socklen_t len = sizeof shared;
    return getsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &shared, &len) == 0 && shared;
}

/* Reports what listens now. Caller must hold the lock. */
static void listens(int fd, const union address *name, socklen_t len) {
    char line[LINE_LEN_MAX], asked[64], given[64];
    if (name->any.sa_family == AF_UNIX) {
        if (!state.reported && len > offsetof(struct sockaddr_un, sun_path)) {
            bool abstract = name->local.sun_path[0] == 0;
            int path_len = (int)(len - offsetof(struct sockaddr_un, sun_path));
            if (!abstract) {
                path_len = (int)strnlen(name->local.sun_path, (size_t)path_len);
            }
            int file = abstract ? -1 : open_local(name->local.sun_path, (size_t)path_len);
            say_with(line, snprintf(line, sizeof line, "unix %s%.*s", abstract ? "@" : "",
                                    abstract ? path_len - 1 : path_len, name->local.sun_path + (abstract ? 1 : 0)), file);
            if (file >= 0) {
                close(file);
            }
        }
        return;
    }
    struct pair *pair = find_given(name);
    if (pair != NULL) {
        if (!state.reported) {
            state.reported = true;
            format(&pair->asked, asked, sizeof asked);
            format(&pair->given, given, sizeof given);
            unsigned port = pair->any_port ? 0 : port_of(&pair->asked);
            say(line, snprintf(line, sizeof line, "listening %s %u %s", asked, port, given));
        } else if (!pair->told) {
            format(&pair->asked, asked, sizeof asked);
            say(line, snprintf(line, sizeof line, "also %s", asked));
        }
        pair->told = true;
        return;
    }
    format(name, asked, sizeof asked);
    if (!state.reported && !state.chosen && belongs_to_app(port_of(name))) {
        /* It could not be moved, or has listened since before we were armed: it stays where it is. */
        state.reported = true;
        state.chosen = true;
        union address reached = is_wildcard(name) ? loopback_of(name) : *name;
        format(&reached, given, sizeof given);
        say(line, snprintf(line, sizeof line, "listening %s 0 %s", asked, given));
        return;
    }
    say_with(line, snprintf(line, sizeof line, "further %s", asked), is_shared(fd) ? fd : -1);
}

int listen(int fd, int backlog) {
    if (!armed() || !is_stream(fd)) {
        return real_listen(fd, backlog);
    }
    leave_if_detached();
    union address name;
    socklen_t len;
    if (read_name(fd, &name, &len) && is_inet(&name) && port_of(&name) != 0) {
        pthread_mutex_lock(&state.lock);
        if (!state.reported && !state.chosen && belongs_to_app(port_of(&name)) && !is_listening(fd)) {
            move_to_private(fd, &name);
        }
        pthread_mutex_unlock(&state.lock);
    }
    int result = real_listen(fd, backlog);
    if (result != 0) {
        return result;
    }
    int error = errno;
    if (read_name(fd, &name, &len) && (is_inet(&name) || name.any.sa_family == AF_UNIX)) {
        pthread_mutex_lock(&state.lock);
        listens(fd, &name, len);
        pthread_mutex_unlock(&state.lock);
    }
    errno = error;
    return result;
}

/* A listener's address as seen at one end of a connection to it, in that end's family. */
static union address end_at(const union address *asked, sa_family_t family) {
    if (asked->any.sa_family != family) {
        return in_family(family, htonl(INADDR_LOOPBACK), port_of(asked));
    }
    return is_wildcard(asked) ? loopback_of(asked) : *asked;
}

/* Shows the peer of a connection to a mapped address where it would be if the listener were at the requested address. */
static void show_as_ipv6(union address *name) {
    uint16_t port = port_of(name);
    name->v6.sin6_addr = in6addr_loopback;
    set_port(name, port);
}

static bool is_mapped_loopback(const union address *name) {
    return name->any.sa_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&name->v6.sin6_addr) && is_loopback(name);
}

/* The app asked for a genuine IPv6 address. */
static bool is_ipv6(const struct pair *pair) {
    return pair->asked.any.sa_family == AF_INET6 && !IN6_IS_ADDR_V4MAPPED(&pair->asked.v6.sin6_addr);
}

static void give_name(const union address *name, socklen_t name_len, struct sockaddr *address, socklen_t *len) {
    memcpy(address, name, *len < name_len ? *len : name_len);
    *len = name_len;
}

int getsockname(int fd, struct sockaddr *address, socklen_t *len) {
    if (!armed() || address == NULL || len == NULL) {
        return real_getsockname(fd, address, len);
    }
    union address name, peer;
    socklen_t name_len = sizeof name, peer_len = sizeof peer;
    memset(&name, 0, sizeof name);
    int result = real_getsockname(fd, &name.any, &name_len);
    if (result != 0) {
        return result;
    }
    if (is_inet(&name) && is_stream(fd)) {
        int error = errno;
        bool is_connected = real_getpeername(fd, &peer.any, &peer_len) == 0;
        pthread_mutex_lock(&state.lock);
        struct pair *pair = find_given(&name);
        if (pair != NULL) {
            name = is_connected ? end_at(&pair->asked, name.any.sa_family) : pair->asked;
        } else if (is_connected && is_mapped_loopback(&name) && (pair = find_given(&peer)) != NULL && is_ipv6(pair)) {
            show_as_ipv6(&name);
        }
        pthread_mutex_unlock(&state.lock);
        errno = error;
    }
    give_name(&name, name_len, address, len);
    return 0;
}

/* Shows a peer as the app expects it: a client of its listener, or itself. */
static void show_peer(int fd, union address *peer) {
    union address name;
    socklen_t len;
    int error = errno;
    if (is_inet(peer) && is_loopback(peer) && is_stream(fd) && read_name(fd, &name, &len)) {
        pthread_mutex_lock(&state.lock);
        struct pair *pair = find_given(&name);
        if (pair != NULL && is_ipv6(pair) && is_mapped_loopback(peer)) {
            show_as_ipv6(peer);
        }
        pair = find_given(peer);
        if (pair != NULL) {
            *peer = end_at(&pair->asked, peer->any.sa_family);
        }
        pthread_mutex_unlock(&state.lock);
    }
    errno = error;
}

int getpeername(int fd, struct sockaddr *address, socklen_t *len) {
    if (!armed() || address == NULL || len == NULL) {
        return real_getpeername(fd, address, len);
    }
    union address peer;
    socklen_t peer_len = sizeof peer;
    memset(&peer, 0, sizeof peer);
    int result = real_getpeername(fd, &peer.any, &peer_len);
    if (result == 0) {
        show_peer(fd, &peer);
        give_name(&peer, peer_len, address, len);
    }
    return result;
}

int accept4(int fd, struct sockaddr *address, socklen_t *len, int flags) {
    if (!armed() || address == NULL || len == NULL) {
        return real_accept4(fd, address, len, flags);
    }
    union address peer;
    socklen_t peer_len = sizeof peer;
    memset(&peer, 0, sizeof peer);
    int connection = real_accept4(fd, &peer.any, &peer_len, flags);
    if (connection >= 0) {
        show_peer(connection, &peer);
        give_name(&peer, peer_len, address, len);
    }
    return connection;
}

int accept(int fd, struct sockaddr *address, socklen_t *len) { return accept4(fd, address, len, 0); }

/* True if an app connecting to this address means its own listener. */
static bool means(const struct pair *pair, const union address *target) {
    const union address *asked = &pair->asked;
    if (port_of(asked) != port_of(target)) {
        return false;
    }
    bool on_this_machine = is_loopback(target) || is_wildcard(target);
    if (!is_wildcard(asked)) {
        return is_same_place(asked, target) || (is_loopback(asked) && (pair->any_port ? on_this_machine : is_wildcard(target)));
    }
    /* The IPv6 wildcard covers IPv4, too. */
    uint32_t host;
    return on_this_machine && (asked->any.sa_family == AF_INET6 || v4_of(target, &host));
}

int connect(int fd, const struct sockaddr *address, socklen_t len) {
    if (!armed() || address == NULL || len > sizeof(union address) || !is_stream(fd)) {
        return real_connect(fd, address, len);
    }
    union address target, given;
    bool is_own = false;
    uint32_t host;
    memset(&target, 0, sizeof target);
    memcpy(&target, address, len);
    if (!is_inet(&target) || len < len_of(&target)) {
        return real_connect(fd, address, len);
    }
    pthread_mutex_lock(&state.lock);
    for (size_t at = 0; at < state.count && !is_own; at++) {
        struct pair *pair = &state.pairs[at];
        if (means(pair, &target) && v4_of(&pair->given, &host)) {
            given = in_family(target.any.sa_family, host, port_of(&pair->given));
            is_own = true;
        }
    }
    pthread_mutex_unlock(&state.lock);
    if (!is_own) {
        return real_connect(fd, address, len);
    }
    if (given.any.sa_family == AF_INET6) {
        int off = 0;
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    }
    return real_connect(fd, &given.any, len_of(&given));
}

static void note_detached(pid_t copy) {
    if (armed() && !state.reported) {
        char line[LINE_LEN_MAX];
        state.detached = true;
        say(line, snprintf(line, sizeof line, "detached %d", (int)copy));
    }
}

/* Every daemon calls this, in a fork of the started process. */
pid_t setsid(void) {
    pid_t result = (pid_t)syscall(SYS_setsid);
    if (result > 0 && getpid() != state.pid) {
        note_detached(getpid());
    }
    return result;
}

/* The C library's own version calls fork and setsid without passing here. */
int daemon(int keep_directory, int keep_streams) {
    pid_t copy = fork();
    switch (copy) {
    case -1:
        return -1;
    case 0:
        break;
    default:
        /* This process's end also ends its group, and with it the fork unless it has left: so report it here. */
        note_detached(copy);
        _exit(0);
    }
    if (setsid() < 0) {
        return -1;
    }
    if (!keep_directory && chdir("/") != 0) {
        return -1;
    }
    if (!keep_streams) {
        int null = real_open("/dev/null", O_RDWR);
        if (null < 0) {
            return -1;
        }
        dup2(null, 0);
        dup2(null, 1);
        dup2(null, 2);
        if (null > 2) {
            close(null);
        }
    }
    return 0;
}

#ifdef DEVHOST_INTERPOSE_PRELOAD
#define FD_VARIABLE "DEVHOST_INTERPOSE_FD"
#define PORT_VARIABLE "DEVHOST_INTERPOSE_PORT"
#define OUTPUT_VARIABLE "DEVHOST_INTERPOSE_OUTPUT"
#define TRAIL_VARIABLE "DEVHOST_INTERPOSE_TRAIL"
#define EARLIER_VARIABLE "DEVHOST_INTERPOSE_EARLIER"
#define LD_PRELOAD_VARIABLE "DEVHOST_INTERPOSE_LD_PRELOAD"

static int report_fd = -1;

static void write_line(const char *line, size_t len, int fd) {
    char whole[LINE_LEN_MAX + 1];
    union {
        struct cmsghdr head;
        char space[CMSG_SPACE(sizeof(int))];
    } control;
    memcpy(whole, line, len);
    whole[len] = '\n';
    if (fd >= 0) {
        struct iovec part = {.iov_base = whole, .iov_len = len + 1};
        struct msghdr message = {
            .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control.space};
        memset(&control, 0, sizeof control);
        control.head.cmsg_level = SOL_SOCKET;
        control.head.cmsg_type = SCM_RIGHTS;
        control.head.cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(&control.head), &fd, sizeof fd);
        if (sendmsg(report_fd, &message, MSG_NOSIGNAL) >= 0) {
            return;
        }
    }
    /* One write, so that lines from several threads do not mix. MSG_NOSIGNAL works only on sockets. */
    if (send(report_fd, whole, len + 1, MSG_NOSIGNAL) < 0 && errno == ENOTSOCK) {
        (void)!write(report_fd, whole, len + 1);
    }
}

/* Passes on the descriptor that a variable names, if it is set, and removes both. */
static void use_fd(const char *variable, void (*use)(int fd)) {
    const char *text = getenv(variable);
    if (text != NULL) {
        int fd = atoi(text);
        unsetenv(variable);
        use(fd);
        close(fd);
    }
}

/* Restores the user's environment before the app and its children see it. */
__attribute__((constructor)) static void start(void) {
    const char *text = getenv(FD_VARIABLE);
    if (text == NULL) {
        return;
    }
    /* The file has another name than the app. */
    prctl(PR_SET_NAME, program_invocation_short_name);
    report_fd = atoi(text);
    const char *port = getenv(PORT_VARIABLE);
    uint16_t wanted = port == NULL ? 0 : (uint16_t)atoi(port);
    const char *preload = getenv(LD_PRELOAD_VARIABLE);
    if (preload != NULL) {
        setenv("LD_PRELOAD", preload, 1);
    } else {
        unsetenv("LD_PRELOAD");
    }
    unsetenv(FD_VARIABLE);
    unsetenv(PORT_VARIABLE);
    unsetenv(LD_PRELOAD_VARIABLE);
    use_fd(OUTPUT_VARIABLE, devhost_interpose_keep_output);
    fcntl(report_fd, F_SETFD, FD_CLOEXEC);
    devhost_interpose_arm(write_line, wanted, getenv(EARLIER_VARIABLE));
    unsetenv(EARLIER_VARIABLE);
    /* Last: nothing of the above is the app's. */
    use_fd(TRAIL_VARIABLE, devhost_interpose_observe);
}
#endif

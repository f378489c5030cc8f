/*
 * Stands between an unmodified app and the C library's socket functions.
 *
 * The first TCP port that the app binds is the app's: its listeners get private loopback ports instead, and whoever
 * armed this is told, one line of text for each fact, when the first of them listens. Everything else is passed on.
 * What is not armed passes everything on.
 *
 * The same file is built twice: into the devhost executable, which exports these functions (a library that it loads
 * binds to the executable's first), and, with DEVHOST_INTERPOSE_PRELOAD defined, as a library for LD_PRELOAD.
 *
 * What the app writes to its standard output and error is copied into a ring in shared memory as well, once that is
 * given, so that a page can show the last of it. The streams themselves stay as they are. What the C library's own
 * stdio writes does not come by here.
 *
 * Lines: "listening ASKED PORT PRIVATE", "unix PATH", "further ADDRESS", "detached PID".
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

/* Addresses that belong to the app's port; an app binds one or two. What comes after is passed on. */
#define ADDRESSES_COUNT_MAX 16
/* The longest line: a Unix path is at most 108 bytes. */
#define LINE_LEN_MAX 256
/* Where console-subscriber listens, from a thread of its own and often before the app does. */
#define TOKIO_CONSOLE_PORT 6669

typedef void (*devhost_sink)(const char *line, size_t len);

union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    struct sockaddr_un local;
    struct sockaddr_storage storage;
};

struct pair {
    union address asked;
    union address given;
};

static struct {
    pthread_mutex_t lock;
    devhost_sink sink;
    pid_t pid;
    /* The port that the app's listener is known to ask for, 0 where any will do. */
    uint16_t wanted;
    /* The app's port, once it is chosen. */
    uint16_t port;
    bool chosen;
    bool reported;
    /* A copy of the process that was armed has left its session. */
    bool detached;
    struct pair pairs[ADDRESSES_COUNT_MAX];
    size_t count;
} state = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* System calls, not RTLD_NEXT: nothing to look up, and right at any time. */
static int real_bind(int fd, const struct sockaddr *address, socklen_t len) {
    return (int)syscall(SYS_bind, fd, address, len);
}

static int real_listen(int fd, int backlog) { return (int)syscall(SYS_listen, fd, backlog); }

static int real_getsockname(int fd, struct sockaddr *address, socklen_t *len) {
    return (int)syscall(SYS_getsockname, fd, address, len);
}

static bool armed(void) { return __atomic_load_n(&state.sink, __ATOMIC_ACQUIRE) != NULL; }

void devhost_interpose_arm(devhost_sink sink, uint16_t wanted) {
    state.pid = getpid();
    state.wanted = wanted;
    __atomic_store_n(&state.sink, sink, __ATOMIC_RELEASE);
}

static void say(const char *line, int len) {
    if (len > 0) {
        state.sink(line, len < LINE_LEN_MAX ? (size_t)len : LINE_LEN_MAX - 1);
    }
}

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

/* The loopback address that answers for an address, with the same port. */
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

static bool is_wildcard(const union address *address) {
    if (address->any.sa_family == AF_INET) {
        return address->v4.sin_addr.s_addr == htonl(INADDR_ANY);
    }
    return IN6_IS_ADDR_UNSPECIFIED(&address->v6.sin6_addr);
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

static bool read_name(int fd, union address *address, socklen_t *len) {
    memset(address, 0, sizeof *address);
    *len = sizeof *address;
    return real_getsockname(fd, &address->any, len) == 0;
}

static struct pair *find_given(const union address *given) {
    for (size_t at = 0; at < state.count; at++) {
        if (same(&state.pairs[at].given, given)) {
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

/* Binds a listener of the app to a private port. Called with the lock held. */
static int bind_private(int fd, const union address *asked) {
    struct pair *known = find_asked(asked);
    if (known != NULL) {
        /* Once more the same address: free again, shared, or in use, and the kernel knows which. */
        return real_bind(fd, &known->given.any, len_of(&known->given));
    }
    if (state.count == ADDRESSES_COUNT_MAX) {
        return real_bind(fd, &asked->any, len_of(asked));
    }
    union address given = loopback_of(asked);
    set_port(&given, 0);
    int result = real_bind(fd, &given.any, len_of(&given));
    if (result != 0 && errno == EADDRNOTAVAIL && asked->any.sa_family == AF_INET6) {
        /* No IPv6 on the loopback interface. A socket of both families does with IPv4. */
        inet_pton(AF_INET6, "::ffff:127.0.0.1", &given.v6.sin6_addr);
        result = real_bind(fd, &given.any, len_of(&given));
    }
    socklen_t len;
    if (result != 0 || !read_name(fd, &given, &len)) {
        return result;
    }
    state.pairs[state.count++] = (struct pair){.asked = *asked, .given = given};
    state.port = port_of(asked);
    state.chosen = true;
    return 0;
}

static bool belongs_to_app(uint16_t port) {
    if (state.chosen) {
        return port == state.port;
    }
    return state.wanted != 0 ? port == state.wanted : port != TOKIO_CONSOLE_PORT;
}

/* A daemon: the process that was started has forked, and its copy has left it and goes on alone. */
static void leave_if_detached(void) {
    if (state.detached && !state.reported) {
        _exit(0);
    }
}

/* The ring of the last output: a count of all bytes ever written, and from RING_OFFSET on the last `size` of them. The
   same numbers stand in sys/output.rs. */
#define RING_OFFSET 64

static struct {
    uint64_t *total;
    char *bytes;
    size_t size;
} output;

/* Whoever gets no memory for it goes without. */
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

/* May be called by any thread and in a signal handler: it takes its place in the ring at once, and waits for nobody. */
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

int bind(int fd, const struct sockaddr *address, socklen_t len) {
    if (!armed() || address == NULL || len > sizeof(union address) || !is_stream(fd)) {
        return real_bind(fd, address, len);
    }
    union address asked;
    memset(&asked, 0, sizeof asked);
    memcpy(&asked, address, len);
    if (!is_inet(&asked) || len < len_of(&asked) || port_of(&asked) == 0) {
        /* Port 0 stays as it is: it may be a client's, and a listener's is private enough. */
        return real_bind(fd, address, len);
    }
    leave_if_detached();
    pthread_mutex_lock(&state.lock);
    int result;
    if (belongs_to_app(port_of(&asked))) {
        result = bind_private(fd, &asked);
    } else {
        /* Two generations live beside each other for a while, and both want this one. */
        int on = 1;
        setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
        result = real_bind(fd, address, len);
    }
    int error = errno;
    pthread_mutex_unlock(&state.lock);
    errno = error;
    return result;
}

/* Says what listens now. Called with the lock held. */
static void listens(const union address *name, socklen_t len) {
    char line[LINE_LEN_MAX], asked[64], given[64];
    if (name->any.sa_family == AF_UNIX) {
        if (!state.reported && len > offsetof(struct sockaddr_un, sun_path)) {
            bool abstract = name->local.sun_path[0] == 0;
            int path_len = (int)(len - offsetof(struct sockaddr_un, sun_path));
            if (!abstract) {
                path_len = (int)strnlen(name->local.sun_path, (size_t)path_len);
            }
            say(line, snprintf(line, sizeof line, "unix %s%.*s", abstract ? "@" : "",
                               abstract ? path_len - 1 : path_len, name->local.sun_path + (abstract ? 1 : 0)));
        }
        return;
    }
    struct pair *pair = find_given(name);
    if (pair != NULL) {
        if (!state.reported) {
            state.reported = true;
            format(&pair->asked, asked, sizeof asked);
            format(&pair->given, given, sizeof given);
            say(line, snprintf(line, sizeof line, "listening %s %u %s", asked, (unsigned)port_of(&pair->asked), given));
        }
        return;
    }
    format(name, asked, sizeof asked);
    if (!state.reported && !state.chosen && belongs_to_app(port_of(name))) {
        /* A port that the kernel chose, or a socket that was bound out of our sight: it is where it is. */
        state.reported = true;
        state.chosen = true;
        union address reached = is_wildcard(name) ? loopback_of(name) : *name;
        format(&reached, given, sizeof given);
        say(line, snprintf(line, sizeof line, "listening %s 0 %s", asked, given));
        return;
    }
    say(line, snprintf(line, sizeof line, "further %s", asked));
}

int listen(int fd, int backlog) {
    if (armed()) {
        leave_if_detached();
    }
    int result = real_listen(fd, backlog);
    if (result != 0 || !armed() || !is_stream(fd)) {
        return result;
    }
    int error = errno;
    union address name;
    socklen_t len;
    if (read_name(fd, &name, &len) && (is_inet(&name) || name.any.sa_family == AF_UNIX)) {
        pthread_mutex_lock(&state.lock);
        listens(&name, len);
        pthread_mutex_unlock(&state.lock);
    }
    errno = error;
    return result;
}

int getsockname(int fd, struct sockaddr *address, socklen_t *len) {
    if (!armed() || address == NULL || len == NULL) {
        return real_getsockname(fd, address, len);
    }
    union address name;
    socklen_t name_len;
    memset(&name, 0, sizeof name);
    name_len = sizeof name;
    int result = real_getsockname(fd, &name.any, &name_len);
    if (result != 0) {
        return result;
    }
    if (is_inet(&name) && is_stream(fd)) {
        pthread_mutex_lock(&state.lock);
        struct pair *pair = find_given(&name);
        if (pair != NULL) {
            union address peer;
            socklen_t peer_len = sizeof peer;
            int error = errno;
            if (getpeername(fd, &peer.any, &peer_len) == 0) {
                /* A connection: it has an address of its own, and the port of its listener. */
                set_port(&name, port_of(&pair->asked));
            } else {
                name = pair->asked;
            }
            errno = error;
        }
        pthread_mutex_unlock(&state.lock);
    }
    memcpy(address, &name, *len < name_len ? *len : name_len);
    *len = name_len;
    return 0;
}

static void note_detached(pid_t copy) {
    if (armed() && !state.reported) {
        char line[LINE_LEN_MAX];
        state.detached = true;
        say(line, snprintf(line, sizeof line, "detached %d", (int)copy));
    }
}

/* What every daemon calls, and in a copy of the process, not in the one that was started. */
pid_t setsid(void) {
    pid_t result = (pid_t)syscall(SYS_setsid);
    if (result > 0 && getpid() != state.pid) {
        note_detached(getpid());
    }
    return result;
}

/* The C library's own calls fork and setsid without asking us. */
int daemon(int keep_directory, int keep_streams) {
    pid_t copy = fork();
    switch (copy) {
    case -1:
        return -1;
    case 0:
        break;
    default:
        /* The end of this process ends its group, and with it the copy that has not left it yet: so it is told here. */
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
        int null = open("/dev/null", O_RDWR);
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
#define LD_PRELOAD_VARIABLE "DEVHOST_INTERPOSE_LD_PRELOAD"

static int report_fd = -1;

static void write_line(const char *line, size_t len) {
    char whole[LINE_LEN_MAX + 1];
    memcpy(whole, line, len);
    whole[len] = '\n';
    /* One write, so that lines of several threads do not mix. MSG_NOSIGNAL works on sockets alone. */
    if (send(report_fd, whole, len + 1, MSG_NOSIGNAL) < 0 && errno == ENOTSOCK) {
        (void)!write(report_fd, whole, len + 1);
    }
}

/* The environment is the user's again before the app sees it, and for what the app starts. */
__attribute__((constructor)) static void start(void) {
    const char *text = getenv(FD_VARIABLE);
    if (text == NULL) {
        return;
    }
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
    const char *kept = getenv(OUTPUT_VARIABLE);
    if (kept != NULL) {
        int fd = atoi(kept);
        devhost_interpose_keep_output(fd);
        close(fd);
        unsetenv(OUTPUT_VARIABLE);
    }
    fcntl(report_fd, F_SETFD, FD_CLOEXEC);
    devhost_interpose_arm(write_line, wanted);
}
#endif

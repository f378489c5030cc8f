/*
 * Notes what the app reads, lists, looks for in vain, asks about, changes and writes in the file system, so that the front
 * knows what a change of a file means to the app.
 *
 * The notes go to a table in shared memory, which the front has made and reads (crates/sys/src/trail.rs): a slot for each
 * kind of look at each path, with a count and the times of the first and last one; and a ring of the files written. A fork of
 * the app notes to the same table. What has no room is left out, and that is noted. No call of the app's waits, fails or
 * sets another errno because of this: nothing here allocates, locks or prints, and a known path costs some 100 ns.
 *
 * Each function does what the C library's does, and looks only at the result. Own system calls are never noted, nor are
 * those within the C library. Paths are absolute, but as the app named them. Until armed, all is passed on.
 *
 * Like interpose.c, this is built twice: into the executable, and for LD_PRELOAD.
 */
#undef _FORTIFY_SOURCE
#define _GNU_SOURCE
#include "observe.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* The layout. crates/sys/src/trail.rs describes it and has the same numbers. */
#define VERSION 2
#define TRAIL_SIZE (2304 * 1024)
#define SCOPES_SIZE (16 * 1024 - 64)
#define SLOTS_COUNT (16 * 1024)
#define BUCKETS_COUNT (2 * SLOTS_COUNT)
#define WRITES_COUNT 4096
#define WORDS_SIZE (64 + SCOPES_SIZE + SLOTS_COUNT * (4 + 32) + BUCKETS_COUNT * 4 + WRITES_COUNT * 64)
#define ARENA_SIZE (TRAIL_SIZE - WORDS_SIZE)

enum look { READ, MISSED, LISTED, STAT, MADE, REMOVED };

/* All but `last` is fixed once the slot is in the index. */
struct slot {
    uint64_t hash;
    uint64_t first;
    uint64_t last;
    uint32_t path_at;
    uint16_t path_len;
    uint8_t look;
    uint8_t unused;
};

struct written {
    /* The entry's number plus one, set last. */
    uint64_t tag;
    uint64_t device;
    uint64_t inode;
    uint64_t size;
    int64_t modified;
    int64_t changed;
    uint64_t is_open;
    uint64_t unused;
};

struct trail {
    uint32_t version;
    uint32_t armed;
    uint64_t sequence;
    uint64_t written;
    uint32_t slots_used;
    uint32_t arena_used;
    uint32_t full;
    /* How many calls are under way that may change what a name stands for. */
    uint32_t changing;
    uint32_t unused[6];
    char scopes[SCOPES_SIZE];
    uint32_t counts[SLOTS_COUNT];
    struct slot slots[SLOTS_COUNT];
    uint32_t buckets[BUCKETS_COUNT];
    struct written writes[WRITES_COUNT];
    char arena[ARENA_SIZE];
};

_Static_assert(sizeof(struct slot) == 32 && sizeof(struct written) == 64, "as in trail.rs");
_Static_assert(sizeof(struct trail) == TRAIL_SIZE && offsetof(struct trail, arena) == WORDS_SIZE, "as in trail.rs");

/* How far to look for a bucket. They are at most half full, so this many in a row are taken only by design. */
#define PROBES_COUNT_MAX 256
/* The front gives the workspace, the repository and the working directory. */
#define SCOPES_COUNT_MAX 8
/* Descriptors from this one on are not followed. */
#define FDS_COUNT_MAX (64 * 1024)

struct text {
    const char *bytes;
    size_t len;
};

static struct trail *trail;
static struct text scopes[SCOPES_COUNT_MAX];
static size_t scopes_count;

/* Places of the system's. What is below them is noted only if it is below a scope, too. */
static const struct place {
    struct text path;
    /* Otherwise all that begins like it. */
    bool is_whole;
} unnoted[] = {
#define PLACE(path, is_whole) {{path, sizeof path - 1}, is_whole}
    PLACE("/proc", true),          PLACE("/sys", true),
    PLACE("/dev", true),           PLACE("/usr", true),
    PLACE("/lib", true),           PLACE("/lib64", true),
    PLACE("/bin", true),           PLACE("/sbin", true),
    PLACE("/run", true),           PLACE("/nix/store", true),
    PLACE("/etc/ld.so", false),    PLACE("/etc/hosts", true),
    PLACE("/etc/resolv.conf", true), PLACE("/etc/nsswitch.conf", true),
    PLACE("/etc/localtime", true), PLACE("/etc/passwd", true),
    PLACE("/etc/group", true),     PLACE("/etc/ssl", true),
};

/* The functions that come next: the C library's, or another interposer's. Looked up before the app runs; those without a
   system call of their own also when they are first called. */
#define NEXT_FUNCTIONS(X)                                                                                              \
    X(opendir) X(fopen) X(freopen) X(fclose) X(stat) X(lstat) X(fstatat) X(statx) X(access) X(faccessat) X(euidaccess)  \
    X(eaccess) X(realpath) X(readlink) X(readlinkat) X(remove) X(rmdir) X(rename) X(renameat) X(mkdir) X(mkdirat)       \
    X(symlink) X(symlinkat) X(link) X(linkat) X(truncate) X(chdir) X(fchdir) X(close) X(dup) X(dup2) X(dup3) X(fcntl)   \
    X(close_range) X(renameat2)                                                                                        \
    X(fopen64) X(freopen64) X(stat64) X(lstat64) X(fstatat64) X(canonicalize_file_name) X(__realpath_chk)               \
    X(truncate64) X(fcntl64) X(__xstat) X(__xstat64) X(__lxstat) X(__lxstat64) X(__fxstatat) X(__fxstatat64)

enum next {
#define NUMBER(name) NEXT_##name,
    NEXT_FUNCTIONS(NUMBER) NEXT_COUNT
};

static const char *const next_names[] = {
#define NAME(name) #name,
    NEXT_FUNCTIONS(NAME)};

static void *next_functions[NEXT_COUNT];

/* NULL if there is none, or it was not looked up. */
static void *next_if_known(enum next which) { return __atomic_load_n(&next_functions[which], __ATOMIC_ACQUIRE); }

static void *next_function(enum next which) {
    void *function = next_if_known(which);
    if (function == NULL) {
        function = dlsym(RTLD_NEXT, next_names[which]);
        __atomic_store_n(&next_functions[which], function, __ATOMIC_RELEASE);
    }
    return function;
}

/* Calls the next function if known, and otherwise the kernel. */
#define NEXT_OR(name, type, arguments, otherwise)                                                                      \
    (next_if_known(NEXT_##name) != NULL ? ((type)next_if_known(NEXT_##name))arguments : (otherwise))

typedef int (*clock_function)(clockid_t, struct timespec *);
static clock_function clock_now = clock_gettime;

static uint64_t nanos_of(const struct timespec *time) {
    return (uint64_t)time->tv_sec * 1000000000u + (uint64_t)time->tv_nsec;
}

static uint64_t now(clockid_t clock) {
    struct timespec time = {0};
    clock_now(clock, &time);
    return nanos_of(&time);
}

static struct trail *observed(void) { return __atomic_load_n(&trail, __ATOMIC_ACQUIRE); }

/* The kernel's own clock for file times, or one that is behind it: a file changed after this is never older. */
uint64_t devhost_observe_begin(void) { return observed() == NULL ? 0 : now(CLOCK_REALTIME_COARSE); }

void devhost_observe_arm(int fd) {
    struct stat status;
    if (syscall(SYS_fstat, fd, &status) != 0 || status.st_size != TRAIL_SIZE) {
        return;
    }
    struct trail *memory = mmap(NULL, TRAIL_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED) {
        return;
    }
    if (memory->version != VERSION) {
        munmap(memory, TRAIL_SIZE);
        return;
    }
    for (const char *scope = memory->scopes; scopes_count < SCOPES_COUNT_MAX;) {
        size_t len = strnlen(scope, (size_t)(memory->scopes + SCOPES_SIZE - scope));
        if (len == 0 || scope + len == memory->scopes + SCOPES_SIZE) {
            break;
        }
        scopes[scopes_count++] = (struct text){scope, len};
        scope += len + 1;
    }
    for (enum next which = 0; which < NEXT_COUNT; which++) {
        next_function(which);
    }
    /* The C library's: an interposer that fakes the time would not agree with the files. */
    void *library = dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD);
    void *clock = library == NULL ? NULL : dlsym(library, "clock_gettime");
    if (clock != NULL) {
        clock_now = (clock_function)clock;
    }
    __atomic_store_n(&memory->armed, 1, __ATOMIC_RELEASE);
    __atomic_store_n(&trail, memory, __ATOMIC_RELEASE);
}

/* The path is the place, or below it. */
static bool is_in(const char *path, size_t len, const struct text *place) {
    return len >= place->len && memcmp(path, place->bytes, place->len) == 0 &&
           (len == place->len || path[place->len] == '/');
}

static bool is_noted(const char *path, size_t len) {
    for (size_t at = 0; at < sizeof unnoted / sizeof unnoted[0]; at++) {
        const struct place *place = &unnoted[at];
        /* Most paths differ here. */
        if (path[1] != place->path.bytes[1] || path[2] != place->path.bytes[2] || len < place->path.len ||
            memcmp(path, place->path.bytes, place->path.len) != 0 ||
            (place->is_whole && len > place->path.len && path[place->path.len] != '/')) {
            continue;
        }
        for (size_t scope = 0; scope < scopes_count; scope++) {
            if (is_in(path, len, &scopes[scope])) {
                return true;
            }
        }
        return false;
    }
    return true;
}

static uint64_t mix(uint64_t hash, uint64_t word) {
    hash = (hash ^ word) * 0x9e3779b97f4a7c15u;
    return hash ^ hash >> 32;
}

static uint64_t hash_of(enum look look, const char *path, size_t len) {
    uint64_t hash = mix(len << 8 | (uint64_t)look, 0), word;
    for (; len >= sizeof word; path += sizeof word, len -= sizeof word) {
        memcpy(&word, path, sizeof word);
        hash = mix(hash, word);
    }
    word = 0;
    memcpy(&word, path, len);
    return mix(mix(hash, word), hash);
}

static void set_full(struct trail *to) { __atomic_store_n(&to->full, 1, __ATOMIC_RELAXED); }

static bool is_same(const struct trail *in, uint32_t number, uint64_t hash, enum look look, const char *path, size_t len) {
    const struct slot *slot = &in->slots[number];
    return slot->hash == hash && slot->look == look && slot->path_len == len && slot->path_at <= ARENA_SIZE - len &&
           memcmp(in->arena + slot->path_at, path, len) == 0;
}

/* Fills a slot that nobody else sees yet; SLOTS_COUNT if there is no room. */
static uint32_t fill_slot(struct trail *in, uint64_t hash, enum look look, const char *path, size_t len, uint64_t when) {
    if (__atomic_load_n(&in->slots_used, __ATOMIC_RELAXED) >= SLOTS_COUNT ||
        __atomic_load_n(&in->arena_used, __ATOMIC_RELAXED) + len > ARENA_SIZE) {
        return SLOTS_COUNT;
    }
    uint32_t path_at = __atomic_fetch_add(&in->arena_used, (uint32_t)len, __ATOMIC_RELAXED);
    if (path_at > ARENA_SIZE - len) {
        return SLOTS_COUNT;
    }
    uint32_t number = __atomic_fetch_add(&in->slots_used, 1, __ATOMIC_RELAXED);
    if (number >= SLOTS_COUNT) {
        return SLOTS_COUNT;
    }
    memcpy(in->arena + path_at, path, len);
    in->slots[number] = (struct slot){.hash = hash,
                                      .first = when,
                                      .last = when,
                                      .path_at = path_at,
                                      .path_len = (uint16_t)len,
                                      .look = (uint8_t)look};
    return number;
}

/* Finds or makes the slot; SLOTS_COUNT if there is no room. */
static uint32_t slot_of(struct trail *in, enum look look, const char *path, size_t len, uint64_t when) {
    uint64_t hash = hash_of(look, path, len);
    uint32_t filled = SLOTS_COUNT;
    for (uint32_t probe = 0; probe < PROBES_COUNT_MAX; probe++) {
        uint32_t *bucket = &in->buckets[(hash + probe) % BUCKETS_COUNT];
        uint32_t found = __atomic_load_n(bucket, __ATOMIC_ACQUIRE);
        if (found == 0) {
            if (filled == SLOTS_COUNT) {
                filled = fill_slot(in, hash, look, path, len, when);
            }
            if (filled == SLOTS_COUNT ||
                __atomic_compare_exchange_n(bucket, &found, filled + 1, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
                return filled;
            }
            /* Another thread was faster. If with the same path, the slot that was filled here stays unused. */
        }
        if (found <= SLOTS_COUNT && is_same(in, found - 1, hash, look, path, len)) {
            return found - 1;
        }
    }
    return SLOTS_COUNT;
}

static void note_absolute(enum look look, const char *path, size_t len, uint64_t when) {
    struct trail *to = observed();
    if (!is_noted(path, len)) {
        return;
    }
    uint32_t number = len < PATH_MAX ? slot_of(to, look, path, len, when) : SLOTS_COUNT;
    if (number == SLOTS_COUNT) {
        set_full(to);
    } else {
        /* The front reads the count first. */
        __atomic_store_n(&to->slots[number].last, when, __ATOMIC_RELAXED);
        __atomic_fetch_add(&to->counts[number], 1, __ATOMIC_RELEASE);
    }
    __atomic_fetch_add(&to->sequence, 1, __ATOMIC_RELEASE);
}

/* The working directory as of `generation`, which each change raises. Readers copy it, and look at `version` before and
   after: it is odd while the text is being written. */
static struct {
    uint64_t version;
    uint64_t known;
    uint64_t generation;
    size_t len;
    char text[PATH_MAX];
} working = {.generation = 1};

static void leave_directory(void) { __atomic_fetch_add(&working.generation, 1, __ATOMIC_ACQ_REL); }

/* Writes it to a buffer of PATH_MAX bytes, and returns its length; 0 if it has no path. */
static size_t read_working_directory(char *text) {
    uint64_t generation = __atomic_load_n(&working.generation, __ATOMIC_ACQUIRE);
    uint64_t version = __atomic_load_n(&working.version, __ATOMIC_ACQUIRE);
    if (version % 2 == 0 && __atomic_load_n(&working.known, __ATOMIC_RELAXED) == generation) {
        size_t len = __atomic_load_n(&working.len, __ATOMIC_RELAXED);
        if (len < PATH_MAX) {
            memcpy(text, working.text, len);
            __atomic_thread_fence(__ATOMIC_ACQUIRE);
            if (__atomic_load_n(&working.version, __ATOMIC_RELAXED) == version) {
                return len;
            }
        }
    }
    long size = syscall(SYS_getcwd, text, PATH_MAX);
    if (size < 2 || text[0] != '/') {
        return 0;
    }
    size_t len = (size_t)size - 1;
    if (version % 2 == 0 && __atomic_compare_exchange_n(&working.version, &version, version + 1, false, __ATOMIC_ACQ_REL,
                                                        __ATOMIC_RELAXED)) {
        memcpy(working.text, text, len);
        __atomic_store_n(&working.len, len, __ATOMIC_RELAXED);
        __atomic_store_n(&working.known, generation, __ATOMIC_RELAXED);
        __atomic_store_n(&working.version, version + 2, __ATOMIC_RELEASE);
    }
    return len;
}

/* Writes where a descriptor leads to a buffer of PATH_MAX bytes, and returns its length; 0 if to no path. */
static size_t read_fd_path(int fd, char *text) {
    char link[32], digits[12], *at = digits + sizeof digits;
    unsigned number = (unsigned)fd;
    *--at = 0;
    do {
        *--at = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    memcpy(link, "/proc/self/fd/", 14);
    memcpy(link + 14, at, (size_t)(digits + sizeof digits - at));
    long len = syscall(SYS_readlinkat, AT_FDCWD, link, text, PATH_MAX - 1);
    if (len <= 0 || text[0] != '/') {
        return 0;
    }
    text[len] = 0;
    /* Nothing has its name any more, or it never had one. */
    static const char deleted[] = " (deleted)";
    size_t suffix = sizeof deleted - 1;
    return (size_t)len > suffix && strcmp(text + len - suffix, deleted) == 0 ? 0 : (size_t)len;
}

/* Apart, for its large frame. */
static __attribute__((noinline)) void note_relative(enum look look, int directory, const char *path, uint64_t when) {
    char text[PATH_MAX];
    int error = errno;
    size_t start = directory == AT_FDCWD ? read_working_directory(text) : read_fd_path(directory, text);
    size_t len = strnlen(path, PATH_MAX);
    errno = error;
    if (start == 0) {
        return;
    }
    /* The root ends with a slash. */
    size_t slash = text[start - 1] == '/' ? 0 : 1;
    if (start + slash + len >= PATH_MAX) {
        set_full(observed());
        return;
    }
    text[start] = '/';
    memcpy(text + start + slash, path, len + 1);
    note_absolute(look, text, start + slash + len, when);
}

/* Must be called after the kernel has read the path. */
static void note(enum look look, int directory, const char *path, uint64_t when) {
    if (path == NULL || path[0] == 0) {
        /* The descriptor itself. */
        return;
    }
    if (path[0] == '/') {
        note_absolute(look, path, strnlen(path, PATH_MAX), when);
    } else {
        note_relative(look, directory, path, when);
    }
}

static bool is_miss(int error) { return error == ENOENT || error == ENOTDIR; }

static void note_failed(int directory, const char *path, uint64_t when) {
    if (is_miss(errno)) {
        note(MISSED, directory, path, when);
    }
}

/* The front may see what a call does before the call is noted here. While some are under way, it waits. */
void devhost_observe_change(void) {
    if (observed() != NULL) {
        __atomic_fetch_add(&observed()->changing, 1, __ATOMIC_SEQ_CST);
    }
}

static void end_change(void) {
    if (observed() != NULL) {
        __atomic_fetch_sub(&observed()->changing, 1, __ATOMIC_SEQ_CST);
    }
}

static void touch(enum look look, int directory, const char *path) {
    if (observed() != NULL) {
        note(look, directory, path, now(CLOCK_REALTIME));
    }
}

void devhost_observe_removed(int result, int directory, const char *path) {
    if (result == 0) {
        touch(REMOVED, directory, path);
    }
    end_change();
}

/* The descriptors through which regular files are written. A fork has a copy. */
static uint64_t writers[FDS_COUNT_MAX / 64];

static bool is_writer(int fd) {
    return (unsigned)fd < FDS_COUNT_MAX &&
           (__atomic_load_n(&writers[fd / 64], __ATOMIC_RELAXED) >> fd % 64 & 1) != 0;
}

/* Returns true for one thread only. */
static bool take_writer(int fd) {
    uint64_t bit = (uint64_t)1 << fd % 64;
    return (__atomic_fetch_and(&writers[fd / 64], ~bit, __ATOMIC_RELAXED) & bit) != 0;
}

static void note_written(const struct stat *status, bool is_open) {
    struct trail *to = observed();
    uint64_t number = __atomic_fetch_add(&to->written, 1, __ATOMIC_RELAXED);
    struct written *entry = &to->writes[number % WRITES_COUNT];
    __atomic_store_n(&entry->tag, 0, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_RELEASE);
    entry->device = status->st_dev;
    entry->inode = status->st_ino;
    entry->size = (uint64_t)status->st_size;
    entry->modified = (int64_t)nanos_of(&status->st_mtim);
    entry->changed = (int64_t)nanos_of(&status->st_ctim);
    entry->is_open = is_open;
    __atomic_store_n(&entry->tag, number + 1, __ATOMIC_RELEASE);
    __atomic_fetch_add(&to->sequence, 1, __ATOMIC_RELEASE);
}

static void begin_writing(int fd) {
    struct stat status;
    int error = errno;
    if (observed() != NULL && (unsigned)fd < FDS_COUNT_MAX && syscall(SYS_fstat, fd, &status) == 0 &&
        S_ISREG(status.st_mode)) {
        __atomic_fetch_or(&writers[fd / 64], (uint64_t)1 << fd % 64, __ATOMIC_RELAXED);
        note_written(&status, true);
    }
    errno = error;
}

/* Must be called just before the descriptor is closed. Returns true if it was a writer. */
static bool end_writing(int fd) {
    struct stat status;
    if (!is_writer(fd) || !take_writer(fd)) {
        return false;
    }
    int error = errno;
    /* Looks again: it may have been closed without passing here, and be another file's by now. */
    long flags = syscall(SYS_fcntl, fd, F_GETFL);
    if (flags >= 0 && (flags & O_ACCMODE) != O_RDONLY && syscall(SYS_fstat, fd, &status) == 0 &&
        S_ISREG(status.st_mode)) {
        note_written(&status, false);
    }
    errno = error;
    return true;
}

static bool is_directory(int directory, const char *path) {
    struct stat status;
    int error = errno;
    bool is = syscall(SYS_newfstatat, directory, path, &status, 0) == 0 && S_ISDIR(status.st_mode);
    errno = error;
    return is;
}

static bool begins_with(const char *path, const char *start) { return strncmp(path, start, strlen(start)) == 0; }

/* Apart, for its large frame. */
static __attribute__((noinline)) void note_opened_by_fd(enum look look, int fd, uint64_t when) {
    char text[PATH_MAX];
    int error = errno;
    size_t len = read_fd_path(fd, text);
    errno = error;
    if (len > 0) {
        note_absolute(look, text, len, when);
    }
}

static void note_opened(enum look look, int directory, const char *path, int fd, uint64_t when) {
    /* Some of these are links to what another descriptor has open. */
    if (begins_with(path, "/proc/") || begins_with(path, "/dev/fd/") || begins_with(path, "/dev/std")) {
        note_opened_by_fd(look, fd, when);
    } else {
        note(look, directory, path, when);
    }
}

/* Only these are seen from outside before something is written. */
static bool may_change(int flags) { return (flags & (O_CREAT | O_TRUNC)) != 0; }

uint64_t devhost_observe_open_begin(int flags) {
    if (may_change(flags)) {
        devhost_observe_change();
    }
    return devhost_observe_begin();
}

static void note_open(int directory, const char *path, int flags, int fd, uint64_t begun) {
    if (fd < 0) {
        note_failed(directory, path, begun);
        return;
    }
    if (is_writer(fd)) {
        /* Its number was freed without passing here. */
        take_writer(fd);
    }
    int access = flags & O_ACCMODE;
    if ((flags & O_PATH) != 0) {
        if ((flags & O_DIRECTORY) == 0 && !is_directory(directory, path)) {
            note(STAT, directory, path, begun);
        }
    } else if ((flags & O_TMPFILE) == O_TMPFILE) {
        begin_writing(fd);
    } else if ((flags & O_DIRECTORY) != 0) {
        note_opened(LISTED, directory, path, fd, begun);
    } else {
        if (access != O_WRONLY) {
            note_opened(READ, directory, path, fd, begun);
        }
        if ((flags & O_CREAT) != 0) {
            note_opened(MADE, directory, path, fd, now(CLOCK_REALTIME));
        }
        if (access != O_RDONLY) {
            begin_writing(fd);
        }
    }
}

void devhost_observe_open(int directory, const char *path, int flags, int fd, uint64_t begun) {
    if (begun != 0) {
        note_open(directory, path, flags, fd, begun);
    }
    if (may_change(flags)) {
        end_change();
    }
}

int creat(const char *path, mode_t mode) { return open(path, O_CREAT | O_WRONLY | O_TRUNC, mode); }

DIR *opendir(const char *path) {
    uint64_t begun = devhost_observe_begin();
    DIR *directory = ((DIR * (*)(const char *)) next_function(NEXT_opendir))(path);
    if (begun != 0) {
        if (directory != NULL) {
            note(LISTED, AT_FDCWD, path, begun);
        } else {
            note_failed(AT_FDCWD, path, begun);
        }
    }
    return directory;
}

static int flags_of(const char *mode) {
    int flags = mode[0] == 'r' ? 0 : mode[0] == 'w' ? O_CREAT | O_TRUNC : O_CREAT;
    bool is_both = false;
    for (const char *at = mode; *at != 0 && *at != ','; at++) {
        is_both |= *at == '+';
    }
    return flags | (is_both ? O_RDWR : mode[0] == 'r' ? O_RDONLY : O_WRONLY);
}

static void note_stream(const char *path, const char *mode, FILE *stream, uint64_t begun) {
    devhost_observe_open(AT_FDCWD, path, flags_of(mode), stream == NULL ? -1 : fileno(stream), begun);
}

typedef FILE *(*fopen_function)(const char *, const char *);
typedef FILE *(*freopen_function)(const char *, const char *, FILE *);

static FILE *fopen_noting(enum next which, const char *path, const char *mode) {
    uint64_t begun = devhost_observe_open_begin(flags_of(mode));
    FILE *stream = ((fopen_function)next_function(which))(path, mode);
    note_stream(path, mode, stream, begun);
    return stream;
}

/* What the stream has yet to write counts, too. */
static void end_stream(FILE *stream) {
    int error = errno, fd = fileno(stream);
    if (is_writer(fd)) {
        fflush(stream);
        end_writing(fd);
    }
    errno = error;
}

static FILE *freopen_noting(enum next which, const char *path, const char *mode, FILE *stream) {
    uint64_t begun = path != NULL ? devhost_observe_open_begin(flags_of(mode)) : devhost_observe_begin();
    if (begun != 0 && stream != NULL) {
        end_stream(stream);
    }
    FILE *opened = ((freopen_function)next_function(which))(path, mode, stream);
    if (path != NULL) {
        note_stream(path, mode, opened, begun);
    } else if (begun != 0 && opened != NULL && (flags_of(mode) & O_ACCMODE) != O_RDONLY) {
        begin_writing(fileno(opened));
    }
    return opened;
}

FILE *fopen(const char *path, const char *mode) { return fopen_noting(NEXT_fopen, path, mode); }

FILE *freopen(const char *path, const char *mode, FILE *stream) {
    return freopen_noting(NEXT_freopen, path, mode, stream);
}

int fclose(FILE *stream) {
    if (observed() != NULL && stream != NULL) {
        end_stream(stream);
    }
    return ((int (*)(FILE *))next_function(NEXT_fclose))(stream);
}

/* What a function that asks about a path has returned. Errno is its. */
static void note_asked(int directory, const char *path, bool is_there, bool is_a_directory, uint64_t begun) {
    if (!is_there) {
        note_failed(directory, path, begun);
    } else if (!is_a_directory) {
        note(STAT, directory, path, begun);
    }
}

static int stat_noting(int result, int directory, const char *path, const struct stat *status, uint64_t begun) {
    if (begun != 0) {
        note_asked(directory, path, result == 0, result == 0 && S_ISDIR(status->st_mode), begun);
    }
    return result;
}

typedef int (*stat_function)(const char *, struct stat *);
typedef int (*fstatat_function)(int, const char *, struct stat *, int);

static int stat_with(enum next which, const char *path, struct stat *status, int flags) {
    uint64_t begun = devhost_observe_begin();
    stat_function next = (stat_function)next_if_known(which);
    int result =
        next != NULL ? next(path, status) : (int)syscall(SYS_newfstatat, AT_FDCWD, path, status, flags);
    return stat_noting(result, AT_FDCWD, path, status, begun);
}

static int fstatat_with(enum next which, int directory, const char *path, struct stat *status, int flags) {
    uint64_t begun = devhost_observe_begin();
    fstatat_function next = (fstatat_function)next_if_known(which);
    int result = next != NULL ? next(directory, path, status, flags)
                              : (int)syscall(SYS_newfstatat, directory, path, status, flags);
    return stat_noting(result, directory, path, status, begun);
}

int stat(const char *path, struct stat *status) { return stat_with(NEXT_stat, path, status, 0); }

int lstat(const char *path, struct stat *status) { return stat_with(NEXT_lstat, path, status, AT_SYMLINK_NOFOLLOW); }

int fstatat(int directory, const char *path, struct stat *status, int flags) {
    return fstatat_with(NEXT_fstatat, directory, path, status, flags);
}

int statx(int directory, const char *path, int flags, unsigned mask, struct statx *status) {
    uint64_t begun = devhost_observe_begin();
    typedef int (*function)(int, const char *, int, unsigned, struct statx *);
    int result = NEXT_OR(statx, function, (directory, path, flags, mask, status),
                         (int)syscall(SYS_statx, directory, path, flags, mask, status));
    if (begun != 0) {
        note_asked(directory, path, result == 0, result == 0 && S_ISDIR(status->stx_mode), begun);
    }
    return result;
}

static int access_noting(int result, int directory, const char *path, uint64_t begun) {
    if (begun != 0) {
        note_asked(directory, path, result == 0, result == 0 && is_directory(directory, path), begun);
    }
    return result;
}

typedef int (*access_function)(const char *, int);

int access(const char *path, int mode) {
    uint64_t begun = devhost_observe_begin();
    int result = NEXT_OR(access, access_function, (path, mode), (int)syscall(SYS_faccessat, AT_FDCWD, path, mode));
    return access_noting(result, AT_FDCWD, path, begun);
}

/* The kernel's own has no flags. */
int faccessat(int directory, const char *path, int mode, int flags) {
    uint64_t begun = devhost_observe_begin();
    int result = ((int (*)(int, const char *, int, int))next_function(NEXT_faccessat))(directory, path, mode, flags);
    return access_noting(result, directory, path, begun);
}

int euidaccess(const char *path, int mode) {
    uint64_t begun = devhost_observe_begin();
    return access_noting(((access_function)next_function(NEXT_euidaccess))(path, mode), AT_FDCWD, path, begun);
}

int eaccess(const char *path, int mode) {
    uint64_t begun = devhost_observe_begin();
    return access_noting(((access_function)next_function(NEXT_eaccess))(path, mode), AT_FDCWD, path, begun);
}

static char *realpath_noting(char *result, const char *path, uint64_t begun) {
    if (begun != 0) {
        note_asked(AT_FDCWD, path, result != NULL, result != NULL && is_directory(AT_FDCWD, path), begun);
    }
    return result;
}

char *realpath(const char *path, char *resolved) {
    uint64_t begun = devhost_observe_begin();
    typedef char *(*function)(const char *, char *);
    return realpath_noting(((function)next_function(NEXT_realpath))(path, resolved), path, begun);
}

static ssize_t readlink_noting(ssize_t result, int directory, const char *path, uint64_t begun) {
    if (begun != 0) {
        note_asked(directory, path, result >= 0, false, begun);
    }
    return result;
}

ssize_t readlink(const char *path, char *target, size_t size) {
    uint64_t begun = devhost_observe_begin();
    typedef ssize_t (*function)(const char *, char *, size_t);
    ssize_t result =
        NEXT_OR(readlink, function, (path, target, size), syscall(SYS_readlinkat, AT_FDCWD, path, target, size));
    return readlink_noting(result, AT_FDCWD, path, begun);
}

ssize_t readlinkat(int directory, const char *path, char *target, size_t size) {
    uint64_t begun = devhost_observe_begin();
    typedef ssize_t (*function)(int, const char *, char *, size_t);
    ssize_t result = NEXT_OR(readlinkat, function, (directory, path, target, size),
                             syscall(SYS_readlinkat, directory, path, target, size));
    return readlink_noting(result, directory, path, begun);
}

static int removed(int result, int directory, const char *path) {
    devhost_observe_removed(result, directory, path);
    return result;
}

static int made(int result, int directory, const char *path) {
    if (result == 0) {
        touch(MADE, directory, path);
    }
    end_change();
    return result;
}

int remove(const char *path) {
    devhost_observe_change();
    return removed(((int (*)(const char *))next_function(NEXT_remove))(path), AT_FDCWD, path);
}

int rmdir(const char *path) {
    typedef int (*function)(const char *);
    devhost_observe_change();
    int result = NEXT_OR(rmdir, function, (path), (int)syscall(SYS_unlinkat, AT_FDCWD, path, AT_REMOVEDIR));
    return removed(result, AT_FDCWD, path);
}

static int rename_noting(int result, int from_directory, const char *from, int to_directory, const char *to) {
    if (result == 0) {
        touch(REMOVED, from_directory, from);
    }
    return made(result, to_directory, to);
}

int rename(const char *from, const char *to) {
    typedef int (*function)(const char *, const char *);
    devhost_observe_change();
    int result = NEXT_OR(rename, function, (from, to), (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0));
    return rename_noting(result, AT_FDCWD, from, AT_FDCWD, to);
}

int renameat(int from_directory, const char *from, int to_directory, const char *to) {
    typedef int (*function)(int, const char *, int, const char *);
    devhost_observe_change();
    int result = NEXT_OR(renameat, function, (from_directory, from, to_directory, to),
                         (int)syscall(SYS_renameat2, from_directory, from, to_directory, to, 0));
    return rename_noting(result, from_directory, from, to_directory, to);
}

int renameat2(int from_directory, const char *from, int to_directory, const char *to, unsigned flags) {
    typedef int (*function)(int, const char *, int, const char *, unsigned);
    devhost_observe_change();
    int result = NEXT_OR(renameat2, function, (from_directory, from, to_directory, to, flags),
                         (int)syscall(SYS_renameat2, from_directory, from, to_directory, to, flags));
    return rename_noting(result, from_directory, from, to_directory, to);
}

int mkdir(const char *path, mode_t mode) {
    typedef int (*function)(const char *, mode_t);
    devhost_observe_change();
    int result = NEXT_OR(mkdir, function, (path, mode), (int)syscall(SYS_mkdirat, AT_FDCWD, path, mode));
    return made(result, AT_FDCWD, path);
}

int mkdirat(int directory, const char *path, mode_t mode) {
    typedef int (*function)(int, const char *, mode_t);
    devhost_observe_change();
    int result = NEXT_OR(mkdirat, function, (directory, path, mode), (int)syscall(SYS_mkdirat, directory, path, mode));
    return made(result, directory, path);
}

int symlink(const char *target, const char *path) {
    typedef int (*function)(const char *, const char *);
    devhost_observe_change();
    int result = NEXT_OR(symlink, function, (target, path), (int)syscall(SYS_symlinkat, target, AT_FDCWD, path));
    return made(result, AT_FDCWD, path);
}

int symlinkat(const char *target, int directory, const char *path) {
    typedef int (*function)(const char *, int, const char *);
    devhost_observe_change();
    int result = NEXT_OR(symlinkat, function, (target, directory, path),
                         (int)syscall(SYS_symlinkat, target, directory, path));
    return made(result, directory, path);
}

int link(const char *file, const char *path) {
    typedef int (*function)(const char *, const char *);
    devhost_observe_change();
    int result = NEXT_OR(link, function, (file, path), (int)syscall(SYS_linkat, AT_FDCWD, file, AT_FDCWD, path, 0));
    return made(result, AT_FDCWD, path);
}

int linkat(int file_directory, const char *file, int directory, const char *path, int flags) {
    typedef int (*function)(int, const char *, int, const char *, int);
    devhost_observe_change();
    int result = NEXT_OR(linkat, function, (file_directory, file, directory, path, flags),
                         (int)syscall(SYS_linkat, file_directory, file, directory, path, flags));
    return made(result, directory, path);
}

static int truncate_noting(enum next which, const char *path, off_t size) {
    int (*next)(const char *, off_t) = (int (*)(const char *, off_t))next_if_known(which);
    devhost_observe_change();
    int result = next != NULL ? next(path, size) : (int)syscall(SYS_truncate, path, size);
    struct stat status;
    int error = errno;
    if (result == 0 && observed() != NULL && syscall(SYS_newfstatat, AT_FDCWD, path, &status, 0) == 0) {
        note_written(&status, false);
    }
    errno = error;
    end_change();
    return result;
}

int truncate(const char *path, off_t size) { return truncate_noting(NEXT_truncate, path, size); }

int chdir(const char *path) {
    int result = NEXT_OR(chdir, int (*)(const char *), (path), (int)syscall(SYS_chdir, path));
    leave_directory();
    return result;
}

int fchdir(int fd) {
    int result = NEXT_OR(fchdir, int (*)(int), (fd), (int)syscall(SYS_fchdir, fd));
    leave_directory();
    return result;
}

int close(int fd) {
    end_writing(fd);
    return NEXT_OR(close, int (*)(int), (fd), (int)syscall(SYS_close, fd));
}

/* Writes go on through the copy. */
static int copy_noting(int fd, int copy) {
    if (copy >= 0 && copy != fd && is_writer(fd)) {
        begin_writing(copy);
    }
    return copy;
}

int dup(int fd) { return copy_noting(fd, NEXT_OR(dup, int (*)(int), (fd), (int)syscall(SYS_dup, fd))); }

/* The kernel's own dup3 refuses a copy to itself. */
static int replace(int fd, int copy) {
    if (fd == copy) {
        return syscall(SYS_fcntl, fd, F_GETFD) < 0 ? -1 : fd;
    }
    return (int)syscall(SYS_dup3, fd, copy, 0);
}

int dup2(int fd, int copy) {
    bool was_writer = fd != copy && end_writing(copy);
    int result = NEXT_OR(dup2, int (*)(int, int), (fd, copy), replace(fd, copy));
    if (result < 0 && was_writer) {
        begin_writing(copy);
    }
    return copy_noting(fd, result);
}

int dup3(int fd, int copy, int flags) {
    bool was_writer = fd != copy && end_writing(copy);
    int result = NEXT_OR(dup3, int (*)(int, int, int), (fd, copy, flags), (int)syscall(SYS_dup3, fd, copy, flags));
    if (result < 0 && was_writer) {
        begin_writing(copy);
    }
    return copy_noting(fd, result);
}

/* Like the C library, takes an argument whether there is one or not. */
#define FCNTL(name)                                                                                                    \
    int name(int fd, int command, ...) {                                                                               \
        va_list rest;                                                                                                  \
        va_start(rest, command);                                                                                       \
        void *argument = va_arg(rest, void *);                                                                         \
        va_end(rest);                                                                                                  \
        int result = ((int (*)(int, int, ...))next_function(NEXT_##name))(fd, command, argument);                      \
        return command == F_DUPFD || command == F_DUPFD_CLOEXEC ? copy_noting(fd, result) : result;                    \
    }

FCNTL(fcntl)

/* Headers may be older than the kernel. */
#ifndef CLOSE_RANGE_CLOEXEC
#define CLOSE_RANGE_CLOEXEC (1U << 2)
#endif
#ifndef SYS_close_range
#define SYS_close_range 436
#endif

int close_range(unsigned first, unsigned last, int flags) {
    if (((unsigned)flags & CLOSE_RANGE_CLOEXEC) == 0) {
        for (unsigned fd = first; fd <= last && fd < FDS_COUNT_MAX; fd++) {
            if (fd % 64 == 0 && __atomic_load_n(&writers[fd / 64], __ATOMIC_RELAXED) == 0) {
                fd += 63;
            } else {
                end_writing((int)fd);
            }
        }
    }
    return NEXT_OR(close_range, int (*)(unsigned, unsigned, int), (first, last, flags),
                   (int)syscall(SYS_close_range, first, last, flags));
}

#ifdef __GLIBC__
/* The same on 64-bit machines. */
int creat64(const char *path, mode_t mode) { return creat(path, mode); }

FILE *fopen64(const char *path, const char *mode) { return fopen_noting(NEXT_fopen64, path, mode); }

FILE *freopen64(const char *path, const char *mode, FILE *stream) {
    return freopen_noting(NEXT_freopen64, path, mode, stream);
}

int stat64(const char *path, struct stat64 *status) { return stat_with(NEXT_stat64, path, (struct stat *)status, 0); }

int lstat64(const char *path, struct stat64 *status) {
    return stat_with(NEXT_lstat64, path, (struct stat *)status, AT_SYMLINK_NOFOLLOW);
}

int fstatat64(int directory, const char *path, struct stat64 *status, int flags) {
    return fstatat_with(NEXT_fstatat64, directory, path, (struct stat *)status, flags);
}

int truncate64(const char *path, off64_t size) { return truncate_noting(NEXT_truncate64, path, size); }

FCNTL(fcntl64)

/* What programs built with a C library before 2.33 call. The version of the structure is always the kernel's. */
static int xstat_with(enum next which, int version, const char *path, struct stat *status, int flags) {
    uint64_t begun = devhost_observe_begin();
    int (*next)(int, const char *, struct stat *) = (int (*)(int, const char *, struct stat *))next_if_known(which);
    int result =
        next != NULL ? next(version, path, status) : (int)syscall(SYS_newfstatat, AT_FDCWD, path, status, flags);
    return stat_noting(result, AT_FDCWD, path, status, begun);
}

static int fxstatat_with(enum next which, int version, int directory, const char *path, struct stat *status, int flags) {
    uint64_t begun = devhost_observe_begin();
    typedef int (*function)(int, int, const char *, struct stat *, int);
    function next = (function)next_if_known(which);
    int result = next != NULL ? next(version, directory, path, status, flags)
                              : (int)syscall(SYS_newfstatat, directory, path, status, flags);
    return stat_noting(result, directory, path, status, begun);
}

int __xstat(int version, const char *path, struct stat *status) {
    return xstat_with(NEXT___xstat, version, path, status, 0);
}

int __xstat64(int version, const char *path, struct stat64 *status) {
    return xstat_with(NEXT___xstat64, version, path, (struct stat *)status, 0);
}

int __lxstat(int version, const char *path, struct stat *status) {
    return xstat_with(NEXT___lxstat, version, path, status, AT_SYMLINK_NOFOLLOW);
}

int __lxstat64(int version, const char *path, struct stat64 *status) {
    return xstat_with(NEXT___lxstat64, version, path, (struct stat *)status, AT_SYMLINK_NOFOLLOW);
}

int __fxstatat(int version, int directory, const char *path, struct stat *status, int flags) {
    return fxstatat_with(NEXT___fxstatat, version, directory, path, status, flags);
}

int __fxstatat64(int version, int directory, const char *path, struct stat64 *status, int flags) {
    return fxstatat_with(NEXT___fxstatat64, version, directory, path, (struct stat *)status, flags);
}

char *canonicalize_file_name(const char *path) {
    uint64_t begun = devhost_observe_begin();
    return realpath_noting(((char *(*)(const char *))next_function(NEXT_canonicalize_file_name))(path), path, begun);
}

/* What code built with _FORTIFY_SOURCE calls. */
char *__realpath_chk(const char *path, char *resolved, size_t size) {
    uint64_t begun = devhost_observe_begin();
    typedef char *(*function)(const char *, char *, size_t);
    return realpath_noting(((function)next_function(NEXT___realpath_chk))(path, resolved, size), path, begun);
}

int __open_2(const char *path, int flags) { return open(path, flags); }

int __open64_2(const char *path, int flags) { return open(path, flags); }

int __openat_2(int directory, const char *path, int flags) { return openat(directory, path, flags); }

int __openat64_2(int directory, const char *path, int flags) { return openat(directory, path, flags); }

ssize_t __readlink_chk(const char *path, char *target, size_t size, size_t target_size) {
    if (size > target_size) {
        abort();
    }
    return readlink(path, target, size);
}

ssize_t __readlinkat_chk(int directory, const char *path, char *target, size_t size, size_t target_size) {
    if (size > target_size) {
        abort();
    }
    return readlinkat(directory, path, target, size);
}
#endif

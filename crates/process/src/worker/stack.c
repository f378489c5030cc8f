/*
 * Reports a stack overflow on a thread of the app, as std does in a Rust program.
 *
 * std installs its handler in code that runs before `main`. The app has its own copy of std, in which that code never runs:
 * its threads have no stack for a handler, and the kernel ends the process without a word. So this does std's work: each
 * thread gets a small handler stack, and a fault near the end of a thread's stack prints std's message and aborts. Any other
 * fault goes to the previous handler.
 *
 * Until devhost_stack_watch is called, pthread_create is passed on.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

/* The handler's need, beside the frame written by the kernel. */
#define HANDLER_SIZE (16 * 1024)
/* How far beyond the end of a stack a fault still is an overflow. C frames are not probed page by page. */
#define REACH (64 * 1024)
/* PR_GET_NAME writes this many bytes. */
#define NAME_SIZE 16

typedef int (*create_function)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);

/* The lowest address of this thread's stack, 0 if unknown; and the size of the guard below it. */
static __thread uintptr_t stack_low;
static __thread size_t stack_guard;

static struct {
    bool on;
    size_t page;
    pthread_key_t key;
    pid_t main_thread;
    char process_name[NAME_SIZE];
    struct sigaction before_segv, before_bus;
} state;

struct start {
    void *(*run)(void *);
    void *argument;
};

static size_t handler_stack_size(void) {
    long needed = sysconf(_SC_MINSIGSTKSZ);
    size_t size = (needed > 0 ? (size_t)needed : (size_t)MINSIGSTKSZ) + HANDLER_SIZE;
    return (size + state.page - 1) / state.page * state.page;
}

/* Runs when a thread ends. */
static void drop_handler_stack(void *memory) {
    stack_t none = {.ss_flags = SS_DISABLE};
    sigaltstack(&none, NULL);
    munmap(memory, state.page + handler_stack_size());
}

/* Best effort: without memory, the thread gets none. */
static void give_handler_stack(void) {
    stack_t there;
    if (sigaltstack(NULL, &there) == 0 && (there.ss_flags & SS_DISABLE) == 0) {
        return;
    }
    size_t size = handler_stack_size();
    char *memory = mmap(NULL, state.page + size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        return;
    }
    mprotect(memory, state.page, PROT_NONE);
    stack_t stack = {.ss_sp = memory + state.page, .ss_size = size};
    if (sigaltstack(&stack, NULL) != 0) {
        munmap(memory, state.page + size);
        return;
    }
    pthread_setspecific(state.key, memory);
}

static void watch_this_thread(void) {
    pthread_attr_t attributes;
    if (pthread_getattr_np(pthread_self(), &attributes) != 0) {
        return;
    }
    void *low = NULL;
    size_t size = 0, guard = 0;
    if (pthread_attr_getstack(&attributes, &low, &size) == 0 && pthread_attr_getguardsize(&attributes, &guard) == 0) {
        stack_guard = guard;
        stack_low = (uintptr_t)low;
        give_handler_stack();
    }
    pthread_attr_destroy(&attributes);
}

static uintptr_t stack_pointer(const ucontext_t *context) {
#if defined(__x86_64__)
    return (uintptr_t)context->uc_mcontext.gregs[REG_RSP];
#elif defined(__aarch64__)
    return (uintptr_t)context->uc_mcontext.sp;
#else
#error "where is the stack pointer?"
#endif
}

/* C libraries differ on which side of the end the guard is. The stack pointer tells an overflow from a stray pointer. */
static bool is_overflow(uintptr_t address, uintptr_t pointer) {
    if (stack_low == 0) {
        return false;
    }
    uintptr_t from = stack_low - stack_guard - REACH, to = stack_low + stack_guard + state.page;
    return address >= from && address < to && pointer >= from && pointer < to + REACH;
}

static char *append(char *to, const char *text, size_t size_max) {
    size_t length = strnlen(text, size_max);
    memcpy(to, text, length);
    return to + length;
}

static char *append_number(char *to, unsigned long number) {
    char digits[24], *at = digits + sizeof digits;
    do {
        *--at = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    return append(to, at, (size_t)(digits + sizeof digits - at));
}

/* Signal-safe: allocates nothing, and only makes system calls. */
static void tell(void) {
    pid_t thread = (pid_t)syscall(SYS_gettid);
    char name[NAME_SIZE + 1] = "main";
    if (thread != state.main_thread) {
        memset(name, 0, sizeof name);
        prctl(PR_GET_NAME, name);
        if (name[0] == 0 || strncmp(name, state.process_name, NAME_SIZE) == 0) {
            strcpy(name, "<unknown>");
        }
    }
    char text[192], *end = text;
    end = append(end, "\nthread '", sizeof text);
    end = append(end, name, NAME_SIZE);
    end = append(end, "' (", sizeof text);
    end = append_number(end, (unsigned long)thread);
    end = append(end, ") has overflowed its stack\nfatal runtime error: stack overflow, aborting\n", 96);
    (void)!write(STDERR_FILENO, text, (size_t)(end - text));
}

static void on_fault(int signal, siginfo_t *info, void *context) {
    int error = errno;
    if (info->si_code > 0 && is_overflow((uintptr_t)info->si_addr, stack_pointer(context))) {
        tell();
        abort();
    }
    sigaction(signal, signal == SIGBUS ? &state.before_bus : &state.before_segv, NULL);
    if (info->si_code <= 0) {
        /* It was sent by a process, and would not recur by itself. */
        syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), signal);
    }
    errno = error;
}

/* Must be called while single-threaded. */
void devhost_stack_watch(void) {
    state.page = (size_t)sysconf(_SC_PAGESIZE);
    state.main_thread = (pid_t)syscall(SYS_gettid);
    prctl(PR_GET_NAME, state.process_name);
    if (pthread_key_create(&state.key, drop_handler_stack) != 0) {
        return;
    }
    watch_this_thread();
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = on_fault;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigaction(SIGSEGV, &action, &state.before_segv);
    sigaction(SIGBUS, &action, &state.before_bus);
    __atomic_store_n(&state.on, true, __ATOMIC_RELEASE);
}

static void *begin(void *given) {
    struct start start = *(struct start *)given;
    free(given);
    watch_this_thread();
    return start.run(start.argument);
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *argument) {
    static create_function found;
    create_function create = __atomic_load_n(&found, __ATOMIC_ACQUIRE);
    if (create == NULL) {
        create = (create_function)dlsym(RTLD_NEXT, "pthread_create");
        if (create == NULL) {
            return EAGAIN;
        }
        __atomic_store_n(&found, create, __ATOMIC_RELEASE);
    }
    struct start *start = __atomic_load_n(&state.on, __ATOMIC_ACQUIRE) ? malloc(sizeof *start) : NULL;
    if (start == NULL) {
        return create(thread, attributes, run, argument);
    }
    *start = (struct start){.run = run, .argument = argument};
    int error = create(thread, attributes, begin, start);
    if (error != 0) {
        free(start);
    }
    return error;
}

/* What the rest of the interposer tells the observer. */
#ifndef DEVHOST_OBSERVE_H
#define DEVHOST_OBSERVE_H

#include <stdint.h>

/* Begins to observe: `fd` is the table's memory, made by the front (crates/sys/src/trail.rs). Must be called while
   single-threaded. Best effort: without memory, nothing is noted. */
void devhost_observe_arm(int fd);

/* Returns the time before a look at a file, for the functions below; 0 if nothing is observed. */
uint64_t devhost_observe_begin(void);

/* The same before an open with these flags, which devhost_observe_open must follow. */
uint64_t devhost_observe_open_begin(int flags);

/* An open has ended; `fd` and errno are its result. */
void devhost_observe_open(int directory, const char *path, int flags, int fd, uint64_t begun);

/* A call that may change what a name stands for is about to begin. */
void devhost_observe_change(void);

/* Such a call has ended; if the result is 0, it has removed the name. */
void devhost_observe_removed(int result, int directory, const char *path);

#endif

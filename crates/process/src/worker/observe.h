/* What the rest of the interposer tells the observer. */
#ifndef DEVHOST_OBSERVE_H
#define DEVHOST_OBSERVE_H

#include <stdint.h>

/* Begins to observe: `fd` is the table's memory, made by the front (crates/sys/src/trail.rs). Must be called while
   single-threaded. Best effort: without memory, nothing is noted. */
void devhost_observe_arm(int fd);

/* Returns the time before a look at a file, for the functions below; 0 if nothing is observed. */
uint64_t devhost_observe_begin(void);

/* An open has ended; `fd` and errno are its result. */
void devhost_observe_open(int directory, const char *path, int flags, int fd, uint64_t begun);

/* The name was created, removed or renamed just now. */
void devhost_observe_touch(int directory, const char *path);

#endif

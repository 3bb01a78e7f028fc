/* Records, a map or a list on libpmemobj. */
#include <stddef.h>
#include <stdint.h>

/* What a store consists of. */
enum shape { RECORDS, MAP, LIST };

struct peer;

/* Is shown a value, which is valid until it returns. */
typedef void (*look_fn)(void *context, const char *value, size_t len);
/* Changes the value of the i-th key. */
typedef void (*change_fn)(void *context, size_t i, char *value, size_t len);

/* Opens the pool, or makes one of so many bytes; `entries` records of 64 bytes, or that many entries expected. NULL: an error. */
struct peer *peer_open(const char *path, size_t bytes, enum shape shape, uint64_t entries);
void peer_close(struct peer *peer);
/* What went wrong in this thread. */
const char *peer_error(void);

/* Sets entries, whose values follow each other, in one transaction. Not beside others. */
int peer_load(struct peer *peer, size_t count, const uint64_t *keys, const char *values, size_t len);
int peer_put(struct peer *peer, uint64_t key, const void *value, size_t len);
/* 1: there is one; 0: there is none. */
int peer_get(struct peer *peer, uint64_t key, look_fn look, void *context);
/* 1: removed; 0: there was none. */
int peer_delete(struct peer *peer, uint64_t key);
/* Changes several values in one transaction. */
int peer_modify(struct peer *peer, size_t count, const uint64_t *keys, change_fn change, void *context);
int peer_append(struct peer *peer, const void *value, size_t len);
/* 1: taken off; 0: the list is empty. */
int peer_pop(struct peer *peer, look_fn look, void *context);
/* Shows all values, of a list in their order; how many there are. */
uint64_t peer_all(struct peer *peer, look_fn look, void *context);

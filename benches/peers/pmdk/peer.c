/*
 * Records, a map and a list on libpmemobj: what its own examples and manual pages do, by hand. Each change is one transaction, and
 * durable when its function returns. Functions return 0, or -1: then pmemobj_errormsg() says why.
 *
 * Transactions are macros on setjmp, which is why this is C. What a caller passes to be called inside of one returns: it neither
 * unwinds nor jumps.
 */
#include "peer.h"
#include <errno.h>
#include <libpmemobj.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RECORD 64
#define STRIPES 64

/* An element of the map or the list, with its value behind it. */
struct entry {
	PMEMoid next;
	uint64_t key;
	uint64_t len;
	char value[];
};

struct root {
	/* Records: one object, which begins before a multiple of 64. */
	PMEMoid records;
	/* The map: chains of entries. The number of buckets is a power of two, and does not change. */
	PMEMoid table;
	uint64_t buckets;
	/* The list. */
	PMEMoid head, tail;
};

struct peer {
	PMEMobjpool *pool;
	struct root *root;
	enum shape shape;
	uint64_t count;
	/* libpmemobj leaves isolation to its users: of records by stripes, of map and list by one lock. */
	pthread_mutex_t stripes[STRIPES];
	pthread_rwlock_t lock;
};

static char *record(struct peer *peer, uint64_t index)
{
	uintptr_t base = (uintptr_t)pmemobj_direct(peer->root->records);
	return (char *)((base + RECORD - 1) / RECORD * RECORD) + index * RECORD;
}

/* At first: zeroed records, or a table. Each of the two allocations is atomic: a crash between them leaves an empty store. */
static int make(struct peer *peer, uint64_t entries)
{
	struct root *root = peer->root;
	if (peer->shape == RECORDS && OID_IS_NULL(root->records))
		return pmemobj_zalloc(peer->pool, &root->records, (entries + 1) * RECORD, 1);
	if (peer->shape == MAP && OID_IS_NULL(root->table)) {
		uint64_t buckets = 1 << 16;
		while (buckets < 2 * entries)
			buckets *= 2;
		root->buckets = buckets;
		pmemobj_persist(peer->pool, &root->buckets, sizeof(root->buckets));
		return pmemobj_zalloc(peer->pool, &root->table, buckets * sizeof(PMEMoid), 2);
	}
	return 0;
}

struct peer *peer_open(const char *path, size_t bytes, enum shape shape, uint64_t entries)
{
	struct peer *peer = calloc(1, sizeof(*peer));
	if (peer == NULL)
		return NULL;
	peer->pool = access(path, F_OK) == 0 ? pmemobj_open(path, "peers") : pmemobj_create(path, "peers", bytes, 0600);
	if (peer->pool == NULL) {
		free(peer);
		return NULL;
	}
	peer->shape = shape;
	peer->count = entries;
	for (int i = 0; i < STRIPES; i++)
		pthread_mutex_init(&peer->stripes[i], NULL);
	pthread_rwlock_init(&peer->lock, NULL);
	PMEMoid root = pmemobj_root(peer->pool, sizeof(struct root));
	peer->root = OID_IS_NULL(root) ? NULL : pmemobj_direct(root);
	if (peer->root == NULL || make(peer, entries) != 0) {
		peer_close(peer);
		return NULL;
	}
	return peer;
}

void peer_close(struct peer *peer)
{
	pmemobj_close(peer->pool);
	free(peer);
}

const char *peer_error(void)
{
	return pmemobj_errormsg();
}

/* Stripes in the order of their numbers, so that nobody waits in a circle. (Inlined, its variables would be live across setjmp.) */
static __attribute__((noinline)) uint64_t lock_records(struct peer *peer, const uint64_t *keys, size_t count)
{
	uint64_t stripes = 0;
	for (size_t i = 0; i < count; i++)
		stripes |= 1ULL << keys[i] % STRIPES;
	for (int i = 0; i < STRIPES; i++)
		if (stripes >> i & 1)
			pthread_mutex_lock(&peer->stripes[i]);
	return stripes;
}

static __attribute__((noinline)) void unlock_records(struct peer *peer, uint64_t stripes)
{
	for (int i = 0; i < STRIPES; i++)
		if (stripes >> i & 1)
			pthread_mutex_unlock(&peer->stripes[i]);
}

/* The reference to the entry of that key; to null, if there is none. Keys are random: their low bits choose the bucket. */
static PMEMoid *find(struct peer *peer, uint64_t key)
{
	PMEMoid *link = (PMEMoid *)pmemobj_direct(peer->root->table) + (key & (peer->root->buckets - 1));
	while (!OID_IS_NULL(*link)) {
		struct entry *entry = pmemobj_direct(*link);
		if (entry->key == key)
			break;
		link = &entry->next;
	}
	return link;
}

/* In a transaction: a new entry. Its bytes are new, so that nothing of it is logged; the commit flushes them. */
static PMEMoid make_entry(PMEMoid next, uint64_t key, const void *value, size_t len)
{
	PMEMoid oid = pmemobj_tx_alloc(sizeof(struct entry) + len, 3);
	struct entry *entry = pmemobj_direct(oid);
	entry->next = next;
	entry->key = key;
	entry->len = len;
	memcpy(entry->value, value, len);
	return oid;
}

/* In a transaction: sets a record, or an entry. */
static void set(struct peer *peer, uint64_t key, const void *value, size_t len)
{
	if (peer->shape == RECORDS) {
		char *at = record(peer, key);
		pmemobj_tx_add_range_direct(at, len);
		memcpy(at, value, len);
		return;
	}
	PMEMoid *link = find(peer, key);
	if (OID_IS_NULL(*link)) {
		pmemobj_tx_add_range_direct(link, sizeof(*link));
		*link = make_entry(OID_NULL, key, value, len);
	} else {
		struct entry *entry = pmemobj_direct(*link);
		pmemobj_tx_add_range_direct(entry->value, len);
		memcpy(entry->value, value, len);
	}
}

int peer_load(struct peer *peer, size_t count, const uint64_t *keys, const char *values, size_t len)
{
	volatile int result = 0;
	pthread_rwlock_wrlock(&peer->lock);
	TX_BEGIN(peer->pool) {
		for (size_t i = 0; i < count; i++)
			set(peer, keys[i], values + i * len, len);
	} TX_ONABORT {
		result = -1;
	} TX_END
	pthread_rwlock_unlock(&peer->lock);
	return result;
}

int peer_put(struct peer *peer, uint64_t key, const void *value, size_t len)
{
	if (peer->shape != RECORDS)
		return peer_load(peer, 1, &key, value, len);
	volatile int result = 0;
	uint64_t stripes = lock_records(peer, &key, 1);
	TX_BEGIN(peer->pool) {
		set(peer, key, value, len);
	} TX_ONABORT {
		result = -1;
	} TX_END
	unlock_records(peer, stripes);
	return result;
}

int peer_get(struct peer *peer, uint64_t key, look_fn look, void *context)
{
	pthread_rwlock_rdlock(&peer->lock);
	PMEMoid oid = *find(peer, key);
	if (!OID_IS_NULL(oid)) {
		struct entry *entry = pmemobj_direct(oid);
		look(context, entry->value, entry->len);
	}
	pthread_rwlock_unlock(&peer->lock);
	return !OID_IS_NULL(oid);
}

int peer_delete(struct peer *peer, uint64_t key)
{
	volatile int result = 0;
	pthread_rwlock_wrlock(&peer->lock);
	PMEMoid *link = find(peer, key);
	if (!OID_IS_NULL(*link)) {
		result = 1;
		TX_BEGIN(peer->pool) {
			PMEMoid oid = *link;
			pmemobj_tx_add_range_direct(link, sizeof(*link));
			*link = ((struct entry *)pmemobj_direct(oid))->next;
			pmemobj_tx_free(oid);
		} TX_ONABORT {
			result = -1;
		} TX_END
	}
	pthread_rwlock_unlock(&peer->lock);
	return result;
}

/* In a transaction: where a value is, which is logged. Aborts if there is none. */
static char *to_change(struct peer *peer, uint64_t key, size_t *len)
{
	char *at = NULL;
	if (peer->shape == RECORDS) {
		at = record(peer, key);
		*len = RECORD;
	} else {
		PMEMoid oid = *find(peer, key);
		if (OID_IS_NULL(oid))
			pmemobj_tx_abort(ENOENT);
		struct entry *entry = pmemobj_direct(oid);
		at = entry->value;
		*len = entry->len;
	}
	pmemobj_tx_add_range_direct(at, *len);
	return at;
}

int peer_modify(struct peer *peer, size_t count, const uint64_t *keys, change_fn change, void *context)
{
	volatile int result = 0;
	const uint64_t stripes = peer->shape == RECORDS ? lock_records(peer, keys, count) : 0;
	if (peer->shape != RECORDS)
		pthread_rwlock_wrlock(&peer->lock);
	TX_BEGIN(peer->pool) {
		for (size_t i = 0; i < count; i++) {
			size_t len;
			char *at = to_change(peer, keys[i], &len);
			change(context, i, at, len);
		}
	} TX_ONABORT {
		result = -1;
	} TX_END
	if (peer->shape == RECORDS)
		unlock_records(peer, stripes);
	else
		pthread_rwlock_unlock(&peer->lock);
	return result;
}

int peer_append(struct peer *peer, const void *value, size_t len)
{
	volatile int result = 0;
	pthread_rwlock_wrlock(&peer->lock);
	struct root *root = peer->root;
	TX_BEGIN(peer->pool) {
		PMEMoid oid = make_entry(OID_NULL, 0, value, len);
		if (OID_IS_NULL(root->tail)) {
			pmemobj_tx_add_range_direct(&root->head, 2 * sizeof(PMEMoid));
			root->head = oid;
		} else {
			struct entry *last = pmemobj_direct(root->tail);
			pmemobj_tx_add_range_direct(&last->next, sizeof(PMEMoid));
			last->next = oid;
			pmemobj_tx_add_range_direct(&root->tail, sizeof(PMEMoid));
		}
		root->tail = oid;
	} TX_ONABORT {
		result = -1;
	} TX_END
	pthread_rwlock_unlock(&peer->lock);
	return result;
}

int peer_pop(struct peer *peer, look_fn look, void *context)
{
	volatile int result = 0;
	pthread_rwlock_wrlock(&peer->lock);
	struct root *root = peer->root;
	if (!OID_IS_NULL(root->head)) {
		result = 1;
		TX_BEGIN(peer->pool) {
			PMEMoid oid = root->head;
			struct entry *first = pmemobj_direct(oid);
			look(context, first->value, first->len);
			int only = OID_IS_NULL(first->next);
			pmemobj_tx_add_range_direct(&root->head, (only ? 2 : 1) * sizeof(PMEMoid));
			root->head = first->next;
			if (only)
				root->tail = OID_NULL;
			pmemobj_tx_free(oid);
		} TX_ONABORT {
			result = -1;
		} TX_END
	}
	pthread_rwlock_unlock(&peer->lock);
	return result;
}

static uint64_t walk(PMEMoid oid, look_fn look, void *context)
{
	uint64_t count = 0;
	while (!OID_IS_NULL(oid)) {
		struct entry *entry = pmemobj_direct(oid);
		look(context, entry->value, entry->len);
		oid = entry->next;
		count++;
	}
	return count;
}

uint64_t peer_all(struct peer *peer, look_fn look, void *context)
{
	if (peer->shape == LIST)
		return walk(peer->root->head, look, context);
	if (peer->shape == RECORDS) {
		for (uint64_t i = 0; i < peer->count; i++)
			look(context, record(peer, i), RECORD);
		return peer->count;
	}
	uint64_t count = 0;
	PMEMoid *table = pmemobj_direct(peer->root->table);
	for (uint64_t i = 0; i < peer->root->buckets; i++)
		count += walk(table[i], look, context);
	return count;
}

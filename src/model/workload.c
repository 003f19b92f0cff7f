/* SPDX-License-Identifier: Apache-2.0 */
#include "model/workload.h"

#include <stdlib.h>
#include <string.h>

static void wish_free(struct address_wish *wish)
{
	for (int f = 0; f < FAMILY_COUNT; f++) {
		for (size_t i = 0; i < wish->pool_count[f]; i++)
			free(wish->pools[f][i]);
		free(wish->pools[f]);
	}
	free(wish->bad);
}

void workload_free(struct workload **workload)
{
	struct workload *one = *workload;

	*workload = NULL;
	if (!one)
		return;
	wish_free(&one->wish);
	labels_free(&one->labels);
	free(one->namespace);
	free(one->name);
	free(one->uid);
	free(one);
}

static bool text_equal(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

static bool pools_equal(const struct address_wish *a, const struct address_wish *b, int f)
{
	if (a->pool_count[f] != b->pool_count[f] || !a->pools[f] != !b->pools[f])
		return false;
	for (size_t i = 0; i < a->pool_count[f]; i++)
		if (strcmp(a->pools[f][i], b->pools[f][i]) != 0)
			return false;
	return true;
}

static bool wish_equal(const struct address_wish *a, const struct address_wish *b)
{
	for (int f = 0; f < FAMILY_COUNT; f++)
		if (!pools_equal(a, b, f) || !addr_equal(&a->addr[f], &b->addr[f]) || a->families[f] != b->families[f])
			return false;
	return a->says_families == b->says_families && mac_equal(&a->mac, &b->mac) && text_equal(a->bad, b->bad);
}

bool workload_equal(const struct workload *a, const struct workload *b)
{
	return text_equal(a->namespace, b->namespace) && text_equal(a->name, b->name) && text_equal(a->uid, b->uid) &&
		labels_equal(a->labels, b->labels) && wish_equal(&a->wish, &b->wish);
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * Pods and Namespaces: labels, and what annotations wish about addresses (reference/calico.md 3.8, 4.6).
 */
#include "resources/read.h"

#include "base/cleanup.h"
#include "base/json.h"
#include "model/workload.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define ANNOTATION "cni.projectcalico.org/"
#define LIST_MAX 64 /* pools of a wish */

struct reader {
	const json_t *object;
	struct workload *workload;
	bool out_of_memory;
};

/* The first thing that is wrong is the story; whoever asked for it must not get something else instead. */
static void bad(struct reader *reader, const char *key, const char *expected)
{
	struct address_wish *wish = &reader->workload->wish;
	const char *value = calico_annotation(reader->object, key);

	if (!wish->bad && asprintf(&wish->bad, "annotation %s of %s %s: the value is \"%.96s\", expected %s", key,
		reader->workload->namespace ? "pod" : "namespace", reader->workload->name, value ? value : "", expected) < 0) {
		wish->bad = NULL;
		reader->out_of_memory = true;
	}
}

/* The texts of an annotation that is a JSON list of them; null: not there, or bad. */
static json_t *read_list(struct reader *reader, const char *key, const char *expected)
{
	const char *text = calico_annotation(reader->object, key);
	_cleanup_(json_cleanup) json_t *list = NULL;
	const json_t *item;
	size_t i;

	if (!text)
		return NULL;
	list = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
	if (!json_is_array(list) || json_array_size(list) > LIST_MAX) {
		bad(reader, key, expected);
		return NULL;
	}
	json_array_foreach(list, i, item)
		if (!json_is_string(item)) {
			bad(reader, key, expected);
			return NULL;
		}
	return TAKE_PTR(list);
}

static void read_pools(struct reader *reader, int f)
{
	static const char *const keys[] = {ANNOTATION "ipv4pools", ANNOTATION "ipv6pools"};
	static const char expected[] = "a JSON list of names or CIDRs of pools, such as [\"default-ipv4-ippool\"]";
	struct address_wish *wish = &reader->workload->wish;
	_cleanup_(json_cleanup) json_t *list = read_list(reader, keys[f], expected);
	const json_t *item;
	size_t i;

	if (!list)
		return;
	if (json_array_size(list) == 0) {
		bad(reader, keys[f], expected);
		return;
	}
	wish->pools[f] = calloc(json_array_size(list), sizeof(*wish->pools[f]));
	if (!wish->pools[f]) {
		reader->out_of_memory = true;
		return;
	}
	json_array_foreach(list, i, item) {
		wish->pools[f][i] = strdup(json_string_value(item));
		if (!wish->pools[f][i]) {
			reader->out_of_memory = true;
			return;
		}
		wish->pool_count[f]++;
	}
}

static void read_addresses(struct reader *reader)
{
	static const char key[] = ANNOTATION "ipAddrs";
	static const char expected[] = "a JSON list of at most one IPv4 and one IPv6 address, such as [\"10.244.0.7\"]";
	_cleanup_(json_cleanup) json_t *list = read_list(reader, key, expected);
	const json_t *item;
	size_t i;

	json_array_foreach(list, i, item) {
		struct addr addr, *place;

		if (addr_parse(json_string_value(item), &addr) < 0) {
			bad(reader, key, expected);
			return;
		}
		place = &reader->workload->wish.addr[family_index(addr_family(&addr))];
		if (addr_is_set(place)) {
			bad(reader, key, expected);
			return;
		}
		*place = addr;
	}
}

static void read_families(struct reader *reader)
{
	static const char key[] = ANNOTATION "ipFamilies";
	static const char expected[] = "a JSON list of \"IPv4\" and \"IPv6\"";
	struct address_wish *wish = &reader->workload->wish;
	_cleanup_(json_cleanup) json_t *list = read_list(reader, key, expected);
	const json_t *item;
	size_t i;

	json_array_foreach(list, i, item) {
		const char *text = json_string_value(item);

		if (strcmp(text, "IPv4") != 0 && strcmp(text, "IPv6") != 0) {
			bad(reader, key, expected);
			return;
		}
		wish->families[text[3] == '4' ? FAMILY_4 : FAMILY_6] = true;
		wish->says_families = true;
	}
}

static void read_mac(struct reader *reader)
{
	static const char key[] = ANNOTATION "hwAddr";
	const char *text = calico_annotation(reader->object, key);

	if (text && mac_parse(text, &reader->workload->wish.mac) < 0)
		bad(reader, key, "a MAC address, such as 02:00:00:00:00:07");
}

static void read_wish(struct reader *reader)
{
	static const char no_ipam[] = ANNOTATION "ipAddrsNoIpam";

	for (int f = 0; f < FAMILY_COUNT; f++)
		read_pools(reader, f);
	read_families(reader);
	if (!reader->workload->namespace)
		return;
	read_addresses(reader);
	read_mac(reader);
	if (calico_annotation(reader->object, no_ipam))
		bad(reader, no_ipam, "no such annotation: addresses outside of IPAM are not given, " ANNOTATION "ipAddrs are");
}

static int copy_text(char **to, const char *from)
{
	*to = from ? strdup(from) : NULL;
	return from && !*to ? -ENOMEM : 0;
}

int calico_workload_parse(const json_t *object, bool is_namespace, struct workload **ret, struct err *err)
{
	_cleanup_(workload_free) struct workload *workload = calloc(1, sizeof(*workload));
	struct reader reader = {.object = object, .workload = workload};
	struct calico_at at;
	int rc = is_namespace ? calico_begin(object, "Namespace", NULL, err, &at)
			      : calico_begin_namespaced(object, "Pod", NULL, err, &at);

	if (rc < 0)
		return rc;
	if (!workload || !(workload->labels = labels_new()))
		return calico_no_memory(&at);
	rc = copy_text(&workload->name, calico_name(object));
	if (rc == 0 && !is_namespace)
		rc = copy_text(&workload->namespace, calico_namespace(object));
	if (rc == 0)
		rc = copy_text(&workload->uid, json_string_value(json_object_get(json_object_get(object, "metadata"), "uid")));
	if (rc == 0)
		rc = calico_labels(object, workload->labels);
	if (rc == 0)
		read_wish(&reader);
	if (rc < 0 || reader.out_of_memory)
		return calico_no_memory(&at);
	*ret = TAKE_PTR(workload);
	return 0;
}

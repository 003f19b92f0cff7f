/* SPDX-License-Identifier: Apache-2.0
 *
 * What a pod wishes about its addresses: annotations of the pod and of its namespace, and what the runtime was told
 * (reference/calico.md 3.8).
 */
#include "agent/calico/internal.h"

#include "base/cleanup.h"
#include "model/workload.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* In Kubernetes both are there, or will be in a moment; elsewhere pods need not be objects of the store. */
static int find_objects(const struct calico *calico, const struct attach_request *request, struct calico_wishes *ret,
	struct err *err)
{
	bool named = request->pod_namespace && request->pod_namespace[0] && request->pod_name && request->pod_name[0];
	char key[400];

	if (!named)
		return 0;
	snprintf(key, sizeof(key), "%s/%s", request->pod_namespace, request->pod_name);
	ret->pod = collection_find(cluster_part(calico->store, CLUSTER_PODS), key);
	ret->namespace = collection_find(cluster_part(calico->store, CLUSTER_NAMESPACES), request->pod_namespace);
	if (calico->kube && (!ret->pod || !ret->namespace))
		return err_set(err, -EINPROGRESS, "pod %s: the API server has not shown %s yet", key,
			ret->pod ? "its namespace" : "it");
	if (ret->pod && ret->pod->wish.bad)
		return err_set(err, -EINVAL, "%s", ret->pod->wish.bad);
	if (ret->namespace && ret->namespace->wish.bad)
		return err_set(err, -EINVAL, "%s", ret->namespace->wish.bad);
	return 0;
}

static bool wants(const struct calico *calico, const struct calico_wishes *wishes, int f)
{
	const struct workload *said = wishes->pod && wishes->pod->wish.says_families ? wishes->pod : wishes->namespace;

	if (!calico->families[f])
		return false;
	if (addr_is_set(&wishes->addr[f]))
		return true;
	return said && said->wish.says_families ? said->wish.families[f] : true;
}

int calico_wishes_find(const struct calico *calico, const struct attach_request *request, struct calico_wishes *ret,
	struct err *err)
{
	struct calico_wishes wishes = {0};
	char text[ADDR_TEXT_MAX];
	int rc;

	if (!calico->pools)
		return err_set(err, -EINPROGRESS, "the pools have not been read yet");
	rc = find_objects(calico, request, &wishes, err);
	if (rc < 0)
		return rc;
	if (wishes.pod)
		memcpy(wishes.addr, wishes.pod->wish.addr, sizeof(wishes.addr));
	for (size_t i = 0; i < request->ip_count; i++)
		wishes.addr[family_index(addr_family(&request->ips[i]))] = request->ips[i];
	for (int f = 0; f < FAMILY_COUNT; f++) {
		wishes.families[f] = wants(calico, &wishes, f);
		if (addr_is_set(&wishes.addr[f]) && !wishes.families[f])
			return err_set(err, -EINVAL, "requested address %s: there is no IPPool of its family",
				addr_format(&wishes.addr[f], text));
	}
	*ret = wishes;
	return 0;
}

int calico_wishes_pools(const struct calico *calico, const struct calico_wishes *wishes, int f, struct prefix **ret,
	size_t *ret_count, struct err *err)
{
	const struct workload *said = wishes->pod && wishes->pod->wish.pools[f] ? wishes->pod : wishes->namespace;
	_cleanup_free_ struct prefix *found = NULL;
	size_t count;

	*ret = NULL;
	*ret_count = 0;
	if (!said || !said->wish.pools[f])
		return 0;
	count = said->wish.pool_count[f];
	found = calloc(count, sizeof(*found));
	if (!found)
		return err_set(err, -ENOMEM, "out of memory");
	for (size_t i = 0; i < count; i++) {
		const char *text = said->wish.pools[f][i];
		const struct ippool *pool = pools_find_name(calico->pools, text);

		if (pool)
			found[i] = pool->cidr;
		else if (prefix_parse(text, &found[i]) < 0)
			return err_set(err, -EINVAL, "annotation cni.projectcalico.org/ipv%dpools of %s: \"%.96s\" is neither the name of "
				"an IPPool nor a CIDR", f == FAMILY_4 ? 4 : 6, said->name, text);
	}
	*ret = TAKE_PTR(found);
	*ret_count = count;
	return 0;
}

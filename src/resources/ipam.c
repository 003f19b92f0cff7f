/* SPDX-License-Identifier: Apache-2.0
 *
 * IPReservation, IPAMConfiguration and ClusterInformation (reference/calico.md 1.3, 2.2, 2.3).
 */
#include "resources/read.h"

#include "base/cleanup.h"

#include <errno.h>
#include <string.h>

/* Singletons: objects of other names mean nothing. */
static int check_default(const struct calico_at *at, const json_t *object)
{
	if (strcmp(calico_name(object), "default") == 0)
		return 0;
	return err_set(at->err, -ENOENT, "%s: only the one named \"default\" counts", at->who);
}

/* -- IPReservation -- */

static int compare_prefixes(const void *a, const void *b)
{
	return prefix_compare(a, b);
}

static int read_reserved(const struct calico_at *at, struct ip_reservation *reservation)
{
	const json_t *list = NULL, *item;
	int rc = calico_list(at, "reservedCIDRs", &list);
	size_t i;

	if (rc <= 0)
		return rc;
	reservation->cidrs = calloc(json_array_size(list) + 1, sizeof(*reservation->cidrs));
	if (!reservation->cidrs)
		return calico_no_memory(at);
	json_array_foreach((json_t *)list, i, item) {
		struct err err = ERR_INIT;
		struct calico_at place;
		struct prefix cidr;

		calico_item(at, "reservedCIDRs", i, item, &place);
		place.err = &err;
		rc = calico_prefix_or_addr(&place, NULL, &cidr);
		if (rc == 1)
			reservation->cidrs[reservation->cidr_count++] = prefix_masked(&cidr);
		else if (rc < 0)
			calico_remark_ignored(at, &err);
	}
	qsort(reservation->cidrs, reservation->cidr_count, sizeof(*reservation->cidrs), compare_prefixes);
	return 0;
}

int calico_ip_reservation_parse(const json_t *object, const struct calico_remarks *remarks, struct ip_reservation **ret,
	struct err *err)
{
	_cleanup_(ip_reservation_free) struct ip_reservation *reservation = calloc(1, sizeof(*reservation));
	struct calico_at at;
	int rc = calico_begin(object, "IPReservation", remarks, err, &at);

	if (rc < 0)
		return rc;
	if (!reservation || !(reservation->name = strdup(calico_name(object))))
		return calico_no_memory(&at);
	rc = read_reserved(&at, reservation);
	if (rc < 0)
		return rc;
	*ret = TAKE_PTR(reservation);
	return 0;
}

/* -- IPAMConfiguration -- */

int calico_ipam_config_parse(const json_t *object, struct ipam_config *ret, struct err *err)
{
	static const char *const persistence[] = {"Disabled", "Enabled", NULL};
	struct ipam_config config = ipam_config_defaults();
	int persistent = config.vm_address_persistence;
	struct calico_at at;
	int rc = calico_begin(object, "IPAMConfiguration", NULL, err, &at);

	if (rc == 0)
		rc = check_default(&at, object);
	if (rc >= 0)
		rc = calico_bool(&at, "strictAffinity", &config.strict_affinity);
	if (rc >= 0)
		rc = calico_bool(&at, "autoAllocateBlocks", &config.auto_allocate_blocks);
	if (rc >= 0)
		rc = calico_u32(&at, "maxBlocksPerHost", 0, INT32_MAX, &config.max_blocks_per_host);
	if (rc >= 0)
		rc = calico_choice(&at, "kubeVirtVMAddressPersistence", persistence, &persistent);
	if (rc >= 0)
		rc = calico_u32(&at, "ipCooldownSeconds", 0, 1200, &config.cooldown);
	if (rc < 0)
		return rc;
	config.vm_address_persistence = persistent;
	if (!config.strict_affinity && !config.auto_allocate_blocks)
		return calico_wrong(&at, "autoAllocateBlocks", "true, because spec.strictAffinity is false");
	*ret = config;
	return 0;
}

/* -- ClusterInformation -- */

int calico_cluster_info_parse(const json_t *object, struct cluster_info **ret, struct err *err)
{
	_cleanup_(cluster_info_free) struct cluster_info *info = calloc(1, sizeof(*info));
	struct calico_at at;
	int rc = calico_begin(object, "ClusterInformation", NULL, err, &at);

	if (rc == 0)
		rc = check_default(&at, object);
	if (rc < 0)
		return rc;
	if (!info)
		return calico_no_memory(&at);
	info->datastore_ready = true;
	rc = calico_bool(&at, "datastoreReady", &info->datastore_ready);
	if (rc >= 0)
		rc = calico_copy(&at, "clusterGUID", &info->guid);
	if (rc >= 0)
		rc = calico_copy(&at, "clusterType", &info->type);
	if (rc >= 0)
		rc = calico_copy(&at, "calicoVersion", &info->version);
	if (rc >= 0)
		rc = calico_copy(&at, "variant", &info->variant);
	if (rc < 0)
		return rc;
	*ret = TAKE_PTR(info);
	return 0;
}

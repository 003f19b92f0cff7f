/* SPDX-License-Identifier: Apache-2.0 */
#include "base/cleanup.h"
#include "base/rfc3339.h"
#include "flannel/flannel.h"
#include "flannel/json.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* Foreign words end up in logs and files: what is no printable ASCII, or needs JSON escapes, becomes '?'. */
static void copy_word(char *to, size_t size, const char *from)
{
	size_t n = 0;

	for (; from[n] && n + 1 < size; n++)
		to[n] = from[n] < 0x21 || from[n] > 0x7e || strchr("\"\\", from[n]) ? '?' : from[n];
	to[n] = 0;
}

/* {"VNI":1,"VtepMAC":"aa:bb:cc:dd:ee:ff"}; an absent MAC stays unset, the plan tells about it. */
static int vxlan_data_parse(const json_t *attrs, const char *where, const char *key, struct mac *mac,
	struct lease *lease, struct err *err)
{
	const char *text = NULL;
	json_t *data = NULL;
	int64_t vni;
	int r;

	r = json_get_object(attrs, where, flannel_spelling(attrs, key), &data, err);
	if (r <= 0)
		return r;
	r = flannel_get_int(data, where, "VNI", 0, UINT32_MAX, &vni, err);
	if (r < 0)
		return r;
	if (r > 0) {
		lease->has_vni = true;
		lease->vni = (uint32_t)vni;
	}
	r = flannel_get_string(data, where, "VtepMAC", &text, err);
	if (r <= 0 || !*text)
		return r;
	if (mac_parse(text, mac) < 0)
		return err_set(err, -EINVAL,
			"%s: key \"VtepMAC\" is \"%.60s\", expected one such as aa:bb:cc:dd:ee:ff",
			where, text);
	return 0;
}

static int attributes_parse(const json_t *attrs, const char *where, struct lease *lease, struct err *err)
{
	const char *text = NULL;
	int r;

	r = flannel_get_addr(attrs, where, "PublicIP", AF_INET, false, &lease->public_ip[FAMILY_4], err);
	if (r >= 0)
		r = flannel_get_addr(
			attrs, where, "PublicIPv6", AF_INET6, true, &lease->public_ip[FAMILY_6], err);
	if (r >= 0)
		r = flannel_get_string(attrs, where, "BackendType", &text, err);
	if (r < 0)
		return r;
	if (text)
		copy_word(lease->backend, sizeof(lease->backend), text);
	if (strcmp(lease->backend, "vxlan") == 0) {
		r = vxlan_data_parse(attrs, where, "BackendData", &lease->vtep_mac[FAMILY_4], lease, err);
		if (r >= 0)
			r = vxlan_data_parse(
				attrs, where, "BackendV6Data", &lease->vtep_mac[FAMILY_6], lease, err);
	}
	return r < 0 ? r : 0;
}

static int expiration_parse(const json_t *attrs, const char *where, int64_t *ret, struct err *err)
{
	const char *text = NULL;
	int r = flannel_get_string(attrs, where, "Expiration", &text, err);

	if (r <= 0)
		return r;
	if (rfc3339_parse(text, ret) < 0)
		return err_set(err, -EINVAL,
			"%s: key \"Expiration\" is \"%.60s\", expected one such as 2026-01-02T03:04:05Z",
			where, text);
	return 0;
}

int flannel_lease_parse(const char *key, const char *text, size_t len, struct lease *ret, struct err *err)
{
	const char *slash = strrchr(key, '/');
	const char *name = slash ? slash + 1 : key;
	_cleanup_(json_cleanup) json_t *attrs = NULL;
	char where[LEASE_KEY_MAX + 8];
	struct lease lease = {0};
	int r;

	r = flannel_key_parse(name, lease.subnet, err);
	if (r < 0)
		return r;
	snprintf(lease.key, sizeof(lease.key), "%s", name);
	snprintf(where, sizeof(where), "lease %s", lease.key);
	r = flannel_object_parse(text, len, where, &attrs, err);
	if (r == 0)
		r = attributes_parse(attrs, where, &lease, err);
	if (r == 0)
		r = expiration_parse(attrs, where, &lease.expires, err);
	if (r < 0)
		return r;
	*ret = lease;
	return 0;
}

static void vxlan_data_format(
	const struct lease *lease, const char *key, const struct mac *mac, struct buf *buf)
{
	char text[MAC_TEXT_MAX];

	if (!mac_is_set(mac))
		return;
	buf_printf(buf, ",\"%s\":{", key);
	if (lease->has_vni)
		buf_printf(buf, "\"VNI\":%u,", lease->vni);
	buf_printf(buf, "\"VtepMAC\":\"%s\"}", mac_format(mac, text));
}

void flannel_lease_format(const struct lease *lease, bool with_expiration, struct buf *buf)
{
	const struct addr *v4 = &lease->public_ip[FAMILY_4];
	const struct addr *v6 = &lease->public_ip[FAMILY_6];
	char text[ADDR_TEXT_MAX];

	buf_printf(buf, "{\"PublicIP\":\"%s\"", addr_is_set(v4) ? addr_format(v4, text) : "0.0.0.0");
	if (addr_is_set(v6))
		buf_printf(buf, ",\"PublicIPv6\":\"%s\"", addr_format(v6, text));
	else
		buf_add_str(buf, ",\"PublicIPv6\":null");
	if (lease->backend[0])
		buf_printf(buf, ",\"BackendType\":\"%s\"", lease->backend);
	if (strcmp(lease->backend, "vxlan") == 0) {
		vxlan_data_format(lease, "BackendData", &lease->vtep_mac[FAMILY_4], buf);
		vxlan_data_format(lease, "BackendV6Data", &lease->vtep_mac[FAMILY_6], buf);
	}
	if (with_expiration && lease->expires) {
		char when[RFC3339_MAX];

		buf_printf(buf, ",\"Expiration\":\"%s\"", rfc3339_format(lease->expires, when));
	}
	buf_add_str(buf, "}");
}

bool flannel_subnet_fits(const struct prefix *subnet, const struct pool *pool)
{
	if (!prefix_is_set(subnet) || !prefix_is_set(&pool->cidr))
		return prefix_is_set(subnet) == prefix_is_set(&pool->cidr);
	return subnet->len == pool->block_len && addr_compare(&subnet->addr, &pool->block_min) >= 0 &&
	       addr_compare(&subnet->addr, &pool->block_max) <= 0;
}

bool flannel_lease_fits(const struct lease *lease, const struct network *network)
{
	for (int f = 0; f < FAMILY_COUNT; f++)
		if (!flannel_subnet_fits(&lease->subnet[f], &network->pool[f]))
			return false;
	return true;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "cni_server/cni_args.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static int parse_ip(const char *text, struct addr *ret)
{
	struct prefix prefix;

	if (addr_parse(text, ret) == 0)
		return 0;
	if (prefix_parse(text, &prefix) < 0 || !addr_is_set(&prefix.addr))
		return -EINVAL;
	*ret = prefix.addr;
	return 0;
}

int cni_wishes_add_ip(struct cni_wishes *wishes, const char *text, const char *where, struct err *err)
{
	struct addr addr;

	if (parse_ip(text, &addr) < 0)
		return err_set(err, -EINVAL, "%s is \"%.100s\", expected an IP address", where, text);
	if (addr_is_multicast(&addr) || addr_is_loopback(&addr) || addr_is_link_local(&addr))
		return err_set(err, -EINVAL, "%s is \"%.100s\", expected an address that a pod can have",
			where, text);
	for (size_t i = 0; i < wishes->ip_count; i++)
		if (addr_equal(&wishes->ips[i], &addr))
			return 0;
	if (wishes->ip_count == CNI_IPS_MAX)
		return err_set(err, -E2BIG, "%s is \"%.100s\": more than %d addresses are asked for", where,
			text, CNI_IPS_MAX);
	wishes->ips[wishes->ip_count++] = addr;
	return 0;
}

int cni_wishes_set_mac(struct cni_wishes *wishes, const char *text, const char *where, struct err *err)
{
	struct mac mac;

	if (mac_parse(text, &mac) < 0 || !mac_is_set(&mac) || (mac.b[0] & 1))
		return err_set(err, -EINVAL, "%s is \"%.100s\", expected the MAC address of one interface",
			where, text);
	wishes->mac = mac;
	return 0;
}

static int parse_ip_list(char *list, struct cni_wishes *wishes, struct err *err)
{
	char *save = NULL;

	for (char *item = strtok_r(list, ",", &save); item; item = strtok_r(NULL, ",", &save)) {
		int rc = cni_wishes_add_ip(wishes, item, "CNI_ARGS: IP", err);

		if (rc < 0)
			return rc;
	}
	return 0;
}

/* Who has a longer name is no pod of Kubernetes. */
static void copy_name(char *to, size_t size, const char *value)
{
	if (strlen(value) < size)
		strcpy(to, value);
}

static int parse_pair(char *pair, struct cni_wishes *wishes, struct err *err)
{
	char *equals = strchr(pair, '=');
	char *value;

	if (!equals)
		return err_set(err, -EINVAL, "CNI_ARGS: \"%.100s\" is no pair KEY=VALUE", pair);
	*equals = 0;
	value = equals + 1;
	if (strcmp(pair, "IP") == 0)
		return parse_ip_list(value, wishes, err);
	if (strcmp(pair, "MAC") == 0 && *value)
		return cni_wishes_set_mac(wishes, value, "CNI_ARGS: MAC", err);
	if (strcmp(pair, "K8S_POD_NAMESPACE") == 0)
		copy_name(wishes->pod_namespace, sizeof(wishes->pod_namespace), value);
	if (strcmp(pair, "K8S_POD_NAME") == 0)
		copy_name(wishes->pod_name, sizeof(wishes->pod_name), value);
	return 0;
}

int cni_args_parse(const char *text, struct cni_wishes *wishes, struct err *err)
{
	struct cni_wishes found = *wishes;

	while (*text) {
		size_t len = strcspn(text, ";");
		char pair[1024];

		/* no value that we read is as long; of the others only the key matters */
		snprintf(
			pair, sizeof(pair), "%.*s", (int)(len < sizeof(pair) ? len : sizeof(pair) - 1), text);
		if (pair[0]) {
			int rc = parse_pair(pair, &found, err);

			if (rc < 0)
				return rc;
		}
		text += len + (text[len] == ';');
	}
	*wishes = found;
	return 0;
}

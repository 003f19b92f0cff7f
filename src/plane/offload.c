/* SPDX-License-Identifier: Apache-2.0 */
#include "plane/offload.h"

#include "base/cleanup.h"

#include <errno.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

/* More features than any kernel has; a bound for what the driver says. */
#define FEATURES_MAX 512

static int request(int fd, unsigned long what, const char *name, struct ifreq *req)
{
	snprintf(req->ifr_name, sizeof(req->ifr_name), "%s", name);
	/* ETHTOOL_SFEATURES answers with notes above 0. */
	return ioctl(fd, what, req) < 0 ? -errno : 0;
}

int device_get(const char *name, struct device *ret, struct err *err)
{
	_cleanup_close_ int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq req = {0};
	struct device device = {0};
	int r;

	if (fd < 0)
		return err_set(err, -errno, "opening a socket to look at device %s: %s", name, strerror(errno));
	r = request(fd, SIOCGIFINDEX, name, &req);
	if (!r) {
		device.index = (uint32_t)req.ifr_ifindex;
		r = request(fd, SIOCGIFHWADDR, name, &req);
	}
	if (!r) {
		device.ethernet = req.ifr_hwaddr.sa_family == ARPHRD_ETHER;
		memcpy(device.mac.b, req.ifr_hwaddr.sa_data, sizeof(device.mac.b));
		r = request(fd, SIOCGIFFLAGS, name, &req);
	}
	if (r)
		return err_set(err, r, "device %s: %s", name, strerror(-r));
	device.up = req.ifr_flags & IFF_UP;
	*ret = device;
	return 0;
}

static int ethtool(int fd, const char *name, void *command)
{
	struct ifreq req = {.ifr_data = command};

	return request(fd, SIOCETHTOOL, name, &req);
}

static int feature_count(int fd, const char *name, uint32_t *ret)
{
	/* The answer stands behind the head: one count, as one set was asked for. */
	_cleanup_free_ struct ethtool_sset_info *info = calloc(1, sizeof(*info) + sizeof(info->data[0]));
	int r;

	if (!info)
		return -ENOMEM;
	info->cmd = ETHTOOL_GSSET_INFO;
	info->sset_mask = 1ULL << ETH_SS_FEATURES;
	r = ethtool(fd, name, info);
	if (r)
		return r;
	if (!info->sset_mask || info->data[0] > FEATURES_MAX)
		return -EOPNOTSUPP;
	*ret = info->data[0];
	return 0;
}

static unsigned kind_of(const char *feature)
{
	if (strncmp(feature, "tx-", 3) || !strcmp(feature, "tx-generic-segmentation"))
		return 0;
	if (strstr(feature, "segmentation") || !strcmp(feature, "tx-gso-list"))
		return OFFLOAD_SEGMENTATION;
	return strstr(feature, "checksum") ? OFFLOAD_CHECKSUM : 0;
}

static int stop_offloads(int fd, const char *name, unsigned offloads)
{
	_cleanup_free_ struct ethtool_gstrings *names = NULL;
	_cleanup_free_ struct ethtool_sfeatures *set = NULL;
	uint32_t count, blocks;
	int r = feature_count(fd, name, &count);

	if (r)
		return r;
	blocks = (count + 31) / 32;
	names = calloc(1, sizeof(*names) + (size_t)count * ETH_GSTRING_LEN);
	set = calloc(1, sizeof(*set) + blocks * sizeof(set->features[0]));
	if (!names || !set)
		return -ENOMEM;
	names->cmd = ETHTOOL_GSTRINGS;
	names->string_set = ETH_SS_FEATURES;
	names->len = count;
	r = ethtool(fd, name, names);
	if (r)
		return r;
	set->cmd = ETHTOOL_SFEATURES;
	set->size = blocks;
	for (uint32_t i = 0; i < count; i++) {
		char *feature = (char *)names->data + i * ETH_GSTRING_LEN;

		feature[ETH_GSTRING_LEN - 1] = 0;
		if (kind_of(feature) & offloads)
			set->features[i / 32].valid |= 1U << i % 32;
	}
	return ethtool(fd, name, set);
}

int device_stop_offloads(const char *name, unsigned offloads, struct err *err)
{
	_cleanup_close_ int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int r = fd < 0 ? -errno : stop_offloads(fd, name, offloads);

	return r ? err_set(err, r, "device %s: switching offloads off: %s", name, strerror(-r)) : 0;
}

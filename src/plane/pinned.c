/* SPDX-License-Identifier: Apache-2.0 */
#include "plane/pinned.h"

#include "base/cleanup.h"

#include <bpf/libbpf.h>
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/vfs.h>

#define MAPS_PREFIX "maps-"

static bool has_shape(int fd, const struct map_shape *shape)
{
	struct bpf_map_info info = {0};
	uint32_t len = sizeof(info);

	return !bpf_obj_get_info_by_fd(fd, &info, &len) && info.type == shape->type &&
		info.key_size == shape->key_size && info.value_size == shape->value_size &&
		info.max_entries == shape->max_entries;
}

static int make_map(const char *path, const struct map_shape *shape, struct err *err)
{
	DECLARE_LIBBPF_OPTS(bpf_map_create_opts, opts, .map_flags = shape->flags);
	char name[BPF_OBJ_NAME_LEN];
	_cleanup_close_ int fd = -1;
	int r;

	snprintf(name, sizeof(name), "tulle_%s", shape->name);
	fd = bpf_map_create(shape->type, name, shape->key_size, shape->value_size, shape->max_entries, &opts);
	if (fd < 0)
		return err_set(err, fd, "making BPF map %s: %s", shape->name, strerror(-fd));
	unlink(path);
	r = bpf_obj_pin(fd, path);
	if (r)
		return err_set(err, r, "pinning BPF map %s: %s; expected a mounted bpf file system", path, strerror(-r));
	return TAKE_FD(fd);
}

int pinned_open(const char *dir, const struct map_shape *shape, bool make, struct err *err)
{
	char path[PATH_MAX];
	_cleanup_close_ int fd = -1;

	if (snprintf(path, sizeof(path), "%s/%s", dir, shape->name) >= (int)sizeof(path))
		return err_set(err, -ENAMETOOLONG, "%s/%s: path is too long", dir, shape->name);
	fd = bpf_obj_get(path);
	if (fd >= 0 && has_shape(fd, shape))
		return TAKE_FD(fd);
	if (!make)
		return err_set(err, fd < 0 ? fd : -EBADMSG, "%s: no BPF map of the expected shape", path);
	return make_map(path, shape, err);
}

void pinned_remove(const char *dir, const struct map_shape *shapes, size_t count)
{
	char path[PATH_MAX];

	for (size_t i = 0; i < count; i++)
		if (snprintf(path, sizeof(path), "%s/%s", dir, shapes[i].name) < (int)sizeof(path))
			unlink(path);
	rmdir(dir);
}

void pinned_remove_others(const char *parent, const char *keep, const struct map_shape *shapes, size_t count)
{
	DIR *dir = opendir(parent);
	char path[PATH_MAX + NAME_MAX + 2];

	if (!dir)
		return;
	for (struct dirent *entry; (entry = readdir(dir));) {
		snprintf(path, sizeof(path), "%s/%s", parent, entry->d_name);
		if (!strncmp(entry->d_name, MAPS_PREFIX, strlen(MAPS_PREFIX)) && strcmp(path, keep))
			pinned_remove(path, shapes, count);
	}
	closedir(dir);
}

int pinned_expect_bpffs(const char *dir, struct err *err)
{
	struct statfs fs;

	if (statfs(dir, &fs) || fs.f_type != BPF_FS_MAGIC)
		return err_set(err, -ENODEV, "%s is not on a bpf file system; expected one mounted there or above "
			"(mount -t bpf bpf /sys/fs/bpf)", dir);
	return 0;
}

static int say_nothing(enum libbpf_print_level level, const char *fmt, va_list ap)
{
	return 0;
}

void libbpf_be_quiet(void)
{
	libbpf_set_print(say_nothing);
}

const char *verifier_words(char *log)
{
	char *last = "", *save = NULL;

	for (char *line = strtok_r(log, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
		if (strncmp(line, "processed ", 10))
			last = line;
	return last;
}

int counter_sum(int map_fd, uint32_t index, uint64_t *packets, uint64_t *bytes)
{
	int cpus = libbpf_num_possible_cpus();
	_cleanup_free_ struct packet_count *each = cpus > 0 ? calloc((size_t)cpus, sizeof(*each)) : NULL;
	int r;

	if (!each)
		return -ENOMEM;
	r = bpf_map_lookup_elem(map_fd, &index, each);
	for (int i = 0; i < cpus && !r; i++) {
		*packets += each[i].packets;
		*bytes += each[i].bytes;
	}
	return r;
}

struct packet_addr packet_addr_of(const struct addr *addr)
{
	struct packet_addr ret;

	memcpy(&ret, addr->b, sizeof(ret));
	return ret;
}

struct packet_prefix packet_prefix_of(const struct prefix *prefix)
{
	return (struct packet_prefix){.len = prefix->len + (prefix->family == AF_INET ? 96U : 0U),
		.addr = packet_addr_of(&prefix->addr)};
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "ipam/handles.h"

#include "base/cleanup.h"
#include "base/json.h"
#include "ipam/ipam_names.h"

#include <errno.h>

static json_t *counts_of(const json_t *object)
{
	return json_object_get(json_object_get(object, "spec"), "block");
}

int handle_get(struct task *task, const char *handle, json_t **ret, struct err *err)
{
	_cleanup_(json_cleanup) json_t *object = NULL;
	char name[IPAM_HANDLE_MAX];
	int rc = task_get(task, KIND_IPAM_HANDLE, NULL, ipam_handle_name(handle, name), &object, err);

	if (rc < 0)
		return rc;
	if (json_is_true(json_object_get(json_object_get(object, "spec"), "deleted"))) {
		rc = task_remove(task, KIND_IPAM_HANDLE, object, err);
		return rc < 0 ? rc : err_set(err, -ENOENT, "IPAMHandle %s: it is being deleted", name);
	}
	if (!json_is_object(counts_of(object)))
		return err_set(err, -EINVAL, "IPAMHandle %s: spec.block: expected an object", name);
	*ret = json_deep_copy(object); /* ours to change */
	return *ret ? 0 : err_set(err, -ENOMEM, "no memory for a handle");
}

int handle_blocks(const json_t *object, struct prefix **ret, size_t *ret_count, struct err *err)
{
	json_t *counts = counts_of(object), *value;
	_cleanup_free_ struct prefix *blocks = calloc(json_object_size(counts) + 1, sizeof(*blocks));
	size_t count = 0;
	const char *key;

	if (!blocks)
		return err_set(err, -ENOMEM, "no memory for a handle");
	json_object_foreach (counts, key, value) {
		if (prefix_parse(key, &blocks[count]) < 0)
			return err_set(err, -EINVAL, "IPAMHandle %s: spec.block[\"%s\"]: expected a prefix",
				json_string_value(
					json_object_get(json_object_get(object, "metadata"), "name")),
				key);
		count++;
	}
	*ret = TAKE_PTR(blocks);
	*ret_count = count;
	return 0;
}

static int create(struct task *task, const char *handle, const char *cidr, size_t by, struct err *err)
{
	char name[IPAM_HANDLE_MAX];
	_cleanup_(json_cleanup) json_t *object =
		json_pack("{s:s, s:s, s:{s:s}, s:{s:s, s:{s:I}, s:b}}", "apiVersion", "projectcalico.org/v3",
			"kind", "IPAMHandle", "metadata", "name", ipam_handle_name(handle, name), "spec",
			"handleID", handle, "block", cidr, (json_int_t)by, "deleted", 0);

	if (!object)
		return err_set(err, -ENOMEM, "no memory for a handle");
	return task_create(task, KIND_IPAM_HANDLE, &object, err);
}

static size_t count_family(const json_t *counts, const struct prefix *cidr)
{
	size_t count = 0;
	const char *key;
	json_t *value;

	json_object_foreach ((json_t *)counts, key, value) {
		struct prefix other;

		if (prefix_parse(key, &other) == 0 && other.family == cidr->family)
			count += (size_t)json_integer_value(value);
	}
	return count;
}

static int raise_existing(struct task *task, const char *handle, const struct prefix *cidr, size_t by,
	size_t limit, struct err *err)
{
	_cleanup_(json_cleanup) json_t *object = NULL;
	char text[PREFIX_TEXT_MAX];
	json_int_t count;
	json_t *counts;
	int rc = handle_get(task, handle, &object, err);

	if (rc < 0)
		return rc;
	counts = counts_of(object);
	if (limit && count_family(counts, cidr) + by > limit)
		return err_set(err, -EDQUOT, "handle %s: it has %zu addresses, expected at most %zu", handle,
			count_family(counts, cidr), limit);
	prefix_format(cidr, text);
	count = json_integer_value(json_object_get(counts, text)) + (json_int_t)by;
	if (json_object_set_new(counts, text, json_integer(count)) < 0)
		return err_set(err, -ENOMEM, "no memory for a handle");
	return task_update(task, KIND_IPAM_HANDLE, &object, err);
}

int handle_raise(struct task *task, const char *handle, const struct prefix *cidr, size_t by, size_t limit,
	struct err *err)
{
	char text[PREFIX_TEXT_MAX];
	unsigned tries = 0;
	int rc;

	prefix_format(cidr, text);
	do {
		/* most handles are new */
		rc = limit ? -EEXIST : create(task, handle, text, by, err);
		if (rc == -EEXIST)
			rc = raise_existing(task, handle, cidr, by, limit, err);
		if (rc == -ENOENT && limit)
			rc = by > limit
				     ? err_set(err, -EDQUOT, "handle %s: %zu addresses, expected at most %zu",
					       handle, by, limit)
				     : create(task, handle, text, by, err);
		if (rc != -ESTALE && rc != -ENOENT && rc != -EEXIST)
			return rc;
		rc = task_retry(task, &tries, "IPAMHandle", err);
	} while (rc == 0);
	return rc;
}

static int lower_once(
	struct task *task, const char *handle, const struct prefix *cidr, size_t by, struct err *err)
{
	_cleanup_(json_cleanup) json_t *object = NULL;
	char text[PREFIX_TEXT_MAX];
	json_int_t count;
	json_t *counts;
	int rc = handle_get(task, handle, &object, err);

	if (rc < 0)
		return rc == -ENOENT ? 0 : rc;
	counts = counts_of(object);
	prefix_format(cidr, text);
	if (!json_object_get(counts, text))
		return 0;
	count = json_integer_value(json_object_get(counts, text)) - (json_int_t)by;
	if (count > 0)
		json_object_set_new(counts, text, json_integer(count));
	else
		json_object_del(counts, text);
	if (json_object_size(counts) == 0)
		return task_remove(task, KIND_IPAM_HANDLE, object, err);
	return task_update(task, KIND_IPAM_HANDLE, &object, err);
}

int handle_lower(struct task *task, const char *handle, const struct prefix *cidr, size_t by, struct err *err)
{
	unsigned tries = 0;
	int rc;

	if (by == 0)
		return 0;
	for (;;) {
		rc = lower_once(task, handle, cidr, by, err);
		if (rc == -ENOENT)
			return 0;
		if (rc != -ESTALE)
			return rc;
		rc = task_retry(task, &tries, "IPAMHandle", err);
		if (rc < 0)
			return rc;
	}
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "resources/policy_read.h"

#include "base/cleanup.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define SELECTOR_TEXT_MAX (1u << 20) /* bytes */
#define LABEL_KEY_MAX 317            /* a subdomain, "/", a name */
#define LABEL_VALUE_MAX 63
#define PORT_NAME_MAX 15
#define RULE_NAME_MAX 100

/* -- the whole -- */

static int copy_text(char **to, const char *from)
{
	*to = strdup(from);
	return *to ? 0 : -ENOMEM;
}

int policy_reader_begin(struct policy_reader *r, const json_t *object, const struct policy_source *source,
	const struct calico_remarks *remarks, struct err *err)
{
	int rc;

	*r = (struct policy_reader){.policy = NULL};
	rc = source->namespaced ? calico_begin_namespaced(object, source->kind, remarks, err, &r->at)
				: calico_begin_object(object, source->kind, remarks, err, &r->at);
	if (rc < 0)
		return rc;
	r->policy = calloc(1, sizeof(*r->policy));
	if (!r->policy || copy_text(&r->policy->kind, source->kind) < 0 ||
		copy_text(&r->policy->name, calico_name(object)) < 0 ||
		(source->namespaced && copy_text(&r->policy->namespace, calico_namespace(object)) < 0)) {
		policy_free(&r->policy);
		return calico_no_memory(&r->at);
	}
	r->policy->order = HUGE_VAL;
	r->at.err = &r->story;
	return 0;
}

void policy_reader_done(struct policy_reader *r)
{
	policy_free(&r->policy);
}

static void drop_rules(struct policy *policy, enum policy_direction direction)
{
	for (size_t i = 0; i < policy->rule_count[direction]; i++)
		policy_rule_done(&policy->rules[direction][i]);
	free(policy->rules[direction]);
	policy->rules[direction] = NULL;
	policy->rule_count[direction] = 0;
}

/* A selector that could not be understood. */
static int select_all(struct policy_reader *r)
{
	_cleanup_(buf_free) struct buf text = BUF_INIT(SELECTOR_TEXT_MAX);

	if (r->policy->namespace)
		policy_add_namespace(r->policy->namespace, &text);
	return policy_make_selector(&r->at, &text, &r->policy->selector);
}

int policy_reader_end(struct policy_reader *r, int rc, struct policy **ret, struct err *err)
{
	struct policy *policy = r->policy;

	if (rc == 0 && !policy->tier)
		rc = copy_text(&policy->tier, "default");
	if (rc == 0 && !policy->selector)
		rc = select_all(r);
	if (rc < 0)
		return err_set(err, rc, "%s: %s", r->at.who, rc == -ENOMEM ? "out of memory" : err_text(&r->story));
	for (int d = 0; d < POLICY_DIRECTION_COUNT; d++) {
		policy->types[d] |= r->unsure;
		policy->denies[d] = policy->denies[d] && policy->types[d];
		if (policy->denies[d] || !policy->types[d])
			drop_rules(policy, (enum policy_direction)d);
	}
	*ret = TAKE_PTR(r->policy);
	return 0;
}

int policy_refuse(struct policy_reader *r, enum policy_direction direction, int rc)
{
	struct policy *policy = r->policy;

	if (rc != -EINVAL)
		return rc;
	for (int d = 0; d < POLICY_DIRECTION_COUNT; d++)
		if (direction == POLICY_DIRECTION_COUNT || (int)direction == d)
			policy->denies[d] = true;
	if (!policy->trouble && copy_text(&policy->trouble, err_text(&r->story)) < 0)
		return -ENOMEM;
	r->story = ERR_INIT;
	return 0;
}

static bool is_among(const char *name, const char *const *names)
{
	for (; *names; names++)
		if (strcmp(name, *names) == 0)
			return true;
	return false;
}

int policy_check_members(const struct calico_at *at, const char *const *names)
{
	const char *key;
	json_t *value;

	json_object_foreach((json_t *)at->json, key, value)
		if (!json_is_null(value) && !is_among(key, names))
			return calico_wrong(at, key, "no such member here");
	return 0;
}

int policy_enter_spec(struct policy_reader *r, const char *const *names, struct calico_at *ret)
{
	int rc;

	*ret = r->at;
	ret->json = NULL;
	snprintf(ret->path, sizeof(ret->path), "spec");
	rc = calico_enter(&r->at, "spec", ret);
	if (rc >= 0)
		rc = policy_check_members(ret, names);
	r->unsure = rc < 0;
	return policy_refuse(r, POLICY_DIRECTION_COUNT, rc);
}

/* -- types -- */

static int read_types(const struct calico_at *spec, const char *key, bool types[static POLICY_DIRECTION_COUNT])
{
	static const char *const words[] = {[POLICY_INGRESS] = "Ingress", [POLICY_EGRESS] = "Egress", NULL};
	const json_t *list, *item;
	int rc = calico_list(spec, key, &list);
	size_t i;

	if (rc <= 0 || json_array_size(list) == 0)
		return rc < 0 ? rc : 0;
	json_array_foreach((json_t *)list, i, item) {
		struct calico_at place;
		int type = -1;

		calico_item(spec, key, i, item, &place);
		rc = calico_choice(&place, NULL, words, &type);
		if (rc == 0)
			rc = calico_wrong(&place, NULL, "Ingress or Egress");
		if (rc < 0)
			return rc;
		types[type] = true;
	}
	return 1;
}

int policy_read_types(struct policy_reader *r, const struct calico_at *spec, const char *key)
{
	bool types[POLICY_DIRECTION_COUNT] = {0};
	int rc = read_types(spec, key, types);

	r->unsure |= rc < 0;
	memcpy(r->policy->types, types, sizeof(types));
	return rc < 0 ? policy_refuse(r, POLICY_DIRECTION_COUNT, rc) ?: 1 : rc;
}

/* -- rules -- */

bool policy_list_is_empty(const struct calico_at *at, const char *key)
{
	const json_t *value = json_object_get(at->json, key);

	return !value || json_is_null(value) || (json_is_array(value) && json_array_size(value) == 0);
}

static int read_rules(struct policy_reader *r, const struct calico_at *spec, enum policy_direction direction,
	const struct policy_rules_form *form)
{
	const json_t *list = NULL, *item;
	int rc = calico_list(spec, form->key, &list);
	size_t i;

	json_array_foreach((json_t *)list, i, item) {
		struct calico_at rule;

		calico_item(spec, form->key, i, item, &rule);
		rc = json_is_object(item) ? policy_check_members(&rule, form->members) : calico_wrong(&rule, NULL, "an object");
		if (rc == 0)
			rc = form->read(r, &rule, direction);
		if (rc < 0)
			break;
	}
	return rc < 0 ? rc : 0;
}

int policy_read_rules(struct policy_reader *r, const struct calico_at *spec, enum policy_direction direction,
	const struct policy_rules_form *form)
{
	if (!r->policy->types[direction]) {
		if (!policy_list_is_empty(spec, form->key) && !r->unsure)
			calico_remark(spec, "spec.%s has no effect: the policy's types do not have this direction", form->key);
		return 0;
	}
	return policy_refuse(r, direction, read_rules(r, spec, direction, form));
}

/* -- parts -- */

/* Room for one more, with growing steps: at powers of two. */
static void *grow(void *items, size_t count, size_t size)
{
	void *more = count & (count - 1) ? items : realloc(items, (count ? 2 * count : 1) * size);

	if (more)
		memset((char *)more + count * size, 0, size);
	return more;
}

struct policy_rule *policy_add_rule(struct policy_reader *r, const struct calico_at *at, enum policy_direction direction,
	const char *name)
{
	size_t *count = &r->policy->rule_count[direction];
	struct policy_rule *rules = grow(r->policy->rules[direction], *count, sizeof(*rules));
	const char *path = strchr(at->path, '.');
	char *text;

	if (!rules)
		return NULL;
	r->policy->rules[direction] = rules;
	if (asprintf(&text, "%s%s%.*s", path ? path + 1 : at->path, name ? " " : "", RULE_NAME_MAX, name ? name : "") < 0)
		return NULL;
	for (char *p = text; *p; p++)
		if (!isprint((unsigned char)*p))
			*p = '?';
	rules[*count].name = text;
	return &rules[(*count)++];
}

struct policy_term *policy_add_term(struct policy_entity *entity)
{
	struct policy_term *terms = grow(entity->terms, entity->term_count, sizeof(*terms));

	if (!terms)
		return NULL;
	entity->terms = terms;
	return &terms[entity->term_count++];
}

struct policy_ports *policy_add_ports(struct policy_ports **ports, size_t *count)
{
	struct policy_ports *more = grow(*ports, *count, sizeof(*more));

	if (!more)
		return NULL;
	*ports = more;
	return &more[(*count)++];
}

int policy_add_net(const struct calico_at *at, struct prefix **nets, size_t *count, const struct prefix *net)
{
	struct prefix *more = grow(*nets, *count, sizeof(*more));

	if (!more)
		return calico_no_memory(at);
	*nets = more;
	more[(*count)++] = prefix_masked(net);
	return 0;
}

struct policy_entity *policy_peer(struct policy_rule *rule, enum policy_direction direction)
{
	return direction == POLICY_INGRESS ? &rule->source : &rule->destination;
}

bool policy_port_name_is_good(const char *name)
{
	size_t len = strlen(name);
	bool letter = false;

	if (!len || len > PORT_NAME_MAX || name[0] == '-' || name[len - 1] == '-' || strstr(name, "--"))
		return false;
	for (; *name; name++) {
		if (!islower((unsigned char)*name) && !isdigit((unsigned char)*name) && *name != '-')
			return false;
		letter |= islower((unsigned char)*name) != 0;
	}
	return letter;
}

/* -- selectors -- */

static bool is_label_char(char c)
{
	return isalnum((unsigned char)c) || c == '-' || c == '_' || c == '.';
}

static bool key_is_good(const char *key)
{
	size_t len = strlen(key), slashes = 0;

	for (const char *p = key; *p; p++) {
		slashes += *p == '/';
		if (!is_label_char(*p) && *p != '/')
			return false;
	}
	return len && len <= LABEL_KEY_MAX && slashes <= 1 && key[0] != '/' && key[len - 1] != '/';
}

/* Without quotes, so that it can stand between some. */
static bool value_is_good(const char *value)
{
	size_t len = strlen(value);

	for (const char *p = value; *p; p++)
		if (!is_label_char(*p))
			return false;
	return !len || (len <= LABEL_VALUE_MAX && isalnum((unsigned char)value[0]) && isalnum((unsigned char)value[len - 1]));
}

static void add_and(struct buf *text)
{
	if (text->len)
		buf_add_str(text, " && ");
}

static int compare_texts(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int add_match_label(const struct calico_at *labels, const char *key, const char *prefix, struct buf *text)
{
	const char *value = NULL;
	int rc = calico_text(labels, key, &value);

	if (rc >= 0 && (!value || !value_is_good(value)))
		rc = calico_wrong(labels, key, "a label's value: up to 63 letters, digits, \"-\", \"_\", \".\"");
	if (rc >= 0 && !key_is_good(key))
		rc = calico_wrong(labels, key, "another label: its name is none");
	if (rc < 0)
		return rc;
	add_and(text);
	buf_printf(text, "%s%s == '%s'", prefix, key, value);
	return 0;
}

static int add_match_labels(const struct calico_at *at, const char *prefix, struct buf *text)
{
	_cleanup_free_ const char **keys = NULL;
	struct calico_at labels;
	int rc = calico_enter(at, "matchLabels", &labels);
	size_t count = 0;
	const char *key;
	json_t *value;

	if (rc <= 0)
		return rc;
	keys = calloc(json_object_size(labels.json) + 1, sizeof(*keys));
	if (!keys)
		return calico_no_memory(at);
	json_object_foreach((json_t *)labels.json, key, value)
		keys[count++] = key;
	qsort(keys, count, sizeof(*keys), compare_texts);
	for (size_t i = 0; i < count; i++) {
		rc = add_match_label(&labels, keys[i], prefix, text);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static int add_values(const struct calico_at *at, struct buf *text)
{
	const json_t *list = NULL, *item;
	int rc = calico_list(at, "values", &list);
	size_t i;

	if (rc == 0 || (rc == 1 && json_array_size(list) == 0))
		return calico_wrong(at, "values", "one value or more with this operator");
	json_array_foreach((json_t *)list, i, item) {
		const char *value = NULL;
		struct calico_at place;

		calico_item(at, "values", i, item, &place);
		rc = calico_text(&place, NULL, &value);
		if (rc >= 0 && (!value || !value_is_good(value)))
			rc = calico_wrong(&place, NULL, "a label's value: up to 63 letters, digits, \"-\", \"_\", \".\"");
		if (rc < 0)
			return rc;
		buf_printf(text, "%s'%s'", i ? ", " : "", value);
	}
	return rc < 0 ? rc : 0;
}

static int add_expression(const struct calico_at *at, const char *prefix, struct buf *text)
{
	static const char *const members[] = {"key", "operator", "values", NULL};
	static const char *const operators[] = {"In", "NotIn", "Exists", "DoesNotExist", NULL};
	const char *key = "";
	int operator = -1, rc = policy_check_members(at, members);

	if (rc >= 0)
		rc = calico_text(at, "key", &key);
	if (rc >= 0 && !key_is_good(key))
		rc = calico_wrong(at, "key", "a label");
	if (rc >= 0)
		rc = calico_choice(at, "operator", operators, &operator);
	if (rc == 0)
		rc = calico_wrong(at, "operator", "one of In, NotIn, Exists, DoesNotExist");
	if (rc < 0)
		return rc;
	add_and(text);
	if (operator >= 2) {
		buf_printf(text, "%shas(%s%s)", operator == 3 ? "!" : "", prefix, key);
		return policy_list_is_empty(at, "values") ? 0 : calico_wrong(at, "values", "no values with this operator");
	}
	buf_printf(text, "%s%s %s {", prefix, key, operator ? "not in" : "in");
	rc = add_values(at, text);
	buf_add_str(text, "}");
	return rc;
}

static int add_expressions(const struct calico_at *at, const char *prefix, struct buf *text)
{
	const json_t *list = NULL, *item;
	int rc = calico_list(at, "matchExpressions", &list);
	size_t i;

	json_array_foreach((json_t *)list, i, item) {
		struct calico_at place;

		calico_item(at, "matchExpressions", i, item, &place);
		rc = json_is_object(item) ? add_expression(&place, prefix, text) : calico_wrong(&place, NULL, "an object");
		if (rc < 0)
			break;
	}
	return rc < 0 ? rc : 0;
}

int policy_add_label_selector(const struct calico_at *at, const char *prefix, struct buf *text)
{
	static const char *const members[] = {"matchLabels", "matchExpressions", NULL};
	int rc = policy_check_members(at, members);

	if (rc == 0)
		rc = add_match_labels(at, prefix, text);
	if (rc == 0)
		rc = add_expressions(at, prefix, text);
	return rc;
}

int policy_add_namespace(const char *namespace, struct buf *text)
{
	add_and(text);
	return buf_printf(text, "projectcalico.org/namespace == '%s'", namespace);
}

int policy_make_selector(const struct calico_at *at, const struct buf *text, struct selector **ret)
{
	struct err err = ERR_INIT;
	int rc = text->error == -EMSGSIZE ? -EMSGSIZE : text->error ? -ENOMEM : selector_parse(buf_text(text), ret, &err);

	if (rc == -EMSGSIZE)
		return calico_wrong(at, NULL, "a selector of at most %u characters", SELECTOR_TEXT_MAX);
	if (rc == -ENOMEM)
		return calico_no_memory(at);
	return rc < 0 ? calico_wrong(at, NULL, "a selector: %s", err_text(&err)) : 0;
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * One user of the door to the cluster's objects, for tests: takes commands on stdin and prints every event as one JSON
 * line on stdout.
 *   get KIND [NAMESPACE/]NAME     list KIND [LABELS]            create KIND JSON    update KIND JSON    delete KIND JSON
 *   annotate KIND [NAMESPACE/]NAME JSON    watch KIND [field=…] [label=…]    free WATCH
 *   count KIND [NAMESPACE/]NAME TIMES   adds 1 to spec.count so often, each by get and update until it succeeds
 *   remark KIND [NAMESPACE/]NAME TEXT
 *   cancel KIND (a get that is taken back at once, and a list when its first object comes)    quit
 * Each request has the number of its command, from 0; so has each watch, from 0.
 * Usage: objects_probe directory PATH
 *        objects_probe etcd ENDPOINTS [key=FILE] [cert=FILE] [ca=FILE] [user=NAME] [password=TEXT]
 *        objects_probe kube KUBECONFIG [GROUP]
 */
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/json.h"
#include "client/etcd_options.h"
#include "client/kube.h"
#include "objects/kind.h"

#include <errno.h>
#include <event2/event.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define WATCHES_MAX 64

struct watch {
	struct objects_watch *watch;
	int number;
};

static struct {
	struct event_base *base;
	struct kube *kube;
	struct objects *objects;
	struct watch watches[WATCHES_MAX];
	int watch_count, request_count;
	struct buf input;
} probe;

struct request {
	int number;
	json_t *items;
	struct object_key key; /* of a counting */
	int left, stale;
};

static void print(json_t *json)
{
	char *text = json_dumps(json, JSON_COMPACT);

	puts(text);
	fflush(stdout);
	free(text);
	json_decref(json);
}

static json_t *borrowed(const json_t *json)
{
	return json ? json_incref((json_t *)json) : json_null();
}

static void failed(const char *what)
{
	print(json_pack("{s:s, s:s}", "event", "error", "text", what));
}

/* "IPPool", or where that is not enough "projectcalico.org/v3/NetworkPolicy". */
static enum kind kind_of(const char *name)
{
	const char *slash = strrchr(name, '/');
	char version[64];
	enum kind kind = 0;

	if (slash) {
		snprintf(version, sizeof(version), "%.*s", (int)(slash - name), name);
		return kind_find(version, slash + 1);
	}
	while (kind < KIND_COUNT && strcmp(kind_name(kind), name) != 0)
		kind++;
	return kind;
}

/* -- requests -- */

static struct request *request_new(void)
{
	struct request *request = calloc(1, sizeof(*request));

	request->number = probe.request_count++;
	return request;
}

static void request_free(struct request *request)
{
	free((char *)request->key.namespace);
	free((char *)request->key.name);
	json_decref(request->items);
	free(request);
}

static void on_done(void *ctx, const struct objects_answer *answer)
{
	struct request *request = ctx;

	print(json_pack("{s:s, s:i, s:i, s:o, s:s, s:O*, s:i}", "event", "done", "request", request->number, "rc", answer->rc,
		"object", borrowed(answer->object), "text", answer->text, "items", request->items, "stale", request->stale));
	request_free(request);
}

static void on_item(void *ctx, const json_t *object)
{
	struct request *request = ctx;

	json_array_append(request->items, (json_t *)object);
}

/* "[NAMESPACE/]NAME", split in place. */
static struct object_key key_of(enum kind kind, char *text)
{
	char *slash = strchr(text, '/');

	if (!slash)
		return (struct object_key){kind, NULL, text};
	*slash = 0;
	return (struct object_key){kind, text, slash + 1};
}

static bool change(const char *word, enum kind kind, const char *text)
{
	_cleanup_(json_cleanup) json_t *object = json_loads(text, 0, NULL);

	if (!object)
		return false;
	if (strcmp(word, "create") == 0)
		return objects_create(probe.objects, kind, object, on_done, request_new());
	if (strcmp(word, "update") == 0)
		return objects_update(probe.objects, kind, object, on_done, request_new());
	return objects_delete(probe.objects, kind, object, on_done, request_new());
}

static bool annotate(enum kind kind, char *rest)
{
	char *name = strsep(&rest, " ");
	struct object_key key = key_of(kind, name);
	_cleanup_(json_cleanup) json_t *annotations = rest ? json_loads(rest, 0, NULL) : NULL;

	return annotations && objects_annotate(probe.objects, &key, annotations, on_done, request_new());
}

/* -- counting: read, change, write, and again when somebody else was faster -- */

static void on_counted(void *ctx, const struct objects_answer *answer);

static void on_read(void *ctx, const struct objects_answer *answer)
{
	_cleanup_(json_cleanup) json_t *object = json_deep_copy(answer->object);
	struct request *request = ctx;
	json_t *spec = json_object_get(object, "spec");

	if (answer->rc < 0) {
		on_done(request, answer);
		return;
	}
	json_object_set_new(spec, "count", json_integer(json_integer_value(json_object_get(spec, "count")) + 1));
	if (!objects_update(probe.objects, request->key.kind, object, on_counted, request))
		failed("count");
}

static void count(struct request *request)
{
	if (!objects_get(probe.objects, &request->key, on_read, request))
		failed("count");
}

static void on_counted(void *ctx, const struct objects_answer *answer)
{
	struct request *request = ctx;

	if (answer->rc == -ESTALE)
		request->stale++;
	else
		request->left--;
	if ((answer->rc < 0 && answer->rc != -ESTALE) || request->left == 0)
		on_done(request, answer);
	else
		count(request);
}

static bool begin_count(enum kind kind, char *rest)
{
	struct object_key key = key_of(kind, strsep(&rest, " "));
	struct request *request;

	if (!rest)
		return false;
	request = request_new();
	request->left = atoi(rest);
	request->key = (struct object_key){kind, key.namespace ? strdup(key.namespace) : NULL, strdup(key.name)};
	count(request);
	return true;
}

static bool ask(const char *word, enum kind kind, char *rest)
{
	struct object_key key;
	struct request *request;

	if (strcmp(word, "list") == 0) {
		request = request_new();
		request->items = json_array();
		return objects_list(probe.objects, kind, rest, on_item, on_done, request);
	}
	if (!rest)
		return false;
	if (strcmp(word, "annotate") == 0)
		return annotate(kind, rest);
	if (strcmp(word, "count") == 0)
		return begin_count(kind, rest);
	if (strcmp(word, "get") != 0)
		return change(word, kind, rest);
	key = key_of(kind, rest);
	return objects_get(probe.objects, &key, on_done, request_new());
}

static void on_never(void *ctx, const struct objects_answer *answer)
{
	failed("an answer to what was taken back");
}

static void on_first(void *ctx, const json_t *object)
{
	struct objects_call **list = ctx;

	if (!*list)
		failed("an object of a list that was taken back");
	objects_cancel(*list);
	*list = NULL;
	print(json_pack("{s:s}", "event", "cancelled"));
}

static bool take_back(enum kind kind)
{
	static struct objects_call *list;
	struct object_key key = {kind, NULL, "nobody"};

	objects_cancel(objects_get(probe.objects, &key, on_never, NULL));
	list = objects_list(probe.objects, kind, NULL, on_first, on_never, &list);
	return list;
}

/* -- watches -- */

static void tell(void *ctx, const char *event, const json_t *object)
{
	const struct watch *watch = ctx;

	print(json_pack("{s:s, s:i, s:o}", "event", event, "watch", watch->number, "object", borrowed(object)));
}

static void on_begin(void *ctx, bool anew)
{
	tell(ctx, "begin", NULL);
}

static void on_put(void *ctx, const json_t *object)
{
	tell(ctx, "put", object);
}

static void on_gone(void *ctx, const json_t *object)
{
	tell(ctx, "gone", object);
}

static void on_end(void *ctx)
{
	tell(ctx, "end", NULL);
}

static void on_problem(void *ctx, const char *key, const char *text)
{
	const struct watch *watch = ctx;

	print(json_pack("{s:s, s:i, s:s, s:s}", "event", "problem", "watch", watch->number, "key", key, "text", text));
}

static const struct objects_events events = {on_begin, on_put, on_gone, on_end, on_problem};

static bool watch(enum kind kind, char *rest)
{
	static const char *const drop[] = {"metadata.managedFields", NULL};
	struct objects_watch_options options = {.kind = kind, .drop = drop};
	struct watch *one = &probe.watches[probe.watch_count];
	char *word;

	while ((word = strsep(&rest, " "))) {
		if (strncmp(word, "field=", 6) == 0)
			options.field_selector = word + 6;
		else if (strncmp(word, "label=", 6) == 0)
			options.label_selector = word + 6;
	}
	if (probe.watch_count == WATCHES_MAX)
		return false;
	one->number = probe.watch_count++;
	one->watch = objects_watch_new(probe.objects, &options, &events, one);
	return one->watch;
}

static bool free_watch(const char *number)
{
	int n = number ? atoi(number) : -1;

	if (n < 0 || n >= probe.watch_count)
		return false;
	objects_watch_free(probe.watches[n].watch);
	probe.watches[n].watch = NULL;
	return true;
}

/* -- commands -- */

static bool remark_on(enum kind kind, char *rest)
{
	const struct object_key key = key_of(kind, strsep(&rest, " "));
	const struct objects_remark remark = {.kind = kind, .namespace = key.namespace, .name = key.name, .node = "node-a",
		.reason = "BadPolicy", .text = rest};

	if (rest)
		objects_remark(probe.objects, &remark);
	return rest;
}

static bool command(char *line)
{
	char *rest = line, *word = strsep(&rest, " "), *name;
	enum kind kind;

	if (strcmp(word, "quit") == 0) {
		event_base_loopbreak(probe.base);
		return true;
	}
	if (strcmp(word, "free") == 0)
		return free_watch(rest);
	name = strsep(&rest, " ");
	kind = name ? kind_of(name) : KIND_COUNT;
	if (kind == KIND_COUNT)
		return false;
	if (strcmp(word, "cancel") == 0)
		return take_back(kind);
	if (strcmp(word, "remark") == 0)
		return rest && remark_on(kind, rest);
	return strcmp(word, "watch") == 0 ? watch(kind, rest) : ask(word, kind, rest);
}

static void on_input(evutil_socket_t fd, short what, void *arg)
{
	char chunk[65536], *end;
	ssize_t n = read(fd, chunk, sizeof(chunk));

	if (n <= 0) {
		event_base_loopbreak(probe.base);
		return;
	}
	buf_add(&probe.input, chunk, (size_t)n);
	while (probe.input.len && (end = memchr(probe.input.data, '\n', probe.input.len))) {
		size_t len = (size_t)(end - probe.input.data) + 1;
		_cleanup_free_ char *line = strndup(probe.input.data, len - 1);

		buf_consume(&probe.input, len);
		if (!command(line))
			failed(line);
	}
}

static const char *option(int argc, char **argv, const char *name)
{
	size_t len = strlen(name);

	for (int i = 3; i < argc; i++)
		if (strncmp(argv[i], name, len) == 0 && argv[i][len] == '=')
			return argv[i] + len + 1;
	return NULL;
}

static int open_store(int argc, char **argv, struct err *err)
{
	struct kube_options kube = {.kubeconfig = argv[2]};
	struct etcd_client_options etcd = {
		.endpoints = argv[2],
		.keyfile = option(argc, argv, "key"),
		.certfile = option(argc, argv, "cert"),
		.cafile = option(argc, argv, "ca"),
		.username = option(argc, argv, "user"),
		.password = option(argc, argv, "password"),
	};
	int rc;

	if (strcmp(argv[1], "directory") == 0)
		return objects_directory_new(argv[2], probe.base, &probe.objects, err);
	if (strcmp(argv[1], "etcd") == 0)
		return objects_etcd_new(&etcd, probe.base, &probe.objects, err);
	rc = kube_new(&kube, probe.base, &probe.kube, err);
	return rc < 0 ? rc : objects_kube_new(probe.kube, argc > 3 ? argv[3] : NULL, probe.base, &probe.objects, err);
}

int main(int argc, char **argv)
{
	struct err err = ERR_INIT;
	struct event *input;

	if (argc < 3)
		return 2;
	signal(SIGPIPE, SIG_IGN);
	probe.base = event_base_new();
	probe.input = BUF_INIT((size_t)4 << 20);
	if (open_store(argc, argv, &err) < 0) {
		print(json_pack("{s:s, s:s}", "event", "error", "text", err_text(&err)));
		return 1;
	}
	input = event_new(probe.base, STDIN_FILENO, EV_READ | EV_PERSIST, on_input, NULL);
	event_add(input, NULL);
	print(json_pack("{s:s}", "event", "ready"));
	event_base_dispatch(probe.base);
	objects_free(probe.objects);
	if (probe.kube)
		kube_free(probe.kube);
	event_free(input);
	event_base_free(probe.base);
	buf_free(&probe.input);
	return 0;
}

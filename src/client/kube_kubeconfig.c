/* SPDX-License-Identifier: Apache-2.0 */
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/json.h"
#include "client/kube_base64.h"
#include "client/kube_config.h"
#include "client/kube_config_exec.h"
#include "client/kube_yaml.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXEC_EXTENSION "client.authentication.k8s.io/exec"

struct reader {
	const char *path;
	char *directory;
	json_t *root;
	struct err *err;
};

static int no_memory(const struct reader *reader)
{
	return err_set(reader->err, -ENOMEM, "kubeconfig %s: no memory", reader->path);
}

/* The names of a list's entries, for messages. */
static void names_of(const json_t *list, struct buf *buf)
{
	const json_t *one;
	size_t i;

	json_array_foreach((json_t *)list, i, one) {
		const char *name = json_string_value(json_find(one, "name"));

		if (name && buf->len < 200)
			buf_printf(buf, "%s\"%.60s\"", buf->len ? ", " : "", name);
	}
}

/* The member what of the entry called name in list; null without one. Borrowed. */
static json_t *entry(const json_t *list, const char *name, const char *what)
{
	const json_t *one;
	size_t i;

	json_array_foreach((json_t *)list, i, one) {
		const char *its = json_string_value(json_find(one, "name"));

		if (its && strcmp(its, name) == 0)
			return json_find(one, what);
	}
	return NULL;
}

static int find_entry(const struct reader *reader, const char *list_name, const char *what, const char *name,
	const char *wanted_by, json_t **ret)
{
	struct buf names = BUF_INIT(1024);
	json_t *list = NULL, *found;
	char where[256];
	int rc;

	snprintf(where, sizeof(where), "kubeconfig %.200s", reader->path);
	rc = json_get_array(reader->root, where, list_name, &list, reader->err);
	if (rc < 0)
		return rc;
	found = entry(list, name, what);
	if (json_is_object(found)) {
		*ret = found;
		return 0;
	}
	names_of(list, &names);
	rc = err_set(reader->err, -EINVAL, "%s: %s is \"%.100s\", expected the name of an entry of \"%s\" with a \"%s\" (%s)",
		where, wanted_by, name, list_name, what, names.len ? buf_text(&names) : "there is none");
	buf_free(&names);
	return rc;
}

/* -- values -- */

static int get_text(const struct reader *reader, const json_t *object, const char *where, const char *key, char **ret)
{
	const char *text = "";
	int rc = json_get_string(object, where, key, &text, reader->err);

	if (rc < 0 || !*text)
		return rc < 0 ? rc : 0;
	free(*ret);
	*ret = strdup(text);
	return *ret ? 0 : no_memory(reader);
}

/* KEY-data in base64, else KEY as a path, relative to the kubeconfig. */
static int get_file(const struct reader *reader, const json_t *object, const char *where, const char *key,
	struct kube_file *file)
{
	_cleanup_free_ char *path = NULL, *data_key = NULL;
	const char *data = "";
	int rc;

	if (asprintf(&data_key, "%s-data", key) < 0)
		return no_memory(reader);
	rc = json_get_string(object, where, data_key, &data, reader->err);
	if (rc >= 0 && *data) {
		file->text = kube_base64_decode(data);
		if (!file->text || !strstr(file->text, "-----BEGIN "))
			return err_set(reader->err, -EINVAL, "%s: key \"%s\" is not what is expected: PEM text in base64", where,
				data_key);
		file->len = strlen(file->text);
		return 0;
	}
	if (rc >= 0)
		rc = get_text(reader, object, where, key, &path);
	if (rc < 0 || !path)
		return rc;
	if (*path == '/')
		file->path = TAKE_PTR(path);
	else if (asprintf(&file->path, "%s/%s", reader->directory, path) < 0)
		file->path = NULL;
	return file->path ? 0 : no_memory(reader);
}

/* -- clusters -- */

static int check_proxy(const char *proxy, const char *where, struct err *err)
{
	static const char *const schemes[] = {"http://", "https://", "socks5://", "socks5h://"};

	for (size_t i = 0; i < ARRAY_SIZE(schemes); i++)
		if (strncmp(proxy, schemes[i], strlen(schemes[i])) == 0)
			return 0;
	return err_set(err, -EINVAL, "%s: key \"proxy-url\" begins with none of http://, https:// and socks5://", where);
}

static int parse_cluster(struct kube_config *config, const struct reader *reader, const json_t *cluster, const char *where,
	const char *servers)
{
	_cleanup_free_ char *server = NULL, *what = NULL;
	int rc = get_text(reader, cluster, where, "server", &server);

	if (rc == 0)
		rc = get_text(reader, cluster, where, "tls-server-name", &config->tls_server_name);
	if (rc == 0)
		rc = get_text(reader, cluster, where, "proxy-url", &config->proxy);
	if (rc == 0 && config->proxy)
		rc = check_proxy(config->proxy, where, reader->err);
	if (rc == 0)
		rc = json_get_bool(cluster, where, "insecure-skip-tls-verify", &config->insecure, reader->err);
	if (rc >= 0)
		rc = get_file(reader, cluster, where, "certificate-authority", &config->ca);
	if (rc < 0)
		return rc;
	if (config->insecure && (config->ca.text || config->ca.path))
		return err_set(reader->err, -EINVAL, "%s: keys \"insecure-skip-tls-verify\" and \"certificate-authority\" exclude "
			"each other, expected one of them", where);
	if (servers && *servers)
		return kube_config_add_servers(config, servers, "Kubernetes API URL", reader->err);
	if (!server)
		return err_set(reader->err, -EINVAL, "%s: key \"server\" is missing, expected a URL such as "
			"https://10.0.0.1:6443", where);
	if (strchr(server, ','))
		return err_set(reader->err, -EINVAL, "%s: key \"server\" is \"%.200s\", expected one URL", where, server);
	if (asprintf(&what, "%s: key \"server\"", where) < 0) {
		what = NULL;
		return no_memory(reader);
	}
	return kube_config_add_servers(config, server, what, reader->err);
}

/* What a credential plugin is told: the cluster as it stands here, its certificate inline, and its own extension. */
static json_t *plugin_cluster(const json_t *cluster, const char *server)
{
	static const char *const keys[] = {"tls-server-name", "insecure-skip-tls-verify",
		"certificate-authority-data", "proxy-url", "disable-compression"};
	json_t *told = json_object(), *extension;

	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		json_t *value = json_find(cluster, keys[i]);

		if (value)
			json_object_set(told, keys[i], value);
	}
	json_object_set_new(told, "server", json_string(server));
	extension = entry(json_find(cluster, "extensions"), EXEC_EXTENSION, "extension");
	if (extension)
		json_object_set(told, "config", extension);
	return told;
}

/* -- users -- */

static int refuse_others(const struct reader *reader, const json_t *user, const char *where)
{
	static const char *const keys[] = {"username", "password", "auth-provider", "as", "as-uid", "as-groups",
		"as-user-extra"};

	for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
		if (json_find(user, keys[i]))
			return err_set(reader->err, -EINVAL, "%s: key \"%s\" is set, expected client-certificate, token, tokenFile "
				"or exec", where, keys[i]);
	return 0;
}

static int parse_token(struct kube_config *config, const struct reader *reader, const json_t *user, const char *where)
{
	_cleanup_free_ char *path = NULL;
	int rc = get_text(reader, user, where, "tokenFile", &path);

	if (rc < 0)
		return rc;
	if (!path)
		rc = get_text(reader, user, where, "token", &config->token.text);
	else if (*path == '/')
		config->token.path = TAKE_PTR(path);
	else if (asprintf(&config->token.path, "%s/%s", reader->directory, path) < 0) {
		config->token.path = NULL;
		return no_memory(reader);
	}
	if (rc == 0 && config->token.text && !kube_token_valid(config->token.text))
		return err_set(reader->err, -EINVAL, "%s: key \"token\" has white space or control characters inside, expected one "
			"token", where);
	return rc;
}

static bool given(const struct kube_file *file)
{
	return file->text || file->path;
}

static int parse_user(struct kube_config *config, const struct reader *reader, const json_t *user, const char *where,
	json_t *cluster)
{
	json_t *exec = NULL;
	int rc = refuse_others(reader, user, where);

	if (rc == 0)
		rc = parse_token(config, reader, user, where);
	if (rc == 0)
		rc = get_file(reader, user, where, "client-certificate", &config->cert);
	if (rc == 0)
		rc = get_file(reader, user, where, "client-key", &config->key);
	if (rc == 0 && given(&config->cert) != given(&config->key))
		rc = err_set(reader->err, -EINVAL, "%s: key \"%s\" is missing, expected both client-certificate and client-key",
			where, given(&config->cert) ? "client-key" : "client-certificate");
	if (rc == 0)
		rc = json_get_object(user, where, "exec", &exec, reader->err);
	/* As kubectl: what stands here comes before what a plugin would say. */
	if (rc <= 0 || given(&config->token) || given(&config->cert))
		return rc < 0 ? rc : 0;
	return kube_config_exec_parse(exec, where, reader->directory, cluster, &config->exec, reader->err);
}

/* -- the whole -- */

static int parse_context(struct kube_config *config, const struct reader *reader, const char *servers)
{
	_cleanup_(json_cleanup) json_t *told = NULL;
	const char *current = "", *cluster_name = "", *user_name = "";
	json_t *context, *cluster, *user;
	char where[400];
	int rc;

	snprintf(where, sizeof(where), "kubeconfig %.200s", reader->path);
	rc = json_get_string(reader->root, where, "current-context", &current, reader->err);
	if (rc >= 0)
		rc = find_entry(reader, "contexts", "context", current, "key \"current-context\"", &context);
	if (rc < 0)
		return rc;
	snprintf(where, sizeof(where), "kubeconfig %.200s: context \"%.100s\"", reader->path, current);
	rc = json_get_string(context, where, "cluster", &cluster_name, reader->err);
	if (rc >= 0)
		rc = json_get_string(context, where, "user", &user_name, reader->err);
	if (rc >= 0)
		rc = find_entry(reader, "clusters", "cluster", cluster_name, "the context's cluster", &cluster);
	if (rc < 0)
		return rc;
	snprintf(where, sizeof(where), "kubeconfig %.200s: cluster \"%.100s\"", reader->path, cluster_name);
	rc = parse_cluster(config, reader, cluster, where, servers);
	if (rc < 0 || !*user_name)
		return rc;
	rc = find_entry(reader, "users", "user", user_name, "the context's user", &user);
	if (rc < 0)
		return rc;
	snprintf(where, sizeof(where), "kubeconfig %.200s: user \"%.100s\"", reader->path, user_name);
	told = plugin_cluster(cluster, config->servers[0].url);
	return parse_user(config, reader, user, where, told);
}

static char *directory_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	if (!slash)
		return strdup(".");
	return slash == path ? strdup("/") : strndup(path, (size_t)(slash - path));
}

int kube_config_parse(struct kube_config *config, const char *text, size_t len, const char *path, const char *servers,
	struct err *err)
{
	struct reader reader = {.path = path, .err = err, .directory = directory_of(path)};
	char where[256];
	int rc;

	snprintf(where, sizeof(where), "kubeconfig %.200s", path);
	rc = reader.directory ? kube_yaml_parse(text, len, where, &reader.root, err) : no_memory(&reader);
	if (rc == 0 && !json_is_object(reader.root))
		rc = err_set(err, -EINVAL, "%s: holds no mapping, expected keys clusters, users, contexts and current-context",
			where);
	if (rc == 0)
		rc = parse_context(config, &reader, servers);
	json_decref(reader.root);
	free(reader.directory);
	return rc;
}

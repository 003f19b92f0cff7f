/* SPDX-License-Identifier: Apache-2.0 */
#include "client/kube_config.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "client/kube_base64.h"
#include "client/kube_config_exec.h"

#include <ctype.h>
#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WHERE "Kubernetes server"

static void endpoint_done(struct kube_endpoint *endpoint)
{
	free(endpoint->url);
	free(endpoint->request);
	free(endpoint->connect_to);
	free(endpoint->host);
	*endpoint = (struct kube_endpoint){0};
}

void kube_config_done(struct kube_config *config)
{
	for (unsigned i = 0; i < config->server_count; i++)
		endpoint_done(&config->servers[i]);
	free(config->tls_server_name);
	free(config->proxy);
	kube_file_done(&config->ca);
	kube_file_done(&config->cert);
	kube_file_done(&config->key);
	kube_file_done(&config->token);
	kube_config_exec_free(config->exec);
	*config = (struct kube_config){0};
}

/* -- servers -- */

static const char *part(CURLU *url, CURLUPart what, unsigned flags, char **ret)
{
	curl_free(*ret);
	*ret = NULL;
	return curl_url_get(url, what, ret, flags) == CURLUE_OK ? *ret : "";
}

/* With a server name of TLS, requests name that one, and are connected to the other. */
static int set_request_url(struct kube_endpoint *endpoint, CURLU *url, const char *name)
{
	char *host = NULL, *port = NULL, *path = NULL;
	int rc = 0;

	part(url, CURLUPART_HOST, 0, &host);
	part(url, CURLUPART_PORT, CURLU_DEFAULT_PORT, &port);
	part(url, CURLUPART_PATH, 0, &path);
	if (!host || !port || !path)
		rc = -ENOMEM;
	if (rc == 0 && asprintf(&endpoint->request, "https://%s:%s%s", name, port, strcmp(path, "/") == 0 ? "" : path) < 0)
		rc = -ENOMEM;
	if (rc == 0 && asprintf(&endpoint->connect_to, "%s:%s:%s:%s", name, port, host, port) < 0)
		rc = -ENOMEM;
	if (rc == 0 && asprintf(&endpoint->host, "Host: %s:%s", host, port) < 0)
		rc = -ENOMEM;
	curl_free(host);
	curl_free(port);
	curl_free(path);
	return rc;
}

static const char *url_problem(CURLU *url, const char *text)
{
	const char *problem = NULL;
	char *value = NULL;

	if (curl_url_set(url, CURLUPART_URL, text, 0) != CURLUE_OK)
		problem = "expected a URL such as https://10.0.0.1:6443";
	else if (strcmp(part(url, CURLUPART_SCHEME, 0, &value), "https") != 0 && strcmp(value, "http") != 0)
		problem = "expected https:// or http://";
	else if (*part(url, CURLUPART_USER, 0, &value) || *part(url, CURLUPART_PASSWORD, 0, &value))
		problem = "it holds a user name or a password, expected them in a kubeconfig";
	else if (*part(url, CURLUPART_QUERY, 0, &value) || *part(url, CURLUPART_FRAGMENT, 0, &value))
		problem = "expected no query and no fragment";
	curl_free(value);
	return problem;
}

static int add_server(struct kube_config *config, const char *text, const char *what, struct err *err)
{
	struct kube_endpoint *endpoint = &config->servers[config->server_count];
	const char *problem;
	CURLU *url;
	int rc = 0;

	if (config->server_count == KUBE_SERVERS_MAX)
		return err_set(err, -EINVAL, "%s: more than %d of them", what, KUBE_SERVERS_MAX);
	url = curl_url();
	if (!url)
		return err_set(err, -ENOMEM, "%s: no memory", what);
	problem = url_problem(url, text);
	if (problem)
		/* What may be a password is not repeated. */
		rc = strchr(text, '@') ? err_set(err, -EINVAL, "%s: %s", what, problem)
				       : err_set(err, -EINVAL, "%s is \"%.200s\": %s", what, text, problem);
	if (rc == 0) {
		config->server_count++;
		endpoint->url = strdup(text);
		endpoint->tls = strncasecmp(text, "https:", 6) == 0;
		if (!endpoint->url || (endpoint->tls && config->tls_server_name &&
			set_request_url(endpoint, url, config->tls_server_name) < 0))
			rc = err_set(err, -ENOMEM, "%s: no memory", what);
	}
	curl_url_cleanup(url);
	return rc;
}

int kube_config_add_servers(struct kube_config *config, const char *list, const char *what, struct err *err)
{
	for (const char *rest = list;;) {
		size_t len = strcspn(rest, ","), from = 0, to = len;
		_cleanup_free_ char *one = NULL;
		int rc = 0;

		while (from < to && isspace((unsigned char)rest[from]))
			from++;
		while (to > from && (isspace((unsigned char)rest[to - 1]) || rest[to - 1] == '/'))
			to--;
		one = strndup(rest + from, to - from);
		if (!one)
			return err_set(err, -ENOMEM, "%s: no memory", what);
		if (*one)
			rc = add_server(config, one, what, err);
		if (rc < 0)
			return rc;
		if (!rest[len])
			break;
		rest += len + 1;
	}
	if (!config->server_count)
		return err_set(err, -EINVAL, "%s is \"%s\", expected a URL such as https://10.0.0.1:6443", what, list);
	return 0;
}

/* -- in a pod -- */

static int pod_file(struct kube_file *file, const char *directory, const char *name, struct err *err)
{
	if (asprintf(&file->path, "%s/%s", directory, name) < 0) {
		file->path = NULL;
		return err_set(err, -ENOMEM, WHERE ": no memory");
	}
	return 0;
}

int kube_config_pod(struct kube_config *config, const char *host, const char *port, const char *directory, struct err *err)
{
	_cleanup_free_ char *url = NULL;
	int rc;

	if (!host || !*host || !port || !*port)
		return err_set(err, -EINVAL, WHERE ": neither a kubeconfig nor a URL is given, and this is no pod: "
			"KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set");
	if (asprintf(&url, strchr(host, ':') ? "https://[%s]:%s" : "https://%s:%s", host, port) < 0) {
		url = NULL;
		return err_set(err, -ENOMEM, WHERE ": no memory");
	}
	rc = kube_config_add_servers(config, url, "KUBERNETES_SERVICE_HOST with KUBERNETES_SERVICE_PORT", err);
	if (rc == 0)
		rc = pod_file(&config->token, directory, "token", err);
	if (rc == 0)
		rc = pod_file(&config->ca, directory, "ca.crt", err);
	return rc < 0 ? rc : kube_config_read(config, err);
}

/* -- files -- */

static int check_pem(const struct kube_file *file, const char *what, struct err *err)
{
	if (!file->text || strstr(file->text, "-----BEGIN "))
		return 0;
	if (file->path)
		return err_set(err, -EINVAL, "%s: holds no \"-----BEGIN \", expected the %s as PEM text", file->path, what);
	return err_set(err, -EINVAL, "kubeconfig: the %s holds no \"-----BEGIN \", expected PEM text in base64", what);
}

/* A plugin is told the certificates themselves. */
static int tell_plugin(struct kube_config *config, struct err *err)
{
	static const char key[] = "certificate-authority-data";
	json_t *cluster = config->exec ? config->exec->cluster : NULL;
	_cleanup_free_ char *text = NULL;

	if (!cluster || !config->ca.text || json_object_get(cluster, key))
		return 0;
	text = kube_base64_encode(config->ca.text);
	if (!text || json_object_set_new(cluster, key, json_string(text)) < 0)
		return err_set(err, -ENOMEM, WHERE ": no memory");
	return 0;
}

int kube_config_read(struct kube_config *config, struct err *err)
{
	static const char *const names[] = {"certificate authority", "client certificate", "client key"};
	struct kube_file *files[] = {&config->ca, &config->cert, &config->key};
	int rc = kube_file_refresh(&config->token, true, err);

	for (size_t i = 0; i < ARRAY_SIZE(files) && rc == 0; i++) {
		rc = kube_file_refresh(files[i], false, err);
		if (rc == 0)
			rc = check_pem(files[i], names[i], err);
	}
	return rc < 0 ? rc : tell_plugin(config, err);
}

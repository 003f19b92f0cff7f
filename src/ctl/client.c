/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/client.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/json.h"
#include "ctl/ctl.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define CLIENT_TIMEOUT_MS 10000L

static size_t on_data(char *data, size_t size, size_t count, void *ctx)
{
	return buf_add(ctx, data, size * count) < 0 ? 0 : size * count;
}

static int get(const char *socket_path, const char *path, struct buf *body, struct err *err)
{
	char url[256];
	char problem[CURL_ERROR_SIZE] = "";
	CURL *curl = curl_easy_init();
	long status = 0;
	CURLcode code;

	if (!curl)
		return err_set(err, -ENOMEM, "out of memory");
	snprintf(url, sizeof(url), "http://tulled%s", path);
	curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, socket_path);
	curl_easy_setopt(curl, CURLOPT_URL, url);
	curl_easy_setopt(curl, CURLOPT_PROXY, "");
	curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, CLIENT_TIMEOUT_MS);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_data);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, body);
	curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, problem);
	code = curl_easy_perform(curl);
	curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
	curl_easy_cleanup(curl);
	if (code != CURLE_OK)
		return err_set(err, -ECONNREFUSED, "%s: no agent answers there (is tulled running on this node, and are you "
			"root?): %s", socket_path, problem[0] ? problem : curl_easy_strerror(code));
	if (status != 200)
		return err_set(err, -EPROTO, "the agent answered %ld to %s", status, path);
	return 0;
}

int client_get_text(const char *socket_path, const char *path, char **ret, struct err *err)
{
	_cleanup_(buf_free) struct buf body = BUF_INIT((size_t)64 << 20);
	int rc = get(socket_path, path, &body, err);

	if (rc < 0)
		return rc;
	*ret = strdup(buf_text(&body));
	return *ret ? 0 : err_set(err, -ENOMEM, "out of memory");
}

int client_get(const char *socket_path, const char *path, json_t **ret, struct err *err)
{
	_cleanup_(buf_free) struct buf body = BUF_INIT((size_t)64 << 20);
	int rc = get(socket_path, path, &body, err);

	return rc < 0 ? rc : json_parse(buf_text(&body), body.len, "the agent's answer", ret, err);
}

int client_show(const struct ctl *ctl, const char *path, int (*print)(const json_t *json))
{
	_cleanup_(json_cleanup) json_t *json = NULL;
	struct err err = ERR_INIT;

	if (client_get(ctl->socket_path, path, &json, &err) < 0)
		return ctl_fail(CTL_FAILED, "%s", err_text(&err));
	if (!ctl->json)
		return print(json);
	json_dumpf(json, stdout, JSON_INDENT(2));
	putchar('\n');
	return CTL_OK;
}

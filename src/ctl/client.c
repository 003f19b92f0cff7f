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

#define PATIENCE_S 10

static size_t on_data(char *data, size_t size, size_t count, void *ctx)
{
	return buf_add(ctx, data, size * count) < 0 ? 0 : size * count;
}

/* What the agent says about a failure is one line; without one there is only the number. */
static int refused(long status, const char *path, struct buf *body, struct err *err)
{
	const char *text = buf_text(body);
	size_t len = strcspn(text, "\n");

	if (len && text[0] != '<')
		return err_set(err, -EPROTO, "%.*s", (int)len, text);
	return err_set(err, -EPROTO, "the agent answered %ld to %s", status, path);
}

/* ret_curl: while it goes on; null: nobody needs it. */
static CURLcode perform(const char *socket_path, const struct client_request *request, curl_write_callback write, void *ctx,
	CURL **ret_curl, char *problem, long *ret_status)
{
	_cleanup_(buf_free) struct buf url = BUF_INIT(8192);
	CURL *curl = curl_easy_init();
	CURLcode code;

	if (ret_curl)
		*ret_curl = curl;
	if (!curl || buf_printf(&url, "http://tulled%s", request->path) < 0) {
		curl_easy_cleanup(curl);
		return CURLE_OUT_OF_MEMORY;
	}
	curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, socket_path);
	curl_easy_setopt(curl, CURLOPT_URL, buf_text(&url));
	curl_easy_setopt(curl, CURLOPT_PROXY, "");
	curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, 1000L * request->patience_s);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, write);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, ctx);
	curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, problem);
	if (request->post)
		curl_easy_setopt(curl, CURLOPT_POSTFIELDS, "");
	code = curl_easy_perform(curl);
	curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, ret_status);
	curl_easy_cleanup(curl);
	return code;
}

static int ask(const char *socket_path, const struct client_request *request, struct buf *body, struct err *err)
{
	char problem[CURL_ERROR_SIZE] = "";
	long status = 0;
	CURLcode code = perform(socket_path, request, on_data, body, NULL, problem, &status);

	if (code == CURLE_OPERATION_TIMEDOUT)
		return err_set(err, -ETIMEDOUT, "%s: the agent gave no answer in %u s", socket_path, request->patience_s);
	if (code != CURLE_OK)
		return err_set(err, -ECONNREFUSED, "%s: no agent answers there (is tulled running on this node, and are you "
			"root?): %s", socket_path, problem[0] ? problem : curl_easy_strerror(code));
	return status == 200 ? 0 : refused(status, request->path, body, err);
}

static int get(const char *socket_path, const char *path, struct buf *body, struct err *err)
{
	const struct client_request request = {.path = path, .patience_s = PATIENCE_S};

	return ask(socket_path, &request, body, err);
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

int client_ask(const char *socket_path, const struct client_request *request, json_t **ret, struct err *err)
{
	_cleanup_(buf_free) struct buf body = BUF_INIT((size_t)64 << 20);
	int rc = ask(socket_path, request, &body, err);

	return rc < 0 ? rc : json_parse(buf_text(&body), body.len, "the agent's answer", ret, err);
}

/* -- lines without an end -- */

#define LINE_MAX_LEN ((size_t)4 << 20)

void client_add_query(struct buf *path, const char *value)
{
	char *text = curl_easy_escape(NULL, value, 0);

	buf_add_str(path, text ? text : "");
	curl_free(text);
}

struct following {
	CURL *curl;
	int (*line)(void *ctx, const char *text, size_t len);
	void *ctx;
	struct buf text; /* what is not a whole line yet; of a refusal all of it */
	bool done;
};

static bool is_refused(const struct following *following, long *ret_status)
{
	*ret_status = 0;
	curl_easy_getinfo(following->curl, CURLINFO_RESPONSE_CODE, ret_status);
	return *ret_status != 200;
}

static size_t on_piece(char *data, size_t size, size_t count, void *ctx)
{
	struct following *following = ctx;
	const char *begin, *end;
	long status;

	if (buf_add(&following->text, data, size * count) < 0)
		return 0;
	if (is_refused(following, &status))
		return size * count;
	while ((begin = buf_text(&following->text), end = memchr(begin, '\n', following->text.len))) {
		following->done = following->line(following->ctx, begin, (size_t)(end - begin)) == 0;
		if (following->done)
			return 0;
		buf_consume(&following->text, (size_t)(end - begin) + 1);
	}
	return size * count;
}

int client_follow(const char *socket_path, const char *path, int (*line)(void *ctx, const char *text, size_t len), void *ctx,
	struct err *err)
{
	struct following following = {.line = line, .ctx = ctx, .text = BUF_INIT(LINE_MAX_LEN)};
	const struct client_request request = {.path = path};
	char problem[CURL_ERROR_SIZE] = "";
	long status = 0;
	CURLcode code = perform(socket_path, &request, on_piece, &following, &following.curl, problem, &status);
	int rc = 0;

	if (status && status != 200)
		rc = refused(status, path, &following.text, err);
	else if (!following.done && status)
		rc = err_set(err, -ECONNRESET, "%s: the agent has ended, or policy is off now", socket_path);
	else if (!following.done)
		rc = err_set(err, -ECONNREFUSED, "%s: no agent answers there (is tulled running on this node, and are you "
			"root?): %s", socket_path, problem[0] ? problem : curl_easy_strerror(code));
	buf_free(&following.text);
	return rc;
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

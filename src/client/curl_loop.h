/* SPDX-License-Identifier: Apache-2.0
 *
 * libcurl's multi interface on the libevent loop. A transfer is an easy handle that its owner has set up; it runs
 * between curl_loop_add and finished() or curl_loop_remove. finished() is called from the loop, outside libcurl, with
 * the transfer already removed. Every transfer must be removed before curl_loop_free.
 */
#pragma once

#include "base/err.h"

#include <curl/curl.h>

struct event_base;
struct curl_loop;

struct curl_transfer {
	CURL *easy;
	void (*finished)(struct curl_transfer *transfer, CURLcode code);
};

int curl_loop_new(struct event_base *base, struct curl_loop **ret, struct err *err);
int curl_loop_add(struct curl_loop *loop, struct curl_transfer *transfer, struct err *err);
/* Not from inside one of libcurl's callbacks. */
void curl_loop_remove(struct curl_loop *loop, struct curl_transfer *transfer);
void curl_loop_free(struct curl_loop *loop);

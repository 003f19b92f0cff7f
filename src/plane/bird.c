/* SPDX-License-Identifier: Apache-2.0
 *
 * One thing at a time: a command to BIRD, or a child that judges a configuration. When it ends, next() looks at what is
 * wanted, what is known, and begins the next thing or sleeps until the next poll.
 */
#include "plane/bird.h"

#include "base/cleanup.h"
#include "base/file.h"
#include "plane/bird_child.h"
#include "plane/bird_client.h"

#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define PATH_MAX_BYTES 108 /* what a socket's name may have */
#define PATH_ROOM (PATH_MAX_BYTES + 32)
#define LOG_KEPT (1 << 20)
#define RESTART_FIRST_MS 500
#define RESTART_MAX_MS 30000
#define START_POLL_MS 100
#define START_POLLS 50

struct bird {
	struct event_base *base;
	struct bird_options options;
	char directory[PATH_MAX_BYTES], program[256];
	char conf[PATH_ROOM], fresh[PATH_ROOM], socket[PATH_ROOM], log[PATH_ROOM], pid[PATH_ROOM], started[PATH_ROOM];
	struct buf wanted;
	bool has_wanted, judged, in_force, refused; /* of the text in wanted */
	bool stale;                                 /* another text came while one was under way */
	struct bird_call *call;
	struct bird_child *judge, *daemon;
	struct event *timer;
	struct bird_daemon heard;
	struct bird_sessions sessions, hearing;
	struct bird_status status;
	char refusal[768], trouble[512];            /* of the text; of the daemon */
	uint64_t md5_before;
	bool md5_known;
	int starts_left;      /* quick polls after a start */
	int restart_ms;
	int64_t restart_at;   /* monotonic ms */
};

static void next(struct bird *bird);
static void poll_status(struct bird *bird);

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void tell(struct bird *bird)
{
	const char *between = bird->refusal[0] && bird->trouble[0] ? "; " : "";

	snprintf(bird->status.problem, sizeof(bird->status.problem), "%s%s%s", bird->refusal, between, bird->trouble);
	bird->status.current = bird->has_wanted && bird->in_force;
	if (bird->options.changed)
		bird->options.changed(bird->options.ctx);
}

static void sleep_for(struct bird *bird, int ms)
{
	struct timeval wait = {ms / 1000, (ms % 1000) * 1000};

	event_add(bird->timer, &wait);
}

static void set_state(struct bird *bird, enum bird_state state, const char *trouble)
{
	bool news = bird->status.state != state || strcmp(bird->trouble, trouble) != 0;

	/* a BIRD that was away has read what lies in bird.conf, whoever put it there */
	if (bird->status.state != state && state != BIRD_HANGING)
		bird->in_force = false;
	bird->status.state = state;
	snprintf(bird->trouble, sizeof(bird->trouble), "%s", trouble);
	if (news)
		tell(bird);
}

static int command(struct bird *bird, const char *text, bool (*line)(void *, int, const char *),
	void (*done)(void *, int, int, const char *))
{
	struct bird_call_options options = {.socket = bird->socket, .command = text, .timeout_ms = bird->options.timeout_ms,
		.line = line, .done = done, .ctx = bird};

	return bird_call_new(bird->base, &options, &bird->call);
}

/* -- status -- */

/* The kernel counts what it drops; BIRD hears nothing of it. */
static uint64_t md5_faults(void)
{
	_cleanup_(buf_free) struct buf text = BUF_INIT(64 * 1024);
	char *names, *values, *name, *value, *rest_names, *rest_values;
	uint64_t sum = 0;

	if (file_read("/proc/thread-self/net/netstat", &text, NULL) < 0 || !text.len)
		return 0;
	names = strtok_r(text.data, "\n", &rest_names);
	values = strtok_r(NULL, "\n", &rest_names);
	if (!names || !values)
		return 0;
	name = strtok_r(names, " ", &rest_names);
	value = strtok_r(values, " ", &rest_values);
	for (; name && value; name = strtok_r(NULL, " ", &rest_names), value = strtok_r(NULL, " ", &rest_values))
		if (strncmp(name, "TCPMD5", 6) == 0)
			sum += strtoull(value, NULL, 10);
	return sum;
}

static void look_at_md5(struct bird *bird)
{
	uint64_t faults = md5_faults();

	bird->status.md5_faults = bird->md5_known ? faults - bird->md5_before : 0;
	if (!bird->md5_known)
		bird->md5_before = faults;
	bird->md5_known = true;
	/* what came in before all were well is told no longer */
	if (bird->status.session_count && bird->status.established == bird->status.session_count) {
		bird->md5_before = faults;
		bird->status.md5_faults = 0;
	}
}

static void publish_sessions(struct bird *bird)
{
	struct bird_sessions *old = &bird->sessions, *fresh = &bird->hearing;
	uint64_t faults = bird->status.md5_faults;
	bool same = old->count == fresh->count &&
		(!fresh->count || memcmp(old->items, fresh->items, fresh->count * sizeof(*fresh->items)) == 0);

	bird_sessions_free(old);
	*old = *fresh;
	*fresh = (struct bird_sessions){0};
	bird->status.sessions = old->items;
	bird->status.session_count = old->count;
	bird->status.established = 0;
	for (size_t i = 0; i < old->count; i++)
		bird->status.established += old->items[i].established;
	look_at_md5(bird);
	if (!same || faults != bird->status.md5_faults)
		tell(bird);
}

static void forget_sessions(struct bird *bird)
{
	bird_sessions_free(&bird->hearing);
	if (bird->status.session_count)
		publish_sessions(bird);
}

static void lost(struct bird *bird, int rc, const char *text)
{
	char trouble[512];
	bool absent = rc == -ENOENT || rc == -ECONNREFUSED;

	bird_sessions_free(&bird->hearing);
	if (absent)
		forget_sessions(bird);
	if (absent)
		snprintf(trouble, sizeof(trouble), "BIRD does not run: nobody listens at %s%s", bird->socket,
			bird->options.start ? "" : "; its own DaemonSet or unit starts it");
	else if (rc == -ETIMEDOUT)
		snprintf(trouble, sizeof(trouble), "BIRD hangs: no answer at %s within %d ms; what it last configured stays",
			bird->socket, bird->options.timeout_ms);
	else
		snprintf(trouble, sizeof(trouble), "BIRD at %s: %s", bird->socket, text);
	set_state(bird, absent ? BIRD_ABSENT : BIRD_HANGING, trouble);
}

static bool session_line(void *ctx, int code, const char *text)
{
	struct bird *bird = ctx;

	return bird_sessions_line(&bird->hearing, code, text) == 0;
}

static void sessions_done(void *ctx, int rc, int code, const char *text)
{
	struct bird *bird = ctx;

	bird->call = NULL;
	if (rc < 0)
		lost(bird, rc, text);
	else
		publish_sessions(bird);
	/* thousands of sessions are long to list */
	sleep_for(bird, bird->options.poll_ms + (int)bird->sessions.count);
	next(bird);
}

static bool daemon_line(void *ctx, int code, const char *text)
{
	struct bird *bird = ctx;

	bird_daemon_line(&bird->heard, code, text);
	return true;
}

static void remember_start(struct bird *bird)
{
	if (access(bird->started, F_OK) < 0)
		file_write_atomic(bird->started, "", 0, 0600, false, NULL);
	bird->restart_ms = RESTART_FIRST_MS;
	bird->starts_left = 0;
}

static void daemon_done(void *ctx, int rc, int code, const char *text)
{
	struct bird *bird = ctx;
	bool other = strcmp(bird->heard.started, bird->status.daemon.started) != 0;

	bird->call = NULL;
	if (rc < 0) {
		lost(bird, rc, text);
		next(bird);
		return;
	}
	/* another one since we asked last: what it read we do not know */
	if (other)
		bird->in_force = false;
	bird->status.daemon = bird->heard;
	remember_start(bird);
	set_state(bird, BIRD_RUNNING, "");
	bird_sessions_free(&bird->hearing);
	if (command(bird, "show protocols all", session_line, sessions_done) < 0)
		sleep_for(bird, bird->options.poll_ms);
}

static void poll_status(struct bird *bird)
{
	bird->heard = (struct bird_daemon){0};
	if (command(bird, "show status", daemon_line, daemon_done) < 0)
		sleep_for(bird, bird->options.poll_ms);
}

/* -- configuration -- */

/* The line with that number, without what must not be seen. */
static void show_line(const struct bird *bird, unsigned number, char *ret, size_t size)
{
	const char *line = buf_text(&bird->wanted);
	const char *password;

	while (--number && (line = strchr(line, '\n')))
		line++;
	ret[0] = 0;
	if (!line)
		return;
	line += strspn(line, "\t ");
	password = strstr(line, "password");
	if (password && password < line + strcspn(line, "\n"))
		snprintf(ret, size, "password …");
	else
		snprintf(ret, size, "%.*s", (int)strcspn(line, "\n"), line);
}

static void refuse(struct bird *bird, const char *said)
{
	char line[256] = "";
	const char *what;
	unsigned number = bird_error_line(said, &what);

	if (number)
		show_line(bird, number, line, sizeof(line));
	bird->refused = true;
	if (number)
		snprintf(bird->refusal, sizeof(bird->refusal), "BIRD refuses line %u of %s, \"%s\": %.300s; the last good one stays", number,
			bird->fresh, line, what);
	else
		snprintf(bird->refusal, sizeof(bird->refusal), "BIRD refuses %s: %.300s; the last good one stays", bird->fresh, said);
	tell(bird);
}

static int write_fresh(struct bird *bird)
{
	struct err err = ERR_INIT;
	int r = file_write_atomic(bird->fresh, buf_text(&bird->wanted), bird->wanted.len, 0600, false, &err);

	if (r < 0) {
		snprintf(bird->refusal, sizeof(bird->refusal), "%s", err_text(&err));
		tell(bird);
	}
	return r;
}

static int commit(struct bird *bird)
{
	if (rename(bird->fresh, bird->conf) == 0)
		return 0;
	snprintf(bird->refusal, sizeof(bird->refusal), "%s: cannot be renamed to bird.conf: %s", bird->fresh, strerror(errno));
	tell(bird);
	return -errno;
}

static bool is_accepted(int code)
{
	return code == BIRD_RECONFIGURED || code == BIRD_RECONFIGURING || code == BIRD_QUEUED || code == BIRD_QUEUE_DROPPED;
}

static void configured(void *ctx, int rc, int code, const char *text)
{
	struct bird *bird = ctx;

	bird->call = NULL;
	if (rc < 0) {
		lost(bird, rc, text);
	} else if (!is_accepted(code)) {
		refuse(bird, text);
	} else if (!bird->stale) {
		bird->in_force = true;
		bird->refusal[0] = 0;
		tell(bird);
		poll_status(bird);
		return;
	}
	next(bird);
}

/* bird.conf.new has been found good: by BIRD itself, or by "bird -p". */
static void checked(struct bird *bird, bool running)
{
	if (bird->stale)
		next(bird);
	else if (commit(bird) < 0)
		sleep_for(bird, bird->options.poll_ms);
	else if (!running) {
		bird->judged = true;
		bird->refusal[0] = 0;
		next(bird);
	} else if (command(bird, "configure", NULL, configured) < 0)
		sleep_for(bird, bird->options.poll_ms);
}

static void check_done(void *ctx, int rc, int code, const char *text)
{
	struct bird *bird = ctx;

	bird->call = NULL;
	if (rc == 0 && code == BIRD_CONFIG_OK) {
		checked(bird, true);
		return;
	}
	if (rc < 0)
		lost(bird, rc, text);
	else if (!bird->stale)
		refuse(bird, text);
	next(bird);
}

static void judge_done(void *ctx, int status, const char *output)
{
	struct bird *bird = ctx;

	bird->judge = NULL;
	if (status == 0) {
		checked(bird, false);
		return;
	}
	if (!bird->stale)
		refuse(bird, status == 137 ? "\"bird -p\" did not end in time" : output);
	next(bird);
}

static void begin_check(struct bird *bird)
{
	const char *argv[] = {bird->program, "-p", "-c", bird->fresh, NULL};
	struct bird_child_options options = {.argv = argv, .timeout_ms = bird->options.timeout_ms, .done = judge_done, .ctx = bird};
	char text[PATH_ROOM + 32];
	int r = write_fresh(bird);

	bird->stale = false;
	snprintf(text, sizeof(text), "configure check \"%s\"", bird->fresh);
	if (r == 0 && bird->status.state == BIRD_RUNNING)
		r = command(bird, text, NULL, check_done);
	else if (r == 0)
		r = bird_child_new(bird->base, &options, &bird->judge);
	if (r < 0)
		sleep_for(bird, bird->options.poll_ms);
}

/* -- the daemon -- */

static void daemon_ended(void *ctx, int status, const char *output)
{
	struct bird *bird = ctx;
	char trouble[256];

	bird->daemon = NULL;
	bird->starts_left = 0;
	bird->restart_at = now_ms() + bird->restart_ms;
	bird->restart_ms = bird->restart_ms * 2 < RESTART_MAX_MS ? bird->restart_ms * 2 : RESTART_MAX_MS;
	snprintf(trouble, sizeof(trouble), "BIRD ended with status %d; what it said is in %s", status, bird->log);
	bird_call_cancel(&bird->call);
	bird_sessions_free(&bird->hearing);
	forget_sessions(bird);
	set_state(bird, BIRD_ABSENT, trouble);
	next(bird);
}

static void start(struct bird *bird)
{
	bool again = access(bird->started, F_OK) == 0;
	const char *argv[] = {bird->program, "-f", "-c", bird->conf, "-s", bird->socket, "-P", bird->pid, again ? "-R" : NULL, NULL};
	struct bird_child_options options = {.argv = argv, .log = bird->log, .own_session = true, .done = daemon_ended, .ctx = bird};
	struct stat st;
	int r;

	if (stat(bird->log, &st) == 0 && st.st_size > LOG_KEPT)
		unlink(bird->log);
	r = bird_child_new(bird->base, &options, &bird->daemon);
	if (r < 0) {
		snprintf(bird->trouble, sizeof(bird->trouble), "%s: cannot be started: %s", bird->program, strerror(-r));
		bird->restart_at = now_ms() + RESTART_MAX_MS;
		tell(bird);
		return;
	}
	bird->restart_at = now_ms() + bird->restart_ms;
	bird->starts_left = START_POLLS;
}

/* With nobody running: put the first configuration where BIRD will look, then start it, if that is ours to do. */
static void next_absent(struct bird *bird)
{
	bool has_conf = access(bird->conf, F_OK) == 0;

	if (bird->has_wanted && !bird->judged && !bird->refused && bird->program[0]) {
		begin_check(bird);
		return;
	}
	/* nobody can judge: the first one is tried as it is, a later one waits for BIRD */
	if (bird->has_wanted && !bird->judged && !bird->program[0] && !has_conf && write_fresh(bird) == 0 && commit(bird) == 0)
		bird->judged = true;
	if (bird->options.start && !bird->daemon && has_conf && now_ms() >= bird->restart_at)
		start(bird);
	if (bird->starts_left > 0)
		bird->starts_left--;
	sleep_for(bird, bird->starts_left > 0 ? START_POLL_MS : bird->options.start ? RESTART_FIRST_MS : 1000);
}

static void next(struct bird *bird)
{
	if (bird->call || bird->judge)
		return;
	if (bird->status.state == BIRD_UNKNOWN)
		poll_status(bird);
	else if (bird->status.state == BIRD_ABSENT)
		next_absent(bird);
	else if (bird->status.state == BIRD_HANGING)
		sleep_for(bird, bird->options.poll_ms);
	else if (bird->has_wanted && !bird->in_force && !bird->refused)
		begin_check(bird);
	else if (!event_pending(bird->timer, EV_TIMEOUT, NULL))
		sleep_for(bird, bird->options.poll_ms);
}

static void on_timer(evutil_socket_t fd, short what, void *ctx)
{
	struct bird *bird = ctx;

	if (!bird->call && !bird->judge)
		poll_status(bird);
}

/* -- outside -- */

int bird_put(struct bird *bird, const char *text, size_t len)
{
	int r;

	if (bird->has_wanted && bird->wanted.len == len && memcmp(buf_text(&bird->wanted), text, len) == 0)
		return 0;
	buf_reset(&bird->wanted);
	r = buf_add(&bird->wanted, text, len);
	bird->has_wanted = r == 0;
	bird->judged = bird->in_force = bird->refused = false;
	bird->stale = true;
	bird->status.current = false;
	if (r == 0)
		next(bird);
	return r;
}

const struct bird_status *bird_status(const struct bird *bird)
{
	return &bird->status;
}

static void set_paths(struct bird *bird)
{
	const char *directory = bird->directory;

	snprintf(bird->conf, sizeof(bird->conf), "%s/bird.conf", directory);
	snprintf(bird->fresh, sizeof(bird->fresh), "%s/bird.conf.new", directory);
	snprintf(bird->socket, sizeof(bird->socket), "%s/bird.ctl", directory);
	snprintf(bird->pid, sizeof(bird->pid), "%s/bird.pid", directory);
	snprintf(bird->log, sizeof(bird->log), "%s/bird.log", directory);
	snprintf(bird->started, sizeof(bird->started), "%s/started", directory);
}

int bird_new(struct event_base *base, const struct bird_options *options, struct bird **ret, struct err *err)
{
	struct bird *bird;
	int r;

	if (strlen(options->directory) + sizeof("/bird.ctl") > PATH_MAX_BYTES || strchr(options->directory, '"'))
		return err_set(err, -EINVAL, "%s: too long for a control socket, or with a quotation mark", options->directory);
	r = file_make_dirs(options->directory, 0700, err);
	if (r < 0)
		return r;
	bird = calloc(1, sizeof(*bird));
	if (!bird || !(bird->timer = event_new(base, -1, 0, on_timer, bird))) {
		free(bird);
		return err_set(err, -ENOMEM, "BIRD: no memory");
	}
	bird->base = base;
	bird->options = *options;
	snprintf(bird->directory, sizeof(bird->directory), "%s", options->directory);
	snprintf(bird->program, sizeof(bird->program), "%s", options->program ? options->program : "");
	if (!bird->options.poll_ms)
		bird->options.poll_ms = 5000;
	if (!bird->options.timeout_ms)
		bird->options.timeout_ms = 5000;
	bird->options.start = options->start && options->program;
	bird->restart_ms = RESTART_FIRST_MS;
	set_paths(bird);
	sleep_for(bird, 0);
	*ret = bird;
	return 0;
}

void bird_free(struct bird **bird)
{
	struct bird *b = *bird;

	if (!b)
		return;
	*bird = NULL;
	bird_call_cancel(&b->call);
	bird_child_free(&b->judge, true);
	bird_child_free(&b->daemon, false);
	bird_sessions_free(&b->sessions);
	bird_sessions_free(&b->hearing);
	buf_free(&b->wanted);
	event_free(b->timer);
	free(b);
}

/* -- routes -- */

struct bird_listing {
	struct bird_call *call;
	struct bird_routes routes;
	bird_listed done;
	void *ctx;
};

void bird_listing_cancel(struct bird_listing **listing)
{
	if (!*listing)
		return;
	bird_call_cancel(&(*listing)->call);
	bird_routes_free(&(*listing)->routes);
	free(*listing);
	*listing = NULL;
}

static bool listing_line(void *ctx, int code, const char *text)
{
	struct bird_listing *listing = ctx;

	return bird_routes_line(&listing->routes, code, text) == 0;
}

static void listing_done(void *ctx, int rc, int code, const char *text)
{
	struct bird_listing *listing = ctx;

	listing->call = NULL;
	listing->done(listing->ctx, rc, &listing->routes);
	bird_listing_cancel(&listing);
}

int bird_list_routes(struct bird *bird, size_t max, bird_listed done, void *ctx, struct bird_listing **ret)
{
	struct bird_listing *listing = calloc(1, sizeof(*listing));
	struct bird_call_options options = {.socket = bird->socket, .command = "show route all",
		.timeout_ms = bird->options.timeout_ms, .line = listing_line, .done = listing_done, .ctx = listing};

	if (!listing)
		return -ENOMEM;
	listing->routes.max = max;
	listing->done = done;
	listing->ctx = ctx;
	if (bird_call_new(bird->base, &options, &listing->call) < 0) {
		bird_listing_cancel(&listing);
		return -ENOMEM;
	}
	*ret = listing;
	return 0;
}

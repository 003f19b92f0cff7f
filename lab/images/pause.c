/* SPDX-License-Identifier: Apache-2.0
 *
 * Process 1 of a pod's sandbox: holds the namespaces, collects orphans, ends when it is told to. */
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static void reap(int number)
{
	(void)number;
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
}

static void leave(int number)
{
	(void)number;
	_exit(0);
}

int main(void)
{
	signal(SIGCHLD, reap);
	signal(SIGTERM, leave);
	signal(SIGINT, leave);
	for (;;)
		pause();
}

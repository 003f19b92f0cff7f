/* SPDX-License-Identifier: Apache-2.0
 *
 * Replays a corpus where there is no libFuzzer: fuzz_NAME DIRECTORY|FILE...
 */
#include "fuzz.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/file.h"

#include <dirent.h>
#include <string.h>

static int replay_file(const char *path)
{
	_cleanup_(buf_free) struct buf buf = {0};
	struct err err = ERR_INIT;
	_cleanup_free_ uint8_t *copy = NULL;

	if (file_read(path, &buf, &err) < 0) {
		fprintf(stderr, "%s: %s\n", path, err_text(&err));
		return -1;
	}
	/* a copy of the exact size, so that the sanitizer sees every byte read beyond it */
	copy = malloc(buf.len ? buf.len : 1);
	if (!copy)
		return -1;
	if (buf.len)
		memcpy(copy, buf.data, buf.len);
	LLVMFuzzerTestOneInput(copy, buf.len);
	return 1;
}

static int replay(const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *entry;
	int count = 0;

	if (!dir)
		return replay_file(path);
	while ((entry = readdir(dir))) {
		char name[4096];
		int r;

		if (entry->d_name[0] == '.')
			continue;
		snprintf(name, sizeof(name), "%s/%s", path, entry->d_name);
		r = replay_file(name);
		if (r < 0) {
			count = r;
			break;
		}
		count += r;
	}
	closedir(dir);
	return count;
}

int main(int argc, char **argv)
{
	int total = 0;

	for (int i = 1; i < argc; i++) {
		int count = replay(argv[i]);

		if (count < 0)
			return 1;
		total += count;
	}
	printf("%d inputs\n", total);
	return total ? 0 : 1;
}

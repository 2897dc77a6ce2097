/* bench_stream.c: writes a stream of random or of zero pages to a file, for bench_program.sh. */
#include "tests/bench/stream.h"

int main(int argc, char **argv)
{
	struct bench_stream stream;
	FILE *file;

	/* `make bench` runs every program of this folder; this one works for the script */
	if (argc == 1)
		return 0;
	if (argc != 4 || (strcmp(argv[1], "random") != 0 && strcmp(argv[1], "zero") != 0))
		bench_die("expected random|zero PAGES FILE");
	stream = bench_stream_new(strtoull(argv[2], NULL, 10), strcmp(argv[1], "random") == 0);
	file = fopen(argv[3], "w");
	if (!file || fwrite(stream.data, 1, stream.size, file) != stream.size || fclose(file) != 0)
		bench_die("the stream cannot be written");
	bench_stream_free(&stream);
	return 0;
}

/* A process that has no memory for a copy of a body, and then no descriptor left: both are told, neither
 * ends it, and what comes after is as ever. limits DIRECTORY */
#define _GNU_SOURCE
#include "check.h"
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

/* Sets a limit; what it was. */
static rlim_t limited(int resource, rlim_t to)
{
    struct rlimit limit;
    rlim_t before;

    CHECK(getrlimit(resource, &limit) == 0);
    before = limit.rlim_cur;
    limit.rlim_cur = to;
    CHECK(setrlimit(resource, &limit) == 0);
    return before;
}

/* Takes all descriptors that there are below a limit. */
static void take_descriptors(int *taken, int count)
{
    int i;

    for (i = 0; i < count; i++)
        taken[i] = open("/dev/null", O_RDONLY);
}

static void give_descriptors(const int *taken, int count)
{
    int i;

    for (i = 0; i < count; i++)
        if (taken[i] >= 0)
            close(taken[i]);
}

static size_t address_space(void)
{
    FILE *pages = fopen("/proc/self/statm", "r");
    unsigned long all = 0;

    CHECK(pages != NULL && fscanf(pages, "%lu", &all) == 1);
    fclose(pages);
    return (size_t)all * 4096;
}

int main(int argc, char **argv)
{
    const size_t size = (size_t)1 << 30;
    objstore_store *store;
    objstore_error *error = NULL;
    objstore_writer *writer = NULL;
    objstore_id id;
    uint8_t *body;
    rlim_t before;
    int taken[1024], i;

    CHECK(argc == 2);
    store = open_in(argv[1]);
    OK(objstore_new_id(store, &id, NULL));
    body = mmap(NULL, size, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(body != MAP_FAILED);

    before = limited(RLIMIT_AS, address_space() + size / 2);
    IS(OBJSTORE_OUT_OF_MEMORY, objstore_put(store, &id, body, size, NULL, NULL, &error));
    CHECK(strstr(objstore_error_message(error), "memory"));
    OK(objstore_error_free(error));
    /* In pieces there is no need for as much. */
    OK(objstore_put_begin(store, &id, 100 << 20, NULL, &writer, NULL));
    OK(objstore_writer_write(writer, body, 100 << 20, NULL));
    OK(objstore_writer_finish(writer, NULL, NULL));
    OK(objstore_writer_free(writer));
    limited(RLIMIT_AS, before);

    before = limited(RLIMIT_NOFILE, 1024);
    take_descriptors(taken, 1024);
    CHECK(taken[1023] < 0);
    for (i = 0; i < 3; i++) {
        IS(OBJSTORE_UNAVAILABLE, objstore_put(store, &id, body, 1 << 20, NULL, NULL, &error));
        CHECK(strstr(objstore_error_message(error), "too many files are open"));
        OK(objstore_error_free(error));
    }
    give_descriptors(taken, 1024);
    limited(RLIMIT_NOFILE, before);
    OK(objstore_put(store, &id, body, 1 << 20, NULL, NULL, NULL));

    OK(objstore_close(store, OBJSTORE_FOREVER, NULL));
    CHECK(objstore_handle_count() == 0);
    return 0;
}

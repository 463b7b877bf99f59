/* What a process notices of a store in it: the threads take no signals and have the name that was set, and
 * the library may be unloaded, with a store open, and loaded once more. process LIBRARY DIRECTORY */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <objstore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                        \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

/* A function of the library, by its declaration in the header. */
#define OF(library, name) ((__typeof__(&name))look_up(library, #name))

static void *look_up(void *library, const char *name)
{
    void *symbol = dlsym(library, name);
    CHECK(symbol != NULL);
    return symbol;
}

static void on_signal(int signal)
{
    (void)signal;
    /* Only on threads of the program. */
    if (gettid() != getpid())
        _exit(2);
}

/* How many threads of this process have the name; all but the first one block every signal. */
static int threads_named(const char *wanted)
{
    DIR *tasks = opendir("/proc/self/task");
    struct dirent *task;
    int named = 0, others = 0;

    CHECK(tasks != NULL);
    while ((task = readdir(tasks)) != NULL) {
        char path[300], line[300], name[300] = "";
        unsigned long long blocked = 0;
        FILE *status;

        if (task->d_name[0] == '.' || atoi(task->d_name) == getpid())
            continue;
        snprintf(path, sizeof path, "/proc/self/task/%s/status", task->d_name);
        status = fopen(path, "r");
        if (status == NULL)
            continue; /* It has ended. */
        while (fgets(line, sizeof line, status) != NULL) {
            sscanf(line, "Name: %299s", name);
            sscanf(line, "SigBlk: %llx", &blocked);
        }
        fclose(status);
        others++;
        named += strncmp(name, wanted, strlen(wanted)) == 0;
        if (!(blocked >> (SIGINT - 1) & 1 && blocked >> (SIGPIPE - 1) & 1
              && blocked >> (SIGUSR1 - 1) & 1 && blocked >> (SIGCHLD - 1) & 1)) {
            fprintf(stderr, "%s handles signals: %llx\n", name, blocked);
            exit(1);
        }
    }
    closedir(tasks);
    CHECK(others > 0);
    return named;
}

int main(int argc, char **argv)
{
    void *library;
    objstore_config *config;
    objstore_store *store = NULL;
    objstore_reader *reader = NULL;
    objstore_id id;
    uint8_t buffer[16];
    size_t got = 0;
    char path[1000];
    int i;

    CHECK(argc > 2);
    CHECK(signal(SIGUSR1, on_signal) != SIG_ERR);
    library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
    CHECK(library != NULL);
    config = OF(library, objstore_config_new)();
    CHECK(config != NULL);
    snprintf(path, sizeof path, "%s/state", argv[2]);
    CHECK(OF(library, objstore_config_set)(config, "state-dir", path, NULL) == OBJSTORE_OK);
    snprintf(path, sizeof path, "%s/files", argv[2]);
    CHECK(OF(library, objstore_config_set)(config, "files-dir", path, NULL) == OBJSTORE_OK);
    CHECK(OF(library, objstore_config_set)(config, "threads", "3", NULL) == OBJSTORE_OK);
    CHECK(OF(library, objstore_config_set)(config, "thread-name", "cache", NULL) == OBJSTORE_OK);
    CHECK(OF(library, objstore_open_node)(config, &store, NULL) == OBJSTORE_OK);
    CHECK(OF(library, objstore_config_free)(config) == OBJSTORE_OK);
    CHECK(OF(library, objstore_new_id)(store, &id, NULL) == OBJSTORE_OK);
    CHECK(OF(library, objstore_put)(store, &id, id.bytes, 16, NULL, NULL, NULL) == OBJSTORE_OK);
    CHECK(threads_named("cache") >= 3);
    for (i = 0; i < 200; i++)
        CHECK(kill(getpid(), SIGUSR1) == 0);

    CHECK(dlclose(library) == 0);
    library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
    CHECK(library != NULL);
    CHECK(OF(library, objstore_get)(store, &id, NULL, &reader, NULL) == OBJSTORE_OK);
    CHECK(OF(library, objstore_reader_read)(reader, buffer, 16, &got, NULL) == OBJSTORE_OK);
    CHECK(got == 16 && memcmp(buffer, id.bytes, 16) == 0);
    CHECK(OF(library, objstore_reader_free)(reader) == OBJSTORE_OK);
    CHECK(OF(library, objstore_close)(store, OBJSTORE_FOREVER, NULL) == OBJSTORE_OK);
    CHECK(OF(library, objstore_handle_count)() == 0);
    CHECK(dlclose(library) == 0);
    return 0;
}

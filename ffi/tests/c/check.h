/* What the tests in C share. */
#ifndef CHECK_H
#define CHECK_H

#include <objstore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                        \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

#define IS(status, call)                                                                           \
    do {                                                                                           \
        objstore_status is_ = (call);                                                              \
        if (is_ != (status)) {                                                                     \
            fprintf(stderr, "%s:%d: %s is %s\n", __FILE__, __LINE__, #call,                        \
                    objstore_status_name(is_));                                                    \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

#define OK(call) IS(OBJSTORE_OK, call)

/* To the nodes at these addresses, or one of this process's own. */
static inline objstore_store *connect_to(const char *nodes)
{
    objstore_config *config = objstore_config_new();
    objstore_store *store = NULL;

    OK(objstore_config_set(config, "threads", "2", NULL));
    OK(objstore_connect(nodes, config, &store, NULL));
    OK(objstore_config_free(config));
    return store;
}

static inline objstore_store *open_in_memory(void)
{
    objstore_config *config = objstore_config_new();
    objstore_store *store = NULL;

    OK(objstore_config_set(config, "in-memory", "1", NULL));
    OK(objstore_config_set(config, "threads", "2", NULL));
    OK(objstore_open_node(config, &store, NULL));
    OK(objstore_config_free(config));
    return store;
}

/* One of this process's own, with three directories below this one; the third stands for the bucket. */
static inline objstore_store *open_in(const char *dir)
{
    objstore_config *config = objstore_config_new();
    objstore_store *store = NULL;
    const char *names[] = {"state-dir", "files-dir", "remote-dir"};
    char path[1000];
    int i;

    for (i = 0; i < 3; i++) {
        CHECK(snprintf(path, sizeof path, "%s/%s", dir, names[i]) < (int)sizeof path);
        OK(objstore_config_set(config, names[i], path, NULL));
    }
    OK(objstore_config_set(config, "threads", "2", NULL));
    OK(objstore_open_node(config, &store, NULL));
    OK(objstore_config_free(config));
    return store;
}

/* To a directory, which is a path, or to nodes. */
static inline objstore_store *open_or_connect(const char *where)
{
    return where[0] == '/' ? open_in(where) : connect_to(where);
}

#endif

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

#endif

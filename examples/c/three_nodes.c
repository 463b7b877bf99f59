/* Three nodes in one program: what one of them is given, the others have too. Keeps everything in
 * memory. */
#include <objstore.h>
#include <stdio.h>
#include <string.h>

#define NODES 3

static void say(const char *what, objstore_error *error)
{
    fprintf(stderr, "%s: %s\n", what, objstore_error_message(error));
    objstore_error_free(error);
}

/* Opens a node that finds the others through `seed`, the address of one of them. */
static objstore_store *open_node(const char *seed)
{
    objstore_config *config = objstore_config_new();
    objstore_store *store = NULL;
    objstore_error *error = NULL;

    objstore_config_set(config, "in-memory", "1", NULL);
    objstore_config_set(config, "private-addr", "127.0.0.1:0", NULL);
    objstore_config_set(config, "threads", "1", NULL);
    if (seed)
        objstore_config_set(config, "nodes", seed, NULL);
    if (objstore_open_node(config, &store, &error))
        say("open", error);
    objstore_config_free(config);
    return store;
}

int main(void)
{
    objstore_store *nodes[NODES] = {NULL};
    objstore_subscription *heard = NULL;
    objstore_message *message = NULL;
    objstore_text *address = NULL;
    objstore_error *error = NULL;
    objstore_reader *reader = NULL;
    objstore_id id;
    uint8_t buffer[64];
    size_t got = 0, taken = 0;
    int i, bad = 1;

    nodes[0] = open_node(NULL);
    if (!nodes[0] || objstore_private_addr(nodes[0], &address, &error))
        goto end;
    for (i = 1; i < NODES; i++)
        if (!(nodes[i] = open_node(objstore_text_chars(address))))
            goto end;

    /* A message tells the last node what was put. It is asked for until all have met. */
    if (objstore_subscribe(nodes[NODES - 1], &heard, &error)
        || objstore_new_id(nodes[0], &id, &error)
        || objstore_put(nodes[0], &id, (const uint8_t *)"It works!", 9, NULL, NULL, &error))
        goto end;
    while (taken < NODES - 1) {
        if (objstore_send(nodes[0], id.bytes, sizeof id.bytes, &taken, &error))
            goto end;
    }
    if (objstore_subscription_next(heard, 10000, &message, NULL, &error))
        goto end;
    memcpy(id.bytes, objstore_message_data(message, &got), sizeof id.bytes);
    printf("node %s says that it has something\n", objstore_message_from(message));

    if (objstore_get(nodes[NODES - 1], &id, NULL, &reader, &error)
        || objstore_reader_read(reader, buffer, sizeof buffer, &got, &error))
        goto end;
    printf("node 3 has it from there: %.*s\n", (int)got, (const char *)buffer);
    bad = 0;

end:
    if (error)
        say("failed", error);
    objstore_reader_free(reader);
    objstore_message_free(message);
    objstore_subscription_free(heard);
    objstore_text_free(address);
    for (i = NODES - 1; i >= 0; i--)
        objstore_close(nodes[i], 5000, NULL);
    return bad;
}

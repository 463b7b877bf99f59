/* A store on a node elsewhere: remote NODES. What only a node in this process can do, what is no setting
 * of a connection, and a node that goes away, for which a line on standard input stands. */
#include "check.h"

static void refused(objstore_store *store)
{
    objstore_text *text = (objstore_text *)1;
    objstore_subscription *subscription = (objstore_subscription *)1;

    IS(OBJSTORE_UNSUPPORTED, objstore_serve(store, "127.0.0.1:0", &text, NULL));
    CHECK(text == NULL);
    IS(OBJSTORE_UNSUPPORTED, objstore_peers(store, &text, NULL));
    IS(OBJSTORE_UNSUPPORTED, objstore_private_addr(store, &text, NULL));
    IS(OBJSTORE_UNSUPPORTED, objstore_drain(store, NULL));
    IS(OBJSTORE_UNSUPPORTED, objstore_subscribe(store, &subscription, NULL));
    CHECK(subscription == NULL);
    IS(OBJSTORE_UNSUPPORTED,
       objstore_send(store, (const uint8_t *)"hello", 5, NULL, NULL));
}

static void settings(void)
{
    objstore_config *config = objstore_config_new();
    objstore_store *store = (objstore_store *)1;
    objstore_error *error = NULL;

    IS(OBJSTORE_CONFIGURATION, objstore_connect("", NULL, &store, NULL));
    CHECK(store == NULL);
    IS(OBJSTORE_CONFIGURATION, objstore_connect("no address:x", NULL, &store, NULL));
    IS(OBJSTORE_INVALID_ARGUMENT, objstore_connect(NULL, NULL, &store, NULL));
    IS(OBJSTORE_INVALID_ARGUMENT, objstore_connect("localhost", NULL, NULL, NULL));
    IS(OBJSTORE_CONFIGURATION, objstore_config_set(config, "tries", "0", NULL));
    IS(OBJSTORE_CONFIGURATION, objstore_config_set(config, "timeout", "soon", NULL));
    OK(objstore_config_set(config, "timeout", "5s", NULL));
    IS(OBJSTORE_CONFIGURATION, objstore_open_node(config, &store, NULL));
    OK(objstore_config_set(config, "max-bytes", "1G", NULL));
    IS(OBJSTORE_CONFIGURATION, objstore_connect("localhost", config, &store, &error));
    CHECK(strstr(objstore_error_message(error), "max-bytes"));
    OK(objstore_error_free(error));
    OK(objstore_config_free(config));
}

int main(int argc, char **argv)
{
    objstore_config *config = objstore_config_new();
    objstore_store *store = NULL;
    objstore_text *text = NULL;
    objstore_reader *reader = NULL;
    objstore_writer *writer = NULL;
    objstore_meta *meta = NULL;
    objstore_error *error = NULL;
    objstore_status status;
    objstore_id id, other;
    static uint8_t body[4 << 20];
    size_t got = 1, all = 0, i;

    CHECK(argc == 2);
    settings();
    OK(objstore_config_set(config, "tries", "1", NULL));
    OK(objstore_connect(argv[1], config, &store, NULL));
    OK(objstore_config_free(config));
    refused(store);

    CHECK(objstore_is_ready(store));
    OK(objstore_node_id(store, &text, NULL));
    CHECK(strlen(objstore_text_chars(text)) == 26);
    OK(objstore_text_free(text));
    OK(objstore_stats(store, &text, NULL));
    CHECK(strstr(objstore_text_chars(text), "\"objects\""));
    OK(objstore_text_free(text));
    OK(objstore_new_id(store, &id, NULL));
    OK(objstore_new_id(store, &other, NULL));
    OK(objstore_put(store, &id, body, sizeof body, NULL, NULL, NULL));
    OK(objstore_get(store, &id, NULL, &reader, NULL));
    OK(objstore_put_begin(store, &other, OBJSTORE_SIZE_UNKNOWN, NULL, &writer, NULL));
    OK(objstore_writer_write(writer, body, 1000, NULL));

    printf("ready\n");
    fflush(stdout);
    CHECK(getchar() == '\n');

    /* Whatever it does now, there is no signal. */
    for (status = OBJSTORE_OK, i = 0; status == OBJSTORE_OK && i < 64; i++)
        status = objstore_writer_write(writer, body, sizeof body, NULL);
    if (status == OBJSTORE_OK)
        status = objstore_writer_finish(writer, NULL, NULL);
    CHECK(status == OBJSTORE_TRANSPORT || status == OBJSTORE_FINISHED);
    OK(objstore_writer_free(writer));
    IS(OBJSTORE_TRANSPORT, objstore_head(store, &id, NULL, &meta, &error));
    CHECK(meta == NULL);
    CHECK(objstore_error_is_retryable(error));
    OK(objstore_error_free(error));
    CHECK(!objstore_is_ready(store));

    /* A reader gives what it has and then says so, or was done before. */
    for (status = OBJSTORE_OK; status == OBJSTORE_OK && got > 0; all += got)
        status = objstore_reader_read(reader, body, 1000, &got, NULL);
    CHECK(status == OBJSTORE_TRANSPORT || all == sizeof body);
    OK(objstore_close(store, 5000, NULL));
    OK(objstore_reader_free(reader));
    CHECK(objstore_handle_count() == 0);
    printf("done\n");
    return 0;
}

/* Every verb that reports to a queue, awaited by its descriptor alone. events DIRECTORY|NODES */
#define _POSIX_C_SOURCE 200809L
#include "check.h"
#include <poll.h>

static objstore_queue *queue;

static struct {
    int times;
    objstore_status status;
    objstore_id id;
    objstore_meta *meta;
    objstore_reader *reader;
    objstore_list *list;
    objstore_key_list *keys;
} done;

static void on_done(void *user_data, objstore_result *result)
{
    CHECK(user_data == &done);
    done.times++;
    done.status = objstore_result_status(result);
    if (objstore_result_id(result, &done.id) != OBJSTORE_OK)
        memset(&done.id, 0, sizeof done.id);
    done.meta = objstore_result_take_meta(result);
    done.reader = objstore_result_take_reader(result);
    done.list = objstore_result_take_list(result);
    done.keys = objstore_result_take_key_list(result);
    CHECK(objstore_result_take_meta(result) == NULL && objstore_result_take_list(result) == NULL);
}

/* The loop of a host: nothing but its own poll() waits. */
static void await(objstore_status expected)
{
    struct pollfd ready = {0};
    int before = done.times;

    ready.fd = objstore_queue_fd(queue);
    ready.events = POLLIN;
    while (done.times == before) {
        CHECK(poll(&ready, 1, -1) == 1);
        OK(objstore_poll(queue, 0, NULL, NULL));
    }
    if (done.status != expected) {
        fprintf(stderr, "%s instead of %s\n", objstore_status_name(done.status),
                objstore_status_name(expected));
        exit(1);
    }
}

#define ASYNC queue, on_done, &done, NULL
#define DONE(call)                                                                                 \
    do {                                                                                           \
        OK(call);                                                                                  \
        await(OBJSTORE_OK);                                                                        \
    } while (0)

int main(int argc, char **argv)
{
    objstore_store *store = open_or_connect(argc > 1 ? argv[1] : "");
    objstore_key_list_options *prefix = objstore_key_list_options_new();
    objstore_writer *writer = NULL;
    objstore_reader *reader = NULL;
    objstore_id id;
    uint8_t *piece = calloc(1, 300000);
    uint8_t buffer[1000];
    size_t got = 1, total = 0;
    int i;

    CHECK(piece);
    queue = objstore_queue_new();
    DONE(objstore_new_id_async(store, ASYNC));
    id = done.id;
    DONE(objstore_put_async(store, &id, (const uint8_t *)"It works!", 9, NULL, ASYNC));
    CHECK(objstore_meta_size(done.meta) == 9);
    OK(objstore_meta_free(done.meta));
    DONE(objstore_set_level_async(store, &id, 1, OBJSTORE_WRITE_DEFAULT, ASYNC));
    CHECK(objstore_meta_level(done.meta) == 1);
    OK(objstore_meta_free(done.meta));

    /* A body in pieces; while one is under way the writer takes nothing else. */
    OK(objstore_put_begin(store, &id, 6000000, NULL, &writer, NULL));
    for (i = 0; i < 20; i++)
        DONE(objstore_writer_write_async(writer, piece, 300000, ASYNC));
    DONE(objstore_writer_write_async(writer, NULL, 0, ASYNC));
    OK(objstore_writer_finish_async(writer, ASYNC));
    IS(OBJSTORE_FINISHED, objstore_writer_finish(writer, NULL, NULL));
    IS(OBJSTORE_FINISHED, objstore_writer_write_async(writer, piece, 1, ASYNC));
    await(OBJSTORE_OK);
    CHECK(objstore_meta_size(done.meta) == 6000000);
    OK(objstore_meta_free(done.meta));
    OK(objstore_writer_free(writer));
    OK(objstore_put_begin(store, &id, 5, NULL, &writer, NULL));
    DONE(objstore_writer_write_async(writer, piece, 4, ASYNC));
    OK(objstore_writer_finish_async(writer, ASYNC));
    await(OBJSTORE_INCOMPLETE_BODY);
    OK(objstore_writer_free(writer));
    OK(objstore_put_begin(store, &id, 5, NULL, &writer, NULL));
    OK(objstore_writer_cancel(writer));
    OK(objstore_writer_finish_async(writer, ASYNC));
    await(OBJSTORE_CANCELLED);
    OK(objstore_writer_free(writer));

    DONE(objstore_head_async(store, &id, NULL, ASYNC));
    CHECK(objstore_meta_size(done.meta) == 6000000);
    OK(objstore_meta_free(done.meta));
    DONE(objstore_get_async(store, &id, NULL, ASYNC));
    reader = done.reader;
    do {
        DONE(objstore_reader_fetch_async(reader, ASYNC));
        OK(objstore_reader_read(reader, buffer, sizeof buffer, &got, NULL));
        total += got;
    } while (got > 0);
    CHECK(total == 6000000);
    OK(objstore_reader_free(reader));
    DONE(objstore_list_objects_async(store, NULL, ASYNC));
    CHECK(objstore_list_count(done.list) == 1);
    OK(objstore_list_free(done.list));
    DONE(objstore_delete_async(store, &id, NULL, ASYNC));
    CHECK(objstore_meta_is_deleted(done.meta));
    OK(objstore_meta_free(done.meta));
    OK(objstore_get_async(store, &id, NULL, ASYNC));
    await(OBJSTORE_DELETED);
    CHECK(done.reader == NULL);

    DONE(objstore_put_key_async(store, "a/one", (const uint8_t *)"It works!", 9, NULL, ASYNC));
    OK(objstore_meta_free(done.meta));
    DONE(objstore_head_key_async(store, "a/one", NULL, ASYNC));
    CHECK(objstore_meta_size(done.meta) == 9);
    OK(objstore_meta_free(done.meta));
    DONE(objstore_get_key_async(store, "a/one", NULL, ASYNC));
    OK(objstore_reader_read(done.reader, buffer, sizeof buffer, &got, NULL));
    CHECK(got == 9 && memcmp(buffer, "It works!", 9) == 0);
    OK(objstore_reader_free(done.reader));
    OK(objstore_key_list_options_set_prefix(prefix, "a/"));
    DONE(objstore_list_keys_async(store, prefix, ASYNC));
    OK(objstore_key_list_options_free(prefix));
    CHECK(objstore_key_list_count(done.keys) == 1);
    OK(objstore_key_list_free(done.keys));
    DONE(objstore_delete_key_async(store, "a/one", NULL, ASYNC));
    CHECK(done.meta == NULL);
    OK(objstore_head_key_async(store, "a/one", NULL, ASYNC));
    await(OBJSTORE_NOT_FOUND);

    /* A close waits for what was begun. */
    OK(objstore_new_id(store, &id, NULL));
    OK(objstore_put_async(store, &id, piece, 300000, NULL, ASYNC));
    OK(objstore_close(store, OBJSTORE_FOREVER, NULL));
    await(OBJSTORE_OK);
    OK(objstore_meta_free(done.meta));
    OK(objstore_queue_free(queue));
    free(piece);
    CHECK(objstore_handle_count() == 0);
    return 0;
}

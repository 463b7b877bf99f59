/* Over a connection that stops half-way in both directions: whoever waits there is alone, can be ended,
 * and holds up a close for only so long. stalled STALLING ID MUTE, two nodes and an object that is larger
 * than what gets by. */
#define _POSIX_C_SOURCE 200809L
#include "check.h"
#include <pthread.h>

static objstore_reader *reader;
static objstore_writer *writer;
static objstore_id id;
/* Written by one thread at most. */
static int was_in_use;

/* Both threads do this. One ends up waiting for bytes that do not come; the other is told so, and ends
 * that wait. */
static void *read_on(void *unused)
{
    uint8_t buffer[10000];
    size_t got = 1;

    (void)unused;
    for (;;) {
        objstore_status status = objstore_reader_read(reader, buffer, sizeof buffer, &got, NULL);
        if (status == OBJSTORE_IN_USE) {
            was_in_use = 1;
            OK(objstore_reader_cancel(reader));
            return NULL;
        }
        if (status == OBJSTORE_CANCELLED || status == OBJSTORE_FINISHED)
            return NULL;
        OK(status);
        CHECK(got > 0);
    }
}

static void *write_on(void *unused)
{
    static const uint8_t zeros[100000];

    (void)unused;
    for (;;) {
        objstore_status status = objstore_writer_write(writer, zeros, sizeof zeros, NULL);
        if (status == OBJSTORE_IN_USE) {
            was_in_use = 1;
            OK(objstore_writer_cancel(writer));
            return NULL;
        }
        if (status == OBJSTORE_CANCELLED || status == OBJSTORE_FINISHED)
            return NULL;
        OK(status);
    }
}

static void on_done(void *user_data, objstore_result *result)
{
    *(objstore_status *)user_data = objstore_result_status(result);
}

static void two_threads(void *(*what)(void *))
{
    pthread_t threads[2];
    int i;

    was_in_use = 0;
    for (i = 0; i < 2; i++)
        CHECK(pthread_create(&threads[i], NULL, what, NULL) == 0);
    for (i = 0; i < 2; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    CHECK(was_in_use);
}

/* `mute` is a node that never answers. */
static void a_close_waits_for_so_long_and_no_longer(const char *mute)
{
    objstore_store *store = connect_to(mute);
    objstore_cancel *cancel = objstore_cancel_new();
    objstore_get_options *options = objstore_get_options_new();
    objstore_queue *queue = objstore_queue_new();
    objstore_status status = OBJSTORE_OK;

    OK(objstore_get_options_set_cancel(options, cancel));
    OK(objstore_head_async(store, &id, options, queue, on_done, &status, NULL));
    IS(OBJSTORE_TIMED_OUT, objstore_close(store, 50, NULL));
    IS(OBJSTORE_BAD_HANDLE, objstore_head(store, &id, NULL, &(objstore_meta *){NULL}, NULL));
    OK(objstore_cancel_trigger(cancel));
    OK(objstore_poll(queue, OBJSTORE_FOREVER, NULL, NULL));
    CHECK(status == OBJSTORE_CANCELLED || status == OBJSTORE_STOPPING);
    OK(objstore_queue_free(queue));
    OK(objstore_cancel_free(cancel));
    OK(objstore_get_options_free(options));
}

int main(int argc, char **argv)
{
    objstore_store *store;

    CHECK(argc > 3);
    store = connect_to(argv[1]);
    OK(objstore_id_parse(argv[2], &id));
    OK(objstore_get(store, &id, NULL, &reader, NULL));
    two_threads(read_on);
    OK(objstore_reader_free(reader));
    OK(objstore_put_begin(store, &id, OBJSTORE_SIZE_UNKNOWN, NULL, &writer, NULL));
    two_threads(write_on);
    OK(objstore_writer_free(writer));
    OK(objstore_close(store, OBJSTORE_FOREVER, NULL));
    a_close_waits_for_so_long_and_no_longer(argv[3]);
    CHECK(objstore_handle_count() == 0);
    return 0;
}

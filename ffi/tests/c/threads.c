/* Many threads on one store, one thread's call ended by another, and an end without a close. */
#define _POSIX_C_SOURCE 200809L
#include "check.h"
#include <pthread.h>
#include <signal.h>

#define THREADS 4
#define ROUNDS 50

static objstore_store *store;

static void *put_and_get(void *unused)
{
    int i;

    (void)unused;
    for (i = 0; i < ROUNDS; i++) {
        objstore_id id;
        objstore_reader *reader = NULL;
        uint8_t buffer[32];
        size_t got = 0;

        OK(objstore_new_id(store, &id, NULL));
        OK(objstore_put(store, &id, id.bytes, sizeof id.bytes, NULL, NULL, NULL));
        OK(objstore_get(store, &id, NULL, &reader, NULL));
        OK(objstore_reader_read(reader, buffer, sizeof buffer, &got, NULL));
        CHECK(got == sizeof id.bytes && memcmp(buffer, id.bytes, got) == 0);
        OK(objstore_reader_free(reader));
    }
    return NULL;
}

static void *finish(void *writer)
{
    IS(OBJSTORE_CANCELLED, objstore_writer_finish(writer, NULL, NULL));
    return NULL;
}

static void *poll_once(void *queue)
{
    IS(OBJSTORE_TIMED_OUT, objstore_poll(queue, 1, NULL, NULL));
    return NULL;
}

int main(int argc, char **argv)
{
    pthread_t threads[THREADS];
    objstore_queue *queue = objstore_queue_new();
    objstore_writer *writer = NULL;
    objstore_id id;
    int i;

    (void)argv;
    store = open_in_memory();
    for (i = 0; i < THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, put_and_get, NULL) == 0);
    for (i = 0; i < THREADS; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);

    /* Two threads on one queue, and a writer that another thread ends. */
    for (i = 0; i < 2; i++)
        CHECK(pthread_create(&threads[i], NULL, poll_once, queue) == 0);
    OK(objstore_new_id(store, &id, NULL));
    OK(objstore_put_begin(store, &id, 4, NULL, &writer, NULL));
    OK(objstore_writer_cancel(writer));
    CHECK(pthread_create(&threads[2], NULL, finish, writer) == 0);
    for (i = 0; i < 3; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    OK(objstore_writer_free(writer));
    OK(objstore_queue_free(queue));

    /* With an argument the process ends as it is. */
    if (argc > 1)
        exit(0);
    OK(objstore_close(store, OBJSTORE_FOREVER, NULL));
    CHECK(objstore_handle_count() == 0);
    return 0;
}

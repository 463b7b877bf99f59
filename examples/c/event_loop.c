/* Puts and gets without ever waiting for the store: an epoll loop is told when something is done.
 * Keeps everything in memory. */
#include <objstore.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define OBJECTS 8

struct job {
    objstore_store *store;
    objstore_queue *queue;
    objstore_id id;
    objstore_reader *reader;
    char text[32];
    int *left, *bad;
};

static void give_up(struct job *job, const char *what, objstore_error *error)
{
    fprintf(stderr, "%s: %s\n", what, objstore_error_message(error));
    objstore_error_free(error);
    *job->bad = 1;
    --*job->left;
}

static void on_bytes(void *user_data, objstore_result *result)
{
    struct job *job = user_data;
    objstore_error *error = NULL;
    uint8_t buffer[64];
    size_t got = 0;

    if (objstore_result_status(result)) {
        give_up(job, "fetch", objstore_result_take_error(result));
    } else if (objstore_reader_read(job->reader, buffer, sizeof buffer, &got, &error)) {
        give_up(job, "read", error);
    } else {
        printf("%.*s\n", (int)got, (const char *)buffer);
        --*job->left;
    }
    objstore_reader_free(job->reader);
}

static void on_got(void *user_data, objstore_result *result)
{
    struct job *job = user_data;
    objstore_error *error = NULL;

    if (objstore_result_status(result)) {
        give_up(job, "get", objstore_result_take_error(result));
        return;
    }
    job->reader = objstore_result_take_reader(result);
    if (objstore_reader_fetch_async(job->reader, job->queue, on_bytes, job, &error))
        give_up(job, "fetch", error);
}

static void on_put(void *user_data, objstore_result *result)
{
    struct job *job = user_data;
    objstore_error *error = NULL;

    if (objstore_result_status(result))
        give_up(job, "put", objstore_result_take_error(result));
    else if (objstore_get_async(job->store, &job->id, NULL, job->queue, on_got, job, &error))
        give_up(job, "get", error);
}

int main(void)
{
    objstore_config *config = objstore_config_new();
    objstore_store *store = NULL;
    objstore_queue *queue = objstore_queue_new();
    objstore_error *error = NULL;
    struct job jobs[OBJECTS];
    struct epoll_event event;
    int i, left = 0, bad = 0, loop = epoll_create1(0);

    objstore_config_set(config, "in-memory", "1", NULL);
    if (objstore_open_node(config, &store, &error)) {
        fprintf(stderr, "open: %s\n", objstore_error_message(error));
        objstore_error_free(error);
        bad = 1;
    }
    objstore_config_free(config);

    memset(&event, 0, sizeof event);
    event.events = EPOLLIN;
    if (loop < 0 || epoll_ctl(loop, EPOLL_CTL_ADD, objstore_queue_fd(queue), &event)) {
        perror("epoll");
        bad = 1;
    }
    for (i = 0; i < OBJECTS && !bad; i++) {
        struct job *job = &jobs[i];
        memset(job, 0, sizeof *job);
        job->store = store;
        job->queue = queue;
        job->left = &left;
        job->bad = &bad;
        snprintf(job->text, sizeof job->text, "object %d of %d", i + 1, OBJECTS);
        left++;
        if (objstore_new_id(store, &job->id, &error)
            || objstore_put_async(store, &job->id, (const uint8_t *)job->text, strlen(job->text),
                                  NULL, queue, on_put, job, &error))
            give_up(job, "put", error);
    }
    while (left > 0 && !bad) {
        if (epoll_wait(loop, &event, 1, 10000) != 1) {
            fprintf(stderr, "nothing was done for ten seconds\n");
            bad = 1;
        }
        objstore_poll(queue, 0, NULL, NULL);
    }
    close(loop);
    objstore_queue_free(queue);
    objstore_close(store, 5000, NULL);
    return bad;
}

/* Whatever is done wrong has its code, and does no harm. */
#define _POSIX_C_SOURCE 200809L
#include "check.h"
#include <ctype.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static int polled;

static void on_done(void *user_data, objstore_result *result)
{
    objstore_queue *queue = user_data;
    IS(OBJSTORE_REENTRANT, objstore_poll(queue, 0, NULL, NULL));
    IS(OBJSTORE_REENTRANT, objstore_queue_free(queue));
    OK(objstore_result_status(result));
    CHECK(objstore_result_take_error(result) == NULL);
    CHECK(objstore_result_take_reader(result) == NULL);
    OK(objstore_meta_free(objstore_result_take_meta(result)));
    CHECK(objstore_result_take_meta(result) == NULL);
    polled++;
}

static void on_line(void *user_data, int32_t level, const char *line)
{
    (void)level;
    (void)line;
    IS(OBJSTORE_REENTRANT, objstore_cancel_trigger(NULL));
    ++*(int *)user_data;
}

static void nulls_are_told(objstore_store *store, const objstore_id *id)
{
    objstore_reader *reader = NULL;
    objstore_error *error = NULL;
    const uint8_t *none = NULL;
    objstore_meta *meta = NULL;

    IS(OBJSTORE_INVALID_ARGUMENT, objstore_open_node(NULL, NULL, NULL));
    IS(OBJSTORE_INVALID_ARGUMENT, objstore_get(store, NULL, NULL, &reader, NULL));
    IS(OBJSTORE_INVALID_ARGUMENT, objstore_get(store, id, NULL, NULL, NULL));
    IS(OBJSTORE_INVALID_ARGUMENT, objstore_put(store, id, none, 1, NULL, NULL, NULL));
    IS(OBJSTORE_INVALID_ARGUMENT, objstore_put(store, id, id->bytes, (size_t)-1, NULL, NULL, NULL));
    IS(OBJSTORE_TOO_LARGE, objstore_put(store, id, id->bytes, SIZE_MAX / 2, NULL, NULL, NULL));
    IS(OBJSTORE_INVALID_ARGUMENT, objstore_put_begin(store, id, -7, NULL, NULL, NULL));
    IS(OBJSTORE_INVALID_ARGUMENT, objstore_get_key(store, NULL, NULL, &reader, NULL));
    IS(OBJSTORE_INVALID_ARGUMENT, objstore_get_key(store, "\xff", NULL, &reader, NULL));
    IS(OBJSTORE_INVALID_KEY, objstore_get_key(store, "", NULL, &reader, NULL));
    IS(OBJSTORE_INVALID_LEVEL, objstore_set_level(store, id, 256, 0, NULL, NULL));
    IS(OBJSTORE_INVALID_LEVEL, objstore_set_level(store, id, -1, 0, NULL, NULL));
    IS(OBJSTORE_INVALID_ARGUMENT, objstore_set_level(store, id, 1, 3, NULL, NULL));
    IS(OBJSTORE_INVALID_ID, objstore_id_parse("no ULID", (objstore_id *)id));
    IS(OBJSTORE_INVALID_ARGUMENT, objstore_close(store, -2, NULL));
    IS(OBJSTORE_INVALID_ARGUMENT, objstore_log_set(NULL, NULL, 0));
    IS(OBJSTORE_BAD_HANDLE, objstore_get(NULL, id, NULL, &reader, &error));
    CHECK(strstr(objstore_error_message(error), "objstore_store"));

    /* What a failed call was to give is null, whatever was wrong. */
    reader = (objstore_reader *)store;
    IS(OBJSTORE_INVALID_ARGUMENT, objstore_get(store, NULL, NULL, &reader, NULL));
    CHECK(reader == NULL);
    reader = (objstore_reader *)store;
    IS(OBJSTORE_INVALID_ARGUMENT, objstore_get_key(store, NULL, NULL, &reader, NULL));
    CHECK(reader == NULL);
    meta = (objstore_meta *)store;
    IS(OBJSTORE_INVALID_ARGUMENT, objstore_head(store, NULL, NULL, &meta, NULL));
    CHECK(meta == NULL);
    meta = (objstore_meta *)store;
    IS(OBJSTORE_INVALID_ARGUMENT, objstore_put(store, id, none, 1, NULL, &meta, NULL));
    CHECK(meta == NULL);
    meta = (objstore_meta *)store;
    IS(OBJSTORE_INVALID_ARGUMENT, objstore_put_key(store, NULL, none, 0, NULL, &meta, NULL));
    CHECK(meta == NULL);
    CHECK(!objstore_error_is_retryable(error));
    OK(objstore_error_free(error));
    IS(OBJSTORE_BAD_HANDLE, objstore_error_free(error));
    CHECK(objstore_meta_size(NULL) == 0 && objstore_meta_name(NULL) == NULL);
    CHECK(strcmp(objstore_error_message(NULL), "") == 0);
    OK(objstore_reader_free(NULL));
    OK(objstore_close(NULL, 0, NULL));
}

static void settings_are_checked(void)
{
    objstore_config *config = objstore_config_new();
    objstore_error *error = NULL;
    objstore_store *store;

    IS(OBJSTORE_CONFIGURATION, objstore_config_set(config, "max-byte", "1", &error));
    CHECK(strstr(objstore_error_message(error), "max-bytes"));
    OK(objstore_error_free(error));
    IS(OBJSTORE_CONFIGURATION, objstore_config_set(config, "max-bytes", "x", NULL));
    IS(OBJSTORE_CONFIGURATION, objstore_config_set(config, "threads", "0", NULL));
    IS(OBJSTORE_CONFIGURATION, objstore_config_set(config, "debug", "1", NULL));
    IS(OBJSTORE_CONFIGURATION, objstore_config_load(config, "/nowhere/objstore.toml", NULL));
    OK(objstore_config_set(config, "in-memory", "1", NULL));
    OK(objstore_config_set(config, "nodes", "localhost:1", NULL));
    IS(OBJSTORE_CONFIGURATION, objstore_open_node(config, &store, &error));
    CHECK(strstr(objstore_error_message(error), "private-addr"));
    OK(objstore_error_free(error));
    OK(objstore_config_free(config));
    IS(OBJSTORE_BAD_HANDLE, objstore_config_set(config, "threads", "1", NULL));
}

static void handles_of_another_type_are_told(objstore_store *store, const objstore_id *id)
{
    objstore_cancel *cancel = objstore_cancel_new();
    objstore_reader *reader = NULL;

    IS(OBJSTORE_BAD_HANDLE, objstore_get((objstore_store *)cancel, id, NULL, &reader, NULL));
    IS(OBJSTORE_BAD_HANDLE, objstore_get(store, id, (objstore_get_options *)cancel, &reader, NULL));
    IS(OBJSTORE_BAD_HANDLE, objstore_reader_free((objstore_reader *)store));
    IS(OBJSTORE_BAD_HANDLE, objstore_reader_free((objstore_reader *)&reader));
    OK(objstore_cancel_free(cancel));
    IS(OBJSTORE_BAD_HANDLE, objstore_cancel_free(cancel));
}

static void a_cancel_ends_calls(objstore_store *store, const objstore_id *id)
{
    objstore_cancel *cancel = objstore_cancel_new();
    objstore_put_options *options = objstore_put_options_new();
    objstore_writer *writer = NULL;
    objstore_reader *reader = NULL;
    uint8_t byte = 0;
    size_t got;

    OK(objstore_put_options_set_cancel(options, cancel));
    OK(objstore_cancel_trigger(cancel));
    OK(objstore_cancel_free(cancel));
    OK(objstore_put_begin(store, id, OBJSTORE_SIZE_UNKNOWN, options, &writer, NULL));
    IS(OBJSTORE_CANCELLED, objstore_writer_finish(writer, NULL, NULL));
    IS(OBJSTORE_FINISHED, objstore_writer_write(writer, &byte, 1, NULL));
    OK(objstore_writer_free(writer));
    OK(objstore_put_options_free(options));

    OK(objstore_put_begin(store, id, OBJSTORE_SIZE_UNKNOWN, NULL, &writer, NULL));
    OK(objstore_writer_cancel(writer));
    IS(OBJSTORE_CANCELLED, objstore_writer_finish(writer, NULL, NULL));
    OK(objstore_writer_free(writer));

    OK(objstore_put(store, id, &byte, 1, NULL, NULL, NULL));
    OK(objstore_get(store, id, NULL, &reader, NULL));
    OK(objstore_reader_read(reader, &byte, 1, &got, NULL));
    CHECK(got == 1);
    OK(objstore_reader_read(reader, &byte, 1, &got, NULL));
    CHECK(got == 0);
    OK(objstore_reader_free(reader));
    IS(OBJSTORE_BAD_HANDLE, objstore_reader_read(reader, &byte, 1, &got, NULL));
}

static void a_writer_freed_before_its_end_stores_nothing(objstore_store *store)
{
    objstore_writer *writer = NULL;
    objstore_meta *meta = NULL;
    objstore_id id;

    OK(objstore_new_id(store, &id, NULL));
    OK(objstore_put_begin(store, &id, OBJSTORE_SIZE_UNKNOWN, NULL, &writer, NULL));
    OK(objstore_writer_write(writer, id.bytes, 16, NULL));
    OK(objstore_writer_free(writer));
    IS(OBJSTORE_BAD_HANDLE, objstore_writer_finish(writer, NULL, NULL));
    IS(OBJSTORE_NOT_FOUND, objstore_head(store, &id, NULL, &meta, NULL));
}

/* What the header says besides. */
static void small_print(objstore_store *store)
{
    static const objstore_id none;
    objstore_writer *writer = NULL;
    objstore_reader *reader = NULL;
    objstore_id id, upper, lower;
    char text[OBJSTORE_ID_TEXT];
    uint8_t byte = 7;
    size_t got = 7;
    int i;

    IS(OBJSTORE_INVALID_ID, objstore_put(store, &none, &byte, 1, NULL, NULL, NULL));
    IS(OBJSTORE_INVALID_ID, objstore_get(store, &none, NULL, &reader, NULL));
    OK(objstore_new_id(store, &id, NULL));
    OK(objstore_id_format(&id, text));
    OK(objstore_id_parse(text, &upper));
    for (i = 0; text[i] != 0; i++)
        text[i] = (char)tolower(text[i]);
    OK(objstore_id_parse(text, &lower));
    CHECK(memcmp(&upper, &id, sizeof id) == 0 && memcmp(&lower, &id, sizeof id) == 0);

    IS(OBJSTORE_NOT_FOUND, objstore_delete(store, &id, NULL, NULL));
    OK(objstore_put(store, &id, &byte, 1, NULL, NULL, NULL));
    OK(objstore_put(store, &id, &byte, 1, NULL, NULL, NULL));
    OK(objstore_get(store, &id, NULL, &reader, NULL));
    IS(OBJSTORE_INVALID_ARGUMENT, objstore_reader_read(reader, NULL, 1, &got, NULL));
    OK(objstore_reader_read(reader, NULL, 0, &got, NULL));
    CHECK(got == 0);
    OK(objstore_reader_read(reader, &byte, 1, &got, NULL));
    CHECK(got == 1);
    OK(objstore_reader_free(reader));
    IS(OBJSTORE_INVALID_ID, objstore_id_format(&none, text));
    CHECK(text[0] == 0);
    OK(objstore_delete(store, &id, NULL, NULL));
    OK(objstore_delete(store, &id, NULL, NULL));
    IS(OBJSTORE_DELETED, objstore_get(store, &id, NULL, &reader, NULL));
    OK(objstore_put(store, &id, &byte, 1, NULL, NULL, NULL));

    OK(objstore_put_begin(store, &id, 1, NULL, &writer, NULL));
    IS(OBJSTORE_INVALID_ARGUMENT, objstore_writer_write(writer, NULL, 1, NULL));
    OK(objstore_writer_write(writer, &byte, 1, NULL));
    OK(objstore_writer_finish(writer, NULL, NULL));
    IS(OBJSTORE_FINISHED, objstore_writer_finish(writer, NULL, NULL));
    OK(objstore_writer_free(writer));
    OK(objstore_put_begin(store, &id, 1, NULL, &writer, NULL));
    OK(objstore_writer_write(writer, id.bytes, 2, NULL));
    IS(OBJSTORE_INCOMPLETE_BODY, objstore_writer_finish(writer, NULL, NULL));
    OK(objstore_writer_free(writer));
}

static void *polls(void *queue)
{
    IS(OBJSTORE_BAD_HANDLE, objstore_poll(queue, OBJSTORE_FOREVER, NULL, NULL));
    return NULL;
}

static void a_queue_that_is_freed_ends_the_wait_for_it(void)
{
    objstore_queue *queue = objstore_queue_new();
    pthread_t thread;

    CHECK(pthread_create(&thread, NULL, polls, queue) == 0);
    OK(objstore_queue_free(queue));
    CHECK(pthread_join(thread, NULL) == 0);
}

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int begun, freed;

/* May not be called once the queue is freed. */
static void on_counted(void *user_data, objstore_result *result)
{
    (void)result;
    CHECK(pthread_mutex_lock(&mutex) == 0);
    CHECK(!*(int *)user_data);
    begun++;
    CHECK(pthread_cond_signal(&changed) == 0 && pthread_mutex_unlock(&mutex) == 0);
}

static void *polls_once(void *queue)
{
    OK(objstore_poll(queue, OBJSTORE_FOREVER, NULL, NULL));
    return NULL;
}

static void nobody_is_called_back_by_a_queue_that_is_freed(objstore_store *store)
{
    objstore_queue *queue = objstore_queue_new();
    pthread_t thread;
    int i;

    for (i = 0; i < 1000; i++)
        OK(objstore_new_id_async(store, queue, on_counted, &freed, NULL));
    CHECK(pthread_create(&thread, NULL, polls_once, queue) == 0);
    CHECK(pthread_mutex_lock(&mutex) == 0);
    while (begun == 0)
        CHECK(pthread_cond_wait(&changed, &mutex) == 0);
    CHECK(pthread_mutex_unlock(&mutex) == 0);
    OK(objstore_queue_free(queue));
    CHECK(pthread_mutex_lock(&mutex) == 0);
    freed = 1;
    CHECK(pthread_mutex_unlock(&mutex) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
}

static void *follows(void *subscription)
{
    objstore_message *message;

    objstore_status status
        = objstore_subscription_next(subscription, OBJSTORE_FOREVER, &message, NULL, NULL);
    CHECK(status == OBJSTORE_CANCELLED || status == OBJSTORE_BAD_HANDLE);
    return NULL;
}

static void who_waits_for_messages_is_not_left_there(objstore_store *store)
{
    objstore_subscription *subscription = NULL;
    objstore_message *message;
    pthread_t thread;
    size_t length = 7;

    OK(objstore_subscribe(store, &subscription, NULL));
    IS(OBJSTORE_TIMED_OUT, objstore_subscription_next(subscription, 1, &message, NULL, NULL));
    CHECK(pthread_create(&thread, NULL, follows, subscription) == 0);
    OK(objstore_subscription_free(subscription));
    CHECK(pthread_join(thread, NULL) == 0);

    OK(objstore_subscribe(store, &subscription, NULL));
    OK(objstore_subscription_cancel(subscription));
    IS(OBJSTORE_CANCELLED,
       objstore_subscription_next(subscription, OBJSTORE_FOREVER, &message, NULL, NULL));
    OK(objstore_subscription_free(subscription));
    CHECK(objstore_message_data(NULL, &length) == NULL && length == 0);
    IS(OBJSTORE_TOO_LARGE, objstore_send(store, (const uint8_t *)"", 8193, NULL, NULL));
}

static void callbacks_know_their_bounds(objstore_store *store, const objstore_id *id)
{
    objstore_queue *queue = objstore_queue_new();
    size_t handled = 0;

    IS(OBJSTORE_TIMED_OUT, objstore_poll(queue, 0, NULL, NULL));
    IS(OBJSTORE_INVALID_ARGUMENT, objstore_head_async(store, id, NULL, queue, NULL, NULL, NULL));
    OK(objstore_head_async(store, id, NULL, queue, on_done, queue, NULL));
    OK(objstore_poll(queue, OBJSTORE_FOREVER, &handled, NULL));
    CHECK(handled == 1 && polled == 1);
    OK(objstore_head_async(store, id, NULL, queue, on_done, queue, NULL));
    OK(objstore_queue_free(queue));
    IS(OBJSTORE_BAD_HANDLE, objstore_poll(queue, 0, NULL, NULL));
}

static void a_child_of_fork_is_told(objstore_store *store, const objstore_id *id)
{
    int status = 1;
    pid_t child = fork();

    CHECK(child >= 0);
    if (child == 0) {
        objstore_error *error = NULL;
        objstore_reader *reader = NULL;
        int good = objstore_get(store, id, NULL, &reader, &error) == OBJSTORE_FORKED
                   && error == NULL && objstore_close(store, 0, NULL) == OBJSTORE_FORKED
                   && objstore_config_new() == NULL
                   && objstore_abi_version() >= OBJSTORE_ABI_VERSION;
        _exit(good ? 0 : 1);
    }
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

int main(void)
{
    objstore_store *store;
    objstore_reader *reader = NULL;
    objstore_writer *writer = NULL;
    objstore_id id;
    uint8_t buffer[16];
    size_t got;
    int lines = 0;

    CHECK(objstore_abi_version() == OBJSTORE_ABI_VERSION);
    OK(objstore_log_set(on_line, &lines, OBJSTORE_LOG_TRACE));
    store = open_in_memory();
    OK(objstore_new_id(store, &id, NULL));
    settings_are_checked();
    nulls_are_told(store, &id);
    handles_of_another_type_are_told(store, &id);
    a_cancel_ends_calls(store, &id);
    a_writer_freed_before_its_end_stores_nothing(store);
    small_print(store);
    callbacks_know_their_bounds(store, &id);
    a_queue_that_is_freed_ends_the_wait_for_it();
    nobody_is_called_back_by_a_queue_that_is_freed(store);
    who_waits_for_messages_is_not_left_there(store);
    a_child_of_fork_is_told(store, &id);

    /* What is open outlives the store. */
    OK(objstore_get(store, &id, NULL, &reader, NULL));
    OK(objstore_put_begin(store, &id, OBJSTORE_SIZE_UNKNOWN, NULL, &writer, NULL));
    OK(objstore_close(store, OBJSTORE_FOREVER, NULL));
    IS(OBJSTORE_BAD_HANDLE, objstore_close(store, 0, NULL));
    IS(OBJSTORE_BAD_HANDLE, objstore_new_id(store, &id, NULL));
    OK(objstore_reader_read(reader, buffer, sizeof buffer, &got, NULL));
    CHECK(objstore_writer_finish(writer, NULL, NULL) == OBJSTORE_STOPPING);
    OK(objstore_reader_free(reader));
    OK(objstore_writer_free(writer));
    OK(objstore_log_set(NULL, NULL, OBJSTORE_LOG_ERROR));
    CHECK(objstore_handle_count() == 0);
    return 0;
}

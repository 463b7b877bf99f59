/* Calls in any order, on handles that are good, freed, null, or of another type, with arguments that are
 * good, odd or wrong, from one thread or from several: each returns, with a status there is, and in the
 * end everything can be freed. fuzz SEED CALLS [THREADS] */
#define _POSIX_C_SOURCE 200809L
#include "check.h"
#include <pthread.h>

enum kind {
    CANCEL, CONFIG, DELETE_OPTIONS, ERROR, GET_OPTIONS, KEY_LIST, KEY_LIST_OPTIONS, LIST, LIST_OPTIONS,
    MESSAGE, META, PUT_OPTIONS, QUEUE, READER, RESULT, STORE, SUBSCRIPTION, TEXT, WRITER, KINDS
};

/* What was given out last, of which some was freed since. */
#define ROOM 4
static void *handles[KINDS][ROOM];
static objstore_id ids[ROOM];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static long calls;
/* What a reader lends is gone with the next call on it, which another thread may make at any time. */
static int is_alone;

struct dice {
    uint64_t state;
};

static uint64_t roll(struct dice *dice, uint64_t sides)
{
    dice->state ^= dice->state << 13;
    dice->state ^= dice->state >> 7;
    dice->state ^= dice->state << 17;
    return (dice->state >> 11) % sides;
}

static objstore_status free_it(enum kind kind, void *it)
{
    switch (kind) {
    case CANCEL: return objstore_cancel_free(it);
    case CONFIG: return objstore_config_free(it);
    case DELETE_OPTIONS: return objstore_delete_options_free(it);
    case ERROR: return objstore_error_free(it);
    case GET_OPTIONS: return objstore_get_options_free(it);
    case KEY_LIST: return objstore_key_list_free(it);
    case KEY_LIST_OPTIONS: return objstore_key_list_options_free(it);
    case LIST: return objstore_list_free(it);
    case LIST_OPTIONS: return objstore_list_options_free(it);
    case MESSAGE: return objstore_message_free(it);
    case META: return objstore_meta_free(it);
    case PUT_OPTIONS: return objstore_put_options_free(it);
    case QUEUE: return objstore_queue_free(it);
    case READER: return objstore_reader_free(it);
    case STORE: return objstore_close(it, 5000, NULL);
    case SUBSCRIPTION: return objstore_subscription_free(it);
    case TEXT: return objstore_text_free(it);
    case WRITER: return objstore_writer_free(it);
    default: return OBJSTORE_OK;
    }
}

/* Takes a place; what was there is freed, unless it is already. */
static void keep(struct dice *dice, enum kind kind, void *handle)
{
    void **place = &handles[kind][roll(dice, ROOM)];
    void *before;

    if (handle == NULL)
        return;
    CHECK(pthread_mutex_lock(&lock) == 0);
    before = *place;
    *place = handle;
    CHECK(pthread_mutex_unlock(&lock) == 0);
    free_it(kind, before);
}

static void *of(struct dice *dice, enum kind kind)
{
    void *handle;

    switch (roll(dice, 40)) {
    case 0:
        return NULL;
    case 1:
        return (void *)(uintptr_t)roll(dice, UINT64_MAX);
    case 2:
        kind = roll(dice, KINDS);
        break;
    default:
        break;
    }
    CHECK(pthread_mutex_lock(&lock) == 0);
    handle = handles[kind][roll(dice, ROOM)];
    CHECK(pthread_mutex_unlock(&lock) == 0);
    return handle;
}

static const objstore_id *an_id(struct dice *dice)
{
    return roll(dice, 40) == 0 ? NULL : &ids[roll(dice, ROOM)];
}

static const char *a_text(struct dice *dice)
{
    static const char *const texts[] = {
        "*", "a/one", "a/", "/", "", "..", "\xff\xfe", "text/plain", "1", "0", "-1", "in-memory", "threads",
        "nodes", "127.0.0.1:1", "a very long text that says nothing at all, and that at some length", NULL,
    };
    return texts[roll(dice, sizeof texts / sizeof *texts)];
}

/* A number that some function takes, or none does. */
static int64_t a_number(struct dice *dice)
{
    static const int64_t numbers[] = {0, 1, 2, 3, -1, -2, 5, 100, 255, 256, 1 << 20, INT64_MAX, INT64_MIN};
    return numbers[roll(dice, sizeof numbers / sizeof *numbers)];
}

static void take_all(struct dice *dice, objstore_result *result)
{
    objstore_id id;

    objstore_result_status(result);
    objstore_result_id(result, roll(dice, 2) ? &id : NULL);
    keep(dice, ERROR, objstore_result_take_error(result));
    keep(dice, META, objstore_result_take_meta(result));
    if (roll(dice, 4)) /* Or it goes with the result. */
        keep(dice, READER, objstore_result_take_reader(result));
    keep(dice, LIST, objstore_result_take_list(result));
    keep(dice, KEY_LIST, objstore_result_take_key_list(result));
}

static void on_done(void *user_data, objstore_result *result)
{
    struct dice dice;

    CHECK(user_data == handles);
    dice.state = (uint64_t)(uintptr_t)result * 0x9e3779b97f4a7c15u + 1;
    take_all(&dice, result);
    IS(OBJSTORE_REENTRANT, objstore_poll(of(&dice, QUEUE), 0, NULL, NULL));
    CHECK(pthread_mutex_lock(&lock) == 0);
    handles[RESULT][0] = result; /* None any more when this has returned. */
    CHECK(pthread_mutex_unlock(&lock) == 0);
}

static void on_line(void *user_data, int32_t level, const char *line)
{
    CHECK(user_data == handles && level >= OBJSTORE_LOG_ERROR && level <= OBJSTORE_LOG_TRACE);
    CHECK(strchr(line, '\n') == NULL);
}

static void open_one(struct dice *dice)
{
    objstore_config *config = objstore_config_new();
    objstore_store *store = NULL;

    objstore_config_set(config, "in-memory", "1", NULL);
    objstore_config_set(config, "threads", "1", NULL);
    OK(objstore_open_node(config, &store, NULL));
    OK(objstore_config_free(config));
    keep(dice, STORE, store);
}

#define ASYNC of(dice, QUEUE), roll(dice, 20) ? on_done : NULL, handles, error

/* One call, of any function, with whatever comes. Opening a store is dear, so it is seldom. */
static objstore_status one(struct dice *dice, uint64_t which)
{
    static const uint8_t body[100000];
    uint8_t buffer[5000];
    objstore_error *failed = NULL, **error = roll(dice, 2) ? &failed : NULL;
    objstore_status status = OBJSTORE_OK;
    objstore_meta *meta = NULL;
    objstore_reader *reader = NULL;
    objstore_writer *writer = NULL;
    objstore_list *list = NULL;
    objstore_key_list *keys = NULL;
    objstore_text *text = NULL;
    objstore_message *message = NULL;
    objstore_subscription *subscription = NULL;
    objstore_store *store = NULL;
    objstore_id id;
    const char *chars = NULL;
    const uint8_t *data = NULL;
    size_t length = 0;
    uint64_t first = 0, count = 0;
    size_t size = roll(dice, 3) ? roll(dice, 2000) : roll(dice, sizeof body);

    switch (which) {
    case 0: keep(dice, CANCEL, objstore_cancel_new()); break;
    case 1: keep(dice, CONFIG, objstore_config_new()); break;
    case 2: keep(dice, DELETE_OPTIONS, objstore_delete_options_new()); break;
    case 3: keep(dice, GET_OPTIONS, objstore_get_options_new()); break;
    case 4: keep(dice, KEY_LIST_OPTIONS, objstore_key_list_options_new()); break;
    case 5: keep(dice, LIST_OPTIONS, objstore_list_options_new()); break;
    case 6: keep(dice, PUT_OPTIONS, objstore_put_options_new()); break;
    case 7: keep(dice, QUEUE, objstore_queue_new()); break;
    case 8: status = objstore_cancel_trigger(roll(dice, 4) ? NULL : of(dice, CANCEL)); break;
    case 9: status = objstore_config_set(of(dice, CONFIG), a_text(dice), a_text(dice), error); break;
    case 10: status = objstore_config_load(of(dice, CONFIG), a_text(dice), error); break;
    case 11: status = objstore_delete_options_set_purge(of(dice, DELETE_OPTIONS), roll(dice, 2)); break;
    case 12: status = objstore_delete_options_set_if_match(of(dice, DELETE_OPTIONS), a_text(dice)); break;
    case 13: status = objstore_delete_options_set_cancel(of(dice, DELETE_OPTIONS), of(dice, CANCEL)); break;
    case 14: status = objstore_get_options_set_range(of(dice, GET_OPTIONS), a_number(dice), a_number(dice)); break;
    case 15: status = objstore_get_options_set_last(of(dice, GET_OPTIONS), a_number(dice)); break;
    case 16: status = objstore_get_options_set_fetch(of(dice, GET_OPTIONS), roll(dice, 2)); break;
    case 17: status = objstore_get_options_set_no_cache(of(dice, GET_OPTIONS), roll(dice, 2)); break;
    case 18: status = objstore_get_options_set_if_none_match(of(dice, GET_OPTIONS), a_text(dice)); break;
    case 19: status = objstore_get_options_set_cancel(of(dice, GET_OPTIONS), of(dice, CANCEL)); break;
    case 20: status = objstore_key_list_options_set_prefix(of(dice, KEY_LIST_OPTIONS), a_text(dice)); break;
    case 21: status = objstore_key_list_options_set_delimiter(of(dice, KEY_LIST_OPTIONS), a_text(dice)); break;
    case 22: status = objstore_key_list_options_set_limit(of(dice, KEY_LIST_OPTIONS), a_number(dice)); break;
    case 23: status = objstore_list_options_set_after(of(dice, LIST_OPTIONS), an_id(dice)); break;
    case 24: status = objstore_list_options_set_limit(of(dice, LIST_OPTIONS), a_number(dice)); break;
    case 25: status = objstore_list_options_set_deleted(of(dice, LIST_OPTIONS), roll(dice, 2)); break;
    case 26: status = objstore_put_options_set_name(of(dice, PUT_OPTIONS), a_text(dice)); break;
    case 27: status = objstore_put_options_set_level(of(dice, PUT_OPTIONS), a_number(dice)); break;
    case 28: status = objstore_put_options_set_content_type(of(dice, PUT_OPTIONS), a_text(dice)); break;
    case 29: status = objstore_put_options_add_user(of(dice, PUT_OPTIONS), a_text(dice), a_text(dice)); break;
    case 30: status = objstore_put_options_set_write(of(dice, PUT_OPTIONS), a_number(dice)); break;
    case 31: status = objstore_put_options_set_min_replicas(of(dice, PUT_OPTIONS), a_number(dice)); break;
    case 32: status = objstore_put_options_set_if_match(of(dice, PUT_OPTIONS), a_text(dice)); break;
    case 33: status = objstore_put_options_set_if_none_match(of(dice, PUT_OPTIONS), a_text(dice)); break;
    case 34: status = objstore_put_options_set_cancel(of(dice, PUT_OPTIONS), of(dice, CANCEL)); break;
    case 35:
        if (roll(dice, 20) == 0)
            open_one(dice);
        break;
    case 36: status = objstore_open_node((objstore_config *)of(dice, META), &store, error); keep(dice, STORE, store); break;
    case 37: status = objstore_new_id(of(dice, STORE), &id, error); break;
    case 38: case 39: case 40:
        status = objstore_put(of(dice, STORE), an_id(dice), body, size, of(dice, PUT_OPTIONS), &meta, error);
        break;
    case 41: case 42: case 43:
        status = objstore_get(of(dice, STORE), an_id(dice), of(dice, GET_OPTIONS), &reader, error);
        break;
    case 44: status = objstore_head(of(dice, STORE), an_id(dice), NULL, &meta, error); break;
    case 45: status = objstore_delete(of(dice, STORE), an_id(dice), of(dice, DELETE_OPTIONS), error); break;
    case 46: status = objstore_set_level(of(dice, STORE), an_id(dice), a_number(dice), a_number(dice), &meta, error); break;
    case 47: status = objstore_put_key(of(dice, STORE), a_text(dice), body, size, NULL, &meta, error); break;
    case 48: status = objstore_get_key(of(dice, STORE), a_text(dice), NULL, &reader, error); break;
    case 49: status = objstore_delete_key(of(dice, STORE), a_text(dice), NULL, error); break;
    case 50: status = objstore_list_objects(of(dice, STORE), of(dice, LIST_OPTIONS), &list, error); break;
    case 51: status = objstore_list_keys(of(dice, STORE), of(dice, KEY_LIST_OPTIONS), &keys, error); break;
    case 52: status = objstore_stats(of(dice, STORE), &text, error); break;
    case 53: case 54: case 55: case 56:
        status = objstore_reader_read(of(dice, READER), buffer, roll(dice, sizeof buffer + 1), &length, error);
        break;
    case 57:
        status = objstore_reader_next(of(dice, READER), &data, &length, error);
        for (; is_alone && length > 0; length--)
            CHECK(data[length - 1] == 0);
        break;
    case 58: status = objstore_reader_range(of(dice, READER), &first, roll(dice, 2) ? &count : NULL); break;
    case 59: meta = objstore_reader_meta(of(dice, READER)); break;
    case 60: status = objstore_reader_cancel(roll(dice, 4) ? NULL : of(dice, READER)); break;
    case 61: case 62:
        status = objstore_put_begin(of(dice, STORE), an_id(dice), a_number(dice), of(dice, PUT_OPTIONS), &writer, error);
        break;
    case 63: case 64: status = objstore_writer_write(of(dice, WRITER), body, size, error); break;
    case 65: status = objstore_writer_finish(of(dice, WRITER), &meta, error); break;
    case 66: status = objstore_writer_cancel(of(dice, WRITER)); break;
    case 67: status = objstore_meta_id(of(dice, META), &id); break;
    case 68: status = objstore_meta_user_at(of(dice, META), a_number(dice), &chars, &chars); break;
    case 69:
        objstore_meta_size(of(dice, META));
        objstore_meta_level(of(dice, META));
        objstore_meta_is_deleted(of(dice, META));
        objstore_list_count(of(dice, LIST));
        objstore_key_list_count(of(dice, KEY_LIST));
        break;
    case 70: meta = objstore_list_at(of(dice, LIST), a_number(dice)); break;
    case 71: status = objstore_key_list_at(of(dice, KEY_LIST), a_number(dice), &chars, &count); break;
    case 72: status = objstore_send(of(dice, STORE), body, roll(dice, 10000), &length, error); break;
    case 73: status = objstore_subscribe(of(dice, STORE), &subscription, error); break;
    case 74: status = objstore_subscription_next(of(dice, SUBSCRIPTION), roll(dice, 2), &message, &count, error); break;
    case 75: status = objstore_node_id(of(dice, STORE), &text, error); break;
    case 76: status = objstore_peers(of(dice, STORE), &text, error); break;
    case 77: objstore_is_ready(of(dice, STORE)); break;
    case 78: status = objstore_log_set(roll(dice, 2) ? on_line : NULL, handles, a_number(dice)); break;
    case 79: case 80: case 81: status = objstore_poll(of(dice, QUEUE), roll(dice, 2), &length, error); break;
    case 82: status = objstore_put_async(of(dice, STORE), an_id(dice), body, size, NULL, ASYNC); break;
    case 83: status = objstore_get_async(of(dice, STORE), an_id(dice), of(dice, GET_OPTIONS), ASYNC); break;
    case 84: status = objstore_head_async(of(dice, STORE), an_id(dice), NULL, ASYNC); break;
    case 85: status = objstore_delete_async(of(dice, STORE), an_id(dice), NULL, ASYNC); break;
    case 86: status = objstore_new_id_async(of(dice, STORE), ASYNC); break;
    case 87: status = objstore_list_objects_async(of(dice, STORE), of(dice, LIST_OPTIONS), ASYNC); break;
    case 88: status = objstore_list_keys_async(of(dice, STORE), of(dice, KEY_LIST_OPTIONS), ASYNC); break;
    case 89: status = objstore_set_level_async(of(dice, STORE), an_id(dice), a_number(dice), 0, ASYNC); break;
    case 90: status = objstore_reader_fetch_async(of(dice, READER), ASYNC); break;
    case 91: status = objstore_writer_write_async(of(dice, WRITER), body, size, ASYNC); break;
    case 92: status = objstore_writer_finish_async(of(dice, WRITER), ASYNC); break;
    case 93: take_all(dice, of(dice, RESULT)); break;
    case 94: objstore_error_message(of(dice, ERROR)); meta = objstore_error_meta(of(dice, ERROR)); break;
    case 95: objstore_queue_fd(of(dice, QUEUE)); objstore_text_chars(of(dice, TEXT)); break;
    case 96: objstore_message_data(of(dice, MESSAGE), &length); break;
    case 97:
        if (roll(dice, 50) == 0)
            status = objstore_drain(of(dice, STORE), error);
        break;
    default: {
        enum kind kind = roll(dice, KINDS);
        if (kind != STORE || roll(dice, 20) == 0)
            status = free_it(kind, of(dice, kind));
    }
    }
    keep(dice, META, meta);
    keep(dice, READER, reader);
    keep(dice, WRITER, writer);
    keep(dice, LIST, list);
    keep(dice, KEY_LIST, keys);
    keep(dice, TEXT, text);
    keep(dice, MESSAGE, message);
    keep(dice, SUBSCRIPTION, subscription);
    if (failed != NULL)
        CHECK(status != OBJSTORE_OK && objstore_error_status(failed) == status);
    keep(dice, ERROR, failed);
    return status;
}

static void *calls_in_any_order(void *seed)
{
    struct dice dice;
    long i;

    dice.state = (uint64_t)(uintptr_t)seed * 0x9e3779b97f4a7c15u + 1;
    for (i = 0; i < calls; i++) {
        objstore_status status = one(&dice, roll(&dice, 102));
        CHECK(strcmp(objstore_status_name(status), "unknown") != 0);
        CHECK(status != OBJSTORE_INTERNAL && status != OBJSTORE_OTHER);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    pthread_t threads[16];
    uintptr_t seed = argc > 1 ? strtoul(argv[1], NULL, 10) : 1;
    int count = argc > 3 ? atoi(argv[3]) : 1;
    struct dice dice = {1};
    int i, kind;

    calls = argc > 2 ? atol(argv[2]) : 1000;
    CHECK(count > 0 && count <= 16);
    is_alone = count == 1;
    for (i = 0; i < 3; i++)
        open_one(&dice);
    for (i = 0; i < ROOM; i++) {
        memset(ids[i].bytes, i, sizeof ids[i].bytes); /* The first is none. */
        if (i > 0)
            OK(objstore_id_parse("01AN4Z07BY79KA1307SR9X4MV3", &ids[i]));
        ids[i].bytes[15] = (uint8_t)i;
    }
    for (i = 0; i < count; i++)
        CHECK(pthread_create(&threads[i], NULL, calls_in_any_order, (void *)(seed + i)) == 0);
    for (i = 0; i < count; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    for (kind = 0; kind < KINDS; kind++)
        for (i = 0; i < ROOM; i++)
            free_it(kind, handles[kind][i]);
    OK(objstore_log_set(NULL, NULL, OBJSTORE_LOG_ERROR));
    CHECK(objstore_handle_count() == 0);
    return 0;
}

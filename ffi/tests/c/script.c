/* The script of operations that tests/programs.rs runs in Rust too: what it prints must be the same.
 * script [NODES] */
#include "check.h"

static void say(const char *what, objstore_status status, objstore_meta *meta)
{
    if (status != OBJSTORE_OK || meta == NULL)
        printf("%s: %s\n", what, objstore_status_name(status));
    else
        printf("%s: name %s, %lu bytes, level %d, %s, blake3 %s, deleted %d\n", what,
               objstore_meta_name(meta), (unsigned long)objstore_meta_size(meta),
               objstore_meta_level(meta),
               objstore_meta_content_type(meta) ? objstore_meta_content_type(meta) : "-",
               objstore_meta_blake3(meta) ? objstore_meta_blake3(meta) : "-",
               objstore_meta_is_deleted(meta));
    OK(objstore_meta_free(meta));
}

static void read_all(const char *what, objstore_store *store, const objstore_id *id,
                     objstore_get_options *options)
{
    objstore_reader *reader = NULL;
    objstore_status status = objstore_get(store, id, options, &reader, NULL);
    uint8_t buffer[1000];
    size_t got = 1;
    uint64_t count = 0, sum = 0, first = 0, length = 0;

    if (status != OBJSTORE_OK) {
        printf("%s: %s\n", what, objstore_status_name(status));
        return;
    }
    OK(objstore_reader_range(reader, &first, &length));
    while (got > 0) {
        size_t i;
        OK(objstore_reader_read(reader, buffer, sizeof buffer, &got, NULL));
        for (i = 0; i < got; i++)
            sum = sum * 31 + buffer[i];
        count += got;
    }
    printf("%s: from %lu, %lu of %lu bytes, sum %lu\n", what, (unsigned long)first,
           (unsigned long)count, (unsigned long)length, (unsigned long)sum);
    OK(objstore_reader_free(reader));
}

int main(int argc, char **argv)
{
    objstore_store *store = argc > 1 ? connect_to(argv[1]) : open_in_memory();
    objstore_put_options *put = objstore_put_options_new();
    objstore_get_options *get = objstore_get_options_new();
    objstore_list_options *page = objstore_list_options_new();
    objstore_delete_options *purge = objstore_delete_options_new();
    objstore_list *list = NULL;
    objstore_writer *writer = NULL;
    objstore_meta *meta = NULL;
    objstore_error *error = NULL;
    objstore_status status;
    objstore_id id, large, never;
    uint8_t *body = malloc(300000);
    size_t i;

    CHECK(body);
    for (i = 0; i < 300000; i++)
        body[i] = (uint8_t)(i * 7 % 253);
    OK(objstore_new_id(store, &id, NULL));
    OK(objstore_new_id(store, &large, NULL));
    OK(objstore_new_id(store, &never, NULL));

    OK(objstore_put_options_set_name(put, "test.txt"));
    OK(objstore_put_options_add_user(put, "who", "me"));
    status = objstore_put(store, &id, (const uint8_t *)"It works!", 9, put, &meta, NULL);
    say("put", status, meta);
    status = objstore_head(store, &id, NULL, &meta, NULL);
    say("head", status, meta);
    read_all("get", store, &id, NULL);
    OK(objstore_get_options_set_range(get, 3, 4));
    read_all("range", store, &id, get);
    OK(objstore_get_options_set_range(get, 100, UINT64_MAX));
    read_all("beyond", store, &id, get);

    OK(objstore_put_options_set_if_none_match(put, "*"));
    status = objstore_put(store, &id, body, 1, put, &meta, NULL);
    say("create again", status, meta);
    OK(objstore_put_options_set_if_none_match(put, NULL));

    OK(objstore_put_options_set_name(put, "large.bin"));
    OK(objstore_put_begin(store, &large, 300000, put, &writer, NULL));
    for (i = 0; i < 300000; i += 30000)
        OK(objstore_writer_write(writer, body + i, 30000, NULL));
    status = objstore_writer_finish(writer, &meta, NULL);
    say("written", status, meta);
    OK(objstore_writer_free(writer));
    read_all("large", store, &large, NULL);
    OK(objstore_get_options_set_last(get, 70000));
    read_all("end", store, &large, get);

    OK(objstore_put_begin(store, &never, 10, NULL, &writer, NULL));
    OK(objstore_writer_write(writer, body, 5, NULL));
    say("cut short", objstore_writer_finish(writer, &meta, NULL), NULL);
    OK(objstore_writer_free(writer));
    status = objstore_set_level(store, &id, 1, OBJSTORE_WRITE_DEFAULT, &meta, NULL);
    say("raised", status, meta);

    OK(objstore_list_objects(store, page, &list, NULL));
    printf("list: %lu\n", (unsigned long)objstore_list_count(list));
    OK(objstore_list_free(list));

    say("delete", objstore_delete(store, &id, NULL, NULL), NULL);
    status = objstore_get(store, &id, NULL, &(objstore_reader *){NULL}, &error);
    meta = objstore_error_meta(error);
    CHECK(objstore_error_status(error) == status);
    CHECK(meta && objstore_meta_is_deleted(meta));
    OK(objstore_meta_free(meta));
    OK(objstore_error_free(error));
    say("get deleted", status, NULL);
    say("head never", objstore_head(store, &never, NULL, &meta, NULL), NULL);
    say("delete never", objstore_delete(store, &never, purge, NULL), NULL);

    free(body);
    OK(objstore_put_options_free(put));
    OK(objstore_get_options_free(get));
    OK(objstore_list_options_free(page));
    OK(objstore_delete_options_free(purge));
    OK(objstore_close(store, 10000, NULL));
    CHECK(objstore_handle_count() == 0);
    return 0;
}

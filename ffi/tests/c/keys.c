/* What can be done by key; tests/programs.rs does it in Rust too, and what is printed must be the same.
 * keys DIRECTORY|NODES */
#include "check.h"

static void say(const char *what, objstore_status status, objstore_meta *meta)
{
    if (status != OBJSTORE_OK || meta == NULL)
        printf("%s: %s\n", what, objstore_status_name(status));
    else
        printf("%s: %lu bytes, %s\n", what, (unsigned long)objstore_meta_size(meta),
               objstore_meta_content_type(meta) ? objstore_meta_content_type(meta) : "-");
    OK(objstore_meta_free(meta));
}

static void list(objstore_store *store, const char *prefix, const char *delimiter)
{
    objstore_key_list_options *options = objstore_key_list_options_new();
    objstore_key_list *page = NULL;
    const char *next = NULL, *key = NULL;
    uint64_t size = 0;
    size_t i;
    int more;

    OK(objstore_key_list_options_set_prefix(options, prefix));
    OK(objstore_key_list_options_set_delimiter(options, delimiter));
    OK(objstore_key_list_options_set_limit(options, 2));
    do {
        OK(objstore_list_keys(store, options, &page, NULL));
        printf("page of %s:", prefix);
        for (i = 0; i < objstore_key_list_count(page); i++) {
            OK(objstore_key_list_at(page, i, &key, &size));
            printf(" %s (%lu)", key, (unsigned long)size);
        }
        for (i = 0; i < objstore_key_list_prefix_count(page); i++)
            printf(" %s…", objstore_key_list_prefix_at(page, i));
        printf("\n");
        next = objstore_key_list_next(page);
        more = next != NULL;
        OK(objstore_key_list_options_set_after(options, next));
        OK(objstore_key_list_free(page));
    } while (more);
    OK(objstore_key_list_options_free(options));
}

int main(int argc, char **argv)
{
    objstore_store *store = open_or_connect(argc > 1 ? argv[1] : "");
    objstore_put_options *put = objstore_put_options_new();
    objstore_get_options *get = objstore_get_options_new();
    objstore_writer *writer = NULL;
    objstore_reader *reader = NULL;
    objstore_meta *meta = NULL;
    objstore_status status;
    uint8_t buffer[100];
    size_t got = 0;

    OK(objstore_put_options_set_content_type(put, "text/plain"));
    OK(objstore_put_options_set_if_none_match(put, "*"));
    status = objstore_put_key(store, "a/one", (const uint8_t *)"It works!", 9, put, &meta, NULL);
    say("put", status, meta);
    status = objstore_put_key(store, "a/one", (const uint8_t *)"twice", 5, put, &meta, NULL);
    say("create again", status, meta);
    OK(objstore_put_key_begin(store, "a/b/two", OBJSTORE_SIZE_UNKNOWN, put, &writer, NULL));
    OK(objstore_writer_write(writer, (const uint8_t *)"in ", 3, NULL));
    OK(objstore_writer_write(writer, (const uint8_t *)"pieces", 6, NULL));
    status = objstore_writer_finish(writer, &meta, NULL);
    say("written", status, meta);
    OK(objstore_writer_free(writer));
    OK(objstore_put_key(store, "c", NULL, 0, NULL, NULL, NULL));
    OK(objstore_put_key(store, "d e/\xc3\xbc", buffer, 0, NULL, NULL, NULL));

    status = objstore_head_key(store, "a/b/two", NULL, &meta, NULL);
    say("head", status, meta);
    OK(objstore_get_options_set_range(get, 3, 8));
    OK(objstore_get_key(store, "a/b/two", get, &reader, NULL));
    OK(objstore_reader_read(reader, buffer, sizeof buffer, &got, NULL));
    printf("got %.*s\n", (int)got, (const char *)buffer);
    OK(objstore_reader_free(reader));
    list(store, "", NULL);
    list(store, "a/", "/");

    say("delete", objstore_delete_key(store, "a/one", NULL, NULL), NULL);
    say("get deleted", objstore_get_key(store, "a/one", NULL, &reader, NULL), NULL);
    say("head never", objstore_head_key(store, "never", NULL, &meta, NULL), NULL);
    say("no key", objstore_head_key(store, "..", NULL, &meta, NULL), NULL);

    OK(objstore_put_options_free(put));
    OK(objstore_get_options_free(get));
    OK(objstore_close(store, 10000, NULL));
    CHECK(objstore_handle_count() == 0);
    return 0;
}

/* Puts a file into a store and gets it back: put_get FILE [DIRECTORY | http://NODE]
 *
 * The store is a node of this program's own. Without a directory it keeps everything in memory; with one,
 * what was put is there again the next time. Or it is a node that runs elsewhere; nothing else differs. */
#include <objstore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int failed(const char *what, objstore_error *error)
{
    fprintf(stderr, "%s: %s\n", what, objstore_error_message(error));
    objstore_error_free(error);
    return 1;
}

/* Writes a file into an object piece by piece, so that it need not fit in memory. */
static int put_file(objstore_store *store, const objstore_id *id, FILE *file, const char *name)
{
    objstore_error *error = NULL;
    objstore_put_options *options = objstore_put_options_new();
    objstore_writer *writer = NULL;
    uint8_t piece[65536];
    size_t got;
    int bad = 0;

    objstore_put_options_set_name(options, name);
    if (objstore_put_begin(store, id, OBJSTORE_SIZE_UNKNOWN, options, &writer, &error))
        bad = failed("put", error);
    while (!bad && (got = fread(piece, 1, sizeof piece, file)) > 0)
        if (objstore_writer_write(writer, piece, got, &error))
            bad = failed("write", error);
    if (!bad && ferror(file)) {
        fprintf(stderr, "the file cannot be read\n");
        bad = 1; /* freeing the writer without finishing it stores nothing */
    }
    if (!bad && objstore_writer_finish(writer, NULL, &error))
        bad = failed("finish", error);
    objstore_writer_free(writer);
    objstore_put_options_free(options);
    return bad;
}

/* Reads an object and counts its bytes and lines. */
static int get_object(objstore_store *store, const objstore_id *id)
{
    objstore_error *error = NULL;
    objstore_reader *reader = NULL;
    objstore_meta *meta;
    uint8_t piece[65536];
    size_t got, i, bytes = 0, lines = 0;

    if (objstore_get(store, id, NULL, &reader, &error))
        return failed("get", error);
    for (;;) {
        if (objstore_reader_read(reader, piece, sizeof piece, &got, &error)) {
            objstore_reader_free(reader);
            return failed("read", error);
        }
        if (got == 0)
            break;
        bytes += got;
        for (i = 0; i < got; i++)
            lines += piece[i] == '\n';
    }
    meta = objstore_reader_meta(reader);
    printf("got %s: %lu bytes, %lu lines, BLAKE3 %.16s...\n", objstore_meta_name(meta),
           (unsigned long)bytes, (unsigned long)lines, objstore_meta_blake3(meta));
    objstore_meta_free(meta);
    objstore_reader_free(reader);
    return 0;
}

int main(int argc, char **argv)
{
    objstore_config *config;
    objstore_store *store = NULL;
    objstore_error *error = NULL;
    objstore_id id;
    char text[OBJSTORE_ID_TEXT], path[4096];
    const char *name;
    FILE *file;
    int bad;

    if (argc < 2 || argc > 3) {
        fprintf(stderr, "usage: put_get FILE [DIRECTORY | http://NODE]\n");
        return 2;
    }
    file = fopen(argv[1], "rb");
    if (!file) {
        perror(argv[1]);
        return 1;
    }

    config = objstore_config_new();
    if (argc == 3 && strncmp(argv[2], "http://", 7) == 0) {
        bad = objstore_connect(argv[2], NULL, &store, &error) != OBJSTORE_OK;
    } else if (argc == 3) {
        snprintf(path, sizeof path, "%s/state", argv[2]);
        objstore_config_set(config, "state-dir", path, NULL);
        snprintf(path, sizeof path, "%s/files", argv[2]);
        objstore_config_set(config, "files-dir", path, NULL);
        bad = objstore_open_node(config, &store, &error) != OBJSTORE_OK;
    } else {
        objstore_config_set(config, "in-memory", "1", NULL);
        bad = objstore_open_node(config, &store, &error) != OBJSTORE_OK;
    }
    objstore_config_free(config);
    if (bad) {
        fclose(file);
        return failed("open", error);
    }

    name = strrchr(argv[1], '/') ? strrchr(argv[1], '/') + 1 : argv[1];
    if (objstore_new_id(store, &id, &error)) {
        bad = failed("id", error);
    } else {
        objstore_id_format(&id, text);
        printf("putting %s as %s\n", name, text);
        bad = put_file(store, &id, file, name) || get_object(store, &id);
    }
    fclose(file);
    if (objstore_close(store, 5000, &error))
        bad = failed("close", error);
    return bad;
}

// Every verb that reports to a queue, in C++: events DIRECTORY|NODES
#include <objstore.hpp>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <poll.h>
#include <stdexcept>
#include <string>
#include <thread>

#define CHECK(what)                                                                                \
    do {                                                                                           \
        if (!(what)) {                                                                             \
            std::fprintf(stderr, "line %d: %s\n", __LINE__, #what);                                \
            std::exit(1);                                                                          \
        }                                                                                          \
    } while (0)

using namespace objstore;

namespace {

Queue queue;

/* The loop of a host: nothing but its own poll() waits. */
template <typename Start>
void await(Start start) {
    bool is_done = false;
    start([&](Result &) { is_done = true; });
    while (!is_done) {
        pollfd ready{queue.fd(), POLLIN, 0};
        CHECK(::poll(&ready, 1, -1) == 1);
        queue.poll(std::chrono::milliseconds(0));
    }
}

/* Starts something, and takes what it made out of its result. */
template <typename T, typename Start, typename Take>
T made(Start start, Take take) {
    std::optional<T> made;
    await([&](auto done) {
        start([&made, done, take](Result &result) {
            done(result);
            made.emplace(take(result));
        });
    });
    return std::move(*made);
}

Meta take_meta(Result &result) { return result.meta(); }
Reader take_reader(Result &result) { return result.reader(); }
KeyPage take_keys(Result &result) { return result.keys(); }

template <typename Call>
objstore_status status_of(Call call) {
    try {
        call();
    } catch (const Error &error) {
        return error.status();
    }
    return OBJSTORE_OK;
}

std::string fetched(Reader reader) {
    std::string all;
    for (;;) {
        await([&](auto done) { reader.fetch_async(queue, done); });
        std::string_view part = reader.next();
        if (part.empty())
            return all;
        all += part;
    }
}

void objects(Store &store) {
    Id id = made<Id>([&](auto done) { store.new_id_async(queue, done); },
                     [](Result &result) { return result.id(); });
    Meta meta = made<Meta>([&](auto done) { store.put_async(id, "It works!", queue, done); }, take_meta);
    CHECK(meta.id() == id && meta.size() == 9);
    meta = made<Meta>([&](auto done) { store.set_level_async(id, 1, queue, done); }, take_meta);
    CHECK(meta.level() == 1);

    std::string body(3000000, 'x');
    Writer writer = store.begin_put(id, body.size(), PutOptions().content_encoding("br"));
    for (size_t at = 0; at < body.size(); at += 300000)
        await([&](auto done) {
            writer.write_async(std::string_view(body).substr(at, 300000), queue, done);
        });
    meta = made<Meta>([&](auto done) { writer.finish_async(queue, done); }, take_meta);
    CHECK(meta.size() == body.size() && meta.content_encoding() == "br");
    CHECK(status_of([&] { writer.finish(); }) == OBJSTORE_FINISHED);

    meta = made<Meta>([&](auto done) { store.head_async(id, queue, done); }, take_meta);
    CHECK(meta.size() == body.size());
    auto get = [&](auto done) { store.get_async(id, queue, done, GetOptions().range(5, 2000004)); };
    CHECK(fetched(made<Reader>(get, take_reader)) == body.substr(0, 2000000));

    auto list = [](Result &result) { return result.list(); };
    std::vector<Meta> page =
        made<std::vector<Meta>>([&](auto done) { store.list_async(queue, done); }, list);
    CHECK(page.size() == 1 && page[0].id() == id);
    meta = made<Meta>([&](auto done) { store.remove_async(id, queue, done); }, take_meta);
    CHECK(meta.is_deleted());
    CHECK(store.list().empty() && store.list(ListOptions().deleted().limit(5)).size() == 1);
    try {
        store.get(id);
        CHECK(false);
    } catch (const Error &error) {
        CHECK(error.status() == OBJSTORE_DELETED && error.meta() && error.meta()->is_deleted());
        CHECK(!error.is_retryable() && !error.retry_after() && !error.object_size());
    }
}

void keys(Store &store) {
    await([&](auto done) { store.put_key_async("a/one", "1", queue, done); });
    CHECK(made<Meta>([&](auto done) { store.head_key_async("a/one", queue, done); }, take_meta).size() == 1);
    auto get = [&](auto done) {
        store.get_key_async("a/one", queue, done, GetOptions().no_cache());
    };
    CHECK(fetched(made<Reader>(get, take_reader)) == "1");
    auto list = [&](auto done) {
        store.list_keys_async(queue, done, KeyListOptions().prefix("a/"));
    };
    CHECK(made<KeyPage>(list, take_keys).entries.at(0).key == "a/one");
    await([&](auto done) { store.remove_key_async("a/one", queue, done); });
    CHECK(made<KeyPage>(list, take_keys).entries.empty());
}

void what_goes_wrong(Store &store) {
    Id never = store.new_id();
    auto get = [&](auto done) { store.get_async(never, queue, done); };
    CHECK(status_of([&] { made<Reader>(get, take_reader); }) == OBJSTORE_NOT_FOUND);

    // The exception of a callback arrives where it was polled, after all were called.
    int called = 0;
    for (int i = 0; i < 3; i++)
        store.new_id_async(queue, [&called](Result &) {
            called++;
            throw std::runtime_error("of a callback");
        });
    int thrown = 0;
    while (called < 3)
        try {
            queue.poll(forever);
        } catch (const std::runtime_error &error) {
            CHECK(std::string(error.what()) == "of a callback");
            thrown++;
        }
    CHECK(thrown >= 1 && thrown <= 3);
    CHECK(queue.poll(std::chrono::milliseconds(0)) == 0);

    // What the operation did not make, and what was taken.
    await([&](auto done) {
        store.head_async(never, queue, [done](Result &result) {
            done(result);
            CHECK(status_of([&] { result.meta(); }) == OBJSTORE_NOT_FOUND);
        });
    });
    await([&](auto done) {
        store.put_async(never, "now", queue, [done](Result &result) {
            done(result);
            result.check();
            CHECK(status_of([&] { result.reader(); }) == OBJSTORE_FINISHED);
            CHECK(result.meta().size() == 3);
            CHECK(status_of([&] { result.meta(); }) == OBJSTORE_FINISHED);
            CHECK(status_of([&] { queue.poll(forever); }) == OBJSTORE_REENTRANT);
        });
    });

    // What could not even begin keeps nothing; nor does a queue that is gone.
    auto held = std::make_shared<int>();
    Writer writer = store.begin_put(never, 1);
    writer.write("1").finish();
    auto finish = [&] { writer.finish_async(queue, [held](Result &) {}); };
    CHECK(status_of(finish) == OBJSTORE_FINISHED && held.use_count() == 1);
    {
        Queue other;
        for (int i = 0; i < 20; i++)
            store.get_async(never, other, [held](Result &) { CHECK(false); });
    }
    CHECK(held.use_count() == 1);

    // Begun by several threads.
    std::thread others[4];
    called = 0;
    for (auto &other : others)
        other = std::thread([&] {
            for (int i = 0; i < 50; i++)
                store.head_async(never, queue, [&](Result &result) { called += result.meta().size() == 1; });
        });
    while (called < 200)
        queue.poll(forever);
    for (auto &other : others)
        other.join();
}

} // namespace

int main(int, char **argv) {
    std::string where = argv[1];
    bool is_dir = where[0] == '/';
    Config config;
    if (is_dir)
        config.set("state-dir", where + "/state").set("files-dir", where + "/files");
    size_t before = handle_count();
    {
        Store store = is_dir ? Store(config) : Store::connect(where);
        objects(store);
        keys(store);
        what_goes_wrong(store);
    }
    CHECK(handle_count() == before && !version().empty());
}

// The script of tests/c/script.c once more, with nothing of C in it: script [NODES]
#include <objstore.hpp>

#include <cstdio>
#include <optional>
#include <string>

using namespace objstore;

namespace {

template <typename Call>
void say(const char *what, Call call) {
    try {
        Meta meta = call();
        std::printf("%s: name %s, %lu bytes, level %d, %s, blake3 %s, deleted %d\n", what,
                    meta.name().c_str(), static_cast<unsigned long>(meta.size()), meta.level(),
                    meta.content_type().empty() ? "-" : meta.content_type().c_str(),
                    meta.blake3().empty() ? "-" : meta.blake3().c_str(), meta.is_deleted());
    } catch (const Error &error) {
        std::printf("%s: %s\n", what, objstore_status_name(error.status()));
    }
}

template <typename Call>
void code(const char *what, Call call) {
    try {
        call();
        std::printf("%s: ok\n", what);
    } catch (const Error &error) {
        std::printf("%s: %s\n", what, objstore_status_name(error.status()));
    }
}

void read_all(const char *what, Store &store, const Id &id, const GetOptions &options = GetOptions()) {
    try {
        Reader reader = store.get(id, options);
        auto [first, length] = reader.range();
        uint64_t sum = 0;
        std::string body = reader.read_all();
        for (char byte : body)
            sum = sum * 31 + static_cast<unsigned char>(byte);
        std::printf("%s: from %lu, %lu of %lu bytes, sum %lu\n", what,
                    static_cast<unsigned long>(first), static_cast<unsigned long>(body.size()),
                    static_cast<unsigned long>(length), static_cast<unsigned long>(sum));
    } catch (const Error &error) {
        std::printf("%s: %s\n", what, objstore_status_name(error.status()));
    }
}

} // namespace

int main(int argc, char **argv) {
    Store store = argc > 1 ? Store::connect(argv[1]) : Store(Config().set("in-memory", "1"));
    std::string body(300000, '\0');
    for (size_t i = 0; i < body.size(); i++)
        body[i] = static_cast<char>(i * 7 % 253);
    Id id = store.new_id(), large = store.new_id(), never = store.new_id();

    PutOptions put;
    put.name("test.txt").user("who", "me");
    say("put", [&] { return store.put(id, "It works!", put); });
    say("head", [&] { return store.head(id); });
    read_all("get", store, id);
    read_all("range", store, id, GetOptions().range(3, 4));
    read_all("beyond", store, id, GetOptions().range(100, UINT64_MAX));

    PutOptions create;
    create.name("test.txt").user("who", "me").if_none_match("*");
    say("create again", [&] { return store.put(id, body.substr(0, 1), create); });

    put.name("large.bin");
    say("written", [&] {
        Writer writer = store.begin_put(large, body.size(), put);
        for (size_t i = 0; i < body.size(); i += 30000)
            writer.write(std::string_view(body).substr(i, 30000));
        return writer.finish();
    });
    read_all("large", store, large);
    read_all("end", store, large, GetOptions().last(70000));

    say("cut short", [&] {
        Writer writer = store.begin_put(never, 10);
        return writer.write(body.substr(0, 5)).finish();
    });
    say("raised", [&] { return store.set_level(id, 1); });
    std::printf("list: %lu\n", static_cast<unsigned long>(store.list().size()));

    code("delete", [&] { store.remove(id); });
    code("get deleted", [&] { store.get(id); });
    code("head never", [&] { store.head(never); });
    code("delete never", [&] { store.remove(never); });
    return 0;
}

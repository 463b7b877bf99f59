// What tests/c/keys.c does, and what one node in a process can do; nothing of C in it.
// keys DIRECTORY|NODES
#include <objstore.hpp>

#include <cstdio>
#include <iostream>
#include <sstream>
#include <string>

using namespace objstore;

namespace {

template <typename Call>
void say(const char *what, Call call) {
    try {
        Meta meta = call();
        std::cout << what << ": " << meta.size() << " bytes, "
                  << (meta.content_type().empty() ? "-" : meta.content_type()) << "\n";
    } catch (const Error &error) {
        std::cout << what << ": " << objstore_status_name(error.status()) << "\n";
    }
}

template <typename Call>
void code(const char *what, Call call) {
    try {
        call();
        std::cout << what << ": ok\n";
    } catch (const Error &error) {
        std::cout << what << ": " << objstore_status_name(error.status()) << "\n";
    }
}

void list(Store &store, const std::string &prefix, const std::string &delimiter) {
    KeyPage page;
    do {
        KeyListOptions options;
        options.prefix(prefix).limit(2);
        if (!delimiter.empty())
            options.delimiter(delimiter);
        if (page.next)
            options.after(*page.next);
        page = store.list_keys(options);
        std::cout << "page of " << prefix << ":";
        for (const KeyPage::Entry &entry : page.entries)
            std::cout << " " << entry.key << " (" << entry.size << ")";
        for (const std::string &rolled_up : page.prefixes)
            std::cout << " " << rolled_up << "…";
        std::cout << "\n";
    } while (page.next);
}

Config config(const std::string &dir) {
    Config config;
    for (const char *name : {"state-dir", "files-dir", "remote-dir"})
        config.set(name, dir + "/" + name);
    return config;
}

} // namespace

int main(int argc, char **argv) {
    std::string where = argc > 1 ? argv[1] : "";
    bool is_here = where.front() == '/';
    Store store = is_here ? Store(config(where)) : Store::connect(where);

    say("put", [&] {
        return store.put_key("a/one", "It works!",
                             PutOptions().content_type("text/plain").if_none_match("*"));
    });
    say("create again", [&] { return store.put_key("a/one", "twice", PutOptions().if_none_match("*")); });
    say("written", [&] {
        Output output(store.begin_put_key("a/b/two", std::nullopt, PutOptions().content_type("text/plain")));
        output << "in " << "pieces";
        return output.finish();
    });
    store.put_key("c", "");
    store.put_key("d e/\u00fc", "");

    say("head", [&] { return store.head_key("a/b/two"); });
    std::cout << "got " << Input(store.get_key("a/b/two", GetOptions().range(3, 8))).rdbuf() << "\n";
    list(store, "", "");
    list(store, "a/", "/");

    code("delete", [&] { store.remove_key("a/one"); });
    code("get deleted", [&] { store.get_key("a/one"); });
    code("head never", [&] { store.head_key("never"); });
    code("no key", [&] { store.head_key(".."); });

    // A text of C++ that C would cut short is refused, and deletes nothing.
    try {
        store.remove_key(std::string("c\0d", 3));
        return 1;
    } catch (const Error &error) {
        if (error.status() != OBJSTORE_INVALID_ARGUMENT)
            return 1;
    }
    store.head_key("c");

    // What only a node here can do; over a connection it is refused.
    if (is_here) {
        std::string address = store.serve("127.0.0.1:0");
        Store other = Store::connect(address);
        if (other.node_id() != store.node_id() || !other.is_ready() || store.peers() != "[]")
            return 1;
        if (store.subscribe().next(std::chrono::milliseconds(0)) || store.send("hello") != 0)
            return 1;
        if (store.drain_to_peers() != std::pair<uint64_t, uint64_t>(0, 0))
            return 1;
    } else {
        try {
            store.drain();
            return 1;
        } catch (const Error &error) {
            if (error.status() != OBJSTORE_UNSUPPORTED || error.is_retryable())
                return 1;
        }
    }
    store.close(std::chrono::seconds(10));
    return objstore_handle_count() == 0 ? 0 : 1;
}

/* objstore for C++17: move-only handles, exceptions, views and streams over objstore.h, whose first
 * comment has the conventions. Header only; link libobjstore.
 *
 *     objstore::Config config;
 *     config.set("state-dir", "/var/lib/game/state").set("files-dir", "/var/lib/game/files");
 *     objstore::Store store(config);
 *     objstore::Id id = store.new_id();
 *     store.put(id, "It works!", objstore::PutOptions().name("test.txt"));
 *     std::string body = store.get(id).read_all();
 *
 * Every function may throw objstore::Error, except destructors, moves and what is noexcept. An object
 * that was moved from may only be assigned to or destroyed. */
#ifndef OBJSTORE_HPP
#define OBJSTORE_HPP

#include "objstore.h"

#include <chrono>
#include <cstring>
#include <istream>
#include <memory>
#include <optional>
#include <ostream>
#include <stdexcept>
#include <streambuf>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace objstore {

/* What went wrong: what() is one line for a person, status() one of OBJSTORE_…. */
class Error : public std::runtime_error {
public:
    Error(objstore_status status, const std::string &message, bool is_retryable)
        : std::runtime_error(message), status_(status), is_retryable_(is_retryable) {}
    objstore_status status() const noexcept { return status_; }
    bool is_retryable() const noexcept { return is_retryable_; }

private:
    objstore_status status_;
    bool is_retryable_;
};

namespace detail {

template <typename T, objstore_status (*free_it)(T *)>
struct Free {
    void operator()(T *handle) const noexcept { free_it(handle); }
};

/* Frees a handle in the end. */
template <typename T, objstore_status (*free_it)(T *)>
using Owned = std::unique_ptr<T, Free<T, free_it>>;

inline void check(objstore_status status) {
    if (status != OBJSTORE_OK)
        throw Error(status, objstore_status_name(status), false);
}

/* Calls with a place for an error, and throws that. */
template <typename Call>
void checked(Call call) {
    objstore_error *error = nullptr;
    objstore_status status = call(&error);
    if (status == OBJSTORE_OK)
        return;
    Owned<objstore_error, objstore_error_free> owned(error);
    if (!error)
        check(status);
    throw Error(status, objstore_error_message(error), objstore_error_is_retryable(error));
}

inline const uint8_t *data(std::string_view bytes) {
    return reinterpret_cast<const uint8_t *>(bytes.data());
}

inline std::string text(const char *text) { return text ? text : ""; }

} // namespace detail

/* The id of an object. */
class Id {
public:
    explicit Id(objstore_id id) noexcept : id_(id) {}
    static Id parse(const std::string &text) {
        objstore_id id;
        detail::check(objstore_id_parse(text.c_str(), &id));
        return Id(id);
    }
    std::string to_string() const {
        char text[OBJSTORE_ID_TEXT];
        detail::check(objstore_id_format(&id_, text));
        return text;
    }
    const objstore_id *get() const noexcept { return &id_; }
    friend bool operator==(const Id &a, const Id &b) noexcept { return compare(a, b) == 0; }
    friend bool operator!=(const Id &a, const Id &b) noexcept { return compare(a, b) != 0; }
    friend bool operator<(const Id &a, const Id &b) noexcept { return compare(a, b) < 0; }

private:
    static int compare(const Id &a, const Id &b) noexcept {
        return std::memcmp(a.id_.bytes, b.id_.bytes, sizeof a.id_.bytes);
    }
    objstore_id id_;
};

/* What is known about one version of an object. */
class Meta {
public:
    explicit Meta(objstore_meta *meta) : meta_(meta) {}
    Id id() const {
        objstore_id id;
        detail::check(objstore_meta_id(meta_.get(), &id));
        return Id(id);
    }
    uint64_t size() const noexcept { return objstore_meta_size(meta_.get()); }
    int level() const noexcept { return objstore_meta_level(meta_.get()); }
    bool is_deleted() const noexcept { return objstore_meta_is_deleted(meta_.get()); }
    bool is_pending() const noexcept { return objstore_meta_is_pending(meta_.get()); }
    std::chrono::nanoseconds since_epoch() const noexcept {
        return std::chrono::nanoseconds(objstore_meta_timestamp(meta_.get()));
    }
    std::string name() const { return detail::text(objstore_meta_name(meta_.get())); }
    std::string etag() const { return detail::text(objstore_meta_etag(meta_.get())); }
    std::string content_type() const { return detail::text(objstore_meta_content_type(meta_.get())); }
    std::string content_encoding() const {
        return detail::text(objstore_meta_content_encoding(meta_.get()));
    }
    std::string blake3() const { return detail::text(objstore_meta_blake3(meta_.get())); }
    std::vector<std::pair<std::string, std::string>> user() const {
        std::vector<std::pair<std::string, std::string>> pairs;
        for (size_t i = 0; i < objstore_meta_user_count(meta_.get()); i++) {
            const char *name = nullptr, *value = nullptr;
            detail::check(objstore_meta_user_at(meta_.get(), i, &name, &value));
            pairs.emplace_back(detail::text(name), detail::text(value));
        }
        return pairs;
    }

private:
    detail::Owned<objstore_meta, objstore_meta_free> meta_;
};

/* Ends calls early, from any thread. */
class Cancel {
public:
    Cancel() : cancel_(objstore_cancel_new()) {}
    void trigger() { detail::check(objstore_cancel_trigger(cancel_.get())); }
    objstore_cancel *get() const noexcept { return cancel_.get(); }

private:
    detail::Owned<objstore_cancel, objstore_cancel_free> cancel_;
};

/* Settings by the names of the config file. */
class Config {
public:
    Config() : config_(objstore_config_new()) {}
    Config &set(const std::string &name, const std::string &value) {
        detail::checked([&](objstore_error **error) {
            return objstore_config_set(config_.get(), name.c_str(), value.c_str(), error);
        });
        return *this;
    }
    Config &load(const std::string &path) {
        detail::checked([&](objstore_error **error) {
            return objstore_config_load(config_.get(), path.c_str(), error);
        });
        return *this;
    }
    objstore_config *get() const noexcept { return config_.get(); }

private:
    detail::Owned<objstore_config, objstore_config_free> config_;
};

/* How to put. */
class PutOptions {
public:
    PutOptions() : options_(objstore_put_options_new()) {}
    PutOptions &name(const std::string &name) {
        return set(objstore_put_options_set_name(get(), name.c_str()));
    }
    PutOptions &level(int level) { return set(objstore_put_options_set_level(get(), level)); }
    /* One of OBJSTORE_WRITE_…. */
    PutOptions &write(int mode) { return set(objstore_put_options_set_write(get(), mode)); }
    PutOptions &content_type(const std::string &type) {
        return set(objstore_put_options_set_content_type(get(), type.c_str()));
    }
    PutOptions &user(const std::string &name, const std::string &value) {
        return set(objstore_put_options_add_user(get(), name.c_str(), value.c_str()));
    }
    PutOptions &if_match(const std::string &etag) {
        return set(objstore_put_options_set_if_match(get(), etag.c_str()));
    }
    PutOptions &if_none_match(const std::string &etag) {
        return set(objstore_put_options_set_if_none_match(get(), etag.c_str()));
    }
    PutOptions &cancel(const Cancel &cancel) {
        return set(objstore_put_options_set_cancel(get(), cancel.get()));
    }
    objstore_put_options *get() const noexcept { return options_.get(); }

private:
    PutOptions &set(objstore_status status) {
        detail::check(status);
        return *this;
    }
    detail::Owned<objstore_put_options, objstore_put_options_free> options_;
};

/* How to get. */
class GetOptions {
public:
    GetOptions() : options_(objstore_get_options_new()) {}
    GetOptions &range(uint64_t first, uint64_t last) {
        return set(objstore_get_options_set_range(get(), first, last));
    }
    GetOptions &last(uint64_t count) { return set(objstore_get_options_set_last(get(), count)); }
    GetOptions &fetch() { return set(objstore_get_options_set_fetch(get(), true)); }
    GetOptions &if_match(const std::string &etag) {
        return set(objstore_get_options_set_if_match(get(), etag.c_str()));
    }
    GetOptions &if_none_match(const std::string &etag) {
        return set(objstore_get_options_set_if_none_match(get(), etag.c_str()));
    }
    GetOptions &cancel(const Cancel &cancel) {
        return set(objstore_get_options_set_cancel(get(), cancel.get()));
    }
    objstore_get_options *get() const noexcept { return options_.get(); }

private:
    GetOptions &set(objstore_status status) {
        detail::check(status);
        return *this;
    }
    detail::Owned<objstore_get_options, objstore_get_options_free> options_;
};

/* How to delete. */
class DeleteOptions {
public:
    DeleteOptions() : options_(objstore_delete_options_new()) {}
    DeleteOptions &purge() { return set(objstore_delete_options_set_purge(get(), true)); }
    DeleteOptions &if_match(const std::string &etag) {
        return set(objstore_delete_options_set_if_match(get(), etag.c_str()));
    }
    DeleteOptions &cancel(const Cancel &cancel) {
        return set(objstore_delete_options_set_cancel(get(), cancel.get()));
    }
    objstore_delete_options *get() const noexcept { return options_.get(); }

private:
    DeleteOptions &set(objstore_status status) {
        detail::check(status);
        return *this;
    }
    detail::Owned<objstore_delete_options, objstore_delete_options_free> options_;
};

/* One page of keys of the bucket. */
struct KeyPage {
    struct Entry {
        std::string key;
        uint64_t size;
    };
    std::vector<Entry> entries;
    std::vector<std::string> prefixes;
    /* What the next page begins after; none when this is the last. */
    std::optional<std::string> next;
};

/* A message from another node. */
struct Message {
    std::string from, data;
    /* How many before it are lost. */
    uint64_t missed;
};

/* An object on its way out. For one thread at a time. */
class Reader {
public:
    explicit Reader(objstore_reader *reader) : reader_(reader) {}
    /* The next bytes into memory of the caller's; 0 at the end. */
    size_t read(void *to, size_t size) {
        size_t got = 0;
        detail::checked([&](objstore_error **error) {
            return objstore_reader_read(get(), static_cast<uint8_t *>(to), size, &got, error);
        });
        return got;
    }
    /* The next bytes where they are, until the next call; empty at the end. */
    std::string_view next() {
        const uint8_t *data = nullptr;
        size_t length = 0;
        detail::checked([&](objstore_error **error) {
            return objstore_reader_next(get(), &data, &length, error);
        });
        return {reinterpret_cast<const char *>(data), length};
    }
    /* What is left, in memory. */
    std::string read_all() {
        std::string all;
        for (std::string_view part = next(); !part.empty(); part = next())
            all.append(part);
        return all;
    }
    Meta meta() const { return Meta(objstore_reader_meta(get())); }
    /* The place of the first byte in the object, and how many come. */
    std::pair<uint64_t, uint64_t> range() const {
        uint64_t first = 0, length = 0;
        detail::check(objstore_reader_range(get(), &first, &length));
        return {first, length};
    }
    void cancel() { detail::check(objstore_reader_cancel(get())); }
    objstore_reader *get() const noexcept { return reader_.get(); }

private:
    detail::Owned<objstore_reader, objstore_reader_free> reader_;
};

/* An object on its way in. For one thread at a time; destroyed before finish() it stores nothing. */
class Writer {
public:
    explicit Writer(objstore_writer *writer) : writer_(writer) {}
    Writer &write(std::string_view bytes) {
        detail::checked([&](objstore_error **error) {
            return objstore_writer_write(get(), detail::data(bytes), bytes.size(), error);
        });
        return *this;
    }
    Meta finish() {
        objstore_meta *meta = nullptr;
        detail::checked(
            [&](objstore_error **error) { return objstore_writer_finish(get(), &meta, error); });
        return Meta(meta);
    }
    void cancel() { detail::check(objstore_writer_cancel(get())); }
    objstore_writer *get() const noexcept { return writer_.get(); }

private:
    detail::Owned<objstore_writer, objstore_writer_free> writer_;
};

/* Messages from other nodes. For one thread at a time. */
class Subscription {
public:
    explicit Subscription(objstore_subscription *subscription) : subscription_(subscription) {}
    /* The next one; none when none came in this time. */
    std::optional<Message> next(std::chrono::milliseconds timeout) {
        objstore_message *message = nullptr;
        objstore_status status = OBJSTORE_OK;
        uint64_t missed = 0;
        detail::checked([&](objstore_error **error) {
            status = objstore_subscription_next(get(), timeout.count(), &message, &missed, error);
            return status == OBJSTORE_TIMED_OUT ? drop(error) : status;
        });
        if (status == OBJSTORE_TIMED_OUT)
            return std::nullopt;
        detail::Owned<objstore_message, objstore_message_free> owned(message);
        size_t length = 0;
        const uint8_t *data = objstore_message_data(message, &length);
        return Message{detail::text(objstore_message_from(message)),
                       std::string(reinterpret_cast<const char *>(data), length), missed};
    }
    objstore_subscription *get() const noexcept { return subscription_.get(); }

private:
    static objstore_status drop(objstore_error **error) {
        objstore_error_free(*error);
        *error = nullptr;
        return OBJSTORE_OK;
    }
    detail::Owned<objstore_subscription, objstore_subscription_free> subscription_;
};

/* A node in this process, or nodes elsewhere. Any thread may use it; closed when it is destroyed, for 5 s
 * at most. */
class Store {
public:
    /* To nodes elsewhere: "host", "host:port" or "http://host:port", separated by commas. */
    static Store connect(const std::string &nodes, const Config &config = Config()) {
        objstore_store *store = nullptr;
        detail::checked([&](objstore_error **error) {
            return objstore_connect(nodes.c_str(), config.get(), &store, error);
        });
        return Store(store);
    }
    /* A node in this process. */
    explicit Store(const Config &config) {
        objstore_store *store = nullptr;
        detail::checked([&](objstore_error **error) {
            return objstore_open_node(config.get(), &store, error);
        });
        store_.reset(store);
    }
    void close(std::chrono::milliseconds timeout) {
        objstore_store *store = store_.release();
        detail::checked(
            [&](objstore_error **error) { return objstore_close(store, timeout.count(), error); });
    }
    Id new_id() {
        objstore_id id;
        detail::checked([&](objstore_error **error) { return objstore_new_id(get(), &id, error); });
        return Id(id);
    }
    Meta put(const Id &id, std::string_view body, const PutOptions &options = PutOptions()) {
        objstore_meta *meta = nullptr;
        detail::checked([&](objstore_error **error) {
            return objstore_put(get(), id.get(), detail::data(body), body.size(), options.get(), &meta,
                                error);
        });
        return Meta(meta);
    }
    Writer begin_put(const Id &id, std::optional<uint64_t> size = std::nullopt,
                     const PutOptions &options = PutOptions()) {
        objstore_writer *writer = nullptr;
        int64_t length = size ? static_cast<int64_t>(*size) : OBJSTORE_SIZE_UNKNOWN;
        detail::checked([&](objstore_error **error) {
            return objstore_put_begin(get(), id.get(), length, options.get(), &writer, error);
        });
        return Writer(writer);
    }
    Reader get(const Id &id, const GetOptions &options = GetOptions()) {
        objstore_reader *reader = nullptr;
        detail::checked([&](objstore_error **error) {
            return objstore_get(get(), id.get(), options.get(), &reader, error);
        });
        return Reader(reader);
    }
    Meta head(const Id &id, const GetOptions &options = GetOptions()) {
        objstore_meta *meta = nullptr;
        detail::checked([&](objstore_error **error) {
            return objstore_head(get(), id.get(), options.get(), &meta, error);
        });
        return Meta(meta);
    }
    Meta set_level(const Id &id, int level, int write = OBJSTORE_WRITE_DEFAULT) {
        objstore_meta *meta = nullptr;
        detail::checked([&](objstore_error **error) {
            return objstore_set_level(get(), id.get(), level, write, &meta, error);
        });
        return Meta(meta);
    }
    void remove(const Id &id, const DeleteOptions &options = DeleteOptions()) {
        detail::checked([&](objstore_error **error) {
            return objstore_delete(get(), id.get(), options.get(), error);
        });
    }
    /* The same by keys of the bucket. */
    Meta put_key(const std::string &key, std::string_view body,
                 const PutOptions &options = PutOptions()) {
        objstore_meta *meta = nullptr;
        detail::checked([&](objstore_error **error) {
            return objstore_put_key(get(), key.c_str(), detail::data(body), body.size(),
                                    options.get(), &meta, error);
        });
        return Meta(meta);
    }
    Writer begin_put_key(const std::string &key, std::optional<uint64_t> size = std::nullopt,
                         const PutOptions &options = PutOptions()) {
        objstore_writer *writer = nullptr;
        int64_t length = size ? static_cast<int64_t>(*size) : OBJSTORE_SIZE_UNKNOWN;
        detail::checked([&](objstore_error **error) {
            return objstore_put_key_begin(get(), key.c_str(), length, options.get(), &writer, error);
        });
        return Writer(writer);
    }
    Reader get_key(const std::string &key, const GetOptions &options = GetOptions()) {
        objstore_reader *reader = nullptr;
        detail::checked([&](objstore_error **error) {
            return objstore_get_key(get(), key.c_str(), options.get(), &reader, error);
        });
        return Reader(reader);
    }
    Meta head_key(const std::string &key, const GetOptions &options = GetOptions()) {
        objstore_meta *meta = nullptr;
        detail::checked([&](objstore_error **error) {
            return objstore_head_key(get(), key.c_str(), options.get(), &meta, error);
        });
        return Meta(meta);
    }
    void remove_key(const std::string &key, const DeleteOptions &options = DeleteOptions()) {
        detail::checked([&](objstore_error **error) {
            return objstore_delete_key(get(), key.c_str(), options.get(), error);
        });
    }
    /* One page of keys with a prefix, those after one; with a delimiter, rolled up to it. */
    KeyPage list_keys(const std::string &prefix = "", const std::string &delimiter = "",
                      const std::optional<std::string> &after = std::nullopt, size_t limit = 1000) {
        detail::Owned<objstore_key_list_options, objstore_key_list_options_free> options(
            objstore_key_list_options_new());
        detail::check(objstore_key_list_options_set_prefix(options.get(), prefix.c_str()));
        if (!delimiter.empty())
            detail::check(objstore_key_list_options_set_delimiter(options.get(), delimiter.c_str()));
        if (after)
            detail::check(objstore_key_list_options_set_after(options.get(), after->c_str()));
        detail::check(objstore_key_list_options_set_limit(options.get(), limit));
        objstore_key_list *list = nullptr;
        detail::checked([&](objstore_error **error) {
            return objstore_list_keys(get(), options.get(), &list, error);
        });
        detail::Owned<objstore_key_list, objstore_key_list_free> owned(list);
        KeyPage page;
        for (size_t i = 0; i < objstore_key_list_count(list); i++) {
            const char *key = nullptr;
            uint64_t size = 0;
            detail::check(objstore_key_list_at(list, i, &key, &size));
            page.entries.push_back({detail::text(key), size});
        }
        for (size_t i = 0; i < objstore_key_list_prefix_count(list); i++)
            page.prefixes.push_back(detail::text(objstore_key_list_prefix_at(list, i)));
        if (const char *next = objstore_key_list_next(list))
            page.next = next;
        return page;
    }
    /* One page of objects, those after an id. Empty at the end. */
    std::vector<Meta> list(std::optional<Id> after = std::nullopt, size_t limit = 1000) {
        detail::Owned<objstore_list_options, objstore_list_options_free> options(
            objstore_list_options_new());
        detail::check(objstore_list_options_set_after(options.get(), after ? after->get() : nullptr));
        detail::check(objstore_list_options_set_limit(options.get(), limit));
        objstore_list *list = nullptr;
        detail::checked([&](objstore_error **error) {
            return objstore_list_objects(get(), options.get(), &list, error);
        });
        detail::Owned<objstore_list, objstore_list_free> owned(list);
        std::vector<Meta> page;
        for (size_t i = 0; i < objstore_list_count(list); i++)
            page.emplace_back(objstore_list_at(list, i));
        return page;
    }
    std::string stats() { return text(objstore_stats); }
    std::string node_id() { return text(objstore_node_id); }
    bool is_ready() const noexcept { return objstore_is_ready(get()); }
    /* What only a node in this process can do. serve() returns where it listens. */
    std::string serve(const std::string &address) {
        return text([&](objstore_store *store, objstore_text **bound, objstore_error **error) {
            return objstore_serve(store, address.c_str(), bound, error);
        });
    }
    std::string private_addr() { return text(objstore_private_addr); }
    std::string peers() { return text(objstore_peers); }
    void drain() {
        detail::checked([&](objstore_error **error) { return objstore_drain(get(), error); });
    }
    /* How many bodies others have now, and how many none could take. */
    std::pair<uint64_t, uint64_t> drain_to_peers() {
        uint64_t handed_over = 0, remaining = 0;
        detail::checked([&](objstore_error **error) {
            return objstore_drain_to_peers(get(), &handed_over, &remaining, error);
        });
        return {handed_over, remaining};
    }
    /* To the programs on all other nodes; how many took it. */
    size_t send(std::string_view data) {
        size_t taken = 0;
        detail::checked([&](objstore_error **error) {
            return objstore_send(get(), detail::data(data), data.size(), &taken, error);
        });
        return taken;
    }
    Subscription subscribe() {
        objstore_subscription *subscription = nullptr;
        detail::checked([&](objstore_error **error) {
            return objstore_subscribe(get(), &subscription, error);
        });
        return Subscription(subscription);
    }
    objstore_store *get() const noexcept { return store_.get(); }

private:
    explicit Store(objstore_store *store) : store_(store) {}
    template <typename Call>
    std::string text(Call call) {
        objstore_text *text = nullptr;
        detail::checked([&](objstore_error **error) { return call(get(), &text, error); });
        detail::Owned<objstore_text, objstore_text_free> owned(text);
        return detail::text(objstore_text_chars(text));
    }
    static objstore_status close_it(objstore_store *store) {
        return objstore_close(store, 5000, nullptr);
    }
    detail::Owned<objstore_store, close_it> store_;
};

/* An object as a stream to read from. An error of the store sets badbit, or is thrown where the
 * stream's exceptions() ask for that. */
class Input : public std::istream {
public:
    explicit Input(Reader reader) : std::istream(nullptr), buffer_(std::move(reader)) {
        rdbuf(&buffer_);
    }

private:
    class Buffer : public std::streambuf {
    public:
        explicit Buffer(Reader reader) : reader_(std::move(reader)) {}

    protected:
        int_type underflow() override {
            std::string_view part = reader_.next();
            char *begin = const_cast<char *>(part.data()); // only read from
            setg(begin, begin, begin + part.size());
            return part.empty() ? traits_type::eof() : traits_type::to_int_type(*gptr());
        }

    private:
        Reader reader_;
    };
    Buffer buffer_;
};

/* An object as a stream to write to. finish() stores it; destroyed before that it stores nothing. */
class Output : public std::ostream {
public:
    explicit Output(Writer writer) : std::ostream(nullptr), buffer_(std::move(writer)) {
        rdbuf(&buffer_);
    }
    Meta finish() {
        buffer_.flush_all();
        return buffer_.writer.finish();
    }

private:
    class Buffer : public std::streambuf {
    public:
        explicit Buffer(Writer to) : writer(std::move(to)), room_(64 * 1024) { reset(); }
        void flush_all() {
            writer.write({pbase(), static_cast<size_t>(pptr() - pbase())});
            reset();
        }
        Writer writer;

    protected:
        int_type overflow(int_type c) override {
            flush_all();
            if (!traits_type::eq_int_type(c, traits_type::eof()))
                sputc(traits_type::to_char_type(c));
            return traits_type::not_eof(c);
        }
        int sync() override {
            flush_all();
            return 0;
        }

    private:
        void reset() { setp(room_.data(), room_.data() + room_.size()); }
        std::vector<char> room_;
    };
    Buffer buffer_;
};

} // namespace objstore

#endif

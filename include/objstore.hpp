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
#include <exception>
#include <functional>
#include <istream>
#include <memory>
#include <mutex>
#include <optional>
#include <ostream>
#include <stdexcept>
#include <streambuf>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace objstore {

class Meta;

namespace detail {

template <typename T, objstore_status (*free_it)(T *)>
struct Free {
    void operator()(T *handle) const noexcept { free_it(handle); }
};

/* Frees a handle in the end. */
template <typename T, objstore_status (*free_it)(T *)>
using Owned = std::unique_ptr<T, Free<T, free_it>>;

} // namespace detail

/* For as long as it takes, where a time is asked for. */
inline constexpr std::chrono::milliseconds forever{OBJSTORE_FOREVER};

/* What went wrong: what() is one line for a person, or the name of the status where C has no more than
 * that; status() one of OBJSTORE_…. */
class Error : public std::runtime_error {
public:
    explicit Error(objstore_status status)
        : std::runtime_error(objstore_status_name(status)), status_(status) {}
    /* Takes the error, which may be null. */
    Error(objstore_status status, objstore_error *error)
        : std::runtime_error(error ? objstore_error_message(error) : objstore_status_name(status)),
          status_(status), error_(error, objstore_error_free) {}
    objstore_status status() const noexcept { return status_; }
    bool is_retryable() const noexcept { return objstore_error_is_retryable(error_.get()); }
    /* After which time a retry makes sense, where somebody said. */
    std::optional<std::chrono::milliseconds> retry_after() const {
        int64_t after = error_ ? objstore_error_retry_after_ms(error_.get()) : -1;
        return after < 0 ? std::nullopt : std::optional(std::chrono::milliseconds(after));
    }
    /* The size of the object that a range missed, where it is known. */
    std::optional<uint64_t> object_size() const {
        int64_t size = error_ ? objstore_error_size(error_.get()) : -1;
        return size < 0 ? std::nullopt : std::optional(static_cast<uint64_t>(size));
    }
    /* The version or tombstone that it is about, where there is one. */
    std::optional<Meta> meta() const;

private:
    objstore_status status_;
    std::shared_ptr<objstore_error> error_;
};

namespace detail {

inline void check(objstore_status status) {
    if (status != OBJSTORE_OK)
        throw Error(status);
}

/* Calls with a place for an error, and throws that. */
template <typename Call>
void checked(Call call) {
    objstore_error *error = nullptr;
    objstore_status status = call(&error);
    if (status != OBJSTORE_OK)
        throw Error(status, error);
}

/* The same, but false for a call that waited for nothing. */
template <typename Call>
bool checked_in_time(Call call) {
    objstore_error *error = nullptr;
    objstore_status status = call(&error);
    if (status == OBJSTORE_OK)
        return true;
    Error failed(status, error);
    if (status == OBJSTORE_TIMED_OUT)
        return false;
    throw failed;
}

/* The library may be another one than the program was compiled for. */
inline void check_version() {
    if (objstore_abi_version() < OBJSTORE_ABI_VERSION)
        check(OBJSTORE_UNSUPPORTED);
}

inline const uint8_t *data(std::string_view bytes) {
    return reinterpret_cast<const uint8_t *>(bytes.data());
}

/* A text for C, which would end it at a NUL. */
inline const char *c(const std::string &text) {
    if (text.find('\0') != std::string::npos)
        check(OBJSTORE_INVALID_ARGUMENT);
    return text.c_str();
}

/* The size of a body for C. */
inline int64_t length(std::optional<uint64_t> size) {
    if (size && *size > static_cast<uint64_t>(INT64_MAX))
        check(OBJSTORE_TOO_LARGE);
    return size ? static_cast<int64_t>(*size) : OBJSTORE_SIZE_UNKNOWN;
}

inline std::string text(const char *text) { return text ? text : ""; }

/* What options of all kinds share. */
template <typename Self, typename T, T *(*make)(), objstore_status (*free_it)(T *)>
class Options {
public:
    T *get() const noexcept { return options_.get(); }

protected:
    Self &set(objstore_status status) {
        check(status);
        return static_cast<Self &>(*this);
    }

private:
    Owned<T, free_it> options_{make()};
};

} // namespace detail

/* The version of the library, such as "0.1.0". */
inline std::string version() { return objstore_version(); }

/* How many handles the process has, for tests that look for leaks. */
inline size_t handle_count() noexcept { return objstore_handle_count(); }

/* Has a function take the lines of the log of this level (OBJSTORE_LOG_…) and those above; an empty one
 * for silence, which is how it begins. It is called from any thread, by several at a time, may not call
 * the library, and what it throws is lost. Once this returns, the one before is not called any more. */
inline void set_log(int level, std::function<void(int level, std::string_view line)> line) {
    static std::mutex mutex;
    // Never destroyed: threads may log while the process ends.
    static auto *taker = new std::function<void(int, std::string_view)>();
    std::lock_guard<std::mutex> lock(mutex);
    detail::check(objstore_log_set(nullptr, nullptr, level));
    *taker = std::move(line);
    if (!*taker)
        return;
    detail::check(objstore_log_set(
        [](void *, int32_t of, const char *text) {
            try {
                (*taker)(of, text);
            } catch (...) {
            }
        },
        nullptr, level));
}

/* The id of an object. */
class Id {
public:
    explicit Id(objstore_id id) noexcept : id_(id) {}
    static Id parse(const std::string &text) {
        objstore_id id;
        detail::check(objstore_id_parse(detail::c(text), &id));
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

inline std::optional<Meta> Error::meta() const {
    objstore_meta *meta = error_ ? objstore_error_meta(error_.get()) : nullptr;
    return meta ? std::optional<Meta>(std::in_place, meta) : std::nullopt;
}

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
            return objstore_config_set(config_.get(), detail::c(name), detail::c(value), error);
        });
        return *this;
    }
    Config &load(const std::string &path) {
        detail::checked([&](objstore_error **error) {
            return objstore_config_load(config_.get(), detail::c(path), error);
        });
        return *this;
    }
    objstore_config *get() const noexcept { return config_.get(); }

private:
    detail::Owned<objstore_config, objstore_config_free> config_;
};

/* How to put. */
class PutOptions : public detail::Options<PutOptions, objstore_put_options, objstore_put_options_new,
                                         objstore_put_options_free> {
public:
    PutOptions &name(const std::string &name) {
        return set(objstore_put_options_set_name(get(), detail::c(name)));
    }
    PutOptions &level(int level) { return set(objstore_put_options_set_level(get(), level)); }
    /* One of OBJSTORE_WRITE_…. */
    PutOptions &write(int mode) { return set(objstore_put_options_set_write(get(), mode)); }
    PutOptions &content_type(const std::string &type) {
        return set(objstore_put_options_set_content_type(get(), detail::c(type)));
    }
    PutOptions &content_encoding(const std::string &encoding) {
        return set(objstore_put_options_set_content_encoding(get(), detail::c(encoding)));
    }
    /* At level 2, how many nodes must have a copy before the put is acknowledged. */
    PutOptions &min_replicas(uint32_t replicas) {
        return set(objstore_put_options_set_min_replicas(get(), replicas));
    }
    PutOptions &user(const std::string &name, const std::string &value) {
        return set(objstore_put_options_add_user(get(), detail::c(name), detail::c(value)));
    }
    PutOptions &if_match(const std::string &etag) {
        return set(objstore_put_options_set_if_match(get(), detail::c(etag)));
    }
    PutOptions &if_none_match(const std::string &etag) {
        return set(objstore_put_options_set_if_none_match(get(), detail::c(etag)));
    }
    PutOptions &cancel(const Cancel &cancel) {
        return set(objstore_put_options_set_cancel(get(), cancel.get()));
    }
};

/* How to get. */
class GetOptions : public detail::Options<GetOptions, objstore_get_options, objstore_get_options_new,
                                         objstore_get_options_free> {
public:
    GetOptions &range(uint64_t first, uint64_t last) {
        return set(objstore_get_options_set_range(get(), first, last));
    }
    GetOptions &last(uint64_t count) { return set(objstore_get_options_set_last(get(), count)); }
    GetOptions &fetch() { return set(objstore_get_options_set_fetch(get(), true)); }
    /* Asks the bucket if what is here of a key is still current. */
    GetOptions &no_cache() { return set(objstore_get_options_set_no_cache(get(), true)); }
    GetOptions &if_match(const std::string &etag) {
        return set(objstore_get_options_set_if_match(get(), detail::c(etag)));
    }
    GetOptions &if_none_match(const std::string &etag) {
        return set(objstore_get_options_set_if_none_match(get(), detail::c(etag)));
    }
    GetOptions &cancel(const Cancel &cancel) {
        return set(objstore_get_options_set_cancel(get(), cancel.get()));
    }
};

/* How to delete. */
class DeleteOptions : public detail::Options<DeleteOptions, objstore_delete_options, objstore_delete_options_new,
                                            objstore_delete_options_free> {
public:
    DeleteOptions &purge() { return set(objstore_delete_options_set_purge(get(), true)); }
    DeleteOptions &if_match(const std::string &etag) {
        return set(objstore_delete_options_set_if_match(get(), detail::c(etag)));
    }
    DeleteOptions &cancel(const Cancel &cancel) {
        return set(objstore_delete_options_set_cancel(get(), cancel.get()));
    }
};

/* Which objects to list. */
class ListOptions : public detail::Options<ListOptions, objstore_list_options, objstore_list_options_new,
                                          objstore_list_options_free> {
public:
    ListOptions &after(const Id &id) { return set(objstore_list_options_set_after(get(), id.get())); }
    ListOptions &limit(size_t limit) { return set(objstore_list_options_set_limit(get(), limit)); }
    /* Lists what was deleted, too. */
    ListOptions &deleted() { return set(objstore_list_options_set_deleted(get(), true)); }
    ListOptions &cancel(const Cancel &cancel) {
        return set(objstore_list_options_set_cancel(get(), cancel.get()));
    }
};

/* Which keys to list. */
class KeyListOptions : public detail::Options<KeyListOptions, objstore_key_list_options, objstore_key_list_options_new,
                                             objstore_key_list_options_free> {
public:
    KeyListOptions &prefix(const std::string &prefix) {
        return set(objstore_key_list_options_set_prefix(get(), detail::c(prefix)));
    }
    /* Rolls keys up to what comes after the prefix and ends with this. */
    KeyListOptions &delimiter(const std::string &delimiter) {
        return set(objstore_key_list_options_set_delimiter(get(), detail::c(delimiter)));
    }
    KeyListOptions &after(const std::string &key) {
        return set(objstore_key_list_options_set_after(get(), detail::c(key)));
    }
    KeyListOptions &limit(size_t limit) {
        return set(objstore_key_list_options_set_limit(get(), limit));
    }
    KeyListOptions &cancel(const Cancel &cancel) {
        return set(objstore_key_list_options_set_cancel(get(), cancel.get()));
    }
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

namespace detail {

/* Takes a page of keys apart. */
inline KeyPage key_page(objstore_key_list *list) {
    Owned<objstore_key_list, objstore_key_list_free> owned(list);
    KeyPage page;
    for (size_t i = 0; i < objstore_key_list_count(list); i++) {
        const char *key = nullptr;
        uint64_t size = 0;
        check(objstore_key_list_at(list, i, &key, &size));
        page.entries.push_back({text(key), size});
    }
    for (size_t i = 0; i < objstore_key_list_prefix_count(list); i++)
        page.prefixes.push_back(text(objstore_key_list_prefix_at(list, i)));
    if (const char *next = objstore_key_list_next(list))
        page.next = next;
    return page;
}

/* Takes a page of objects apart. */
inline std::vector<Meta> page(objstore_list *list) {
    Owned<objstore_list, objstore_list_free> owned(list);
    std::vector<Meta> page;
    for (size_t i = 0; i < objstore_list_count(list); i++)
        page.emplace_back(objstore_list_at(list, i));
    return page;
}

} // namespace detail

/* A message from another node. */
struct Message {
    std::string from, data;
    /* How many before it are lost. */
    uint64_t missed;
};

class Reader;

/* What became of an operation. Each function throws what went wrong, if something did, and gives what
 * the operation made, once. */
class Result {
public:
    explicit Result(objstore_result *result) noexcept : result_(result) {}
    objstore_status status() const noexcept { return objstore_result_status(result_); }
    void check() {
        if (status() != OBJSTORE_OK)
            throw Error(status(), objstore_result_take_error(result_));
    }
    Id id() {
        check();
        objstore_id id;
        detail::check(objstore_result_id(result_, &id));
        return Id(id);
    }
    Meta meta() { return Meta(taken(objstore_result_take_meta)); }
    Reader reader();
    std::vector<Meta> list() { return detail::page(taken(objstore_result_take_list)); }
    KeyPage keys() { return detail::key_page(taken(objstore_result_take_key_list)); }

private:
    template <typename T>
    T *taken(T *(*take)(objstore_result *)) {
        check();
        T *made = take(result_);
        if (!made)
            detail::check(OBJSTORE_FINISHED);
        return made;
    }
    objstore_result *result_;
};

/* Is told what became of operations that nobody waits for, those that end in _async; for event loops.
 * Any thread may use it. Destroyed, it cancels what is not done, and nobody is called back any more; not
 * to be destroyed by one of its own callbacks or while a thread polls. */
class Queue {
public:
    using Done = std::function<void(Result &)>;
    Queue() : state_(std::make_unique<State>()) {}
    /* Readable while something is done; then call poll(). Neither to be read nor closed. */
    int fd() const noexcept { return objstore_queue_fd(state_->queue.get()); }
    /* Calls back, on this thread, for all that is done; how many there were, 0 when it was none in this
     * time. What a callback throws is thrown here, after the others were called; of several the first. */
    size_t poll(std::chrono::milliseconds timeout) {
        size_t handled = 0;
        State *outer = std::exchange(polling().state, state_.get());
        objstore_error *error = nullptr;
        objstore_status status = objstore_poll(state_->queue.get(), timeout.count(), &handled, &error);
        polling().state = outer;
        if (std::exception_ptr first = outer ? nullptr : std::exchange(polling().thrown, nullptr)) {
            objstore_error_free(error);
            std::rethrow_exception(first);
        }
        detail::checked_in_time([&](objstore_error **place) {
            *place = error;
            return status;
        });
        return handled;
    }

private:
    friend class Reader;
    friend class Store;
    friend class Writer;
    struct State {
        State() : queue(objstore_queue_new()) {
            if (!queue)
                throw std::runtime_error("no descriptor is to be had for a queue");
        }
        void *keep(Done done) {
            auto kept = std::make_unique<Done>(std::move(done));
            void *key = kept.get();
            std::lock_guard<std::mutex> lock(mutex);
            pending.emplace(key, std::move(kept));
            return key;
        }
        /* All that another thread left here is read behind the lock. */
        Done take(void *key) {
            std::lock_guard<std::mutex> lock(mutex);
            auto taken = pending.extract(key);
            return std::move(*taken.mapped());
        }
        std::mutex mutex;
        std::unordered_map<void *, std::unique_ptr<Done>> pending;
        // The last, so that it goes first: then nobody is called back any more.
        detail::Owned<objstore_queue, objstore_queue_free> queue;
    };
    /* Starts an operation that reports to `done`. */
    template <typename Start>
    void start(Done done, Start start) {
        void *key = state_->keep(std::move(done));
        try {
            detail::checked([&](objstore_error **error) {
                return start(state_->queue.get(), &Queue::call_back, key, error);
            });
        } catch (...) {
            state_->take(key);
            throw;
        }
    }
    static void call_back(void *key, objstore_result *result) {
        try {
            Result given(result);
            polling().state->take(key)(given);
        } catch (...) {
            if (!polling().thrown)
                polling().thrown = std::current_exception();
        }
    }
    /* What this thread polls, and what was thrown meanwhile. */
    struct Polling {
        State *state = nullptr;
        std::exception_ptr thrown;
    };
    static Polling &polling() {
        static thread_local Polling polling;
        return polling;
    }
    std::unique_ptr<State> state_;
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
    /* Has the next bytes brought here, so that the next read() or next() does not block. Until it is done
     * the reader cannot be read; it may be destroyed. */
    void fetch_async(Queue &queue, Queue::Done done) {
        queue.start(std::move(done), [&](auto... to) {
            return objstore_reader_fetch_async(get(), to...);
        });
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

inline Reader Result::reader() { return Reader(taken(objstore_result_take_reader)); }

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
    /* Done when the bytes, which are copied at once, were taken. Until then the writer can only be
     * cancelled and destroyed. */
    void write_async(std::string_view bytes, Queue &queue, Queue::Done done) {
        queue.start(std::move(done), [&](auto... to) {
            return objstore_writer_write_async(get(), detail::data(bytes), bytes.size(), to...);
        });
    }
    /* The result has meta(). From now on the writer can only be cancelled and destroyed. */
    void finish_async(Queue &queue, Queue::Done done) {
        queue.start(std::move(done),
                    [&](auto... to) { return objstore_writer_finish_async(get(), to...); });
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
        uint64_t missed = 0;
        bool is_there = detail::checked_in_time([&](objstore_error **error) {
            return objstore_subscription_next(get(), timeout.count(), &message, &missed, error);
        });
        if (!is_there)
            return std::nullopt;
        detail::Owned<objstore_message, objstore_message_free> owned(message);
        size_t length = 0;
        const uint8_t *data = objstore_message_data(message, &length);
        return Message{detail::text(objstore_message_from(message)),
                       std::string(reinterpret_cast<const char *>(data), length), missed};
    }
    void cancel() { detail::check(objstore_subscription_cancel(get())); }
    objstore_subscription *get() const noexcept { return subscription_.get(); }

private:
    detail::Owned<objstore_subscription, objstore_subscription_free> subscription_;
};

/* A node in this process, or nodes elsewhere. Any thread may use it; closed when it is destroyed, for 5 s
 * at most. */
class Store {
public:
    /* To nodes elsewhere: "host", "host:port" or "http://host:port", separated by commas. */
    static Store connect(const std::string &nodes, const Config &config = Config()) {
        detail::check_version();
        objstore_store *store = nullptr;
        detail::checked([&](objstore_error **error) {
            return objstore_connect(detail::c(nodes), config.get(), &store, error);
        });
        return Store(store);
    }
    /* A node in this process; with no settings in state/ and files/ of the current directory. */
    explicit Store(const Config &config = Config()) {
        detail::check_version();
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
        int64_t length = detail::length(size);
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
            return objstore_put_key(get(), detail::c(key), detail::data(body), body.size(),
                                    options.get(), &meta, error);
        });
        return Meta(meta);
    }
    Writer begin_put_key(const std::string &key, std::optional<uint64_t> size = std::nullopt,
                         const PutOptions &options = PutOptions()) {
        objstore_writer *writer = nullptr;
        int64_t length = detail::length(size);
        detail::checked([&](objstore_error **error) {
            return objstore_put_key_begin(get(), detail::c(key), length, options.get(), &writer, error);
        });
        return Writer(writer);
    }
    Reader get_key(const std::string &key, const GetOptions &options = GetOptions()) {
        objstore_reader *reader = nullptr;
        detail::checked([&](objstore_error **error) {
            return objstore_get_key(get(), detail::c(key), options.get(), &reader, error);
        });
        return Reader(reader);
    }
    Meta head_key(const std::string &key, const GetOptions &options = GetOptions()) {
        objstore_meta *meta = nullptr;
        detail::checked([&](objstore_error **error) {
            return objstore_head_key(get(), detail::c(key), options.get(), &meta, error);
        });
        return Meta(meta);
    }
    void remove_key(const std::string &key, const DeleteOptions &options = DeleteOptions()) {
        detail::checked([&](objstore_error **error) {
            return objstore_delete_key(get(), detail::c(key), options.get(), error);
        });
    }
    /* One page of keys; the next begins after what it names. */
    KeyPage list_keys(const KeyListOptions &options = KeyListOptions()) {
        objstore_key_list *list = nullptr;
        detail::checked([&](objstore_error **error) {
            return objstore_list_keys(get(), options.get(), &list, error);
        });
        return detail::key_page(list);
    }
    /* One page of objects by their ids; the next begins after the last of it. Empty at the end. */
    std::vector<Meta> list(const ListOptions &options = ListOptions()) {
        objstore_list *list = nullptr;
        detail::checked([&](objstore_error **error) {
            return objstore_list_objects(get(), options.get(), &list, error);
        });
        return detail::page(list);
    }
    /* The same without waiting: the queue is told. What the operation made is in the result under the
     * name in brackets. [id] */
    void new_id_async(Queue &queue, Queue::Done done) {
        queue.start(std::move(done), [&](auto... to) { return objstore_new_id_async(get(), to...); });
    }
    /* [meta] The body is copied. */
    void put_async(const Id &id, std::string_view body, Queue &queue, Queue::Done done,
                   const PutOptions &options = PutOptions()) {
        queue.start(std::move(done), [&](auto... to) {
            return objstore_put_async(get(), id.get(), detail::data(body), body.size(), options.get(),
                                      to...);
        });
    }
    /* [reader] */
    void get_async(const Id &id, Queue &queue, Queue::Done done,
                   const GetOptions &options = GetOptions()) {
        queue.start(std::move(done), [&](auto... to) {
            return objstore_get_async(get(), id.get(), options.get(), to...);
        });
    }
    /* [meta] */
    void head_async(const Id &id, Queue &queue, Queue::Done done,
                    const GetOptions &options = GetOptions()) {
        queue.start(std::move(done), [&](auto... to) {
            return objstore_head_async(get(), id.get(), options.get(), to...);
        });
    }
    /* [meta] */
    void set_level_async(const Id &id, int level, Queue &queue, Queue::Done done,
                         int write = OBJSTORE_WRITE_DEFAULT) {
        queue.start(std::move(done), [&](auto... to) {
            return objstore_set_level_async(get(), id.get(), level, write, to...);
        });
    }
    /* [meta], the tombstone. */
    void remove_async(const Id &id, Queue &queue, Queue::Done done,
                      const DeleteOptions &options = DeleteOptions()) {
        queue.start(std::move(done), [&](auto... to) {
            return objstore_delete_async(get(), id.get(), options.get(), to...);
        });
    }
    /* [meta] The body is copied. */
    void put_key_async(const std::string &key, std::string_view body, Queue &queue, Queue::Done done,
                       const PutOptions &options = PutOptions()) {
        queue.start(std::move(done), [&](auto... to) {
            return objstore_put_key_async(get(), detail::c(key), detail::data(body), body.size(),
                                          options.get(), to...);
        });
    }
    /* [reader] */
    void get_key_async(const std::string &key, Queue &queue, Queue::Done done,
                       const GetOptions &options = GetOptions()) {
        queue.start(std::move(done), [&](auto... to) {
            return objstore_get_key_async(get(), detail::c(key), options.get(), to...);
        });
    }
    /* [meta] */
    void head_key_async(const std::string &key, Queue &queue, Queue::Done done,
                        const GetOptions &options = GetOptions()) {
        queue.start(std::move(done), [&](auto... to) {
            return objstore_head_key_async(get(), detail::c(key), options.get(), to...);
        });
    }
    void remove_key_async(const std::string &key, Queue &queue, Queue::Done done,
                          const DeleteOptions &options = DeleteOptions()) {
        queue.start(std::move(done), [&](auto... to) {
            return objstore_delete_key_async(get(), detail::c(key), options.get(), to...);
        });
    }
    /* [keys] */
    void list_keys_async(Queue &queue, Queue::Done done,
                         const KeyListOptions &options = KeyListOptions()) {
        queue.start(std::move(done), [&](auto... to) {
            return objstore_list_keys_async(get(), options.get(), to...);
        });
    }
    /* [list] */
    void list_async(Queue &queue, Queue::Done done, const ListOptions &options = ListOptions()) {
        queue.start(std::move(done), [&](auto... to) {
            return objstore_list_objects_async(get(), options.get(), to...);
        });
    }
    std::string stats() { return text(objstore_stats); }
    std::string node_id() { return text(objstore_node_id); }
    bool is_ready() const noexcept { return objstore_is_ready(get()); }
    /* What only a node in this process can do. serve() returns where it listens. */
    std::string serve(const std::string &address) {
        return text([&](objstore_store *store, objstore_text **bound, objstore_error **error) {
            return objstore_serve(store, detail::c(address), bound, error);
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
 * stream's exceptions() ask for that; what was read then is not the whole. `out << in.rdbuf()` tells
 * neither, and sets failbit of `out` for an object without bytes: copy with read() and gcount(), or with
 * next() of the Reader. */
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

/*
 * libobjstore: a near cache for cloud object storage, for programs in C and C++.
 *
 * A store keeps objects: an id, a body of bytes, what is known about them. objstore_open_node() starts a
 * node in this process, on two directories or in memory, alone or as a member of a cluster, with a bucket
 * behind it or without. objstore_connect() is for nodes that run elsewhere; all that follows is the same.
 *
 *     objstore_store *store = NULL;
 *     objstore_error *error = NULL;
 *     objstore_id id;
 *
 *     if (objstore_open_node(NULL, &store, &error) != OBJSTORE_OK
 *         || objstore_new_id(store, &id, &error) != OBJSTORE_OK
 *         || objstore_put(store, &id, (const uint8_t *)"It works!", 9, NULL, NULL, &error) != OBJSTORE_OK)
 *         fprintf(stderr, "%s\n", objstore_error_message(error));
 *     objstore_error_free(error);
 *     objstore_close(store, 5000, NULL);
 *
 * It compiles and links with what pkg-config says: cc program.c $(pkg-config --cflags --libs objstore), and
 * --static besides for libobjstore.a. C++17 has objstore.hpp beside this header.
 *
 * Where what is stored is: level 0 on the node's disk; level 1 in its bucket too, or, without the setting
 * bucket, in a directory of this machine that stands in for one (remote in the state directory); level 2 on
 * all nodes too. Objects have ids, from objstore_new_id() or the caller's own, or keys of the bucket.
 *
 * OWNERSHIP
 * What a function gives through a pointer to a pointer, and what a …_new(), …_take_…() or …_at() that
 * returns a pointer to an opaque type gives, belongs to the caller, who frees it with the …_free() of its
 * type; a store with objstore_close(). Freeing null is fine. Texts and bytes that are returned as a plain
 * pointer belong to what they were asked of, and live as long. What is passed in is copied, and may go when
 * the function returns. Where a function fails, what it was to give is null.
 *
 * A handle (a pointer to an opaque type) is a number, not an address, and is given out once: a function that
 * is given null, a handle that was freed, or one of another type returns OBJSTORE_BAD_HANDLE, and does
 * nothing. Freed twice is told the same. The order of freeing does not matter: a reader outlives its store.
 * objstore_handle_count() finds what was not freed.
 *
 * ERRORS
 * Functions that can fail return an objstore_status, 0 (OBJSTORE_OK) or why not; there is no errno and no
 * last error. Numbers from 100 on say what became of the request, those below what is wrong with the call.
 * Numbers are never used for something else. The last argument, `error`, may be null; when it is not, it is
 * set to null or to an object that has one line of text for a person and says whether to try again. It is
 * not freed before it is set. Pass a variable that is null, and free it. Functions without that argument
 * fail for what the caller did: a handle that is none, a null, a number out of bounds. A …_new() gives null
 * then, which the functions that are given it tell with OBJSTORE_BAD_HANDLE.
 *
 * Texts are UTF-8 and end with a NUL. Integers are checked: a length above what memory can be, such as -1 as
 * a size_t, and a level, mode or time that there is not, is OBJSTORE_INVALID_ARGUMENT or the status that
 * names it. Bytes that are given are at most 256 GiB, else OBJSTORE_TOO_LARGE. bool is from stdbool.h.
 *
 * THREADS
 * Any function may be called from any thread, and any number of threads may use one store, configuration,
 * options object, cancel or queue, and look at one record, page, error, text or message. Readers, writers
 * and subscriptions are for one thread at a time: a second one at the very same time gets OBJSTORE_IN_USE.
 * Their …_cancel() may be called by any thread, and so may their …_free(), which ends what another thread
 * waits for in them. A store has threads of its own (the settings threads and thread-name). They block all
 * signals, so handlers run on threads of the program, and a peer that vanishes raises no SIGPIPE. It works
 * in a thread of a Rust runtime as in any other.
 *
 * BLOCKING
 * A function blocks where it says so, and otherwise does not wait for a disk or a network. A call ends early
 * when the cancel of its options is triggered. Nothing else interrupts it: no signal does. For event loops
 * there are …_async() functions: they report to a queue, whose descriptor (objstore_queue_fd()) becomes
 * readable, and objstore_poll() calls back, on the thread that calls it: exactly once for each operation
 * whose start returned OBJSTORE_OK, never for another, and not after objstore_queue_free(). How many are
 * under way is up to the caller; of puts that come from memory each has its copy until it is done. To close,
 * an event loop begins nothing more, polls until all are done, and then calls objstore_close(), which blocks
 * for as long as the node takes to stop: on a thread of its own where that matters.
 *
 * CALLBACKS
 * Those of objstore_poll() may call everything but objstore_poll() and objstore_queue_free(), which say
 * OBJSTORE_REENTRANT. What a queue was given as user_data is never looked at or freed; after
 * objstore_queue_free() it is the caller's again. The one that takes lines of the log comes on any thread
 * and may not call the library at all. A callback returns: it neither throws nor jumps out.
 *
 * PROCESS
 * The library installs no signal handler, writes nothing to standard output or error unless it has a fault
 * of its own (a panic, which then is OBJSTORE_INTERNAL to the caller), and never ends the process but for
 * want of memory (a body that does not fit once more is OBJSTORE_OUT_OF_MEMORY). A node needs about 30
 * descriptors, keeps open up to 128 files that were read, and takes one for each put under way and each
 * reader; where there are no more, a call says OBJSTORE_UNAVAILABLE, or OBJSTORE_CONFIGURATION where it
 * opens something, and the node goes on. Nothing is logged until objstore_log_set(). exit() without
 * objstore_close() is fine: what was acknowledged is durable. dlclose() leaves the library mapped, because
 * its threads run. In a child of fork() every function says OBJSTORE_FORKED and does nothing, or gives null,
 * 0 or "" where it returns no status, and error objects are not made; objstore_version(),
 * objstore_abi_version() and objstore_status_name() work. exec() first, or fork() before the first call.
 *
 * VERSIONS
 * objstore_abi_version() of the library is at least the OBJSTORE_ABI_VERSION of the header that a program
 * was compiled with. Functions, statuses and settings are added, never changed or taken away.
 *
 * Generated by cbindgen from ffi/src; changes belong there.
 */

#ifndef OBJSTORE_H
#define OBJSTORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 The version of this header. A library works with a program that was compiled with a header of the
 same or a lower one.
 */
#define OBJSTORE_ABI_VERSION 1

/*
 For as long as it takes, where a time in milliseconds is asked for.
 */
#define OBJSTORE_FOREVER -1

/*
 The room that the text of an id takes, its NUL included.
 */
#define OBJSTORE_ID_TEXT 27

/*
 A change is acknowledged as the node is set.
 */
#define OBJSTORE_WRITE_DEFAULT 0

/*
 A change is acknowledged once the bucket has confirmed it; when it does not, nothing is changed.
 */
#define OBJSTORE_WRITE_THROUGH 1

/*
 A change is acknowledged once it is durable on the node, which then sees to it that the bucket
 gets it.
 */
#define OBJSTORE_WRITE_BACK 2

/*
 The size of a body of which it is not known beforehand.
 */
#define OBJSTORE_SIZE_UNKNOWN -1

/*
 Something does not work.
 */
#define OBJSTORE_LOG_ERROR 1

/*
 Something is not as it should be.
 */
#define OBJSTORE_LOG_WARN 2

/*
 Something happened that is worth knowing.
 */
#define OBJSTORE_LOG_INFO 3

/*
 Details, such as every request that comes over HTTP.
 */
#define OBJSTORE_LOG_DEBUG 4

/*
 All there is.
 */
#define OBJSTORE_LOG_TRACE 5

/*
 Ends calls early. From objstore_cancel_new(); may be given to any number of calls.
 */
typedef struct objstore_cancel objstore_cancel;

/*
 Settings by name. From objstore_config_new().
 */
typedef struct objstore_config objstore_config;

/*
 How to delete. From objstore_delete_options_new().
 */
typedef struct objstore_delete_options objstore_delete_options;

/*
 What went wrong: a status, a line that says what to do, whether to try again.
 */
typedef struct objstore_error objstore_error;

/*
 How to get. From objstore_get_options_new().
 */
typedef struct objstore_get_options objstore_get_options;

/*
 One page of keys.
 */
typedef struct objstore_key_list objstore_key_list;

/*
 Which keys to list. From objstore_key_list_options_new().
 */
typedef struct objstore_key_list_options objstore_key_list_options;

/*
 One page of objects.
 */
typedef struct objstore_list objstore_list;

/*
 Which objects to list. From objstore_list_options_new().
 */
typedef struct objstore_list_options objstore_list_options;

/*
 A message from another node.
 */
typedef struct objstore_message objstore_message;

/*
 What is known about one version of an object. Does not change.
 */
typedef struct objstore_meta objstore_meta;

/*
 How to put. From objstore_put_options_new().
 */
typedef struct objstore_put_options objstore_put_options;

/*
 Where operations that nobody waits for report that they are done. From
 objstore_queue_new().
 */
typedef struct objstore_queue objstore_queue;

/*
 An object on its way out. For one thread at a time.
 */
typedef struct objstore_reader objstore_reader;

/*
 What became of an operation; only during the callback that is given it.
 */
typedef struct objstore_result objstore_result;

/*
 A node in this process, from objstore_open_node(), or nodes elsewhere, from objstore_connect(); ends
 with objstore_close().
 */
typedef struct objstore_store objstore_store;

/*
 Messages from other nodes. For one thread at a time.
 */
typedef struct objstore_subscription objstore_subscription;

/*
 A text that was made for the caller, such as statistics as JSON.
 */
typedef struct objstore_text objstore_text;

/*
 An object on its way in. For one thread at a time.
 */
typedef struct objstore_writer objstore_writer;

/*
 What became of a call: OBJSTORE_OK or why not. See the constants OBJSTORE_….
 */
typedef int32_t objstore_status;

/*
 The id of an object, a ULID: 48 bits of milliseconds, 80 random bits, most significant byte
 first, so that memcmp() orders ids by time.
 */
typedef struct {
    /*
     The bytes. All zero is no id, but OBJSTORE_INVALID_ID.
     */
    uint8_t bytes[16];
} objstore_id;

/*
 Is told what became of an operation, by objstore_poll() and on the thread that polls. `result` is
 valid until it returns. It may call everything but objstore_poll() and objstore_queue_free().
 */
typedef void (*objstore_done)(void *user_data, objstore_result *result);

/*
 Takes a line of the log: `level` is one of OBJSTORE_LOG_…, `line` is UTF-8 that is gone when it
 returns. It is called from threads of the library, and from the caller's own, several at a time.
 Calls of the library in it return OBJSTORE_REENTRANT.
 */
typedef void (*objstore_log_line)(void *user_data, int32_t level, const char *line);

/*
 It is done.
 */
#define OBJSTORE_OK 0

/*
 An argument is null that must not be, out of its bounds, or not UTF-8. Nothing was done.
 */
#define OBJSTORE_INVALID_ARGUMENT 1

/*
 A handle is null, was freed or closed, or is of another type. Nothing was done.
 */
#define OBJSTORE_BAD_HANDLE 2

/*
 Another thread is at this very moment in a call on this reader, writer or subscription.
 Nothing was done.
 */
#define OBJSTORE_IN_USE 3

/*
 A callback made a call that callbacks may not make. Nothing was done.
 */
#define OBJSTORE_REENTRANT 4

/*
 This process is a child of fork() of one that had used the library. Exec first. Nothing
 was done.
 */
#define OBJSTORE_FORKED 5

/*
 This kind of store cannot do this. Nothing was done.
 */
#define OBJSTORE_UNSUPPORTED 6

/*
 The call was cancelled. Whether a change was made is not known.
 */
#define OBJSTORE_CANCELLED 7

/*
 The time that was given to this very call is over. (That of the setting timeout: OBJSTORE_TRANSPORT.)
 */
#define OBJSTORE_TIMED_OUT 8

/*
 It is over with this reader, writer or result: a reader failed before, a writer was finished or
 failed, a result has nothing of the kind. Or not now: what was begun with …_async() is under way.
 Nothing was done.
 */
#define OBJSTORE_FINISHED 9

/*
 There is no memory for a copy of the body. Nothing was done.
 */
#define OBJSTORE_OUT_OF_MEMORY 10

/*
 The condition says that the asker's copy is current.
 */
#define OBJSTORE_NOT_MODIFIED 100

/*
 The request contradicts itself or the protocol. Fix it.
 */
#define OBJSTORE_INVALID_REQUEST 101

/*
 Not a ULID of the years 2010 to 2100.
 */
#define OBJSTORE_INVALID_ID 102

/*
 Not a key of a bucket: empty, over 1,024 bytes, or with a NUL or dot segments.
 */
#define OBJSTORE_INVALID_KEY 103

/*
 The name is too long, not UTF-8, or has control characters.
 */
#define OBJSTORE_INVALID_NAME 104

/*
 A level other than 0, 1, 2.
 */
#define OBJSTORE_INVALID_LEVEL 105

/*
 User metadata that is not a JSON object of strings, or too long for its level.
 */
#define OBJSTORE_INVALID_USER_META 106

/*
 The body ended before its declared length. Nothing was stored.
 */
#define OBJSTORE_INCOMPLETE_BODY 107

/*
 The body has another digest than the request said. Nothing was stored.
 */
#define OBJSTORE_DIGEST_MISMATCH 108

/*
 The token may not do this, the key of the bucket is not for everyone, or the host named is not one
 this node answers to.
 */
#define OBJSTORE_FORBIDDEN 109

/*
 No object has this id.
 */
#define OBJSTORE_NOT_FOUND 110

/*
 The object has been deleted; objstore_error_meta() has its tombstone.
 */
#define OBJSTORE_DELETED 111

/*
 The object is known, and its body is nowhere any more.
 */
#define OBJSTORE_BODY_LOST 112

/*
 There is no such route.
 */
#define OBJSTORE_NO_SUCH_ROUTE 113

/*
 The route does not take this method.
 */
#define OBJSTORE_METHOD_NOT_ALLOWED 114

/*
 The body stalled. Nothing was stored.
 */
#define OBJSTORE_TIMEOUT 115

/*
 A condition of the request does not hold. Nothing was changed.
 */
#define OBJSTORE_PRECONDITION_FAILED 116

/*
 The body is longer than this node takes.
 */
#define OBJSTORE_TOO_LARGE 117

/*
 The request target is longer than 8 KiB.
 */
#define OBJSTORE_TARGET_TOO_LONG 118

/*
 No byte of the range exists; objstore_error_size() has the object's size.
 */
#define OBJSTORE_RANGE_NOT_SATISFIABLE 119

/*
 An expectation other than 100-continue.
 */
#define OBJSTORE_EXPECTATION_FAILED 120

/*
 More than 100 fields or 32 KiB of head.
 */
#define OBJSTORE_HEAD_TOO_LARGE 121

/*
 A fault of this program. Please report it.
 */
#define OBJSTORE_INTERNAL 122

/*
 This is not built in, or not configured.
 */
#define OBJSTORE_NOT_IMPLEMENTED 123

/*
 The body here is damaged and no other copy was found. Other objects are unaffected.
 */
#define OBJSTORE_CORRUPT 124

/*
 The bucket refuses this, and will again; the node's log says why.
 */
#define OBJSTORE_REMOTE_REFUSED 125

/*
 As much is going on as this node takes. Retry later.
 */
#define OBJSTORE_BUSY 126

/*
 The node is stopping or has stopped. Ask another.
 */
#define OBJSTORE_STOPPING 127

/*
 The journal or the remote does not work at the moment. Whether the change was made is
 unknown; sending the same again is safe.
 */
#define OBJSTORE_UNAVAILABLE 128

/*
 The clock of this node is more than 5 minutes ahead of those of the other nodes, which
 would not take what it stamps. Set it right, or ask another node.
 */
#define OBJSTORE_CLOCK_SKEW 129

/*
 The disk or the quota is full. Nothing was acknowledged, though a change whose sync met the
 full disk may turn out to have been made; reads and deletes go on.
 */
#define OBJSTORE_STORAGE_FULL 130

/*
 The connection could not be made, broke, or did not speak the protocol.
 */
#define OBJSTORE_TRANSPORT 131

/*
 A directory, file or setting given to this program does not work.
 */
#define OBJSTORE_CONFIGURATION 132

/*
 The node asks for a token, and there is none or one that is not valid.
 */
#define OBJSTORE_UNAUTHORIZED 133

/*
 The object is stored, and by then on fewer nodes than were asked for; the others get it in the
 background. Sending it again changes nothing about that.
 */
#define OBJSTORE_TOO_FEW_REPLICAS 134

/*
 Something that this version of the library has no number for; the error says what.
 */
#define OBJSTORE_OTHER 199

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/*
 The version of the library that is linked; at least OBJSTORE_ABI_VERSION, or the program was
 compiled with the header of a newer one. Functions, settings and status codes are only ever added
 to. May be called at any time, in a child of fork() too.
 */
uint32_t objstore_abi_version(void);

/*
 The version of objstore, such as "0.1.0". May be called at any time; lives as long as the process.
 */
const char *objstore_version(void);

/*
 The name of a status, such as "not-found", for logs; "unknown" for a number that is none. Never
 null; lives as long as the process.
 */
const char *objstore_status_name(objstore_status status);

/*
 The status of an error. OBJSTORE_OK for null.
 */
objstore_status objstore_error_status(const objstore_error *error);

/*
 What happened and what to do about it, on one line of UTF-8. Never null: "" for null. Belongs to
 the error.
 */
const char *objstore_error_message(const objstore_error *error);

/*
 Whether the very same call may succeed later: when the load is less, the node is back, there is room.
 */
bool objstore_error_is_retryable(const objstore_error *error);

/*
 The milliseconds after which a retry makes sense; -1 where nobody said.
 */
int64_t objstore_error_retry_after_ms(const objstore_error *error);

/*
 The size of the object that a range missed (OBJSTORE_RANGE_NOT_SATISFIABLE); -1 where it is not
 known.
 */
int64_t objstore_error_size(const objstore_error *error);

/*
 The version (or tombstone) that the error is about, with OBJSTORE_DELETED and OBJSTORE_NOT_MODIFIED,
 and of a get OBJSTORE_PRECONDITION_FAILED; null where it is not known. To be freed with
 objstore_meta_free().
 */
objstore_meta *objstore_error_meta(const objstore_error *error);

/*
 Frees an error; null is fine.
 */
objstore_status objstore_error_free(objstore_error *error);

/*
 Settings, all at their defaults.
 */
objstore_config *objstore_config_new(void);

/*
 Sets one setting, instead of what it was. The names are also the keys of the config file of the
 program objstore. Sizes are bytes, or "10G" (K, M, G, T are powers of 1024, KB and so on of 1000);
 times "500ms", "5s", "1m"; yes and no "1" and "0"; of those that take many, values are separated by
 commas. Whether a value fits the others, and whether a directory can be used, is told by
 objstore_open_node().

 Where the node keeps what it has:
 - state-dir: directory of the journal and the node's identity; "state" of the current directory
 - files-dir: directory of the bodies; "files" of the current directory, wherever state-dir is
 - in-memory: "1" keeps everything in memory: the directories are not touched
 - max-bytes: most bytes of disk to use, at least 128M, of which the journal keeps up to 64M for
   itself; by default, or with 0, the disk is the limit
 - memory-bytes: most bytes of memory for hot bodies, 0 for none; an eighth of memory, 256M at most
 - new-node-id: "1" takes a new node id, for directories that were copied from another node's
 - lost-files: "1" starts with an empty files-dir in place of one that is lost; what other nodes or
   the bucket have comes from there

 Directories that are not there are made, with all above them, for the owner alone.

 The bucket behind it, and how levels 1 and 2 and keys go there:
 - bucket: name of the S3 bucket; without it a directory of this machine stands in for one
 - remote-dir: that directory; "remote" in state-dir
 - region: of the bucket; that of the AWS SDK's own settings, with s3-endpoint us-east-1
 - s3-endpoint: a server that is not AWS, "http://host:port"
 - s3-path-style: "1" has the bucket in the path, as most servers that are not AWS want it
 - s3-prefix: what stands before every key; a directory needs its "/"
 - s3-checksums: "when-required" (the default) or "when-supported"
 - s3-conditions: which changes the server makes on condition: "none", "writes" (the default with
   s3-endpoint), "all" (without)
 - fetch: when to look there for an id that is unknown here: "never", "on-request" (the default,
   objstore_get_options_set_fetch()), "always"
 - fetch-prefix: keys that may be asked for through a listener beyond loopback; many
 - write: when levels 1 and 2 are acknowledged: "through", once the bucket has them (the default),
   "back", once this disk has
 - key-ttl: how long what is here of a key is served without asking the bucket; "10s"

 Credentials are found as the AWS SDK finds them: environment, files in ~/.aws, role.

 The cluster, of which a node has a part that has a private-addr:
 - private-addr: where to listen for the other nodes, "host:port"; port 0 takes a free one
 - nodes: nodes to find the cluster through, "host" or "host:port", port 11999 unless given; many
 - tag: name of the cluster; nodes of another are refused; "default"
 - advertise-addr: where the others reach this node, when that is not where it listens
 - cluster-key-file: keys that the nodes share, one a line, of "objstore keygen"
 - insecure-cluster: "1" lets nodes on other machines in without a key
 - debug-addr: address on loopback where the private API is answered in the clear

 Its public HTTP API, once objstore_serve() is called:
 - public-addr: where it listens, "host:port"; port 0 takes a free one; "127.0.0.1:10999"
 - allow-host: further names (Host, Origin) that a listener on loopback answers to; many
 - token-file: tokens that requests need, a line each: NAME SCOPES TOKEN
 - tls-cert, tls-key: certificate and private key, PEM files

 Every kind of store:
 - threads: how many threads work for it, 1 to 1024; one for each core
 - thread-name: what they are called, up to 15 bytes; "objstore"

 objstore_connect() takes these two and what it says itself, and none of the others.

 OBJSTORE_CONFIGURATION when there is no such setting or it does not take this.
 */
objstore_status objstore_config_set(objstore_config *config,
                                    const char *name,
                                    const char *value,
                                    objstore_error **error);

/*
 Takes over what a config file (TOML) says, the same that the program objstore reads. What only
 concerns that program (debug, log-format, shutdown-delay, drain) has no effect.

 OBJSTORE_CONFIGURATION when it cannot be read or says something that cannot be; nothing is taken
 over then. Blocks on the disk.
 */
objstore_status objstore_config_load(objstore_config *config,
                                     const char *path,
                                     objstore_error **error);

/*
 Frees settings; null is fine. Stores that were opened with them are none the wiser.
 */
objstore_status objstore_config_free(objstore_config *config);

/*
 Starts a node in this process: locks its directories, opens its journal, cleans up after a crash,
 and joins its cluster when it was given a private-addr. `config` may be null: the node then keeps
 what it has in state/ and files/ of the current directory. Blocks, usually for some ten
 milliseconds; with a large journal for longer.

 OBJSTORE_CONFIGURATION: settings contradict each other, or a directory cannot be used or is used
 by another node, of this process or another. OBJSTORE_CORRUPT: the journal is damaged; nothing was
 changed.
 */
objstore_status objstore_open_node(const objstore_config *config,
                                   objstore_store **store,
                                   objstore_error **error);

/*
 A store on nodes that run elsewhere, over their HTTP API: the same functions with the same results.
 `nodes` are their addresses, separated by commas: "host", "host:port", "http://host:port" or
 "https://host:port", port 10999 unless given. Those named first are preferred; one that does not
 answer is passed over until it is well again. Calls are tried again, on another node where there is one, where doing it twice is the
 same as doing it once; a read that breaks off goes on where it was, with the same version. What a
 writer was given is sent once, and not tried again after that. A change that says OBJSTORE_TRANSPORT
 may have been made or not.

 `config`, which may be null, takes threads and thread-name, and what is about a connection:

 - timeout: how long a call may take, all tries in it, such as "30s"; no limit by default
 - stall-timeout: how long a node may be silent; "30s" by default
 - answer-timeout: how long a node may take to answer a change it has all of; "5m" by default
 - tries: how often each node is tried at most in a call; 3 by default
 - token: what to show where the nodes ask for a token
 - ca-file: certificates (PEM) by which https:// nodes are believed, instead of the system's

 What only a node in this process can do says OBJSTORE_UNSUPPORTED: objstore_serve(), objstore_peers(),
 objstore_private_addr(), objstore_drain(), objstore_drain_to_peers(), and messages.

 Does not block, but for reading ca-file: nothing is sent yet. OBJSTORE_CONFIGURATION: `nodes` has no
 address or one that is none, or a setting is about a node in this process.
 */
objstore_status objstore_connect(const char *nodes,
                                 const objstore_config *config,
                                 objstore_store **store,
                                 objstore_error **error);

/*
 Closes a store; null is fine. From now on the handle is none (OBJSTORE_BAD_HANDLE). Listeners are
 closed, calls under way on other threads may end, changes are made durable, and the directories
 are unlocked for the next who opens them. Operations that nobody waits for are calls too, and report
 to their queue, which may be polled after this. Readers and writers that are open may be used, and are
 not waited for, nor is what was begun on them: readers give what is left to them or OBJSTORE_STOPPING,
 writers say OBJSTORE_STOPPING when they are finished at the latest; they are freed as ever.

 Blocks for at most `timeout_ms`, or OBJSTORE_FOREVER. OBJSTORE_TIMED_OUT: calls were still under way,
 or the node was not done; it goes on by itself, and such calls end as they may, or with
 OBJSTORE_STOPPING. Calls have half the time to end, the node has what is left. Until it is done the
 directories stay locked.
 */
objstore_status objstore_close(objstore_store *store,
                               int64_t timeout_ms,
                               objstore_error **error);

/*
 How many handles of all kinds the process has: 0 when everything was freed. For tests that look
 for leaks.
 */
size_t objstore_handle_count(void);

/*
 Reads an id from its 26 characters, in capitals or not. OBJSTORE_INVALID_ID when they are none; `id`
 is as it was then.
 */
objstore_status objstore_id_parse(const char *text_of_id,
                                  objstore_id *id);

/*
 Writes an id as 26 characters, in capitals, and a NUL. `to` has room for OBJSTORE_ID_TEXT bytes; it is
 "" when the id is none (OBJSTORE_INVALID_ID).
 */
objstore_status objstore_id_format(const objstore_id *id,
                                   char *to);

/*
 Options of a put: level 0, no name.
 */
objstore_put_options *objstore_put_options_new(void);

/*
 The file name; its extension decides the content type over HTTP. UTF-8, at most 255 bytes, no control
 characters, else OBJSTORE_INVALID_NAME; "" for none.
 */
objstore_status objstore_put_options_set_name(objstore_put_options *options,
                                              const char *name);

/*
 How far the body has to be kept before the put is acknowledged: 0 on the node's disk, 1 in the
 bucket too, 2 on all nodes too. OBJSTORE_INVALID_LEVEL for anything else.
 */
objstore_status objstore_put_options_set_level(objstore_put_options *options, int32_t level);

/*
 The content type, kept as it is; over HTTP an extension of the name that is known comes first. Null
 for none.
 */
objstore_status objstore_put_options_set_content_type(objstore_put_options *options,
                                                      const char *content_type);

/*
 The content encoding, kept as it is; null for none.
 */
objstore_status objstore_put_options_set_content_encoding(objstore_put_options *options,
                                                          const char *content_encoding);

/*
 Adds a pair of user metadata; a name given again replaces. 16 KiB in all, 2 KiB from level 1 on.
 */
objstore_status objstore_put_options_add_user(objstore_put_options *options,
                                              const char *name,
                                              const char *value);

/*
 One of OBJSTORE_WRITE_…: when a put of level 1 or 2 is acknowledged.
 */
objstore_status objstore_put_options_set_write(objstore_put_options *options, int32_t mode);

/*
 At level 2, how many nodes must have a copy when the put is acknowledged, this one included; 0
 for those that are quick. With fewer the object is stored and the put OBJSTORE_TOO_FEW_REPLICAS.
 */
objstore_status objstore_put_options_set_min_replicas(objstore_put_options *options,
                                                      uint32_t replicas);

/*
 The current version must have this tag, "*" for any; null for no condition.
 */
objstore_status objstore_put_options_set_if_match(objstore_put_options *options, const char *etag);

/*
 The current version must not have this tag; with "*" there must be none, so nothing is
 overwritten. Null for no condition.
 */
objstore_status objstore_put_options_set_if_none_match(objstore_put_options *options,
                                                       const char *etag);

/*
 What ends the call early; null for nothing. The cancel may be freed after this.
 */
objstore_status objstore_put_options_set_cancel(objstore_put_options *options,
                                                const objstore_cancel *cancel);

/*
 Frees options; null is fine. Calls that were given them have what they need.
 */
objstore_status objstore_put_options_free(objstore_put_options *options);

/*
 Options of a get: the whole body, no conditions.
 */
objstore_get_options *objstore_get_options_new(void);

/*
 Only these bytes: from the first position to the last, inclusive; both may lie past the end.
 UINT64_MAX as the last is to the end.
 */
objstore_status objstore_get_options_set_range(objstore_get_options *options,
                                               uint64_t first,
                                               uint64_t last);

/*
 Only this many bytes at the end.
 */
objstore_status objstore_get_options_set_last(objstore_get_options *options, uint64_t count);

/*
 Whether to look in the bucket for an object of which nothing is known here.
 */
objstore_status objstore_get_options_set_fetch(objstore_get_options *options, bool fetch);

/*
 Whether to ask the bucket if what is here of a key is still current.
 */
objstore_status objstore_get_options_set_no_cache(objstore_get_options *options, bool no_cache);

/*
 The version must have this tag, "*" for any; null for no condition.
 */
objstore_status objstore_get_options_set_if_match(objstore_get_options *options, const char *etag);

/*
 The version must not have this tag, else OBJSTORE_NOT_MODIFIED; null for no condition.
 */
objstore_status objstore_get_options_set_if_none_match(objstore_get_options *options,
                                                       const char *etag);

/*
 What ends the call early; null for nothing. The cancel may be freed after this.
 */
objstore_status objstore_get_options_set_cancel(objstore_get_options *options,
                                                const objstore_cancel *cancel);

/*
 Frees options; null is fine. Calls that were given them have what they need.
 */
objstore_status objstore_get_options_free(objstore_get_options *options);

/*
 Options of a delete: no conditions.
 */
objstore_delete_options *objstore_delete_options_new(void);

/*
 Whether to remove it from the bucket too.
 */
objstore_status objstore_delete_options_set_purge(objstore_delete_options *options, bool purge);

/*
 The current version must have this tag, "*" for any; null for no condition.
 */
objstore_status objstore_delete_options_set_if_match(objstore_delete_options *options,
                                                     const char *etag);

/*
 What ends the call early; null for nothing. The cancel may be freed after this.
 */
objstore_status objstore_delete_options_set_cancel(objstore_delete_options *options,
                                                   const objstore_cancel *cancel);

/*
 Frees options; null is fine. Calls that were given them have what they need.
 */
objstore_status objstore_delete_options_free(objstore_delete_options *options);

/*
 Options of a listing of objects: the first 1,000 objects.
 */
objstore_list_options *objstore_list_options_new(void);

/*
 Only ids above this one, such as the last of the page before; null for all.
 */
objstore_status objstore_list_options_set_after(objstore_list_options *options,
                                                const objstore_id *id);

/*
 The most objects of the page, 1 to 1,000; more is taken as that.
 */
objstore_status objstore_list_options_set_limit(objstore_list_options *options, size_t limit);

/*
 Whether to list deleted objects too.
 */
objstore_status objstore_list_options_set_deleted(objstore_list_options *options, bool deleted);

/*
 What ends the call early; null for nothing. The cancel may be freed after this.
 */
objstore_status objstore_list_options_set_cancel(objstore_list_options *options,
                                                 const objstore_cancel *cancel);

/*
 Frees options; null is fine. Calls that were given them have what they need.
 */
objstore_status objstore_list_options_free(objstore_list_options *options);

/*
 Options of a listing of keys: the first 1,000 keys.
 */
objstore_key_list_options *objstore_key_list_options_new(void);

/*
 Only keys that begin so.
 */
objstore_status objstore_key_list_options_set_prefix(objstore_key_list_options *options,
                                                     const char *prefix);

/*
 Keys that have this behind the prefix are rolled up to it; null for none.
 */
objstore_status objstore_key_list_options_set_delimiter(objstore_key_list_options *options,
                                                        const char *delimiter);

/*
 Only keys above this one, from objstore_key_list_next(); null for all.
 */
objstore_status objstore_key_list_options_set_after(objstore_key_list_options *options,
                                                    const char *key);

/*
 The most keys and prefixes of the page, 1 to 1,000; more is taken as that.
 */
objstore_status objstore_key_list_options_set_limit(objstore_key_list_options *options,
                                                    size_t limit);

/*
 What ends the call early; null for nothing. The cancel may be freed after this.
 */
objstore_status objstore_key_list_options_set_cancel(objstore_key_list_options *options,
                                                     const objstore_cancel *cancel);

/*
 Frees options; null is fine. Calls that were given them have what they need.
 */
objstore_status objstore_key_list_options_free(objstore_key_list_options *options);

/*
 A cancel, to be given to calls through their options. Freed with objstore_cancel_free(), which
 cancels nothing.
 */
objstore_cancel *objstore_cancel_new(void);

/*
 Ends the calls that this cancel was given to, and those it will be given to: they return
 OBJSTORE_CANCELLED. From any thread, at any time; does not block.
 */
objstore_status objstore_cancel_trigger(objstore_cancel *cancel);

/*
 Frees a cancel; null is fine.
 */
objstore_status objstore_cancel_free(objstore_cancel *cancel);

/*
 Makes a new id. Of a node in this process it does not block and does not fail.
 */
objstore_status objstore_new_id(objstore_store *store, objstore_id *id, objstore_error **error);

/*
 Puts an object whose body is in memory; it is copied, which takes as much memory again: large ones
 are better put with objstore_put_begin(). An object that has this id is replaced at once as a whole,
 for everybody; one that was deleted may be put again. The id is one from objstore_new_id(), or any
 other ULID of the years 2010 to 2100, else OBJSTORE_INVALID_ID.

 Blocks until it is acknowledged: durable on the node at level 0, in the bucket from level 1 on unless
 written back. `options` may be null, and so may `meta`, which is what was stored and is freed with
 objstore_meta_free(). Where it fails nothing has changed, unless the status says otherwise.
 */
objstore_status objstore_put(objstore_store *store,
                             const objstore_id *id,
                             const uint8_t *data,
                             size_t length,
                             const objstore_put_options *options,
                             objstore_meta **meta,
                             objstore_error **error);

/*
 Gets an object. Blocks until its first bytes are on their way; the reader is freed with
 objstore_reader_free(). It gives the version there is now, whatever is put or deleted meanwhile.
 `options` may be null. OBJSTORE_NOT_FOUND, OBJSTORE_DELETED when there is none; OBJSTORE_UNAVAILABLE
 while none of the nodes that have it can be reached.
 */
objstore_status objstore_get(objstore_store *store,
                             const objstore_id *id,
                             const objstore_get_options *options,
                             objstore_reader **reader,
                             objstore_error **error);

/*
 What is known about an object; blocks while it is looked up. Of the options only the fetch and the
 cancel count; they may be null. `meta` is freed with objstore_meta_free(). OBJSTORE_NOT_FOUND,
 OBJSTORE_DELETED when there is none.
 */
objstore_status objstore_head(objstore_store *store,
                              const objstore_id *id,
                              const objstore_get_options *options,
                              objstore_meta **meta,
                              objstore_error **error);

/*
 Deletes an object, for all nodes; blocks until that is durable. `options` may be null.
 OBJSTORE_NOT_FOUND when there never was one; of one that is deleted already it is OBJSTORE_OK.
 */
objstore_status objstore_delete(objstore_store *store,
                                const objstore_id *id,
                                const objstore_delete_options *options,
                                objstore_error **error);

/*
 Raises the level of an object; one that is as high already is left as it is. `write_mode` is one
 of OBJSTORE_WRITE_…. `meta` may be null.
 */
objstore_status objstore_set_level(objstore_store *store,
                                   const objstore_id *id,
                                   int32_t level,
                                   int32_t write_mode,
                                   objstore_meta **meta,
                                   objstore_error **error);

/*
 As objstore_put(), by the key of the bucket, which has it when this is acknowledged unless written
 back; the level of the options does not count. Its id is that of the copy here, which objstore_get()
 does not find. A key is 1 to 1,024 bytes of UTF-8 without "." and ".." between slashes, else
 OBJSTORE_INVALID_KEY.
 */
objstore_status objstore_put_key(objstore_store *store,
                                 const char *key,
                                 const uint8_t *data,
                                 size_t length,
                                 const objstore_put_options *options,
                                 objstore_meta **meta,
                                 objstore_error **error);

/*
 As objstore_get(), by the key of the bucket.
 */
objstore_status objstore_get_key(objstore_store *store,
                                 const char *key,
                                 const objstore_get_options *options,
                                 objstore_reader **reader,
                                 objstore_error **error);

/*
 As objstore_head(), by the key of the bucket.
 */
objstore_status objstore_head_key(objstore_store *store,
                                  const char *key,
                                  const objstore_get_options *options,
                                  objstore_meta **meta,
                                  objstore_error **error);

/*
 As objstore_delete(), by the key of the bucket, from which it is deleted.
 */
objstore_status objstore_delete_key(objstore_store *store,
                                    const char *key,
                                    const objstore_delete_options *options,
                                    objstore_error **error);

/*
 Reads the next bytes into `buffer`: `length` of them at most, at least one unless the object is
 at its end, where `*got` is 0, as it is of a `length` of 0. Blocks until there is something, the first
 time too. After an error from 100 on, or OBJSTORE_CANCELLED, the reader can only be freed (later ones
 say OBJSTORE_CANCELLED or OBJSTORE_FINISHED), and what was read must not be taken for the whole.
 */
objstore_status objstore_reader_read(objstore_reader *reader,
                                     uint8_t *buffer,
                                     size_t length,
                                     size_t *got,
                                     objstore_error **error);

/*
 The next bytes where they are, without a copy: `*data` points at `*length` of them, 0 at the end.
 They belong to the reader, until the next call on it. Otherwise as objstore_reader_read().
 */
objstore_status objstore_reader_next(objstore_reader *reader,
                                     const uint8_t **data,
                                     size_t *length,
                                     objstore_error **error);

/*
 The version that is read. To be freed with objstore_meta_free(); null when `reader` is none.
 */
objstore_meta *objstore_reader_meta(const objstore_reader *reader);

/*
 Which bytes of the object the reader gives: the position of the first and how many, which is all
 of them unless a range was asked for.
 */
objstore_status objstore_reader_range(const objstore_reader *reader,
                                      uint64_t *first,
                                      uint64_t *length);

/*
 Ends a read that another thread waits in, and the next one, with OBJSTORE_CANCELLED. From any
 thread; does not block.
 */
objstore_status objstore_reader_cancel(objstore_reader *reader);

/*
 Frees a reader; null is fine. What was not read is not brought. A thread that waits in it, and a fetch
 that is under way, is told OBJSTORE_CANCELLED.
 */
objstore_status objstore_reader_free(objstore_reader *reader);

/*
 Begins to put an object whose body is written piece by piece. `size` is the length of the body,
 or OBJSTORE_SIZE_UNKNOWN; a body that turns out otherwise is not stored
 (OBJSTORE_INCOMPLETE_BODY, of objstore_writer_finish() or of the write that was too much). Nobody
 sees anything of the object before objstore_writer_finish(). Does not block: what the put itself meets,
 such as a condition that does not hold or a full disk, is told by a later write or by
 objstore_writer_finish().
 */
objstore_status objstore_put_begin(objstore_store *store,
                                   const objstore_id *id,
                                   int64_t size,
                                   const objstore_put_options *options,
                                   objstore_writer **writer,
                                   objstore_error **error);

/*
 The same by the key of the bucket.
 */
objstore_status objstore_put_key_begin(objstore_store *store,
                                       const char *key,
                                       int64_t size,
                                       const objstore_put_options *options,
                                       objstore_writer **writer,
                                       objstore_error **error);

/*
 Writes the next bytes of the body; they are copied. Blocks while those before them, up to 1 MiB,
 have not been taken. After an error from 100 on, or OBJSTORE_CANCELLED, the writer can only be freed
 (later ones say OBJSTORE_FINISHED), and nothing was stored.
 */
objstore_status objstore_writer_write(objstore_writer *writer,
                                      const uint8_t *data,
                                      size_t length,
                                      objstore_error **error);

/*
 Ends the body and waits for the put, which is acknowledged as objstore_put() is. The writer can
 only be freed after that. `meta` may be null; it is freed with objstore_meta_free().
 */
objstore_status objstore_writer_finish(objstore_writer *writer,
                                       objstore_meta **meta,
                                       objstore_error **error);

/*
 As objstore_writer_write(), without waiting: done when the bytes, all of which are copied at once,
 were taken. Until then the writer can neither be written nor finished (OBJSTORE_FINISHED); it may be
 cancelled and freed.
 */
objstore_status objstore_writer_write_async(objstore_writer *writer,
                                            const uint8_t *data,
                                            size_t length,
                                            objstore_queue *queue,
                                            objstore_done done,
                                            void *user_data,
                                            objstore_error **error);

/*
 As objstore_writer_finish(), without waiting; the result has the record. From now on the writer can
 only be cancelled and freed; freed before this is done, it may have stored the object or not.
 */
objstore_status objstore_writer_finish_async(objstore_writer *writer,
                                             objstore_queue *queue,
                                             objstore_done done,
                                             void *user_data,
                                             objstore_error **error);

/*
 Ends a write that another thread waits in, and the next one, with OBJSTORE_CANCELLED. Nothing is
 stored then; of one that is being finished it is not known. From any thread; does not block.
 */
objstore_status objstore_writer_cancel(objstore_writer *writer);

/*
 Frees a writer; null is fine. One that was not finished stores nothing; a thread that waits in it is
 told OBJSTORE_CANCELLED. What was begun with …_async() still reports to its queue.
 */
objstore_status objstore_writer_free(objstore_writer *writer);

/*
 The object's id.
 */
objstore_status objstore_meta_id(const objstore_meta *meta, objstore_id *id);

/*
 The length of the body in bytes.
 */
uint64_t objstore_meta_size(const objstore_meta *meta);

/*
 When the version was put, in nanoseconds since the Unix epoch.
 */
uint64_t objstore_meta_timestamp(const objstore_meta *meta);

/*
 The level: 0 on the node's disk, 1 in the bucket too, 2 on all nodes too.
 */
int32_t objstore_meta_level(const objstore_meta *meta);

/*
 Whether this is what is left of an object that was deleted.
 */
bool objstore_meta_is_deleted(const objstore_meta *meta);

/*
 Whether the bucket is still to get this version.
 */
bool objstore_meta_is_pending(const objstore_meta *meta);

/*
 The file name, "" when it has none. This and the texts below are UTF-8 and belong to the record;
 null when there is none, or `meta` is no record.
 */
const char *objstore_meta_name(const objstore_meta *meta);

/*
 The tag of this version, for conditions, without quotes.
 */
const char *objstore_meta_etag(const objstore_meta *meta);

/*
 The content type.
 */
const char *objstore_meta_content_type(const objstore_meta *meta);

/*
 The content encoding. The body is never decoded.
 */
const char *objstore_meta_content_encoding(const objstore_meta *meta);

/*
 The BLAKE3 digest of the body in hexadecimal.
 */
const char *objstore_meta_blake3(const objstore_meta *meta);

/*
 How many pairs of user metadata there are.
 */
size_t objstore_meta_user_count(const objstore_meta *meta);

/*
 One pair of user metadata, in order of the names. OBJSTORE_INVALID_ARGUMENT beyond the last.
 */
objstore_status objstore_meta_user_at(const objstore_meta *meta,
                                      size_t index,
                                      const char **name,
                                      const char **value);

/*
 Frees a record; null is fine.
 */
objstore_status objstore_meta_free(objstore_meta *meta);

/*
 Lists objects in order of their ids, one page. `options` may be null. The next page begins after
 the last id of this one; an empty page is the end. Freed with objstore_list_free().
 */
objstore_status objstore_list_objects(objstore_store *store,
                                      const objstore_list_options *options,
                                      objstore_list **list,
                                      objstore_error **error);

/*
 How many objects the page has.
 */
size_t objstore_list_count(const objstore_list *list);

/*
 One object of the page; freed with objstore_meta_free(). Null beyond the last.
 */
objstore_meta *objstore_list_at(const objstore_list *list, size_t index);

/*
 Frees a page; null is fine.
 */
objstore_status objstore_list_free(objstore_list *list);

/*
 Lists keys of the bucket in order of their bytes, one page, as the bucket has them now. `options`
 may be null. Freed with objstore_key_list_free().
 */
objstore_status objstore_list_keys(objstore_store *store,
                                   const objstore_key_list_options *options,
                                   objstore_key_list **list,
                                   objstore_error **error);

/*
 How many keys the page has.
 */
size_t objstore_key_list_count(const objstore_key_list *list);

/*
 One key of the page, which it belongs to, and the size of its object; `size` may be null.
 OBJSTORE_INVALID_ARGUMENT beyond the last.
 */
objstore_status objstore_key_list_at(const objstore_key_list *list,
                                     size_t index,
                                     const char **key,
                                     uint64_t *size);

/*
 How many prefixes the page has, to which keys were rolled up.
 */
size_t objstore_key_list_prefix_count(const objstore_key_list *list);

/*
 One prefix of the page, which it belongs to. Null beyond the last.
 */
const char *objstore_key_list_prefix_at(const objstore_key_list *list, size_t index);

/*
 What the next page begins after, which belongs to this one. Null when this is the last.
 */
const char *objstore_key_list_next(const objstore_key_list *list);

/*
 Frees a page; null is fine.
 */
objstore_status objstore_key_list_free(objstore_key_list *list);

/*
 Counters and gauges of the node as one line of JSON, the same as GET /api/v1/stats. Fields are
 added in time and keep their meaning. Freed with objstore_text_free().
 */
objstore_status objstore_stats(objstore_store *store, objstore_text **json, objstore_error **error);

/*
 The characters of a text, UTF-8 with a NUL, which belong to it. Null when `text` is none.
 */
const char *objstore_text_chars(const objstore_text *text);

/*
 Frees a text; null is fine.
 */
objstore_status objstore_text_free(objstore_text *text);

/*
 A queue for operations that nobody waits for. Null when no descriptor is to be had.
 */
objstore_queue *objstore_queue_new(void);

/*
 A descriptor that is readable (poll(), epoll, kqueue) while something is done; then call
 objstore_poll(). It belongs to the queue: neither read nor close it. -1 when `queue` is none.
 */
int32_t objstore_queue_fd(const objstore_queue *queue);

/*
 Waits until something is done, `timeout_ms` at most, and calls back for all that is, on this
 thread. 0 does not wait, OBJSTORE_FOREVER waits for as long as it takes. `handled`, which may be
 null, is how many there were. OBJSTORE_TIMED_OUT when there was none.
 */
objstore_status objstore_poll(objstore_queue *queue,
                              int64_t timeout_ms,
                              size_t *handled,
                              objstore_error **error);

/*
 Frees a queue; null is fine. Operations that are not done are cancelled, and nobody is called back
 any more: what user_data points at may go when this returns. OBJSTORE_REENTRANT in a callback of
 objstore_poll(). A thread that waits in objstore_poll() is told OBJSTORE_BAD_HANDLE; for a callback that
 another thread is in this waits.
 */
objstore_status objstore_queue_free(objstore_queue *queue);

/*
 What became of the operation. OBJSTORE_BAD_HANDLE when `result` is none.
 */
objstore_status objstore_result_status(const objstore_result *result);

/*
 Takes the error out of the result, to be freed with objstore_error_free(). Null when it was taken
 or there is none.
 */
objstore_error *objstore_result_take_error(objstore_result *result);

/*
 The id that objstore_new_id_async() made. OBJSTORE_FINISHED when the operation was another one.
 */
objstore_status objstore_result_id(const objstore_result *result, objstore_id *id);

/*
 Takes the record out of the result, to be freed with objstore_meta_free(). Null when it was taken
 or there is none.
 */
objstore_meta *objstore_result_take_meta(objstore_result *result);

/*
 Takes the reader out of the result, to be freed with objstore_reader_free(). Null when it was
 taken or there is none.
 */
objstore_reader *objstore_result_take_reader(objstore_result *result);

/*
 Takes the page of objects out of the result, to be freed with objstore_list_free(). Null when it
 was taken or there is none.
 */
objstore_list *objstore_result_take_list(objstore_result *result);

/*
 Takes the page of keys out of the result, to be freed with objstore_key_list_free(). Null when it
 was taken or there is none.
 */
objstore_key_list *objstore_result_take_key_list(objstore_result *result);

/*
 As objstore_new_id(), without waiting; the result has the id (objstore_result_id()).
 */
objstore_status objstore_new_id_async(objstore_store *store,
                                      objstore_queue *queue,
                                      objstore_done done,
                                      void *user_data,
                                      objstore_error **error);

/*
 As objstore_put(), without waiting. The body is copied, so it may go when this returns.
 */
objstore_status objstore_put_async(objstore_store *store,
                                   const objstore_id *id,
                                   const uint8_t *data,
                                   size_t length,
                                   const objstore_put_options *options,
                                   objstore_queue *queue,
                                   objstore_done done,
                                   void *user_data,
                                   objstore_error **error);

/*
 As objstore_get(), without waiting; the result has the reader. Its first read may block, unless
 objstore_reader_fetch_async() comes before.
 */
objstore_status objstore_get_async(objstore_store *store,
                                   const objstore_id *id,
                                   const objstore_get_options *options,
                                   objstore_queue *queue,
                                   objstore_done done,
                                   void *user_data,
                                   objstore_error **error);

/*
 As objstore_head(), without waiting; the result has the record.
 */
objstore_status objstore_head_async(objstore_store *store,
                                    const objstore_id *id,
                                    const objstore_get_options *options,
                                    objstore_queue *queue,
                                    objstore_done done,
                                    void *user_data,
                                    objstore_error **error);

/*
 As objstore_delete(), without waiting; the result has the tombstone.
 */
objstore_status objstore_delete_async(objstore_store *store,
                                      const objstore_id *id,
                                      const objstore_delete_options *options,
                                      objstore_queue *queue,
                                      objstore_done done,
                                      void *user_data,
                                      objstore_error **error);

/*
 As objstore_put_async(), by the key of the bucket.
 */
objstore_status objstore_put_key_async(objstore_store *store,
                                       const char *key,
                                       const uint8_t *data,
                                       size_t length,
                                       const objstore_put_options *options,
                                       objstore_queue *queue,
                                       objstore_done done,
                                       void *user_data,
                                       objstore_error **error);

/*
 As objstore_get_async(), by the key of the bucket.
 */
objstore_status objstore_get_key_async(objstore_store *store,
                                       const char *key,
                                       const objstore_get_options *options,
                                       objstore_queue *queue,
                                       objstore_done done,
                                       void *user_data,
                                       objstore_error **error);

/*
 As objstore_head_async(), by the key of the bucket.
 */
objstore_status objstore_head_key_async(objstore_store *store,
                                        const char *key,
                                        const objstore_get_options *options,
                                        objstore_queue *queue,
                                        objstore_done done,
                                        void *user_data,
                                        objstore_error **error);

/*
 As objstore_delete_async(), by the key of the bucket; there is no tombstone.
 */
objstore_status objstore_delete_key_async(objstore_store *store,
                                          const char *key,
                                          const objstore_delete_options *options,
                                          objstore_queue *queue,
                                          objstore_done done,
                                          void *user_data,
                                          objstore_error **error);

/*
 As objstore_set_level(), without waiting; the result has the record.
 */
objstore_status objstore_set_level_async(objstore_store *store,
                                         const objstore_id *id,
                                         int32_t level,
                                         int32_t write_mode,
                                         objstore_queue *queue,
                                         objstore_done done,
                                         void *user_data,
                                         objstore_error **error);

/*
 As objstore_list_objects(), without waiting; the result has the page.
 */
objstore_status objstore_list_objects_async(objstore_store *store,
                                            const objstore_list_options *options,
                                            objstore_queue *queue,
                                            objstore_done done,
                                            void *user_data,
                                            objstore_error **error);

/*
 As objstore_list_keys(), without waiting; the result has the page.
 */
objstore_status objstore_list_keys_async(objstore_store *store,
                                         const objstore_key_list_options *options,
                                         objstore_queue *queue,
                                         objstore_done done,
                                         void *user_data,
                                         objstore_error **error);

/*
 Has the next bytes brought to a reader: once this is done, the next objstore_reader_read() or
 objstore_reader_next() does not block, and at the end of the object gives none. Until then the reader
 cannot be read (OBJSTORE_FINISHED); it may be freed. What went wrong is told here, once.
 */
objstore_status objstore_reader_fetch_async(objstore_reader *reader,
                                            objstore_queue *queue,
                                            objstore_done done,
                                            void *user_data,
                                            objstore_error **error);

/*
 Serves the public HTTP API of a node in this process, at `address` ("host:port", port 0 takes a
 free one), at the setting public-addr when it is null, at 127.0.0.1:10999 when that is not set
 either; until the store is closed. `*bound`, which may be null, is where it listens, to be freed
 with objstore_text_free().
 */
objstore_status objstore_serve(objstore_store *store,
                               const char *address,
                               objstore_text **bound,
                               objstore_error **error);

/*
 The id of the node, a ULID of 26 characters; freed with objstore_text_free(). Over a connection the
 id of one of the nodes, which is asked: then it blocks.
 */
objstore_status objstore_node_id(objstore_store *store, objstore_text **id, objstore_error **error);

/*
 Where other nodes reach this one, "host:port", as the setting nodes of another wants it; "" when it
 has no part in a cluster. Freed with objstore_text_free().
 */
objstore_status objstore_private_addr(objstore_store *store,
                                      objstore_text **address,
                                      objstore_error **error);

/*
 What the node knows of the other members of its cluster: a JSON array on one line, the same as
 GET /api/v1/stats has under peers. Freed with objstore_text_free().
 */
objstore_status objstore_peers(objstore_store *store, objstore_text **json, objstore_error **error);

/*
 Whether the node wants requests: it is neither stopping nor unable to write, and has synced with
 its cluster where it has one. False when `store` is none. Over a connection a node there is asked,
 once: then it blocks, and is false when none answers. A node that finds nobody through its setting
 nodes is alone, and ready as such; objstore_peers() says whom it knows.
 */
bool objstore_is_ready(const objstore_store *store);

/*
 Says that the node is about to be closed: objstore_is_ready() and /readyz turn at once, requests
 go on being served.
 */
objstore_status objstore_drain(objstore_store *store, objstore_error **error);

/*
 Hands what the bucket does not have to other nodes, before the close of a node that will not come
 back, after objstore_drain() and once nothing is put any more. Blocks for as long as it takes.
 Both counts may be null: bodies that another node has now, and bodies that no other could take.
 */
objstore_status objstore_drain_to_peers(objstore_store *store,
                                        uint64_t *handed_over,
                                        uint64_t *remaining,
                                        objstore_error **error);

/*
 Sends a message of up to 8 KiB to the programs on all other live nodes: at most once to each, in
 no order. `taken`, which may be null, is how many took it. Blocks for 2 s at most. OBJSTORE_TOO_LARGE
 for a longer one.
 */
objstore_status objstore_send(objstore_store *store,
                              const uint8_t *data,
                              size_t length,
                              size_t *taken,
                              objstore_error **error);

/*
 Follows what programs on other nodes send, from now on; up to 256 messages are kept for a reader
 that is behind. Freed with objstore_subscription_free().
 */
objstore_status objstore_subscribe(objstore_store *store,
                                   objstore_subscription **subscription,
                                   objstore_error **error);

/*
 Waits for the next message, `timeout_ms` at most or OBJSTORE_FOREVER; freed with
 objstore_message_free(). `missed`, which may be null, is how many before it are lost, because this
 subscription was too far behind. OBJSTORE_TIMED_OUT when none came; OBJSTORE_STOPPING when the node
 has stopped and all were given out.
 */
objstore_status objstore_subscription_next(objstore_subscription *subscription,
                                           int64_t timeout_ms,
                                           objstore_message **message,
                                           uint64_t *missed,
                                           objstore_error **error);

/*
 Ends a wait of another thread, and every later one, with OBJSTORE_CANCELLED. From any thread; does
 not block.
 */
objstore_status objstore_subscription_cancel(objstore_subscription *subscription);

/*
 Frees a subscription; null is fine. A thread that waits in it is told OBJSTORE_CANCELLED.
 */
objstore_status objstore_subscription_free(objstore_subscription *subscription);

/*
 The id of the node that sent it, which belongs to the message. Null when `message` is none.
 */
const char *objstore_message_from(const objstore_message *message);

/*
 What was sent, which belongs to the message: `*length` bytes at the address returned.
 */
const uint8_t *objstore_message_data(const objstore_message *message, size_t *length);

/*
 Frees a message; null is fine.
 */
objstore_status objstore_message_free(objstore_message *message);

/*
 Has a function take the lines of the log, of this level (OBJSTORE_LOG_…) and those above, for all
 stores of the process; null, which is how it begins, for silence. When this returns, the function
 before is not called any more.
 */
objstore_status objstore_log_set(objstore_log_line line, void *user_data, int32_t level);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* OBJSTORE_H */

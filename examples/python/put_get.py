"""Puts something into a store in memory and gets it back, through ctypes on the C library.

put_get.py LIBRARY: the path of libobjstore.so
"""

import ctypes
import sys
from ctypes import POINTER, byref, c_char_p, c_int32, c_int64, c_size_t, c_uint8, c_void_p


class Id(ctypes.Structure):
    _fields_ = [("bytes", c_uint8 * 16)]


def declare(library):
    """What of include/objstore.h is used here. A handle is a number that is only passed on."""
    out, error = POINTER(c_void_p), POINTER(c_void_p)
    for name, result, arguments in [
        ("config_new", c_void_p, []),
        ("config_set", c_int32, [c_void_p, c_char_p, c_char_p, error]),
        ("config_free", c_int32, [c_void_p]),
        ("open_node", c_int32, [c_void_p, out, error]),
        ("new_id", c_int32, [c_void_p, POINTER(Id), error]),
        ("id_format", c_int32, [POINTER(Id), c_char_p]),
        ("put", c_int32, [c_void_p, POINTER(Id), c_char_p, c_size_t, c_void_p, out, error]),
        ("get", c_int32, [c_void_p, POINTER(Id), c_void_p, out, error]),
        ("reader_read", c_int32, [c_void_p, c_char_p, c_size_t, POINTER(c_size_t), error]),
        ("reader_free", c_int32, [c_void_p]),
        ("close", c_int32, [c_void_p, c_int64, error]),
        ("error_message", c_char_p, [c_void_p]),
        ("error_free", c_int32, [c_void_p]),
    ]:
        function = getattr(library, "objstore_" + name)
        function.restype, function.argtypes = result, arguments


def main():
    library = ctypes.CDLL(sys.argv[1])
    declare(library)

    def call(name, *arguments):
        error = c_void_p()
        if getattr(library, "objstore_" + name)(*arguments, byref(error)) != 0:
            message = library.objstore_error_message(error).decode()
            library.objstore_error_free(error)
            raise OSError(name + ": " + message)

    config, store, reader, key = library.objstore_config_new(), c_void_p(), c_void_p(), Id()
    call("config_set", config, b"in-memory", b"1")
    call("open_node", config, byref(store))
    library.objstore_config_free(config)
    try:
        call("new_id", store, byref(key))
        call("put", store, byref(key), b"It works!", 9, None, None)
        text = ctypes.create_string_buffer(27)
        library.objstore_id_format(byref(key), text)

        call("get", store, byref(key), None, byref(reader))
        whole, buffer, got = b"", ctypes.create_string_buffer(4096), c_size_t()
        while True:
            call("reader_read", reader, buffer, len(buffer), byref(got))
            if got.value == 0:
                break
            whole += buffer.raw[: got.value]
        library.objstore_reader_free(reader)
        print(text.value.decode(), "has", whole.decode())
    finally:
        call("close", store, 5000)


main()

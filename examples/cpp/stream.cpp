// Streams an object of some size in and out of a store in memory and shows how far it is:
// stream [MEBIBYTES]
#include <objstore.hpp>

#include <cstdlib>
#include <iostream>
#include <string>

namespace {

// Bytes that are easy to check and differ from place to place.
std::string piece(size_t number)
{
    std::string bytes(1 << 20, '\0');
    for (size_t i = 0; i < bytes.size(); i++)
        bytes[i] = static_cast<char>(number * 31 + i % 251);
    return bytes;
}

void show(const char *what, size_t done, size_t all)
{
    if (done % ((all + 3) / 4) == 0 || done == all)
        std::cout << what << ' ' << done * 100 / all << " %\n";
}

void run(size_t pieces)
{
    objstore::Store store(objstore::Config().set("in-memory", "1"));
    objstore::Id id = store.new_id();

    objstore::Output out(store.begin_put(id, pieces << 20, objstore::PutOptions().name("large.bin")));
    out.exceptions(std::ios::badbit);
    for (size_t i = 0; i < pieces; i++) {
        out << piece(i);
        show("put", i + 1, pieces);
    }
    objstore::Meta meta = out.finish();
    std::cout << meta.name() << " has " << meta.size() << " bytes\n";

    objstore::Input in(store.get(id));
    in.exceptions(std::ios::badbit);
    std::string bytes(1 << 20, '\0');
    for (size_t i = 0; i < pieces; i++) {
        in.read(&bytes[0], static_cast<std::streamsize>(bytes.size()));
        if (bytes != piece(i))
            throw std::runtime_error("other bytes came back");
        show("got", i + 1, pieces);
    }
    store.close(std::chrono::seconds(5));
}

} // namespace

int main(int argc, char **argv)
{
    try {
        run(argc > 1 ? std::strtoul(argv[1], nullptr, 10) : 64);
    } catch (const std::exception &error) {
        std::cerr << error.what() << '\n';
        return 1;
    }
}
